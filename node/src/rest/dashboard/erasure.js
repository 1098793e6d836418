// Purges: counted first, run when that is confirmed, proved by a receipt.

import { get, post } from "./api.js";
import { button, choices, labelled, make, notice } from "./dom.js";
import { bytes, counted, seconds } from "./format.js";
import { listReceipts, showReceipt } from "./receipts.js";

// More names than this are typed, not chosen.
const NAMES = 500;
const DAY_S = 86_400;

export async function showErasure(view, { parts: [id], parameters, signal }) {
  if (id) return showReceipt(view, id, signal);
  const input = (more) => make("input", { autocomplete: "off", spellcheck: "false", ...more });
  const name = input({ name: "collection", list: "collections", placeholder: "all", value: parameters.get("collection") });
  const region = input({ name: "region", size: 10, placeholder: "all" });
  const days = input({ name: "days", type: "number", min: 1, step: 1, placeholder: "as the rules say" });
  const [told, receipts] = [make("div", { role: "status" }), make("div")];
  const scope = () => ({
    collection: name.value.trim() || undefined,
    region: region.value.trim() || undefined,
    older_than_s: days.value ? Number(days.value) * DAY_S : undefined,
  });
  const names = (await get("/collections", signal)).collections.map((one) => one.name);
  view.append(
    make("h1", {}, "Erasure"),
    make("p", { class: "lead" }, "A delete hides points; a purge takes their bytes out of every log, segment, index and snapshot, and leaves a receipt. Without an age it erases what the retention rules say."),
    make(
      "form",
      { class: "panel row", onsubmit: (event) => (event.preventDefault(), guarded(plan)) },
      labelled("Collection", name, "grow"),
      labelled("Region", region),
      labelled("Older than, in days", days),
      make("button", { class: "main" }, "Count what would go"),
      choices("collections", names.slice(0, NAMES)),
    ),
    told,
    make("h2", {}, "Receipts"),
    receipts,
  );

  async function guarded(work) {
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) told.replaceChildren(notice(error));
    }
  }

  async function plan() {
    const asked = scope();
    told.replaceChildren(make("p", { class: "quiet" }, "Counting …"));
    const found = await post("/engram/v1/purge", { ...asked, dry_run: true }, signal);
    const points = counted(found.points, "point");
    const where = `${asked.collection ? `of ${asked.collection}` : `of ${counted(found.collections, "collection")}`}${asked.region ? ` in ${asked.region}` : ""}`;
    const age = asked.older_than_s ? `older than ${counted(asked.older_than_s / DAY_S, "day")}` : "older than the retention rules allow";
    const cost = `${counted(found.segments, "segment")} of ${counted(found.shards, "shard")}, ${bytes(found.bytes)}, would be written anew or removed. What was deleted there before goes with it.`;
    const sentence = `${points} ${where}, ${age}`;
    const run = button(found.points ? `Erase ${points} …` : "Purge what was deleted …", () => confirm(sentence, () => guarded(() => purge(asked))), { class: "danger" });
    told.replaceChildren(make("div", { class: "panel plan" }, make("p", {}, make("b", {}, sentence), "."), make("p", { class: "quiet" }, cost), run));
  }

  async function purge(asked) {
    const started = performance.now();
    told.replaceChildren(make("p", { class: "quiet" }, "Erasing … It goes on when this page is left."));
    const receipt = await post("/engram/v1/purge", { ...asked, wait: true });
    if (signal.aborted) return;
    const link = make("a", { href: `#/erasure/${encodeURIComponent(receipt.id)}` }, "Its receipt");
    const done = receipt.state === "complete";
    const text = done ? `${counted(receipt.points_erased, "point")} erased in ${seconds((performance.now() - started) / 1000)}; no live file holds them. ` : `The purge is ${receipt.state}: ${receipt.error} `;
    told.replaceChildren(make("div", { class: `panel ${done ? "done" : "failed"}` }, text, link));
    await listReceipts(receipts, signal);
  }

  await listReceipts(receipts, signal);
}

// What cannot be taken back is asked for once more; the way out has the focus.
function confirm(sentence, go) {
  const dialog = make("dialog", { "aria-labelledby": "confirm-title" });
  const cancel = button("Keep them", () => dialog.close());
  dialog.append(
    make("h2", { id: "confirm-title" }, "Erase for good?"),
    make("p", {}, `${sentence}. This cannot be taken back.`),
    make("div", { class: "actions" }, button("Erase", () => (dialog.close(), go()), { class: "danger" }), cancel),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}
