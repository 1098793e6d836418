// Points page by page, ranked by words or by nearness where that is asked for.

import { ask, collection } from "./api.js";
import { button, make, notice } from "./dom.js";
import { clip, count, counted, seconds } from "./format.js";
import { filterOf, whole } from "./filter.js";
import { vectorFields } from "./collections.js";
import { placeOf } from "./place.js";
import { pointTable } from "./point_table.js";
import { parametersOf, readSearch, searchForm } from "./search.js";

const PAGE = 20;

export function pointId(text) {
  return /^\d+$/.test(text) ? whole(text) : text;
}

// Fields with text first where an index is made for words.
function textFields(schema) {
  const kinds = Object.entries(schema).map(([name, { data_type: kind }]) => [name, kind]);
  return kinds.filter(([, kind]) => kind === "text").map(([name]) => name);
}

// The field that holds the longest texts: the one that people mean by "words".
function wordiest(points) {
  const lengths = new Map();
  for (const { payload } of points) {
    for (const [name, value] of Object.entries(payload ?? {})) if (typeof value === "string") lengths.set(name, (lengths.get(name) || 0) + value.length);
  }
  return [...lengths.keys()].sort((a, b) => lengths.get(b) - lengths.get(a))[0];
}

export async function showPoints(view, { name, info, parameters, signal }) {
  const kinds = Object.fromEntries(Object.entries(info.payload_schema).map(([key, { data_type: kind }]) => [key, kind]));
  const fields = vectorFields(info.config.params).filter(({ kind }) => kind === "dense");
  const words = textFields(info.payload_schema);
  const results = make("div", { class: "results" });
  let search = readSearch(parameters);
  let run = 0;
  const { form, suggest } = searchForm(search, { fields, indexed: Object.keys(kinds), changed: start });
  // Filled in before anything is found, so that an empty answer does not leave the field empty.
  suggest([], words[0]);
  view.append(form, results);

  function start(wanted) {
    search = wanted;
    const place = placeOf(name, "points", parametersOf(search));
    if (place !== location.hash) history.pushState(null, "", place);
    return load([null]);
  }

  // What is past its time is counted by the collection until it is erased, but not found any more.
  const number = async (filter) => (await ask(`${collection(name)}/points/count`, { filter, exact: true }, signal)).result.count;

  // `places` are where the pages before began, and the last one where this one begins.
  async function load(places) {
    const mine = (run += 1);
    results.setAttribute("aria-busy", "true");
    try {
      const plan = planned(search, { info, kinds, words, fields });
      const [page, all, total] = await Promise.all([fetchPage(name, plan, places.at(-1), signal), number(), plan.filter && number(plan.filter)]);
      // Something else was asked for meanwhile.
      if (mine !== run) return;
      suggest(page.points.flatMap((point) => Object.keys(point.payload ?? {})), words[0] ?? wordiest(page.points));
      draw(page, { plan, places, all, total: total ?? all });
    } catch (error) {
      if (!signal.aborted && mine === run) results.replaceChildren(notice(error, () => load(places)));
    } finally {
      if (mine === run) results.removeAttribute("aria-busy");
    }
  }

  function draw({ points, next, took }, { plan, places, all, total }) {
    const from = (places.length - 1) * PAGE;
    const matching = plan.filter && plan.by !== "words" ? `${count(total)} of ${counted(all, "point")} ${total === 1 ? "matches" : "match"}` : counted(all, "point");
    const last = Math.min(from + points.length, total || points.length);
    const state = [plan.by === "words" ? plan.told : matching, plan.by && plan.by !== "words" ? plan.told : "", points.length ? `${count(from + 1)}–${count(last)} shown` : "", seconds(took)];
    const empty = plan.by || plan.filter ? "No point matches. Change the words, the field or the conditions." : "There are no points yet.";
    results.replaceChildren(
      make("p", { class: "quiet", role: "status" }, state.filter(Boolean).join(" · ")),
      pointTable(points, { name, scored: Boolean(plan.by), fields, empty, near }),
      make(
        "div",
        { class: "pages" },
        places.length > 1 ? button("Back", () => load(places.slice(0, -1))) : null,
        next === null || next === undefined ? null : button("Next", () => load([...places, next])),
      ),
    );
  }

  function near(id, using) {
    location.hash = placeOf(name, "points", parametersOf({ ...readSearch(new URLSearchParams()), like: String(id), using }));
  }

  await load([null]);
}

// What is asked of the server, and how its order is told.
function planned(search, { kinds, words, fields }) {
  const conditions = [...search.conditions];
  const field = search.field || words[0] || "text";
  // Words rank where an index counts them and nothing else ranks; elsewhere they are one more condition.
  const ranks = search.words && !search.like && words.includes(field);
  if (search.words && !ranks) conditions.push({ key: field, operator: "words", value: search.words });
  const filter = filterOf(conditions, search.filter, kinds);
  if (ranks) return { by: "words", query: { text: search.words }, using: field, filter, told: `best matches of “${clip(search.words, 60)}” in ${field} by BM25` };
  if (!search.like) return { filter };
  const vector = fields.find(({ name }) => name === search.using) ?? fields[0];
  const better = ["Euclid", "Manhattan"].includes(vector?.distance) ? "smaller" : "larger";
  const told = `nearest to ${search.like} by ${vector?.name || "the vector"}, ${vector?.distance}: ${better} is nearer`;
  return { by: "point", query: { nearest: pointId(search.like) }, using: vector?.name, filter, told };
}

async function fetchPage(name, { by, query, using, filter }, place, signal) {
  const body = { limit: PAGE, with_payload: true, filter };
  if (!by) {
    const { result, seconds: took } = await ask(`${collection(name)}/points/scroll`, { ...body, offset: place ?? undefined }, signal);
    return { points: result.points, next: result.next_page_offset, took };
  }
  const offset = place ?? 0;
  // One more than is shown tells whether there is a next page.
  const { result, seconds: took } = await ask(`${collection(name)}/points/query`, { ...body, limit: PAGE + 1, query, using, offset }, signal);
  return { points: result.points.slice(0, PAGE), next: result.points.length > PAGE ? offset + PAGE : null, took };
}
