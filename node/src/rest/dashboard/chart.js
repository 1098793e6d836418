// Lines over the last minutes, with a scale, and what they were under the pointer.

import { draw, make } from "./dom.js";

const HEIGHT = 150;
const [LEFT, RIGHT, TOP, BOTTOM] = [62, 10, 10, 20];

// A round number that is not below the value.
function ceiling(value, binary) {
  if (!(value > 0)) return 1;
  if (binary) return 2 ** Math.ceil(Math.log2(value));
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

const MINUTE = 60_000;

// `series`: [{ name, about, values }] as long as `times` (milliseconds); NaN leaves a gap. `most` is the longest time shown.
export function chart({ title, unit, binary, most }) {
  const svg = draw("svg", { role: "img", height: HEIGHT });
  const heads = make("div", { class: "heads" });
  const hint = make("div", { class: "hint", hidden: true });
  const element = make("figure", { class: "chart panel" }, make("figcaption", {}, make("h3", {}, title), heads), make("div", { class: "plot" }, svg, hint));
  let [times, series, hover, window] = [[], [], null, MINUTE];

  function paint() {
    const width = svg.clientWidth;
    if (!width) return;
    const values = series.flatMap((one) => one.values).filter(Number.isFinite);
    const top = ceiling(Math.max(...values, 0), binary);
    const end = times.at(-1) ?? 0;
    // A minute at first, so that the first values are not squeezed into a corner.
    window = Math.min(most, Math.max(MINUTE, end - (times[0] ?? end)));
    const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (end - time) / window);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const level = (share) => [
      draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(top * share), y2: y(top * share) }),
      draw("text", { x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end" }, unit(top * share)),
    ];
    const apart = window > 2 * MINUTE ? MINUTE : MINUTE / 4;
    const ticks = Array.from({ length: Math.ceil(window / apart) }, (_, i) => i * apart);
    const ago = (ms) => (ms % MINUTE ? `−${ms / 1000} s` : `−${ms / MINUTE} min`);
    const clock = (ms) => draw("text", { x: x(end - ms), y: HEIGHT - 4, "text-anchor": ms ? "middle" : "end" }, ms ? ago(ms) : "now");
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("aria-label", `${title}: ${series.map((one) => `${one.name} ${unit(one.values.at(-1))}`).join(", ")}`);
    const at = hover === null ? [] : [draw("line", { class: "cursor", x1: x(times[hover]), x2: x(times[hover]), y1: TOP, y2: HEIGHT - BOTTOM })];
    svg.replaceChildren(...[0, 0.5, 1].flatMap(level), ...ticks.map(clock), ...at, ...series.flatMap((one, i) => lines(one.values, i, x, y)));
    told();
  }

  // Pieces between gaps; one value alone is a dot.
  function lines(values, i, x, y) {
    const pieces = [[]];
    values.forEach((value, at) => (Number.isFinite(value) ? pieces.at(-1).push([x(times[at]), y(value)]) : pieces.push([])));
    return pieces.filter((piece) => piece.length).map((piece) =>
      piece.length === 1
        ? draw("circle", { class: `fill s${i}`, cx: piece[0][0], cy: piece[0][1], r: 2 })
        : draw("polyline", { class: `line s${i}`, points: piece.map((point) => point.map((n) => n.toFixed(1)).join(",")).join(" ") }),
    );
  }

  function told() {
    const last = hover ?? times.length - 1;
    const head = (one, i) => make("span", { class: "head", title: one.about }, make("i", { class: `swatch s${i}` }), one.name ? `${one.name} ` : "", make("b", {}, unit(one.values[last])));
    heads.replaceChildren(...series.map(head));
    hint.hidden = hover === null;
    if (hover !== null) hint.textContent = `${Math.round((times.at(-1) - times[hover]) / 1000)} s ago`;
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const time = (times.at(-1) ?? 0) - window * (1 - (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT));
    hover = times.length ? times.reduce((best, one, i) => (Math.abs(one - time) < Math.abs(times[best] - time) ? i : best), 0) : null;
    paint();
  });
  svg.addEventListener("pointerleave", () => ((hover = null), paint()));
  new ResizeObserver(paint).observe(svg);
  const show = (newTimes, newSeries) => {
    // Old times fall off at the front.
    if (hover !== null) hover = Math.max(0, hover - Math.max(0, times.length + 1 - newTimes.length));
    [times, series] = [newTimes, newSeries];
    paint();
  };
  return { element, show };
}
