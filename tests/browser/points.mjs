// Points: pages, words, neighbours, conditions, one point.

import assert from "node:assert/strict";
import { HOSTILE, LARGE_ID } from "./data.mjs";

const status = (tab) => tab.text(".results [role=status]");
const ids = (tab) => tab.texts(".results button.open");
const settled = (tab, pattern) => tab.until("the state of the list", () => status(tab), (text) => pattern.test(text));
const place = (name) => `#/collection/${encodeURIComponent(name)}`;
const READY = ".results [role=status]";

async function where(tab, key, operator, value) {
  await tab.$("[aria-label='Field of the condition']").fill(key);
  await tab.$("[aria-label='Operator']").selectOption(operator);
  if (value) await tab.$("[aria-label='Value of the condition']").fill(value);
  await tab.$("text=Add condition").click();
}

export const checks = {
  "pages go on and back": {
    async run(tab) {
      await tab.go(place("words"), READY);
      assert.match(await status(tab), /^5,000 points · 1–20 shown/);
      const first = await ids(tab);
      await tab.$(".pages >> text=Next").click();
      await settled(tab, /21–40 shown/);
      assert.equal((await ids(tab)).some((id) => first.includes(id)), false);
      await tab.$(".pages >> text=Back").click();
      await settled(tab, /1–20 shown/);
      assert.deepEqual(await ids(tab), first);
    },
  },
  "words find the point that has them, best first": {
    async run(tab, { open }) {
      const [{ id, payload }] = (await open.call("POST", "/collections/words/points/scroll", { limit: 1, with_payload: true })).points;
      await tab.go(place("words"), READY);
      assert.equal(await tab.$("[name=field]").inputValue(), "gloss");
      await tab.$("[name=words]").fill(payload.gloss);
      await tab.page.keyboard.press("Enter");
      await settled(tab, /BM25/);
      assert.equal((await ids(tab))[0], String(id));
      const scores = (await tab.texts("td[data-title=Score]")).map(Number);
      assert.deepEqual(scores, [...scores].sort((a, b) => b - a));
    },
  },
  "words of a field without an index narrow": {
    async run(tab) {
      await tab.go(place("articles"), READY);
      await tab.$("[name=field]").fill("text");
      await tab.$("[name=words]").fill("article 77 about");
      await tab.$("button.main").click();
      await settled(tab, /^1 of 470 points matches/);
      assert.deepEqual(await ids(tab), ["77"]);
    },
  },
  "nearest to a point are those the server names": {
    async run(tab, { open }) {
      await tab.go(place("articles"), READY);
      await tab.$("[name=like]").fill("5");
      await tab.$("[name=using]").selectOption("body");
      await tab.$("button.main").click();
      await settled(tab, /nearest to 5 by body, Euclid: smaller is nearer/);
      const { points } = await open.call("POST", "/collections/articles/points/query", { query: 5, using: "body", limit: 20 });
      assert.deepEqual(await ids(tab), points.map(({ id }) => String(id)));
      await tab.page.reload();
      await settled(tab, /nearest to 5 by body/);
      await tab.page.goBack();
      await settled(tab, /^470 points/);
    },
  },
  "conditions narrow and can be dropped": {
    async run(tab) {
      await tab.go(place("articles"), READY);
      const names = await tab.$("#payload-fields option").evaluateAll((all) => all.map((one) => one.value));
      assert.equal(["lang", "text", "region"].every((name) => names.includes(name)), true, "fields are suggested");
      await where(tab, "lang", "is", "de");
      await settled(tab, /^235 of 470 points match/);
      await where(tab, "year", "from", "2020");
      await settled(tab, /^(?!235)\d+ of 470 points match/);
      const years = await tab.until("the years", () => tab.texts("td[data-title=year]"), (all) => all.every((year) => Number(year) >= 2020));
      assert.equal(years.length > 0, true);
      assert.deepEqual(new Set(await tab.texts("td[data-title=lang]")), new Set(["de"]));
      await tab.$(".chip button").first().click();
      await tab.$(".chip button").first().click();
      await settled(tab, /^470 points/);
      await where(tab, "lang", "empty");
      await tab.until("nothing matches", () => tab.texts(".results .empty"), ([text]) => /No point matches/.test(text ?? ""));
    },
  },
  "a filter as JSON narrows, and a wrong one is told": {
    refusals: true,
    async run(tab) {
      await tab.go(place("articles"), READY);
      await tab.$("summary").first().click();
      const asked = async (filter) => {
        await tab.$("[name=filter]").fill(filter);
        await tab.$("button.main").click();
      };
      await asked('{"must_not": [{"key": "lang", "match": {"value": "de"}}]}');
      await settled(tab, /^235 of 470/);
      for (const [filter, told] of [["{nope", /not JSON/], ['{"mustt": []}', /unknown key `mustt`/], ["[]", /object in braces/]]) {
        await asked(filter);
        await tab.until("the mistake is told", () => tab.texts(".results .notice"), ([text]) => told.test(text ?? ""));
      }
      await tab.$("[name=filter]").fill("");
      await tab.$("[name=like]").fill("999999");
      await tab.$("button.main").click();
      await tab.until("no such point", () => tab.texts(".results .notice"), ([text]) => /no point 999999/.test(text ?? ""));
    },
  },
  "a point opens with its payload and vectors, and leads on": {
    async run(tab) {
      await tab.go(place("articles"), READY);
      const opener = tab.$("button.open").first();
      await opener.focus();
      await tab.page.keyboard.press("Enter");
      await tab.page.waitForSelector(".point .bars");
      assert.equal(await opener.getAttribute("aria-expanded"), "true");
      assert.match(await tab.text(".point pre"), /"topic": "physics"/);
      assert.equal(await tab.$(".vector").count(), 4);
      await tab.$(".vector >> text=Find nearest").first().click();
      await settled(tab, /nearest to 0 by/);
      await tab.page.keyboard.press("Tab");
    },
  },
  "hostile payloads are text, large ids are exact": {
    async run(tab) {
      await tab.go(place(HOSTILE), READY);
      assert.deepEqual((await ids(tab)).at(-1), LARGE_ID);
      const texts = await tab.texts("td[data-title=text]");
      assert.equal(texts[0], "<script>window.__hit=1</script>");
      assert.equal(texts[3], "\\u202egnp.exe", "signs that turn the text are told");
      assert.deepEqual((await tab.texts("td[data-title=constructor]")).slice(0, 3), ["own", "–", "own"]);
      for (const opener of await tab.$("button.open").all()) await opener.click();
      await tab.until("all are open", () => tab.$(".point pre.json").count(), (n) => n >= 6);
      assert.equal(await tab.$("main script, main img").count(), 0);
      await tab.$("[name=like]").fill(LARGE_ID);
      await tab.$("button.main").click();
      await settled(tab, new RegExp(`nearest to ${LARGE_ID}`));
      assert.equal((await ids(tab)).includes(LARGE_ID), false);
      await tab.go(place(HOSTILE), READY);
      await tab.$("summary").first().click();
      await tab.$("[name=filter]").fill(`{"must": [{"has_id": [${LARGE_ID}]}]}`);
      await tab.$("button.main").click();
      await settled(tab, /^1 of 6 points matches/);
      assert.deepEqual(await ids(tab), [LARGE_ID]);
    },
  },
};
