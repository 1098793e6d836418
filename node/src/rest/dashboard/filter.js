// Conditions that a person puts together, as the filter that the server reads.

import { read as readJson } from "./api.js";
import { valueAt } from "./format.js";

export const OPERATORS = {
  is: "is",
  not: "is not",
  words: "has the words",
  from: "is at least",
  to: "is at most",
  empty: "is missing",
};

// A whole number as it is written, however large.
export const whole = (text) => (Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text));

// Text in quotes is text; a number, true and false are what they look like, unless an index says that the field is text.
export function valueOf(text, kind) {
  const quoted = text.match(/^"(.*)"$/s);
  if (quoted) return quoted[1];
  if (["keyword", "text", "uuid"].includes(kind)) return text;
  if (text === "true" || text === "false") return text === "true";
  if (/^-?\d+$/.test(text)) return whole(text);
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

function condition({ key, operator, value }, kind) {
  const read = valueOf(value, kind);
  const fraction = typeof read === "number" && !Number.isInteger(read);
  const same = fraction ? { key, range: { gte: read, lte: read } } : { key, match: { value: read } };
  if (operator === "is") return same;
  if (operator === "not") return { must_not: [same] };
  if (operator === "words") return { key, match: { text: value } };
  if (operator === "empty") return { is_empty: { key } };
  return { key, range: { [operator === "from" ? "gte" : "lte"]: read } };
}

// All of the conditions and what was written as JSON; undefined where nothing is asked.
export function filterOf(conditions, written, kinds) {
  const must = conditions.map((one) => condition(one, valueAt(kinds, one.key)));
  if (written.trim()) must.push(parsed(written));
  return must.length ? { must } : undefined;
}

function parsed(written) {
  let filter;
  try {
    filter = readJson(written);
  } catch (error) {
    throw new Error(`The filter is not JSON: ${error.message}`);
  }
  if (filter === null || typeof filter !== "object" || Array.isArray(filter)) throw new Error("The filter is not JSON of an object in braces: {…}");
  return filter;
}

export const told = ({ key, operator, value }) => `${key} ${OPERATORS[operator]}${operator === "empty" ? "" : ` ${value}`}`;
