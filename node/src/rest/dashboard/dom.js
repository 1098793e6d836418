// Elements are made here, always from text: nothing a payload holds is ever read as markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// Columns: { title, number?, text?, cell(row) } where a cell is a text or an element.
export function table(columns, rows, empty) {
  if (!rows.length) return make("p", { class: "quiet" }, empty);
  const kind = (column) => (column.number ? "number" : column.text ? "text" : undefined);
  const head = make("tr", {}, ...columns.map((column) => make("th", { class: kind(column), scope: "col" }, column.title)));
  const body = rows.map((row) => make("tr", {}, ...columns.map((column) => make("td", { class: kind(column) }, column.cell(row)))));
  return make("div", { class: "wide" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

export function labelled(text, field, style) {
  return make("label", { class: style }, text, field);
}

export function json(value) {
  return make("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));
}

export const count = (number) => Number(number).toLocaleString("en");

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number < 10 && unit ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

export const moment = (ms) => (ms ? new Date(ms).toISOString().replace("T", " ").slice(0, 19) : "");
