// One collection: its points, shards, picture and definition.

import { collection, get } from "./api.js";
import { bytes, count, json, make, table } from "./dom.js";
import { showPicture } from "./picture.js";
import { showPoints } from "./points.js";

const TABS = { points: ["Points", showPoints], shards: ["Regions and shards", showShards], picture: ["Picture", showPicture], info: ["Definition", showInfo] };

export async function showCollection(view, [name, tab = "points"], signal) {
  const info = await get(collection(name));
  const links = Object.entries(TABS).map(([id, [title]]) =>
    make("a", { href: `#/collection/${encodeURIComponent(name)}/${id}`, "aria-current": id === tab ? "page" : undefined }, title),
  );
  const body = make("section");
  view.append(make("h1", {}, name), make("div", { class: "tabs" }, ...links), body);
  await (TABS[tab] || TABS.points)[1](body, name, info, signal);
}

async function showShards(view, name) {
  const { collections } = await get(`/engram/v1/stats?collection=${encodeURIComponent(name)}`);
  const shards = collections.flatMap((one) => one.shards);
  const number = (title, value) => ({ title, number: true, cell: (shard) => count(value(shard)) });
  view.append(
    table(
      [
        { title: "Region", cell: (shard) => shard.region },
        number("Bucket", (shard) => shard.bucket),
        number("Points", (shard) => shard.points),
        number("In memory", (shard) => shard.memtable_rows),
        number("Segments", (shard) => shard.segments.length),
        number("In graphs", (shard) => shard.indexed_vectors),
        number("Waiting for one", (shard) => shard.pending_vectors),
        { title: "On disk", number: true, cell: (shard) => bytes(shard.segments.reduce((sum, s) => sum + s.bytes, 0)) },
        { title: "Log", number: true, cell: (shard) => bytes(shard.log_bytes) },
        { title: "State", cell: (shard) => shard.state },
      ],
      shards,
      "Nothing was written to this collection yet.",
    ),
  );
}

function showInfo(view, name, info) {
  view.append(json(info));
}
