// Live figures out of /metrics: every counter as a rate, every gauge as it is.

import { text } from "./api.js";
import { bytes, count, make } from "./dom.js";

const EVERY_MS = 2000;
const KEPT = 60;

// OpenMetrics text as { family: { kind, total } }, summed over labels.
export function read(source) {
  const families = {};
  for (const line of source.split("\n")) {
    const kind = line.match(/^# TYPE (\S+) (\S+)/);
    if (kind) families[kind[1]] = { kind: kind[2], total: 0 };
    const sample = line.match(/^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)$/);
    if (!sample) continue;
    const family = families[sample[1]] || families[sample[1].replace(/_total$/, "")];
    if (family && (family.kind === "counter" || family.kind === "gauge")) family.total += Number(sample[2]);
  }
  return families;
}

export async function showMetrics(view, _rest, signal) {
  const tiles = make("div", { class: "tiles" });
  view.append(make("h1", {}, "Metrics"), make("p", { class: "quiet" }, "Counters are shown by the second. All of it, for a scraper: /metrics"), tiles);
  const history = new Map();
  let before = null;
  let at = 0;
  const tick = async () => {
    const now = read(await text("/metrics"));
    const time = performance.now();
    for (const [name, { kind, total }] of Object.entries(now)) {
      if (kind !== "counter" && kind !== "gauge") continue;
      const value = kind === "gauge" ? total : before ? ((total - (before[name]?.total ?? 0)) * 1000) / (time - at) : 0;
      const values = history.get(name) || [];
      values.push(value);
      history.set(name, values.slice(-KEPT));
    }
    [before, at] = [now, time];
    tiles.replaceChildren(...[...history].map(([name, values]) => tile(name, now[name]?.kind, values)));
  };
  await tick();
  const timer = setInterval(() => tick().catch((error) => tiles.replaceChildren(make("p", { class: "notice", role: "alert" }, error.message))), EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function tile(name, kind, values) {
  const last = values[values.length - 1];
  const shown = /bytes/.test(name) ? bytes(last) : last >= 100 || Number.isInteger(last) ? count(Math.round(last)) : last.toFixed(2);
  const title = name.replace(/^engram_/, "").replaceAll("_", " ");
  return make("div", { class: "tile" }, make("span", { class: "quiet" }, title), make("b", {}, kind === "counter" ? `${shown}/s` : shown), line(values));
}

function line(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const place = (value, i) => `${(i / (KEPT - 1)) * 100},${28 - ((value - low) / (high - low || 1)) * 26}`;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const style = { points: values.map(place).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": "1.5", "vector-effect": "non-scaling-stroke" };
  for (const [key, value] of Object.entries(style)) path.setAttribute(key, value);
  svg.append(path);
  return svg;
}
