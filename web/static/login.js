// Ask once for the token: it goes into one POST, comes back as an HttpOnly cookie, and stays nowhere.

const form = document.getElementById("login");
const told = document.getElementById("told");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  told.textContent = "";
  const field = form.elements.namedItem("token");
  try {
    const response = await fetch("/login", {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: field.value }),
    });
    if (response.ok) {
      location.reload();
      return;
    }
    told.textContent = (await response.json()).message;
  } catch {
    told.textContent = "the bot does not answer";
  }
  field.select();
});
