// A browser that tells what a page must not do: errors on the console, requests to others, breaches of the policy.

import { createRequire } from "node:module";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const { chromium } = createRequire(resolve(".work/browser/package.json"))("playwright-core");
const SOURCE = "node/src/rest/dashboard";
const SHOTS = ".work/screenshots";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const KINDS = { css: "text/css", js: "text/javascript", html: "text/html" };
// What the browser writes of each answer that is a refusal, or does not come; the checks cause some.
const REFUSED = /^Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_CONNECTION_REFUSED)/;

export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };

export const launch = () => chromium.launch({ executablePath: process.env.ENGRAM_CHROMIUM, args: FLAGS });

export class Tab {
  static async open(browser, url, { viewport = WIDE, colorScheme = "light" } = {}) {
    const tab = new Tab();
    const context = await browser.newContext({ viewport, colorScheme });
    Object.assign(tab, { context, url, page: await context.newPage(), wrong: [], refusals: 0 });
    tab.page.setDefaultTimeout(15_000);
    tab.page.on("console", (message) => tab.heard(message));
    tab.page.on("pageerror", (error) => tab.wrong.push(`error: ${error.message}`));
    tab.page.on("request", (request) => {
      if (!/^(data|blob):/.test(request.url()) && new URL(request.url()).origin !== url) tab.wrong.push(`request to ${request.url()}`);
    });
    if (process.env.ENGRAM_PAGE === "tree") await tab.fromTree();
    return tab;
  }

  heard(message) {
    if (message.type() !== "error" && message.type() !== "warning") return;
    if (REFUSED.test(message.text())) this.refusals += 1;
    else this.wrong.push(`console: ${message.text()}`);
  }

  async fromTree() {
    const policy = (await fetch(`${this.url}/dashboard`)).headers.get("content-security-policy");
    await this.page.route(`${this.url}/dashboard**`, (route) => {
      const name = new URL(route.request().url()).pathname.split("/")[2] || "index.html";
      const file = join(SOURCE, name);
      if (!existsSync(file)) return route.fulfill({ status: 404 });
      return route.fulfill({ body: readFileSync(file), headers: { "content-type": `${KINDS[name.split(".").pop()]}; charset=utf-8`, "content-security-policy": policy } });
    });
  }

  // A view, once its heading stands.
  async go(hash = "", heading = "h1") {
    await this.page.goto("about:blank");
    await this.page.goto(`${this.url}/dashboard${hash}`);
    await this.page.waitForSelector(heading);
  }

  $(selector) {
    return this.page.locator(selector);
  }

  async text(selector) {
    return (await this.$(selector).first().innerText()).trim();
  }

  async texts(selector) {
    return (await this.$(selector).allInnerTexts()).map((text) => text.trim());
  }

  // Waits for what comes by itself; the last value is told where it does not come.
  async until(what, read, good) {
    const end = Date.now() + 15_000;
    let value = await read();
    while (!good(value)) {
      if (Date.now() > end) throw new Error(`${what}: ${JSON.stringify(value)?.slice(0, 400)}`);
      await this.page.waitForTimeout(50);
      value = await read();
    }
    return value;
  }

  async shot(name) {
    mkdirSync(SHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
  }

  async close(refusals = false) {
    const hit = await this.page.evaluate(() => window.__hit).catch(() => undefined);
    await this.context.close();
    if (hit) this.wrong.push("a payload was run");
    if (this.refusals && !refusals) this.wrong.push(`${this.refusals} requests were refused`);
    if (this.wrong.length) throw new Error(this.wrong.join("; "));
  }
}
