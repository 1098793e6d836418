// Addresses of the parts of a collection.

export function placeOf(name, tab, parameters = {}) {
  const behind = new URLSearchParams(parameters).toString();
  return `#/collection/${encodeURIComponent(name)}/${tab}${behind ? `?${behind}` : ""}`;
}
