// Receipts of purges: the list, and one with the files that were made and removed.

import { get, write } from "./api.js";
import { badge, button, facts, make, notice, table } from "./dom.js";
import { bytes, count, counted, moment, seconds } from "./format.js";

const FIRST = 100;
// The server reads no more at once.
const MOST = 1000;

const placeOfReceipt = (receipt) => `#/erasure/${encodeURIComponent(receipt.id)}`;
const state = (receipt) => badge(receipt.state === "complete" ? "good" : receipt.state === "failed" ? "bad" : "busy", receipt.state);
const age = (receipt) => (receipt.by_rules ? "retention rules" : `before ${moment(receipt.cutoff_ms)}`);

const COLUMNS = [
  { title: "Receipt", cell: (r) => make("a", { href: placeOfReceipt(r) }, make("code", {}, r.id)) },
  { title: "State", cell: state },
  { title: "Collection", id: true, cell: (r) => r.collection || "all" },
  { title: "Region", cell: (r) => r.region || "all" },
  { title: "Points made", cell: age },
  { title: "Erased", number: true, cell: (r) => count(r.points_erased) },
  { title: "Accepted (UTC)", cell: (r) => moment(r.accepted_at_ms) },
  { title: "Took", number: true, cell: (r) => (r.erased_at_ms ? seconds((r.erased_at_ms - r.accepted_at_ms) / 1000) : "–") },
];

export async function listReceipts(place, signal, limit = FIRST) {
  try {
    const { receipts } = await get(`/engram/v1/receipts?limit=${limit}`, signal);
    const more = receipts.length === limit && limit < MOST ? button(`Show the last ${count(MOST)}`, () => listReceipts(place, signal, MOST)) : null;
    place.replaceChildren(table(COLUMNS, receipts, "Nothing was purged yet."), make("p", { class: "quiet" }, more ?? (receipts.length === MOST ? `The last ${count(MOST)}; older ones are told by their id.` : "")));
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(notice(error));
  }
}

const FILES = [
  { title: "File", text: true, cell: (file) => make("code", {}, file.path) },
  { title: "Bytes", number: true, cell: (file) => bytes(file.bytes) },
  { title: "BLAKE3", text: true, cell: (file) => make("code", {}, file.blake3) },
];

function files(title, list) {
  if (!list?.length) return make("p", { class: "quiet" }, `${title}: none`);
  return make("details", {}, make("summary", {}, `${title}: ${counted(list.length, "file")}, ${bytes(list.reduce((sum, file) => sum + (file.bytes || 0), 0))}`), table(FILES, list, ""));
}

export async function showReceipt(view, id, signal) {
  const receipt = await get(`/engram/v1/receipts/${encodeURIComponent(id)}`, signal);
  view.append(
    make("p", { class: "trail" }, make("a", { href: "#/erasure" }, "Erasure"), " /"),
    make("div", { class: "top" }, make("h1", {}, "Receipt"), state(receipt)),
    make("p", {}, make("code", {}, receipt.id)),
    receipt.error ? notice(new Error(receipt.error)) : "",
    facts([
      ["Collection", receipt.collection || "all"],
      ["Region", receipt.region || "all"],
      ["Points made", age(receipt)],
      ["Shards", count(receipt.shards)],
      ["Points before", count(receipt.points_before)],
      ["Points erased", count(receipt.points_erased)],
      ["Points after", count(receipt.points_after)],
      ["Bytes of logs removed", bytes(receipt.log_bytes_removed)],
      ["Accepted (UTC)", moment(receipt.accepted_at_ms)],
      ["Invisible (UTC)", moment(receipt.invisible_at_ms)],
      ["Erased (UTC)", moment(receipt.erased_at_ms)],
      ["Server", receipt.server_version],
    ]),
    make("h2", {}, "Proof"),
    facts([
      ["Hash of this receipt", make("code", {}, receipt.hash || "–")],
      ["Hash of the one before", make("code", {}, receipt.previous_hash || "none, it is the first")],
    ]),
    make("p", { class: "quiet" }, "Each receipt holds the hash of the one before, so none can be changed or left out unnoticed."),
    files("Files removed", receipt.removed),
    files("Files written in their place", receipt.created),
    make("p", {}, button("Download as JSON", () => download(receipt))),
  );
}

function download(receipt) {
  const address = URL.createObjectURL(new Blob([write(receipt, 2)], { type: "application/json" }));
  make("a", { href: address, download: `receipt-${receipt.id}.json` }).click();
  URL.revokeObjectURL(address);
}
