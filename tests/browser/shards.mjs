// Regions, shards, and the definition of a collection.

import assert from "node:assert/strict";

export const checks = {
  "regions and shards add up to the collection": {
    async run(tab, { open }) {
      await tab.go("#/collection/articles/shards", "table");
      const { points_count: all } = await open.call("GET", "/collections/articles");
      const sum = (texts) => texts.reduce((total, text) => total + Number(text.replaceAll(/\D/g, "")), 0);
      assert.equal((await tab.texts(".tile b")).length, 3);
      assert.equal(sum(await tab.texts(".tile b")), all);
      assert.equal(await tab.$("table >> nth=0 >> tbody tr").count(), 6);
      assert.equal(sum(await tab.texts("td[data-title=Points]")), all);
      assert.equal(sum(await tab.texts("td[data-title='Past their time']")), 130);
      assert.equal((await tab.texts(".tile")).some((text) => /130 more are past their time/.test(text)), true);
    },
  },
  "what is written meanwhile appears": {
    async run(tab, { open }) {
      await tab.go("#/collection/small-000/shards", ".empty");
      await open.call("PUT", "/collections/small-000/points?wait=true", { points: [{ id: 1, vector: [1, 2, 3, 4], payload: {} }] });
      await tab.until("the point", () => tab.texts("td[data-title=Points]"), ([text]) => text === "1");
    },
  },
  "the definition is told": {
    async run(tab) {
      await tab.go("#/collection/articles/definition", "table");
      assert.deepEqual(await tab.texts("table >> nth=0 >> tbody td:first-child"), ["title", "body", "tokens", "bm25"]);
      assert.equal((await tab.texts("td")).includes("30 days"), true);
      assert.match(await tab.text("pre.json"), /"default_region": "eu"/);
    },
  },
};
