// What /metrics said in the last minutes. It is kept while the tab lives, so that going to another view loses nothing.

import { text } from "./api.js";
import { buckets, parse, quantile, total } from "./exposition.js";

export const WINDOW_MS = 5 * 60_000;
const NAME = "engram_request_seconds";

// Requests that search, of both interfaces.
const SEARCH = /^(query_points|query_batch_points|query_points_groups|search_points|search_batch_points|Points\/(Search|BatchSearch|Query|QueryBatch|BatchQuery|QueryGroups|SearchGroups))$/;
const isSearch = { method: (method) => SEARCH.test(method ?? "") };
const failed = { code: (code) => ["internal", "unavailable", "unknown", "data_loss"].includes(code) };

export const history = [];
let before = null;

// One line of the charts, from two readings that follow each other.
function between(now, past) {
  const span = (now.time - past.time) / 1000;
  const rate = (name, wanted) => Math.max(0, total(now.families, name, wanted) - total(past.families, name, wanted)) / span;
  const [searches, old] = [buckets(now.families, NAME, isSearch), buckets(past.families, NAME, isSearch)];
  const syncs = rate("engram_log_appends");
  return {
    time: now.time,
    sync: syncs ? rate("engram_log_append_seconds") / syncs : NaN,
    searches: rate("engram_searches"),
    requests: rate("engram_requests"),
    failures: rate("engram_requests", failed),
    written: rate("engram_points_written"),
    median: quantile(searches, old, 0.5),
    slow: quantile(searches, old, 0.99),
    resident: total(now.families, "engram_resident_bytes"),
    memtables: total(now.families, "engram_memtable_bytes"),
  };
}

export async function take(signal) {
  const now = { families: parse(await text("/metrics", signal)), time: Date.now() };
  // Counters that went back are those of a server that was started anew.
  const restarted = before && total(now.families, "engram_requests") < total(before.families, "engram_requests");
  if (before && !restarted && now.time > before.time) {
    // Nobody looked for a while: that is a gap, not a slow slope.
    if (now.time - before.time < 20_000) history.push(between(now, before));
    else history.push({ time: now.time });
  }
  while (history.length && now.time - history[0].time > WINDOW_MS) history.shift();
  before = now;
  return now;
}

// Rows of the table of methods: how many, how many failed, and quantiles since the server was started.
export function methods(families) {
  const rows = new Map();
  for (const { labels, value } of families.get("engram_requests")?.samples ?? []) {
    const row = rows.get(labels.method) ?? { method: labels.method, calls: 0, refused: 0 };
    row.calls += value;
    if (labels.code !== "ok") row.refused += value;
    rows.set(labels.method, row);
  }
  for (const row of rows.values()) {
    const all = buckets(families, NAME, { method: (method) => method === row.method });
    [row.median, row.slow] = [quantile(all, [], 0.5), quantile(all, [], 0.99)];
  }
  return [...rows.values()].sort((a, b) => b.calls - a.calls);
}
