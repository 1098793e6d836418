// Runs the checks by name and tells each with its outcome.

import { launch, Tab } from "./browser.mjs";
import { fill, ROOT_KEY } from "./data.mjs";
import { Server } from "./server.mjs";
import * as collections from "./collections.mjs";
import * as credential from "./credential.mjs";
import * as erasure from "./erasure.mjs";
import * as metrics from "./metrics.mjs";
import * as picture from "./picture.mjs";
import * as points from "./points.mjs";
import * as screenshots from "./screenshots.mjs";
import * as shards from "./shards.mjs";

// Erasure changes what others look at, so it comes late.
const SUITES = { collections, points, picture, shards, metrics, screenshots, erasure, credential };
const asked = process.argv.slice(2);
const wrong = asked.filter((name) => !SUITES[name]);
if (wrong.length) {
  console.error(`there is no ${wrong.join(", ")}; there are ${Object.keys(SUITES).join(", ")}`);
  process.exit(1);
}

const [open, locked, browser] = await Promise.all([Server.start(), Server.start({ ENGRAM__AUTH__ROOT_KEY: ROOT_KEY }), launch()]);
let [passed, failed] = [0, 0];
try {
  await fill(open);
  for (const [suite, { checks }] of Object.entries(SUITES)) {
    if (asked.length && !asked.includes(suite)) continue;
    for (const [name, { run, refusals, ...options }] of Object.entries(checks)) {
      const tab = await Tab.open(browser, (options.locked ? locked : open).url, options);
      try {
        await run(tab, { open, locked, browser });
        await tab.close(refusals);
        passed += 1;
        console.log(`ok      ${suite}: ${name}`);
      } catch (error) {
        failed += 1;
        console.log(`FAILED  ${suite}: ${name}\n        ${error.stack.split("\n").slice(0, 8).join("\n        ")}`);
        await tab.shot(`failed-${suite}-${passed + failed}`).catch(() => {});
        await tab.context.close().catch(() => {});
      }
    }
  }
} finally {
  await browser.close();
  await Promise.all([open.stop(), locked.stop()]);
}
console.log(`${passed} passed, ${failed} failed; screenshots are in .work/screenshots`);
process.exit(failed ? 1 : 0);
