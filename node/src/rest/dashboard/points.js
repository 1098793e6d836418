// Points page by page, or the nearest ones to a point, or those whose text has the words.

import { collection, post } from "./api.js";
import { json, labelled, make, table } from "./dom.js";

const PAGE = 20;

export function pointId(text) {
  return /^\d+$/.test(text) ? Number(text) : text;
}

function summary(payload) {
  const text = JSON.stringify(payload ?? {});
  return text.length > 300 ? `${text.slice(0, 300)} …` : text;
}

export async function showPoints(view, name) {
  const field = make("input", { placeholder: "field", size: 12, value: "text" });
  const words = make("input", { placeholder: "words", type: "search" });
  const like = make("input", { placeholder: "id of a point" });
  const filter = make("textarea", { placeholder: '{"must": [{"key": "lang", "match": {"value": "en"}}]}', rows: 2, spellcheck: "false" });
  const results = make("div");
  const form = make(
    "form",
    { class: "row", onsubmit: (event) => (event.preventDefault(), load()) },
    labelled("Text field", field),
    labelled("Words in it", words, "grow"),
    labelled("Nearest to", like, "grow"),
    make("button", { class: "main" }, "Show"),
  );
  view.append(form, labelled("Filter (JSON)", filter), results);

  async function load(offset) {
    try {
      const where = readFilter(filter.value, field.value.trim(), words.value.trim());
      const page = like.value.trim() ? await nearest(name, like.value.trim(), where) : await scroll(name, where, offset);
      draw(page);
    } catch (error) {
      results.replaceChildren(make("p", { class: "notice", role: "alert" }, error.message));
    }
  }

  function draw({ points, next, scored }) {
    const columns = [
      { title: "Id", cell: (point) => make("a", { href: "#", onclick: (event) => (event.preventDefault(), open(name, point.id, results)) }, String(point.id)) },
      { title: "Payload", text: true, cell: (point) => make("code", {}, summary(point.payload)) },
    ];
    if (scored) columns.splice(1, 0, { title: "Score", number: true, cell: (point) => point.score.toFixed(4) });
    const more = next === undefined || next === null ? null : make("button", { onclick: () => load(next) }, "Next page");
    results.replaceChildren(make("h2", {}, scored ? "Nearest points" : "Points"), table(columns, points, "No point matches."), make("p", {}, more ?? ""));
  }

  await load();
}

function readFilter(text, field, words) {
  let filter = {};
  if (text.trim()) {
    try {
      filter = JSON.parse(text);
    } catch (error) {
      throw new Error(`The filter is no JSON: ${error.message}`);
    }
  }
  if (!words) return filter;
  const condition = { key: field, match: { text: words } };
  return { must: [filter, condition].filter((part) => Object.keys(part).length) };
}

async function scroll(name, filter, offset) {
  const { points, next_page_offset } = await post(`${collection(name)}/points/scroll`, { limit: PAGE, with_payload: true, filter, offset });
  return { points, next: next_page_offset };
}

async function nearest(name, id, filter) {
  const { points } = await post(`${collection(name)}/points/query`, { query: pointId(id), limit: PAGE, with_payload: true, filter });
  return { points, scored: true };
}

async function open(name, id, results) {
  const [point] = await post(`${collection(name)}/points`, { ids: [id], with_payload: true, with_vector: true });
  const shown = results.querySelector("pre");
  const text = json(point ?? { gone: id });
  if (shown) shown.replaceWith(text);
  else results.append(make("h2", {}, "One point"), text);
  text.focus();
}
