// Numbers and times as people read them.

export const count = (number) => (typeof number === "bigint" ? number : Number(number)).toLocaleString("en");

export const counted = (number, one, many = `${one}s`) => `${count(number)} ${Number(number) === 1 ? one : many}`;

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number < 10 && unit ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

// Three figures and no more, so that columns stay calm.
export function short(number) {
  if (!Number.isFinite(number)) return "–";
  if (number === 0 || Number.isInteger(number) || Math.abs(number) >= 100) return count(Math.round(number));
  return Math.abs(number) < 0.01 ? number.toPrecision(1) : String(Number(number.toPrecision(3)));
}

export function seconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0 s";
  if (value < 0.001) return `${short(value * 1e6)} µs`;
  if (value < 1) return `${short(value * 1000)} ms`;
  if (value < 120) return `${short(value)} s`;
  if (value < 7200) return `${short(value / 60)} min`;
  return value < 172_800 ? `${short(value / 3600)} h` : `${short(value / 86_400)} days`;
}

export const moment = (ms) => (ms ? new Date(Number(ms)).toISOString().replace("T", " ").slice(0, 19) : "–");

// A key may have the name of something that every object has.
export const valueAt = (payload, key) => (payload && Object.hasOwn(payload, key) ? payload[key] : undefined);

export const clip = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);

// Signs that would turn or hide what stands beside them are told by their numbers.
export const visible = (text) =>
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (sign) => (sign === "\u200d" ? sign : `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`));
