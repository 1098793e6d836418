// All of one point: its payload, and each vector with a drawing of its components.

import { write } from "./api.js";
import { button, draw, make } from "./dom.js";
import { count, short } from "./format.js";
import { json } from "./json.js";

const BARS = 128;

// `vector` as an answer holds it: one vector, or vectors by name.
function vectorsOf(point) {
  const vector = point.vector;
  if (Array.isArray(vector)) return [["", vector]];
  return Object.entries(vector ?? {});
}

function told(value) {
  if (!Array.isArray(value)) return `sparse, ${count(value.indices.length)} components`;
  if (Array.isArray(value[0])) return `${count(value.length)} vectors of ${count(value[0].length)} components`;
  return `${count(value.length)} components, length ${short(Math.hypot(...value))}`;
}

// Each bar is the mean of a few components, up or down from the middle.
function bars(values) {
  const each = Math.ceil(values.length / BARS);
  const means = Array.from({ length: Math.ceil(values.length / each) }, (_, i) => {
    const part = values.slice(i * each, (i + 1) * each);
    return part.reduce((sum, x) => sum + x, 0) / part.length;
  });
  const most = Math.max(...means.map(Math.abs)) || 1;
  const height = (mean) => Math.max((Math.abs(mean) / most) * 15, 0.4);
  const bar = (mean, i) => draw("rect", { class: mean < 0 ? "below" : "above", x: i, width: 0.75, y: mean < 0 ? 16 : 16 - height(mean), height: height(mean) });
  return draw("svg", { class: "bars", viewBox: `0 0 ${means.length} 32`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...means.map(bar));
}

function vectorPart([name, value], { fields, near }, id) {
  const dense = Array.isArray(value) && !Array.isArray(value[0]);
  const searchable = dense && fields.some((field) => field.name === name);
  return make(
    "div",
    { class: "vector" },
    make("div", { class: "top" }, make("b", {}, name || "Vector"), make("span", { class: "quiet" }, told(value)), searchable ? button("Find nearest", () => near(id, name)) : null),
    dense ? bars(value) : null,
    make("details", {}, make("summary", {}, "Components"), json(value)),
  );
}

export function pointDetail(point, { fields, near }) {
  const copy = button("Copy as JSON", async () => {
    try {
      await navigator.clipboard.writeText(write(point, 2));
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "The browser does not allow it";
    }
  });
  const vectors = vectorsOf(point);
  return make(
    "div",
    { class: "point" },
    make("div", {}, make("div", { class: "top" }, make("b", {}, "Payload"), copy), json(point.payload ?? {})),
    make("div", {}, ...(vectors.length ? vectors.map((one) => vectorPart(one, { fields, near }, point.id)) : [make("p", { class: "quiet" }, "No vectors.")])),
  );
}
