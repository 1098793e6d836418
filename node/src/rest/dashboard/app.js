// Which view the address names. A view gets the element it fills, the rest of the address, and a signal that it has gone.

import { root } from "./api.js";
import { make, notice, wanted } from "./dom.js";
import { showCollections } from "./collections.js";
import { showCollection } from "./collection.js";
import { watchCredential } from "./credential.js";
import { showErasure } from "./erasure.js";
import { showMetrics } from "./metrics.js";

const VIEWS = { "": showCollections, collection: showCollection, erasure: showErasure, metrics: showMetrics };
const viewOf = (name) => (Object.hasOwn(VIEWS, name) ? VIEWS[name] : showCollections);
const SLOW_MS = 250;
let leave = new AbortController();

// `#/name/part/part?parameters`, each part percent-encoded.
function address() {
  const [path, parameters = ""] = location.hash.split("?");
  const [, name = "", ...parts] = path.split("/");
  try {
    return { name, parts: parts.map(decodeURIComponent), parameters: new URLSearchParams(parameters) };
  } catch {
    return { name: "", parts: [], parameters: new URLSearchParams() };
  }
}

async function show(moved) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { name, parts, parameters } = address();
  mark(name);
  const view = document.getElementById("view");
  const page = make("div", { class: "page" });
  const slow = setTimeout(() => view.replaceChildren(make("p", { class: "empty", role: "status" }, "Loading …")), SLOW_MS);
  try {
    await viewOf(name)(page, { parts, parameters, signal });
  } catch (error) {
    if (signal.aborted) return;
    if (name && error.status !== 401) page.append(make("p", { class: "trail" }, make("a", { href: "#/" }, "All collections")));
    page.append(notice(error, () => show()));
    if (error.status === 401) wanted(error);
  } finally {
    clearTimeout(slow);
  }
  // Who has gone on meanwhile must not be shown the view before.
  if (signal.aborted) return;
  view.replaceChildren(page);
  const heading = page.querySelector("h1");
  const titles = [heading?.textContent, page.querySelector(".tabs [aria-current]")?.textContent, "Engram"];
  document.title = titles.filter(Boolean).map((title) => title.slice(0, 60)).join(" · ");
  if (moved && heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function mark(name) {
  const at = name === "collection" || viewOf(name) === showCollections ? "" : name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${at}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function foot() {
  const { dialect, server } = await root();
  document.getElementById("foot").textContent = `${server.replace("engram/", "Engram ")}, with the REST dialect of Qdrant ${dialect}`;
}

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address names the view; a fragment of its own would lead to another one.
  event.preventDefault();
  document.getElementById("view").focus();
});
watchCredential(() => show());
addEventListener("hashchange", () => show(true));
show();
foot().catch(() => {});
