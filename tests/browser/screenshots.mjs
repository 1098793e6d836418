// Every view in light and dark, narrow and wide: nothing stands out at the side; the pictures are for people.

import assert from "node:assert/strict";
import { HOSTILE, LONG } from "./data.mjs";
import { NARROW, Tab, WIDE } from "./browser.mjs";

const at = (name, tab) => `#/collection/${encodeURIComponent(name)}/${tab}`;
const VIEWS = {
  collections: ["", "table"],
  points: [at("words", "points"), ".results table"],
  nearest: [`${at("articles", "points")}?like=5&using=body`, ".results table"],
  hostile: [at(HOSTILE, "points"), ".results table"],
  "long-name": [at(LONG, "points"), ".results .empty"],
  picture: [at("articles", "picture"), ".legend button"],
  shards: [at("articles", "shards"), "table"],
  definition: [at("articles", "definition"), "table"],
  erasure: ["#/erasure", "h1"],
  metrics: ["#/metrics", "figure"],
};

async function all({ browser, open }, viewport, colorScheme) {
  const tab = await Tab.open(browser, open.url, { viewport, colorScheme });
  for (const [name, [hash, ready]] of Object.entries(VIEWS)) {
    await tab.go(hash, ready);
    if (name === "points") {
      await tab.$("button.open").nth(1).click();
      await tab.page.waitForSelector(".point .bars");
    }
    const over = await tab.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(over <= 0, true, `${name} is ${over} px too wide for ${viewport.width} px`);
    await tab.page.evaluate(() => scrollTo(0, 0));
    await tab.shot(`${name}-${colorScheme}-${viewport.width}`);
  }
  await tab.close();
}

export const checks = Object.fromEntries(
  [WIDE, NARROW].flatMap((viewport) =>
    ["light", "dark"].map((scheme) => [`${scheme}, ${viewport.width} px`, { run: (_tab, servers) => all(servers, viewport, scheme) }]),
  ),
);
