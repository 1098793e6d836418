// Live figures out of /metrics: charts of the last minutes, requests by method, and everything else in a table.

import { badge, button, make, table } from "./dom.js";
import { bytes, count, seconds, short } from "./format.js";
import { chart } from "./chart.js";
import { total } from "./exposition.js";
import { history, methods, take, WINDOW_MS } from "./readings.js";

const EVERY_MS = 2000;

const CHARTS = [
  { title: "Searches per second", unit: short, lines: [["", "searches", "Searches answered, those of batches counted each"]] },
  { title: "Latency of searches", unit: seconds, lines: [["half within", "median", "p50, from the histogram of request times"], ["99 % within", "slow", "p99, from the histogram of request times"]] },
  { title: "Points written per second", unit: short, lines: [["", "written", "Points that writes reached"]] },
  { title: "Requests per second", unit: short, lines: [["all", "requests", "All requests of both interfaces"], ["failed", "failures", "Those that failed by the server's fault"]] },
  { title: "Time of a sync of the log", unit: seconds, lines: [["mean", "sync", "Appends to logs, each with one sync"]] },
  { title: "Memory", unit: bytes, binary: true, lines: [["process", "resident", "Resident memory of the process"], ["memtables", "memtables", "Bytes that are not in segments yet"]] },
];

const METHODS = [
  { title: "Request", cell: (row) => make("code", {}, row.method) },
  { title: "Calls", number: true, cell: (row) => count(row.calls) },
  { title: "Not answered with ok", number: true, cell: (row) => count(row.refused) },
  { title: "Half within", number: true, cell: (row) => seconds(row.median) },
  { title: "99 % within", number: true, cell: (row) => seconds(row.slow) },
];

function figure([name, family]) {
  const value = total(new Map([[name, family]]), name);
  if (/seconds$/.test(name)) return seconds(value);
  return /bytes$/.test(name) ? bytes(value) : short(value);
}

const FIGURES = [
  { title: "Figure", cell: ([name]) => make("code", {}, name) },
  { title: "Value", number: true, cell: figure },
  { title: "Meaning", text: true, cell: ([, family]) => family.help },
];

// True neighbours found, of those that answers were compared with in idle time.
function recall(families) {
  const checked = total(families, "engram_recall_checked");
  return checked ? `${(total(families, "engram_recall_hits") / checked).toFixed(4)}` : "–";
}

function tiles(families) {
  const sum = (name) => total(families, name);
  const poisoned = sum("engram_shards_poisoned");
  const tile = (title, value, about) => make("div", { class: "tile", title: about }, make("span", { class: "quiet" }, title), make("b", {}, value));
  return [
    tile("Collections", count(sum("engram_collections"))),
    tile("Open shards", count(sum("engram_shards_open"))),
    tile("Live recall", recall(families), "Sampled searches, run again beside their exact form in idle time"),
    tile("Memory", bytes(sum("engram_resident_bytes"))),
    tile("Open files", count(sum("engram_open_files"))),
    tile("Refusing writes", poisoned ? badge("bad", count(poisoned)) : "0", "Shards after a failed sync"),
  ];
}

export async function showMetrics(view, { signal }) {
  const charts = CHARTS.map((one) => ({ ...chart({ ...one, most: WINDOW_MS }), lines: one.lines }));
  const [state, top, calls, figures] = [make("span", { class: "quiet", role: "status" }), make("div", { class: "tiles small" }), make("div"), make("div")];
  let held = false;
  const hold = button("Pause", () => {
    held = !held;
    hold.textContent = held ? "Go on" : "Pause";
    tell();
  });
  const tell = () => (state.textContent = held ? "paused" : `every ${EVERY_MS / 1000} s · the last ${WINDOW_MS / 60_000} minutes`);
  view.append(
    make("div", { class: "top" }, make("h1", {}, "Metrics"), state, hold),
    top,
    make("div", { class: "charts" }, ...charts.map(({ element }) => element)),
    make("h2", {}, "Requests since the start"),
    calls,
    make("h2", {}, "All figures"),
    make("p", { class: "quiet" }, "The same for a scraper: ", make("a", { href: "/metrics" }, "/metrics")),
    figures,
  );

  async function tick() {
    const { families } = await take(signal);
    top.replaceChildren(...tiles(families));
    const times = history.map(({ time }) => time);
    const values = (key) => history.map((one) => one[key] ?? NaN);
    for (const { show, lines } of charts) show(times, lines.map(([name, key, about]) => ({ name, about, values: values(key) })));
    // Somebody who reads or marks a part of a table keeps it.
    if (String(getSelection())) return;
    calls.replaceChildren(table(METHODS, methods(families), "No request was answered yet."));
    const plain = [...families].filter(([, family]) => ["counter", "gauge"].includes(family.kind));
    figures.replaceChildren(table(FIGURES, plain, "There are no figures."));
    tell();
  }

  const again = async () => {
    if (held || document.hidden) return;
    try {
      await tick();
    } catch (error) {
      if (!signal.aborted) state.replaceChildren(badge("bad", error.message));
    }
  };
  // The first rates need two readings: they come soon after each other.
  await take(signal);
  await new Promise((done) => setTimeout(done, 200));
  await tick();
  const timer = setInterval(again, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}
