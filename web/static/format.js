// Text of figures. The API sends exact decimals as text; they are shown as they are or rounded for
// the eye with the whole figure in the title. Numbers are only made to draw and to compare.

export const DASH = "–";

export function rounded(text, digits = 2) {
  if (text === null || text === undefined) return DASH;
  const value = Number(text);
  if (!Number.isFinite(value)) return String(text);
  return value
    .toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
    .replace("-", "−");
}

export function signed(text, digits = 2) {
  const shown = rounded(text, digits);
  return Number(text) > 0 ? `+${shown}` : shown;
}

export function exact(text) {
  return text === null || text === undefined ? DASH : String(text).replace("-", "−");
}

// Cut an exact figure after two decimals: [the part one reads, the part that makes it exact].
export function split(text, digits = 2) {
  const [whole, fraction = ""] = exact(text).split(".");
  const head = fraction.slice(0, digits).padEnd(digits, "0");
  return [`${whole}.${head}`, fraction.slice(digits)];
}

export function negated(text) {
  if (Number(text) === 0) return text;
  return text.startsWith("-") ? text.slice(1) : `-${text}`;
}

export function tone(text) {
  const value = Number(text);
  return value > 0 ? "up" : value < 0 ? "down" : "";
}

export function clock(iso) {
  const moment = new Date(iso);
  return Number.isNaN(moment.getTime()) ? DASH : moment.toLocaleTimeString("en-GB");
}

export function dayAndClock(iso) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return DASH;
  const day = moment.toLocaleDateString("en-GB", { day: "2-digit", month: "short" });
  return `${day} ${moment.toLocaleTimeString("en-GB")}`;
}

export function duration(seconds) {
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`;
}
