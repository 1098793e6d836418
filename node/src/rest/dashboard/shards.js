// Where the points of a collection lie: regions, their shards, the segments of those. Read again every few seconds.

import { get } from "./api.js";
import { badge, make, notice, table } from "./dom.js";
import { bytes, count, counted } from "./format.js";

const EVERY_MS = 3000;

const sum = (list, value) => list.reduce((total, one) => total + value(one), 0);
const onDisk = (shard) => sum(shard.segments, (segment) => segment.bytes);

function state(shard) {
  if (shard.state === "poisoned") return badge("bad", "refuses writes");
  return badge(shard.state === "idle" ? "good" : "busy", shard.state);
}

const number = (title, about, value, told = count) => ({ title, about, number: true, cell: (one) => told(value(one)) });

const SHARDS = [
  { title: "Region", cell: (shard) => shard.region },
  number("Bucket", "Which of the region's shards", (shard) => shard.bucket),
  number("Points", "Points that reads see", (shard) => shard.points),
  number("Past their time", "Points that no read sees and that wait to be erased", (shard) => shard.hidden),
  number("In memory", "Points that are not in a segment yet", (shard) => shard.memtable_rows),
  number("Segments", "Immutable files", (shard) => shard.segments.length),
  number("In graphs", "Vectors that a graph is searched for", (shard) => shard.indexed_vectors),
  number("Waiting", "Vectors that wait for a graph", (shard) => shard.pending_vectors),
  number("On disk", "Bytes of segments", onDisk, bytes),
  number("Log", "Bytes of the log", (shard) => shard.log_bytes, bytes),
  number("Epoch", "Fencing number of the owner", (shard) => shard.epoch),
  { title: "State", cell: state },
];

const SEGMENTS = [
  { title: "Shard", cell: ({ shard }) => `${shard.region} ${shard.bucket}` },
  { title: "Segment", cell: ({ segment }) => make("code", {}, segment.id) },
  number("Rows", "Rows with the deleted ones", ({ segment }) => segment.rows),
  number("Deleted", "Rows that hide until the segment is written anew", ({ segment }) => segment.deleted),
  number("Bytes", "All files of the segment", ({ segment }) => segment.bytes, bytes),
  number("Graphs", "Graphs beside it", ({ segment }) => segment.graphs?.length ?? segment.graphs),
];

// Regions that the collection accepts are told also where they hold nothing.
function regionCards(shards, named) {
  const regions = [...new Set([...named, ...shards.map((shard) => shard.region)])];
  const all = sum(shards, (shard) => shard.points) || 1;
  return regions.map((region) => {
    const own = shards.filter((shard) => shard.region === region);
    const points = sum(own, (shard) => shard.points);
    const share = make("meter", { min: 0, max: 1, value: points / all, "aria-label": `Share of ${region}` });
    const hidden = sum(own, (shard) => shard.hidden);
    const waiting = hidden ? ` · ${count(hidden)} more are past their time and wait to be erased` : "";
    const details = `${counted(own.length, "shard")} · ${bytes(sum(own, onDisk) + sum(own, (shard) => shard.log_bytes))} on disk`;
    return make("div", { class: "tile" }, make("span", { class: "quiet" }, region), make("b", {}, counted(points, "point")), share, make("span", { class: "quiet" }, `${Math.round((points / all) * 100)} % · ${details}${waiting}`));
  });
}

export async function showShards(view, { name, info, signal }) {
  const named = info.config.metadata?.engram?.regions ?? [];
  const body = make("div");
  view.append(body);
  let before = "";
  async function fill() {
    const { collections } = await get(`/engram/v1/stats?collection=${encodeURIComponent(name)}`, signal);
    const shards = collections.flatMap((one) => one.shards);
    const now = JSON.stringify(shards);
    // What has not changed is not drawn anew: somebody may have marked a part of it.
    if (now === before) return;
    before = now;
    const segments = shards.flatMap((shard) => shard.segments.map((segment) => ({ shard, segment })));
    const open = body.querySelector("details")?.open ?? segments.length <= 12;
    body.replaceChildren(
      make("div", { class: "tiles" }, ...regionCards(shards, named)),
      make("h2", {}, "Shards"),
      table(SHARDS, shards, "Nothing was written to this collection yet."),
      ...(segments.length ? [make("details", { open }, make("summary", {}, `Segments (${count(segments.length)})`), table(SEGMENTS, segments, ""))] : []),
    );
  }
  await fill();
  const again = () => !document.hidden && fill().catch((error) => !signal.aborted && ((before = ""), body.replaceChildren(notice(error))));
  const timer = setInterval(again, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}
