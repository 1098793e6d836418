// Which view the address names. A view gets the element it fills, the rest of the address, and a signal that it has gone.

import { key, root, setKey } from "./api.js";
import { make } from "./dom.js";
import { showCollections } from "./collections.js";
import { showCollection } from "./collection.js";
import { showErasure } from "./erasure.js";
import { showMetrics } from "./metrics.js";

const VIEWS = { "": showCollections, collection: showCollection, erasure: showErasure, metrics: showMetrics };
let leave = new AbortController();

async function show() {
  leave.abort();
  leave = new AbortController();
  const [, name = "", ...rest] = location.hash.split("/");
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${name}` || (name === "collection" && link.getAttribute("href") === "#/");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = document.getElementById("view");
  const { signal } = leave;
  const page = make("div");
  try {
    await (VIEWS[name] || showCollections)(page, rest.map(decodeURIComponent), signal);
  } catch (error) {
    page.replaceChildren(make("p", { class: "notice", role: "alert" }, error.message));
  }
  // Who has gone on meanwhile must not be shown the view before.
  if (!signal.aborted) view.replaceChildren(page);
}

async function foot() {
  const { version } = await root();
  document.getElementById("foot").textContent = `Engram speaks the dialect of Qdrant ${version}.`;
}

const field = document.getElementById("key");
field.value = key();
field.addEventListener("change", () => {
  setKey(field.value.trim());
  show();
});
document.getElementById("credential").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", show);
show();
foot().catch(() => {});
