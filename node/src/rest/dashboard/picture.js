// A collection's vectors in two dimensions: the two directions of most variance of a sample.

import { collection, post } from "./api.js";
import { labelled, make } from "./dom.js";

const SAMPLE = 1000;
const COLORS = ["#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#8b5cf6", "#ec4899", "#14b8a6", "#84cc16", "#f97316", "#64748b"];

// Power iteration on the sample itself: the covariance matrix is never made.
export function plane(vectors) {
  const dimension = vectors[0].length;
  const mean = new Float64Array(dimension);
  for (const vector of vectors) vector.forEach((x, i) => (mean[i] += x / vectors.length));
  const centred = vectors.map((vector) => Float64Array.from(vector, (x, i) => x - mean[i]));
  const axes = [];
  for (let axis = 0; axis < 2; axis += 1) {
    let direction = Float64Array.from({ length: dimension }, (_, i) => Math.sin(i * 12.9898 + axis + 1));
    for (let round = 0; round < 30; round += 1) {
      const next = new Float64Array(dimension);
      for (const row of centred) {
        const along = dot(row, direction);
        for (let i = 0; i < dimension; i += 1) next[i] += along * row[i];
      }
      for (const before of axes) {
        const shared = dot(next, before);
        for (let i = 0; i < dimension; i += 1) next[i] -= shared * before[i];
      }
      const length = Math.sqrt(dot(next, next)) || 1;
      direction = next.map((x) => x / length);
    }
    axes.push(direction);
  }
  return centred.map((row) => [dot(row, axes[0]), dot(row, axes[1])]);
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}

function denseFields(params) {
  if (params.vectors && params.vectors.size !== undefined) return [""];
  return Object.entries(params.vectors || {}).filter(([, p]) => !p.multivector_config).map(([name]) => name);
}

export async function showPicture(view, name, info) {
  const fields = denseFields(info.config.params);
  if (!fields.length) {
    view.append(make("p", { class: "quiet" }, "This collection has no field of single dense vectors to draw."));
    return;
  }
  const field = make("select", {}, ...fields.map((one) => make("option", { value: one }, one || "default")));
  const color = make("input", { placeholder: "payload field", size: 16 });
  const canvas = make("canvas", { width: 1600, height: 1000, role: "img", "aria-label": `Vectors of ${name} in two dimensions` });
  const [legend, told] = [make("div", { class: "legend" }), make("p", { class: "quiet", role: "status" }, " ")];
  const redraw = () => draw().catch((error) => (told.textContent = error.message));
  view.append(
    make("form", { class: "row", onsubmit: (event) => (event.preventDefault(), redraw()) }, labelled("Vectors", field), labelled("Colour by", color), make("button", { class: "main" }, "Draw")),
    canvas,
    legend,
    told,
  );

  async function draw() {
    const wanted = field.value === "" ? true : [field.value];
    const { points } = await post(`${collection(name)}/points/query`, { query: { sample: "random" }, limit: SAMPLE, with_payload: true, with_vector: wanted });
    const vectorOf = (point) => (Array.isArray(point.vector) ? point.vector : point.vector?.[field.value]);
    const drawn = points.filter((point) => Array.isArray(vectorOf(point)));
    if (drawn.length < 3) {
      told.textContent = "There are fewer than three vectors to draw.";
      return;
    }
    paint(canvas, legend, drawn, plane(drawn.map(vectorOf)), color.value.trim());
    told.textContent = `${drawn.length} points taken at random, in the plane of most variance. Point at one to read it.`;
    canvas.onpointermove = (event) => point(event, canvas, told);
  }
  await redraw();
}

const at = (payload, path) => path.split(".").reduce((value, part) => value?.[part], payload);

function paint(canvas, legend, points, places, key) {
  const values = points.map((one) => (key ? String(at(one.payload, key) ?? "none") : ""));
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
  const named = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLORS.length - 1).map(([value]) => value);
  const shade = (value) => COLORS[named.includes(value) ? named.indexOf(value) : COLORS.length - 1];
  const span = (axis) => [Math.min(...places.map((p) => p[axis])), Math.max(...places.map((p) => p[axis]))];
  const [[left, right], [low, high]] = [span(0), span(1)];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  canvas.drawn = places.map(([x, y], i) => {
    const px = 40 + ((x - left) / (right - left || 1)) * (canvas.width - 80);
    const py = canvas.height - 40 - ((y - low) / (high - low || 1)) * (canvas.height - 80);
    context.globalAlpha = 0.75;
    context.fillStyle = shade(values[i]);
    context.beginPath();
    context.arc(px, py, 7, 0, 7);
    context.fill();
    return { px, py, text: `${points[i].id}: ${JSON.stringify(points[i].payload ?? {}).slice(0, 200)}` };
  });
  const entry = (value) => {
    const dot = make("i");
    dot.style.background = shade(value);
    return make("span", {}, dot, `${value} (${counts.get(value)})`);
  };
  legend.replaceChildren(...(key ? named.map(entry) : []));
}

function point(event, canvas, told) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * canvas.width;
  const y = ((event.clientY - box.top) / box.height) * canvas.height;
  const far = (one) => (one.px - x) ** 2 + (one.py - y) ** 2;
  const nearest = canvas.drawn.reduce((best, one) => (far(one) < far(best) ? one : best));
  if (far(nearest) < 900) told.textContent = nearest.text;
}
