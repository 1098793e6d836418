// All collections of the tenant, a page at a time: there may be thousands.

import { collection, get } from "./api.js";
import { badge, button, labelled, make, notice, table } from "./dom.js";
import { count, counted } from "./format.js";

const PAGE = 50;
const AT_ONCE = 8;

// Fields of vectors as { name, kind, size?, distance? }.
export function vectorFields(params) {
  const dense = params.vectors && params.vectors.size !== undefined ? { "": params.vectors } : params.vectors || {};
  const fields = Object.entries(dense).map(([name, p]) => ({ name, kind: p.multivector_config ? "multi" : "dense", size: p.size, distance: p.distance }));
  return fields.concat(Object.entries(params.sparse_vectors || {}).map(([name, p]) => ({ name, kind: "sparse", modifier: p?.modifier })));
}

export const fieldText = (field) =>
  `${field.name ? `${field.name} ` : ""}${field.kind === "sparse" ? "sparse" : `${field.size}, ${field.distance}${field.kind === "multi" ? ", multi" : ""}`}`;

export function stateOf(info) {
  if (info.status === "green") return badge("good", "ready");
  return info.status === "red" ? badge("bad", "refuses writes") : badge("busy", "building graphs");
}

const COLUMNS = [
  { title: "Name", id: true, cell: ({ name }) => make("a", { href: `#/collection/${encodeURIComponent(name)}`, title: name }, name) },
  { title: "Points", number: true, cell: ({ info }) => count(info.points_count ?? 0) },
  { title: "Vectors", text: true, cell: ({ info }) => make("span", { class: "chips" }, ...vectorFields(info.config.params).map((field) => make("span", { class: "chip" }, fieldText(field)))) },
  { title: "Payload indexes", number: true, cell: ({ info }) => count(Object.keys(info.payload_schema).length) },
  { title: "Segments", number: true, cell: ({ info }) => count(info.segments_count) },
  { title: "State", cell: ({ info }) => stateOf(info) },
];

// A few at a time, so that a page of fifty does not take the places of fifty other requests.
async function described(names, signal) {
  const rows = [];
  const waiting = names.map((name, i) => [name, i]);
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [name, i] = next;
      try {
        rows[i] = { name, info: await get(collection(name), signal) };
      } catch (error) {
        // Dropped since it was listed.
        if (error.status !== 404) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return rows.filter(Boolean);
}

export async function showCollections(view, { signal }) {
  const { collections } = await get("/collections", signal);
  const names = collections.map(({ name }) => name).sort((a, b) => a.localeCompare(b));
  const sought = make("input", { type: "search", placeholder: "part of a name", "aria-label": "Part of a name" });
  const [told, body, pages] = [make("span", { class: "quiet", role: "status" }), make("div"), make("div", { class: "pages" })];
  let from = 0;
  let asked = 0;
  view.append(make("div", { class: "top" }, make("h1", {}, "Collections"), names.length > 8 ? labelled("Find", sought, "find") : null, told), body, pages);

  async function fill() {
    const mine = (asked += 1);
    const part = sought.value.trim().toLowerCase();
    const found = names.filter((name) => name.toLowerCase().includes(part));
    const rows = await described(found.slice(from, from + PAGE), signal);
    // A later key stroke has asked for something else.
    if (mine !== asked) return;
    told.textContent = part ? `${count(found.length)} of ${count(names.length)}` : counted(names.length, "collection");
    const empty = names.length ? "No collection has this in its name." : "There is no collection yet. Make one and load it: engram load FILE.parquet --collection NAME --create";
    body.replaceChildren(table(COLUMNS, rows, empty));
    const turn = (to) => () => ((from = to), guarded());
    pages.replaceChildren(
      ...(found.length > PAGE
        ? [
            button("Back", turn(from - PAGE), { disabled: from === 0 }),
            make("span", { class: "quiet" }, `${count(from + 1)}–${count(Math.min(from + PAGE, found.length))} of ${count(found.length)}`),
            button("Next", turn(from + PAGE), { disabled: from + PAGE >= found.length }),
          ]
        : []),
    );
  }
  const guarded = () => fill().catch((error) => !signal.aborted && body.replaceChildren(notice(error, guarded)));
  sought.addEventListener("input", () => ((from = 0), guarded()));
  await fill();
}
