// A collection's vectors in two dimensions: a sample, laid out in the browser, coloured by a payload field.

import { collection, post, write } from "./api.js";
import { clip, counted, visible } from "./format.js";
import { labelled, make, notice } from "./dom.js";
import { colourFields, colours } from "./colour.js";
import { neighbourhoods } from "./neighbourhoods.js";
import { placeOf } from "./place.js";
import { pointDetail } from "./point_detail.js";
import { plane } from "./projection.js";
import { scatter } from "./scatter.js";
import { vectorFields } from "./collections.js";

const SIZES = [250, 500, 1000, 2000];
// Components that one sample may have in all: about 20 MB of JSON.
const COMPONENTS = 1_500_000;
const FRAME_MS = 24;

const option = (value, text, selected) => make("option", { value, selected }, text);

// Lines of the hover text: the id, the value of the colour, and what else the payload tells.
function lines(point, field, value) {
  const rest = Object.entries(point.payload ?? {}).filter(([name]) => name !== field);
  const line = ([name, one]) => `${clip(visible(name), 24)}: ${clip(visible(typeof one === "string" ? one : write(one)), 140)}`;
  return [`Point ${point.id}`, ...(field ? [`${visible(field)}: ${clip(visible(value), 140)}`] : []), ...rest.slice(0, 5).map(line)];
}

export async function showPicture(view, { name, info, signal }) {
  const fields = vectorFields(info.config.params).filter(({ kind }) => kind === "dense");
  if (!fields.length) {
    view.append(make("p", { class: "empty" }, "This collection has no field of single dense vectors to draw."));
    return;
  }
  const field = make("select", { name: "field" }, ...fields.map((one) => option(one.name, one.name || "default")));
  const layout = make("select", { name: "layout" }, option("plane", "directions of most variance (PCA)"), option("near", "neighbourhoods (t-SNE)"));
  const size = make("select", { name: "size" }, ...SIZES.map((n) => option(n, counted(n, "point"), n === 1000)));
  const colour = make("select", { name: "colour" });
  const [legend, told, detail] = [make("div", { class: "legend" }), make("p", { class: "quiet", role: "status" }, "Reading a sample …"), make("div")];
  let [points, vectors, shown, all, run] = [[], [], colours([], ""), true, 0];
  const picture = scatter({
    label: `Vectors of ${name} in two dimensions. Arrow keys go from dot to dot, Enter shows the point.`,
    text: (i) => lines(points[i], colour.value, shown.values[i]),
    open: (i) => detail.replaceChildren(make("h2", {}, `Point ${points[i].id}`), make("div", { class: "panel" }, pointDetail(points[i], { fields, near }))),
  });
  const near = (id, using) => (location.hash = placeOf(name, "points", { like: String(id), ...(using ? { using } : {}) }));
  view.append(
    make("div", { class: "row controls" }, labelled("Vectors", field), labelled("Laid out by", layout), labelled("Colour by", colour), labelled("Sample", size)),
    picture.element,
    legend,
    told,
    detail,
  );

  async function read() {
    const { size: dimension } = fields.find((one) => one.name === field.value);
    const limit = Math.max(3, Math.min(Number(size.value), Math.floor(COMPONENTS / dimension)));
    const wanted = field.value === "" ? true : [field.value];
    const found = await post(`${collection(name)}/points/query`, { query: { sample: "random" }, limit, with_payload: true, with_vector: wanted }, signal);
    const vectorOf = (point) => (Array.isArray(point.vector) ? point.vector : point.vector?.[field.value]);
    all = found.points.length < limit;
    points = found.points.filter((point) => Array.isArray(vectorOf(point)));
    vectors = points.map(vectorOf);
    const named = colourFields(points);
    const before = named.some((one) => one.name === colour.value) ? colour.value : named[0]?.few ? named[0].name : "";
    colour.replaceChildren(option("", "nothing", before === ""), ...named.map((one) => option(one.name, clip(one.name, 40), one.name === before)));
    detail.replaceChildren();
    arrange();
  }

  function arrange() {
    const mine = (run += 1);
    picture.element.hidden = points.length < 3;
    told.className = points.length < 3 ? "empty" : "quiet";
    if (points.length < 3) {
      legend.replaceChildren();
      told.textContent = "There are fewer than three vectors to draw.";
      return;
    }
    const { places, share } = plane(vectors);
    const sample = `${counted(points.length, "point")}${all ? "" : " taken at random"}`;
    tint();
    picture.show({ places });
    told.textContent = `${sample}. The plane shows ${Math.round(share * 100)} % of the variance. Point at a dot to read it, click to open it.`;
    if (layout.value !== "near") return;
    told.textContent = `${sample}. Comparing them …`;
    setTimeout(() => settle(neighbourhoods(vectors, places), mine, sample), FRAME_MS);
  }

  // A few rounds a frame, so that the page goes on answering and the picture is seen to settle.
  function settle(rounds, mine, sample) {
    if (mine !== run || signal.aborted) return;
    const until = performance.now() + FRAME_MS;
    let [step, now] = [rounds.next(), null];
    for (; !step.done; step = rounds.next()) {
      now = step.value;
      if (performance.now() > until) break;
    }
    if (now) picture.show({ places: now.places });
    if (!step.done) {
      told.textContent = `${sample}. Arranging: ${Math.round(now.done * 100)} %`;
      setTimeout(() => settle(rounds, mine, sample));
      return;
    }
    told.textContent = `${sample}, near vectors together; how far groups lie from each other means little. Point at a dot to read it, click to open it.`;
  }

  function tint() {
    shown = colours(points, colour.value);
    const entry = ({ value, colour: shade, text }) => {
      const dot = make("i");
      dot.style.background = shade;
      const alone = () => picture.show({ faint: value === undefined ? () => false : (i) => shown.values[i] !== value });
      const all = () => picture.show({ faint: () => false });
      return make("button", { type: "button", onpointerenter: alone, onpointerleave: all, onfocus: alone, onblur: all }, dot, text);
    };
    const ends = shown.ramp ? [make("span", {}, shown.ramp.low), make("i", { class: "ramp" }), make("span", {}, shown.ramp.high)] : [];
    legend.replaceChildren(...(colour.value ? [make("span", { class: "quiet" }, colour.value)] : []), ...shown.legend.map(entry), ...ends);
    picture.show({ colours: shown.of, faint: () => false });
  }

  const guarded = () => read().catch((error) => !signal.aborted && detail.replaceChildren(notice(error, guarded)));
  for (const one of [field, size]) one.addEventListener("change", guarded);
  layout.addEventListener("change", arrange);
  colour.addEventListener("change", tint);
  await read();
}
