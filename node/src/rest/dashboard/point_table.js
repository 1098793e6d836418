// Points as rows: the payload keys that most of them have are columns, and a row opens to show all of its point.

import { collection, post, write } from "./api.js";
import { button, make, notice, table } from "./dom.js";
import { clip, short, valueAt, visible } from "./format.js";
import { pointDetail } from "./point_detail.js";

const COLUMNS = 6;
const CELL = 220;

const shown = (value) => (typeof value === "string" ? visible(value) : visible(write(value)));

// Keys that at least half of the points have, those with short values first: the text is read last and takes the room
// that is left.
function columnsOf(points) {
  const keys = new Map();
  for (const { payload } of points) {
    for (const [key, value] of Object.entries(payload ?? {})) {
      const seen = keys.get(key) ?? { times: 0, length: 0, numbers: 0 };
      const number = typeof value === "number" || typeof value === "bigint" ? 1 : 0;
      keys.set(key, { times: seen.times + 1, length: seen.length + Math.min(shown(value).length, CELL), numbers: seen.numbers + number });
    }
  }
  const common = [...keys].filter(([, { times }]) => times * 2 >= points.length).sort(([, a], [, b]) => b.times - a.times).slice(0, COLUMNS);
  const mean = ({ times, length }) => length / times;
  return common.sort(([, a], [, b]) => mean(a) - mean(b)).map(([key, seen]) => ({ key, number: seen.numbers === seen.times, long: mean(seen) > 30 }));
}

export function pointTable(points, { name, scored, fields, empty, near }) {
  const keys = columnsOf(points);
  const opener = (point) =>
    button(String(point.id), (event) => toggle(event.currentTarget, point), { class: "open", "aria-expanded": "false", title: "Show all of this point" });
  const more = ({ payload }) => Object.keys(payload ?? {}).filter((key) => !keys.some((column) => column.key === key)).length;
  const columns = [
    { title: "Id", id: true, cell: opener },
    ...(scored ? [{ title: "Score", number: true, cell: (point) => score(point.score) }] : []),
    ...keys.map(({ key, long, number }) => ({ title: clip(visible(key), 40), about: key, text: long && !number, number, cell: ({ payload }) => value(valueAt(payload, key)) })),
    ...(keys.length && points.some(more) ? [{ title: "More", number: true, cell: (point) => (more(point) ? `+${more(point)}` : "") }] : []),
    ...(keys.length ? [] : [{ title: "Payload", text: true, cell: ({ payload }) => value(Object.keys(payload ?? {}).length ? payload : undefined) }]),
  ];

  async function toggle(link, point) {
    const row = link.closest("tr");
    const open = link.getAttribute("aria-expanded") === "true";
    link.setAttribute("aria-expanded", String(!open));
    row.classList.toggle("opened", !open);
    if (open) return row.nextElementSibling?.remove();
    const cell = make("td", { colspan: columns.length }, make("p", { class: "quiet" }, "Loading …"));
    row.after(make("tr", { class: "detail" }, cell));
    try {
      const [whole] = await post(`${collection(name)}/points`, { ids: [point.id], with_payload: true, with_vector: true });
      cell.replaceChildren(whole ? pointDetail(whole, { fields, near }) : make("p", {}, "The point is gone since the page was read."));
    } catch (error) {
      cell.replaceChildren(notice(error));
    }
  }

  return table(columns, points, empty);
}

const score = (number) => (Math.abs(number) >= 1000 ? short(number) : number.toFixed(4));

function value(one) {
  if (one === undefined) return make("span", { class: "quiet" }, "–");
  const text = shown(one);
  if (typeof one === "number") return make("span", { title: text }, Number.isInteger(one) ? text : String(Number(one.toPrecision(6))));
  return make("span", { class: typeof one === "string" ? "value" : "value other", title: text.length > CELL ? clip(text, 2000) : undefined }, clip(text, CELL));
}
