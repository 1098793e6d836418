// Purges: counted, confirmed, run, proved.

import assert from "node:assert/strict";

async function counted(tab, { collection, region, days }) {
  if (collection) await tab.$("[name=collection]").fill(collection);
  if (region) await tab.$("[name=region]").fill(region);
  if (days) await tab.$("[name=days]").fill(days);
  await tab.$("text=Count what would go").click();
}

export const checks = {
  "a purge is counted, confirmed and leaves a receipt": {
    async run(tab, { open }) {
      const before = (await open.call("GET", "/collections/articles")).points_count;
      const hidden = async () => {
        const { collections: [{ shards }] } = await open.call("GET", "/engram/v1/stats?collection=articles");
        return shards.reduce((total, shard) => total + shard.hidden, 0);
      };
      const { points } = await open.call("POST", "/engram/v1/purge", { collection: "articles", dry_run: true });
      assert.equal(points > 0, true);
      assert.equal(await hidden(), points, "no read sees them any more");
      await tab.go("#/erasure");
      await tab.page.waitForSelector(".empty >> text=Nothing was purged yet");
      await counted(tab, { collection: "articles" });
      await tab.$("button.danger").click();
      assert.equal(await tab.page.evaluate(() => document.activeElement.textContent), "Keep them");
      await tab.page.keyboard.press("Escape");
      assert.equal((await open.call("GET", "/collections/articles")).points_count, before, "kept");
      await tab.$("button.danger").click();
      await tab.$("dialog button.danger").click();
      await tab.page.waitForSelector(".done");
      assert.match(await tab.text(".done"), new RegExp(`^${points} points? erased`));
      await tab.until("its receipt", () => tab.texts("td[data-title=Erased]"), ([text]) => text === String(points));
      assert.equal((await open.call("GET", "/collections/articles")).points_count, before);
      assert.equal(await hidden(), 0);
      await tab.$("text=Its receipt").click();
      await tab.page.waitForSelector("h1:text-is('Receipt')");
      const { receipts: [receipt] } = await open.call("GET", "/engram/v1/receipts");
      const facts = await tab.texts(".facts dd");
      assert.equal(facts.includes(receipt.hash) && facts.includes(String(points)), true);
      const download = tab.page.waitForEvent("download");
      await tab.$("text=Download as JSON").click();
      assert.equal((await download).suggestedFilename(), `receipt-${receipt.id}.json`);
      await tab.shot("receipt");
    },
  },
  "a mistake is told": {
    refusals: true,
    async run(tab) {
      await tab.go("#/erasure");
      await counted(tab, { collection: "nothing", days: "3" });
      await tab.until("no such collection", () => tab.texts(".notice"), ([text]) => /no collection "nothing"/.test(text ?? ""));
    },
  },
};
