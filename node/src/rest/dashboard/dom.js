// Elements are made here, always from text: nothing a payload holds is ever read as markup.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Columns: { title, number?, text?, narrow?, cell(row) } where a cell is a text or an element.
export function table(columns, rows, empty, row = (cells) => make("tr", {}, ...cells)) {
  if (!rows.length) return make("p", { class: "empty" }, empty);
  const kind = (column) => ["number", "text", "id"].filter((name) => column[name]).join(" ") || undefined;
  const head = make("tr", {}, ...columns.map((column) => make("th", { class: kind(column), scope: "col", title: column.about }, column.title)));
  const cells = (one) => columns.map((column) => make("td", { class: kind(column), "data-title": column.title }, column.cell(one)));
  return make(
    "div",
    { class: "wide" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows.map((one) => row(cells(one), one)))),
  );
}

export function labelled(text, field, style) {
  return make("label", { class: style }, make("span", {}, text), field);
}

export const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);

// Names and values side by side; pairs without a value are left out.
export function facts(pairs) {
  const told = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return make("dl", { class: "facts" }, ...told.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

// A word about a state, in a colour and with a mark for those who do not see the colour.
const MARKS = { good: "●", busy: "◐", bad: "▲" };
export const badge = (kind, text) => make("span", { class: `badge ${kind}` }, make("span", { "aria-hidden": "true" }, MARKS[kind]), text);

export function wanted(error) {
  document.dispatchEvent(new CustomEvent("key-wanted", { detail: error.message }));
}

export function notice(error, again) {
  const actions = [];
  if (error.status === 401) actions.push(button("Give a key", () => wanted(error)));
  if (error.status === 0 && again) actions.push(button("Try again", again));
  const why = error.status === 403 ? `${error.message} This view needs a key with a larger role.` : error.message;
  return make("div", { class: "notice", role: "alert" }, make("p", {}, why), ...actions);
}

// Names for a field to choose from; nothing is forbidden.
export function choices(id, names) {
  return make("datalist", { id }, ...names.map((name) => make("option", { value: name })));
}
