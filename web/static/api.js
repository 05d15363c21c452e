// The HTTP side: fetch with JSON in and out. A 401 means that the page must ask for the token again.

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    return { status: 0, body: { success: false, message: "the bot does not answer" } };
  }
  if (response.status === 401) {
    location.reload();
  }
  try {
    return { status: response.status, body: await response.json() };
  } catch {
    return { status: response.status, body: { success: false, message: "no readable answer" } };
  }
}

export const get = (path) => call(path, {});

export const post = (path, body) =>
  call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
