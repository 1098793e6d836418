// A value as JSON, coloured, long lists of numbers cut short.

import { make } from "./dom.js";
import { visible } from "./format.js";

const LONG = 24;
const DEEP = 40;

const word = (kind, text) => make("span", { class: kind }, visible(text));

function parts(value, indent, deep) {
  if (typeof value === "string") return [word("j-text", JSON.stringify(value))];
  if (value === null || typeof value !== "object") return [word(typeof value === "object" ? "j-null" : "j-other", String(value))];
  const list = Array.isArray(value);
  const entries = list ? value.map((one) => ["", one]) : Object.entries(value);
  const [open, close] = list ? "[]" : "{}";
  if (!entries.length) return [open + close];
  if (deep > DEEP) return [`${open} … ${close}`];
  if (list && entries.every(([, one]) => typeof one !== "object")) return [open, ...flat(value), close];
  const inner = `${indent}  `;
  const lines = entries.flatMap(([name, one], i) => [
    `${i ? "," : ""}\n${inner}`,
    ...(list ? [] : [word("j-key", JSON.stringify(name)), ": "]),
    ...parts(one, inner, deep + 1),
  ]);
  return [open, ...lines, `\n${indent}${close}`];
}

function flat(list) {
  const shown = list.slice(0, LONG).flatMap((one, i) => [i ? ", " : "", ...parts(one, "", 0)]);
  return list.length > LONG ? [...shown, word("j-null", ` … ${list.length - LONG} more`)] : shown;
}

export function json(value) {
  return make("pre", { class: "json", tabindex: "0" }, ...parts(value, "", 0));
}
