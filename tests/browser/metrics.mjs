// Live figures: they move with what the server does.

import assert from "node:assert/strict";

const head = (tab, title) => tab.text(`figure:has(h3:text-is("${title}")) .heads`);

export const checks = {
  "searches move the charts": {
    async run(tab, { open }) {
      await tab.go("#/metrics", "figure");
      assert.equal(await tab.$("figure").count(), 6);
      let busy = true;
      const load = (async () => {
        for (let i = 0; busy; i += 1) await open.call("POST", "/collections/words/points/query", { query: i % 100, limit: 5 });
      })();
      try {
        await tab.until("searches a second", () => head(tab, "Searches per second"), (text) => Number(text.replaceAll(",", "")) > 1);
        await tab.until("their latency", () => head(tab, "Latency of searches"), (text) => /half within [\d.,]+ (µs|ms).*99 % within [\d.,]+ (µs|ms|s)/s.test(text));
        await tab.until("a line", () => tab.$("figure >> nth=0 >> polyline.line").count(), (n) => n === 1);
      } finally {
        busy = false;
        await load;
      }
      const rows = await tab.texts("tr:has(code:text-is('query_points')) td");
      assert.equal(Number(rows[1].replaceAll(",", "")) > 1, true);
      assert.match(await head(tab, "Memory"), /process [\d.]+ MiB/);
    },
  },
  "it pauses, and keeps what it saw": {
    async run(tab) {
      await tab.go("#/metrics", "figure");
      await tab.until("two readings", () => tab.$("figure polyline").count(), (n) => n > 0);
      await tab.$("text=Pause").click();
      assert.match(await tab.text(".top [role=status]"), /paused/);
      await tab.$("nav a[href='#/']").click();
      await tab.page.waitForSelector("h1:text-is('Collections')");
      await tab.$("nav a[href='#/metrics']").click();
      await tab.page.waitForSelector("figure");
      assert.equal((await tab.$("figure polyline").count()) > 0, true);
    },
  },
};
