// Dots on a canvas: the one under the pointer tells its text, keys go from dot to dot, dragging moves, buttons enlarge.

import { button, make } from "./dom.js";

const EDGE = 28;
const REACH = 14;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `text(i)` gives the lines of the hover text, `open(i)` is called for the dot that was chosen.
export function scatter({ label, text, open }) {
  const canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": label });
  const hint = make("div", { class: "hint", hidden: true, role: "status" });
  const zoom = make(
    "div",
    { class: "zoom" },
    button("+", () => enlarge(1.5), { "aria-label": "Enlarge" }),
    button("−", () => enlarge(1 / 1.5), { "aria-label": "Make smaller" }),
    button("⟲", () => ((seen = { scale: 1, x: 0, y: 0 }), paint()), { "aria-label": "Show all" }),
  );
  const element = make("div", { class: "scatter" }, canvas, zoom, hint);
  let [places, colours, faint, dots, chosen] = [[], [], () => false, [], -1];
  let seen = { scale: 1, x: 0, y: 0 };
  let drag = null;

  function lay() {
    const { clientWidth: width, clientHeight: height } = canvas;
    const spans = [0, 1].map((axis) => [Math.min(...places.map((p) => p[axis])), Math.max(...places.map((p) => p[axis]))]);
    const [across, up] = spans.map(([low, high]) => high - low || 1);
    // One measure for both axes, or distances would lie.
    const unit = Math.min((width - 2 * EDGE) / across, (height - 2 * EDGE) / up) * seen.scale;
    const middle = spans.map(([low, high]) => (low + high) / 2);
    dots = places.map(([x, y]) => [width / 2 + (x - middle[0]) * unit + seen.x, height / 2 - (y - middle[1]) * unit + seen.y]);
  }

  function paint() {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !places.length) return;
    const sharp = Math.min(devicePixelRatio || 1, 2);
    [canvas.width, canvas.height] = [width * sharp, height * sharp];
    lay();
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    const size = Math.max(2.2, Math.min(5, 120 / Math.sqrt(places.length))) * Math.min(1.6, Math.sqrt(seen.scale));
    dots.forEach(([x, y], i) => {
      context.globalAlpha = faint(i) ? 0.08 : 0.78;
      context.fillStyle = colours[i];
      context.beginPath();
      context.arc(x, y, size, 0, 7);
      context.fill();
    });
    if (chosen < 0) return;
    context.globalAlpha = 1;
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(dots[chosen][0], dots[chosen][1], size + 3, 0, 7);
    context.stroke();
  }

  function choose(i) {
    chosen = i;
    paint();
    hint.hidden = i < 0;
    if (i < 0) return;
    const [title, ...lines] = text(i);
    hint.replaceChildren(make("b", {}, title), ...lines.map((line) => make("div", {}, line)));
    const [x, y] = dots[i];
    const { clientWidth: width, clientHeight: height } = canvas;
    hint.style.left = `${Math.max(6, Math.min(x + 14, width - hint.offsetWidth - 6))}px`;
    hint.style.top = `${y + 16 + hint.offsetHeight > height ? Math.max(6, y - hint.offsetHeight - 14) : y + 16}px`;
  }

  function nearest(x, y, reach) {
    let [best, least] = [-1, reach * reach];
    dots.forEach(([px, py], i) => {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least && !faint(i)) [best, least] = [i, far];
    });
    return best;
  }

  // The dot that lies next in a direction: far off the line counts double.
  function next([dx, dy]) {
    if (chosen < 0) return nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity);
    const [x, y] = dots[chosen];
    let [best, least] = [chosen, Infinity];
    dots.forEach(([px, py], i) => {
      const [along, off] = [(px - x) * dx + (py - y) * dy, Math.abs((px - x) * dy) + Math.abs((py - y) * dx)];
      if (i !== chosen && along > 0 && along + 2 * off < least && !faint(i)) [best, least] = [i, along + 2 * off];
    });
    return best;
  }

  function enlarge(by) {
    const scale = Math.min(40, Math.max(1, seen.scale * by));
    const real = scale / seen.scale;
    seen = scale === 1 ? { scale, x: 0, y: 0 } : { scale, x: seen.x * real, y: seen.y * real };
    paint();
  }

  const inside = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
  };
  canvas.addEventListener("pointerdown", (event) => (drag = { x: event.clientX, y: event.clientY, from: { ...seen }, far: false }));
  canvas.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return choose(nearest(...inside(event), REACH));
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.far ||= Math.abs(x) + Math.abs(y) > 5;
    if (drag.far && seen.scale > 1) {
      seen = { ...seen, x: drag.from.x + x, y: drag.from.y + y };
      paint();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const i = nearest(...inside(event), REACH);
    if (!drag?.far && i >= 0) (choose(i), open(i));
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => ((drag = null), choose(-1)));
  canvas.addEventListener("wheel", (event) => event.ctrlKey && (event.preventDefault(), enlarge(event.deltaY < 0 ? 1.15 : 1 / 1.15)), { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (STEPS[event.key]) (event.preventDefault(), choose(next(STEPS[event.key])));
    else if (event.key === "Enter" && chosen >= 0) open(chosen);
    else if (event.key === "Escape") choose(-1);
    else if (event.key === "+" || event.key === "-") enlarge(event.key === "+" ? 1.5 : 1 / 1.5);
  });
  new ResizeObserver(paint).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  const show = (more) => {
    if (more.places) [places, chosen] = [more.places, -1];
    if (more.colours) colours = more.colours;
    if (more.faint) faint = more.faint;
    hint.hidden = chosen < 0;
    paint();
  };
  return { element, show, placeOfDot: (i) => dots[i] };
}
