// Colours of points by a payload field: one each for a few values, a ramp for numbers.

import { write } from "./api.js";
import { clip, count, short, valueAt, visible } from "./format.js";

// Told apart on light and on dark ground, also by most who do not see all colours.
const PALETTE = ["#4c7df0", "#e8833a", "#22a184", "#c9538f", "#8f6bd9", "#b8962e", "#3aa6c9", "#d4534a", "#6f9e3c", "#a0705a"];
const OTHERS = "#8b93a1";
const RAMP = [[68, 58, 160], [49, 104, 190], [33, 145, 160], [64, 180, 110], [200, 190, 40]];
const MANY = PALETTE.length;

const word = (value) => (value === undefined || value === null ? "none" : typeof value === "object" ? write(value) : String(value));

function ramp(share) {
  const place = share * (RAMP.length - 1);
  const low = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[low].map((from, i) => Math.round(from + (RAMP[low + 1][i] - from) * (place - low)));
  return `rgb(${mixed.join(",")})`;
}

// Payload fields that colours can tell something of, the best one first: few values, held by most points.
export function colourFields(points) {
  const fields = new Map();
  for (const { payload } of points) {
    for (const [name, value] of Object.entries(payload ?? {})) {
      if (!fields.has(name)) fields.set(name, new Map());
      const seen = fields.get(name);
      seen.set(word(value), (seen.get(word(value)) || 0) + 1);
    }
  }
  const held = (seen) => [...seen.values()].reduce((a, b) => a + b, 0);
  const rank = ([, seen]) => (seen.size >= 2 && seen.size <= MANY ? 0 : seen.size < held(seen) / 2 ? 1 : 2) - held(seen) / (points.length * 2 || 1);
  return [...fields].sort((a, b) => rank(a) - rank(b)).map(([name, seen]) => ({ name, few: seen.size >= 2 && seen.size <= MANY }));
}

// The colour of each point, its value as text, and the entries of a legend.
export function colours(points, field) {
  if (!field) return { of: points.map(() => PALETTE[0]), values: points.map(() => ""), legend: [] };
  const raw = points.map(({ payload }) => valueAt(payload, field));
  const values = raw.map(word);
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  const numbers = raw.filter((value) => typeof value === "number");
  if (counts.size > MANY && numbers.length > points.length / 2) {
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    const of = raw.map((value) => (typeof value === "number" ? ramp((value - low) / (high - low || 1)) : OTHERS));
    const plain = (value) => (Number.isInteger(value) && Math.abs(value) < 10_000 ? String(value) : short(value));
    return { of, values, ramp: { low: plain(low), high: plain(high) }, legend: [] };
  }
  const named = [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
  const shown = counts.size > MANY ? named.slice(0, MANY - 1) : named;
  const colour = (value) => (shown.includes(value) ? PALETTE[shown.indexOf(value)] : OTHERS);
  const legend = shown.map((value) => ({ value, colour: colour(value), text: `${clip(visible(value), 40)} · ${count(counts.get(value))}` }));
  const left = named.length - shown.length;
  if (left) legend.push({ colour: OTHERS, text: `${count(left)} other values` });
  return { of: values.map(colour), values, legend };
}
