// What to look for among points: words, a point to be near to, conditions. It is kept in the address, so that it can be
// gone back to and passed on.

import { button, choices, labelled, make } from "./dom.js";
import { OPERATORS, told } from "./filter.js";

export function readSearch(parameters) {
  const one = (name) => parameters.get(name) || "";
  let conditions = [];
  try {
    conditions = JSON.parse(one("where") || "[]").filter((c) => typeof c.key === "string" && typeof c.value === "string" && Object.hasOwn(OPERATORS, c.operator));
  } catch {
    // An address that somebody cut short.
  }
  return { words: one("words"), field: one("field"), like: one("like"), using: one("using"), filter: one("filter"), conditions };
}

export function parametersOf(search) {
  const { conditions, ...rest } = search;
  const all = { ...rest, where: conditions.length ? JSON.stringify(conditions) : "" };
  if (!all.words) delete all.field;
  if (!all.like) delete all.using;
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
}

// The form. `changed` is called with what is looked for.
export function searchForm(search, { fields, indexed, changed }) {
  const input = (name, more) => make("input", { name, autocomplete: "off", spellcheck: "false", ...more });
  const words = input("words", { type: "search", placeholder: "all points", value: search.words });
  const field = input("field", { list: "payload-fields", size: 12, placeholder: "payload field", value: search.field });
  const like = input("like", { placeholder: "id of a point", value: search.like });
  const named = fields.map(({ name }) => make("option", { value: name, selected: name === search.using }, name || "default"));
  const using = make("select", { name: "using" }, ...named);
  const written = make("textarea", { name: "filter", rows: 3, spellcheck: "false", placeholder: '{"must": [{"key": "lang", "match": {"value": "en"}}]}' }, search.filter);
  const chips = make("div", { class: "chips", role: "list", "aria-label": "Conditions" });
  const known = new Set(indexed);
  const names = choices("payload-fields", indexed);
  let conditions = [...search.conditions];

  const now = () => ({ words: words.value.trim(), field: field.value.trim(), like: like.value.trim(), using: using.value, filter: written.value, conditions });
  const submit = () => changed(now());
  const rest = button("Clear", () => {
    for (const one of [words, like, written]) one.value = "";
    conditions = [];
    list();
    submit();
  });

  function list() {
    const drop = (one) => () => ((conditions = conditions.filter((other) => other !== one)), list(), submit());
    chips.replaceChildren(
      ...conditions.map((one) => make("span", { class: "chip", role: "listitem" }, told(one), button("×", drop(one), { "aria-label": `Drop: ${told(one)}` }))),
    );
  }
  list();
  const form = make(
    "form",
    { class: "search panel", role: "search", onsubmit: (event) => (event.preventDefault(), submit()) },
    make(
      "div",
      { class: "row" },
      labelled("Words", words, "grow"),
      labelled("in the field", field),
      fields.length ? labelled("Nearest to the point", like, "grow") : null,
      fields.length > 1 ? labelled("by the vector", using) : null,
      make("button", { class: "main" }, "Search"),
      rest,
    ),
    chips,
    conditionRow((one) => ((conditions = [...conditions, one]), list(), submit())),
    make("details", { open: Boolean(search.filter) }, make("summary", {}, "Filter as JSON"), labelled("All of it must hold besides the conditions above", written, "whole")),
    names,
  );
  const suggest = (more, wordField) => {
    for (const one of more) known.add(one);
    names.replaceChildren(...choices("", [...known]).children);
    if (!field.value && wordField) field.value = wordField;
  };
  return { form, suggest };
}

// Not a form of its own, which would lie in another one: Enter adds the condition.
function conditionRow(add) {
  const key = make("input", { list: "payload-fields", size: 14, placeholder: "payload field", autocomplete: "off", spellcheck: "false", "aria-label": "Field of the condition" });
  const operator = make("select", { "aria-label": "Operator" }, ...Object.entries(OPERATORS).map(([id, text]) => make("option", { value: id }, text)));
  const value = make("input", { size: 14, placeholder: "value", autocomplete: "off", spellcheck: "false", "aria-label": "Value of the condition" });
  const put = () => {
    const empty = operator.value === "empty";
    if (!key.value.trim()) return key.focus();
    if (!empty && !value.value.trim()) return value.focus();
    add({ key: key.value.trim(), operator: operator.value, value: empty ? "" : value.value.trim() });
    value.value = "";
  };
  operator.addEventListener("change", () => (value.disabled = operator.value === "empty"));
  const enter = (event) => event.key === "Enter" && (event.preventDefault(), put());
  for (const one of [key, value]) one.addEventListener("keydown", enter);
  return make("div", { class: "condition" }, make("span", { class: "quiet" }, "Where"), key, operator, value, button("Add condition", put));
}
