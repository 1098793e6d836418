// The picture of vectors: drawn, coloured by a field, read by pointer and keys.

import assert from "node:assert/strict";
import { LONG } from "./data.mjs";

const told = (tab) => tab.text("section > [role=status]");

// How many dots of each colour there may be: pixels that are no ground, by colour.
const colours = (tab) =>
  tab.page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const seen = {};
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 180) seen[[data[i], data[i + 1], data[i + 2]].map((c) => c >> 4)] = (seen[[data[i], data[i + 1], data[i + 2]].map((c) => c >> 4)] || 0) + 1;
    return Object.values(seen).filter((n) => n > 200).length;
  });

export const checks = {
  "groups are drawn in the colours of a payload field": {
    async run(tab) {
      await tab.go("#/collection/articles/picture", ".legend button");
      assert.match(await told(tab), /470 points\. The plane shows \d+ % of the variance/);
      await tab.$("[name=colour]").selectOption("topic");
      const legend = await tab.texts(".legend button");
      assert.equal(legend.length, 5);
      assert.equal(legend.some((text) => text === "chess & <b>bold</b> · 94"), true);
      assert.equal((await colours(tab)) >= 5, true);
      await tab.$("[name=colour]").selectOption("");
      assert.equal(await tab.$(".legend button").count(), 0);
      await tab.$("[name=colour]").selectOption("year");
      assert.equal(await tab.$(".legend .ramp").count(), 1);
    },
  },
  "a dot tells its point to pointer and keys, and opens it": {
    async run(tab) {
      await tab.go("#/collection/words/picture", ".legend button");
      await tab.$("canvas").focus();
      await tab.page.keyboard.press("ArrowRight");
      const first = await tab.text(".hint");
      assert.match(first, /^Point \d+\npos: \w+/);
      await tab.page.keyboard.press("ArrowRight");
      assert.notEqual(await tab.text(".hint"), first);
      await tab.page.keyboard.press("Enter");
      await tab.page.waitForSelector(".point .bars");
      const id = (await tab.text(".hint")).split("\n")[0];
      assert.equal(await tab.text("section h2"), id);
      await tab.page.keyboard.press("Escape");
      assert.equal(await tab.$(".hint").isVisible(), false);
      const box = await tab.$("canvas").boundingBox();
      // Somewhere across the middle there is a dot.
      for (let x = 0.2; x < 0.8 && !(await tab.$(".hint").isVisible()); x += 0.01) await tab.page.mouse.move(box.x + box.width * x, box.y + box.height / 2);
      assert.match(await tab.text(".hint"), /^Point \d+/);
    },
  },
  "near vectors are brought together": {
    async run(tab) {
      await tab.go("#/collection/articles/picture", ".legend button");
      await tab.$("[name=size]").selectOption("250");
      await tab.until("the smaller sample", () => told(tab), (text) => /250 points taken at random/.test(text));
      await tab.$("[name=layout]").selectOption("near");
      await tab.until("it settles", () => told(tab), (text) => /near vectors together/.test(text));
      await tab.$("[name=field]").selectOption("title");
      await tab.until("the other field", () => told(tab), (text) => /near vectors together/.test(text));
    },
  },
  "without vectors to draw it says so": {
    async run(tab) {
      await tab.go(`#/collection/${LONG}/picture`);
      assert.match(await tab.text(".empty"), /no field of single dense vectors/);
      await tab.go("#/collection/small-001/picture");
      await tab.until("too few", () => tab.texts(".empty"), ([text]) => /fewer than three/.test(text ?? ""));
    },
  },
};
