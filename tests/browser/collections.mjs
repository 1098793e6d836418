// The list of collections, what a name leads to, and ways through the page without a mouse.

import assert from "node:assert/strict";
import { HOSTILE, LONG, SMALL } from "./data.mjs";

export const checks = {
  "all are found, with their figures": {
    async run(tab) {
      await tab.go();
      assert.equal(await tab.text("[role=status]"), `${SMALL + 4} collections`);
      await tab.$("input[type=search]").fill("word");
      await tab.until("the list narrows", () => tab.texts("tbody tr"), (rows) => rows.length === 1);
      const cells = await tab.texts("tbody td");
      assert.deepEqual(cells.slice(0, 5), ["words", "5,000", "384, Cosine", "1", cells[4]]);
      assert.match(await tab.page.title(), /^Collections · Engram$/);
    },
  },
  "many come page by page": {
    async run(tab) {
      await tab.go();
      assert.equal(await tab.$("tbody tr").count(), 50);
      await tab.$("text=Next").click();
      await tab.until("the second page", () => tab.texts("tbody tr"), (rows) => rows.length === SMALL + 4 - 50);
      await tab.$("input[type=search]").fill("no such name");
      await tab.until("an empty list says so", () => tab.texts(".empty"), ([text]) => /No collection/.test(text ?? ""));
    },
  },
  "hostile and long names are text and lead to their collection": {
    async run(tab) {
      await tab.go();
      for (const [name, points] of [[HOSTILE, "6"], [LONG, "0"]]) {
        await tab.$("input[type=search]").fill(name);
        await tab.until("found", () => tab.texts("tbody tr"), (rows) => rows.length === 1);
        await tab.$("tbody a").click();
        await tab.until("its view", () => tab.texts("h1"), ([text]) => text === name);
        assert.equal(await tab.text(".facts dd"), points);
        await tab.page.goBack();
        await tab.page.waitForSelector("h1:text-is('Collections')");
      }
    },
  },
  "a collection that is not there is told": {
    refusals: true,
    async run(tab) {
      await tab.go("#/collection/nothing", ".notice");
      assert.match(await tab.text(".notice"), /nothing.*doesn't exist/);
    },
  },
  "keys alone are enough": {
    async run(tab) {
      await tab.go("#/erasure");
      await tab.page.keyboard.press("Tab");
      assert.equal(await tab.page.evaluate(() => document.activeElement.textContent), "Skip to the content");
      await tab.page.keyboard.press("Enter");
      assert.equal(await tab.page.evaluate(() => document.activeElement.id), "view");
      assert.equal(await tab.text("h1"), "Erasure", "the view stays");
      for (let i = 0; i < 3; i += 1) await tab.page.keyboard.press("Shift+Tab");
      await tab.page.keyboard.press("Enter");
      await tab.page.waitForURL(/#\/metrics|\/docs|#\/erasure/);
      await tab.go("#/erasure");
      await tab.$("nav a[href='#/metrics']").focus();
      await tab.page.keyboard.press("Enter");
      await tab.until("the heading has the focus", () => tab.page.evaluate(() => document.activeElement.textContent), (text) => text === "Metrics");
    },
  },
};
