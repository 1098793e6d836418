// Keys: asked for, wrong, right, too small, forgotten; and a server that is gone. The last check ends its server.

import assert from "node:assert/strict";
import { ROOT_KEY } from "./data.mjs";

const DIALOG = "dialog[open]";

async function give(tab, key) {
  await tab.$("dialog [name=key]").fill(key);
  await tab.$("text=Use this key").click();
}

export const checks = {
  "a key is asked for; a wrong one is told, a right one opens": {
    locked: true,
    refusals: true,
    async run(tab, { locked }) {
      await locked.call("PUT", "/collections/secret", { vectors: { size: 4, distance: "Dot" } }, ROOT_KEY);
      await tab.go("", DIALOG);
      assert.match(await tab.text("dialog [role=alert]"), /wants an API key/);
      await tab.shot("key-asked");
      for (const wrong of ["wrong", "wröng ✗"]) {
        await give(tab, wrong);
        await tab.until("told", () => tab.text("dialog [role=alert]"), (text) => /does not know this key/.test(text));
        assert.equal(await tab.page.evaluate(() => sessionStorage.length), 0, "it is not kept");
      }
      await give(tab, ROOT_KEY);
      await tab.page.waitForSelector("tbody a:text-is('secret')");
      assert.equal(await tab.text("#credential"), "Key in use");
      await tab.page.reload();
      await tab.page.waitForSelector("tbody a:text-is('secret')");
      await tab.$("#credential").click();
      await tab.page.keyboard.press("Escape");
      assert.equal(await tab.page.evaluate(() => document.activeElement.id), "credential");
      await tab.$("#credential").click();
      await tab.$("text=Forget the key").click();
      await tab.page.waitForSelector(DIALOG);
      assert.equal(await tab.$("tbody").count(), 0);
    },
  },
  "a key of another tenant sees its own": {
    locked: true,
    refusals: true,
    async run(tab, { locked }) {
      locked.run(ROOT_KEY, "tenants", "create", "other");
      await tab.go("", DIALOG);
      await tab.$("dialog [name=tenant]").fill("other");
      await give(tab, ROOT_KEY);
      await tab.page.waitForSelector(".empty");
      assert.equal(await tab.text("#credential"), "Key for other");
    },
  },
  "what a key does not allow is told": {
    locked: true,
    refusals: true,
    async run(tab, { locked }) {
      const made = JSON.parse(locked.run(ROOT_KEY, "keys", "create", "reader", "--role", "read", "--json"));
      const key = made.secret ?? made.key;
      await tab.go("", DIALOG);
      await give(tab, key);
      await tab.page.waitForSelector("tbody a:text-is('secret')");
      await tab.page.evaluate(() => (location.hash = "#/collection/secret/shards"));
      await tab.page.waitForSelector(".notice");
      assert.match(await tab.text(".notice"), /larger role/);
      assert.equal(await tab.text("h1"), "secret", "the rest of the view stands");
      await tab.page.evaluate(() => (location.hash = "#/erasure"));
      await tab.$("text=Count what would go").click();
      await tab.until("told", () => tab.texts(".notice"), ([text]) => /larger role/.test(text ?? ""));
    },
  },
  "a server that is gone is told": {
    refusals: true,
    async run(tab, { open }) {
      await tab.go("#/collection/words", ".results [role=status]");
      await open.stop();
      await tab.$("button.main").click();
      await tab.until("told", () => tab.texts(".notice"), ([text]) => /does not answer/.test(text ?? ""));
      await tab.$("nav a[href='#/metrics']").click();
      await tab.until("in a new view too", () => tab.texts(".notice"), ([text]) => /does not answer/.test(text ?? ""));
      assert.equal(await tab.$("text=Try again").count(), 1);
    },
  },
};
