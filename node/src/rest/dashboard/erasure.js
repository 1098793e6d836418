// Purges and their receipts. A purge is counted before it is run.

import { get, post } from "./api.js";
import { bytes, count, json, labelled, make, moment, table } from "./dom.js";

export async function showErasure(view, _rest, signal) {
  const name = make("input", { placeholder: "all" });
  const region = make("input", { placeholder: "all", size: 8 });
  const days = make("input", { type: "number", min: 1, placeholder: "as the rules say" });
  const [told, receipts] = [make("div"), make("div")];
  const scope = () => ({
    collection: name.value.trim() || undefined,
    region: region.value.trim() || undefined,
    older_than_s: days.value ? Number(days.value) * 86_400 : undefined,
  });
  view.append(
    make("h1", {}, "Erasure"),
    make(
      "form",
      { class: "row", onsubmit: (event) => (event.preventDefault(), guarded(plan)) },
      labelled("Collection", name, "grow"),
      labelled("Region", region),
      labelled("Older than, days", days),
      make("button", { class: "main" }, "Count"),
    ),
    told,
    make("h2", {}, "Receipts"),
    receipts,
  );

  async function guarded(work) {
    try {
      await work();
    } catch (error) {
      told.replaceChildren(make("p", { class: "notice", role: "alert" }, error.message));
    }
  }

  async function plan() {
    const asked = scope();
    const found = await post("/engram/v1/purge", { ...asked, dry_run: true });
    const text = `${count(found.points)} points of ${count(found.collections)} collections would go for good: ${count(found.segments)} segments, ${bytes(found.bytes)} are rewritten or removed.`;
    const run = make("button", { class: "danger", onclick: () => guarded(() => purge(asked)) }, `Erase ${count(found.points)} points`);
    told.replaceChildren(make("p", {}, text), make("p", {}, run));
  }

  async function purge(asked) {
    told.replaceChildren(make("p", { class: "quiet" }, "Erasing …"));
    const receipt = await post("/engram/v1/purge", { ...asked, wait: true });
    told.replaceChildren(make("p", { class: receipt.state === "complete" ? "good" : "bad" }, `${receipt.state}: ${count(receipt.points_erased)} points erased.`));
    await list();
  }

  async function list() {
    const found = (await get("/engram/v1/receipts")).receipts;
    if (signal.aborted) return;
    const detail = make("div");
    const open = (receipt) => (event) => (event.preventDefault(), detail.replaceChildren(json(receipt)));
    receipts.replaceChildren(
      table(
        [
          { title: "Receipt", cell: (r) => make("a", { href: "#", onclick: open(r) }, r.id) },
          { title: "State", cell: (r) => make("span", { class: r.state === "complete" ? "good" : r.state === "failed" ? "bad" : "quiet" }, r.state) },
          { title: "Collection", cell: (r) => r.collection || "all" },
          { title: "Region", cell: (r) => r.region || "all" },
          { title: "Erased", number: true, cell: (r) => count(r.points_erased) },
          { title: "Accepted (UTC)", cell: (r) => moment(r.accepted_at_ms) },
          { title: "Erased (UTC)", cell: (r) => moment(r.erased_at_ms) },
        ],
        found,
        "Nothing was erased yet.",
      ),
      detail,
    );
  }
  await list();
}
