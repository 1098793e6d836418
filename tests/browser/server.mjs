// Real servers: ports and folders of their own, ended by their own process.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_MS = 60_000;
const program = process.env.ENGRAM_BIN;

export class Server {
  static async start(settings = {}) {
    const home = mkdtempSync(join(tmpdir(), "engram-dashboard-"));
    const [ready, log] = [join(home, "ready"), join(home, "server.log")];
    const out = openSync(log, "w");
    const env = { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ENGRAM__"))), ...settings };
    const flags = ["serve", "--data-dir", join(home, "data"), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-file", ready];
    const child = spawn(program, flags, { env, stdio: ["ignore", out, out] });
    const until = Date.now() + READY_MS;
    // It is put in place as a whole.
    while (!existsSync(ready)) {
      if (child.exitCode !== null || Date.now() > until) throw new Error(`the server did not start: ${readFileSync(log, "utf8").slice(-2000)}`);
      await new Promise((done) => setTimeout(done, 20));
    }
    const { grpc, http } = JSON.parse(readFileSync(ready, "utf8"));
    return Object.assign(new Server(), { child, home, url: `http://${http}`, grpc: `http://${grpc}` });
  }

  // A command of the same program against this server.
  run(key, ...words) {
    const env = { ...process.env, ENGRAM_SERVER: this.grpc, ...(key ? { ENGRAM_API_KEY: key } : {}) };
    return execFileSync(program, words, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  async call(method, path, body, key) {
    const headers = { "content-type": "application/json", ...(key ? { "api-key": key } : {}) };
    const answer = await fetch(this.url + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()).result;
  }

  async stop() {
    if (this.child.exitCode === null) {
      const gone = new Promise((done) => this.child.once("exit", done));
      this.child.kill("SIGTERM");
      await gone;
    }
    rmSync(this.home, { recursive: true, force: true });
  }
}
