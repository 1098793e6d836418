// All collections of the tenant.

import { collection, get } from "./api.js";
import { count, make, table } from "./dom.js";

export function vectorText(params) {
  const dense = params.vectors && params.vectors.size !== undefined ? { "": params.vectors } : params.vectors || {};
  const texts = Object.entries(dense).map(([name, p]) => `${name || "default"}: ${p.size}, ${p.distance}${p.multivector_config ? ", multi" : ""}`);
  return texts.concat(Object.keys(params.sparse_vectors || {}).map((name) => `${name}: sparse`)).join("; ") || "none";
}

export async function showCollections(view) {
  const { collections } = await get("/collections");
  const rows = await Promise.all(collections.map(async ({ name }) => ({ name, info: await get(collection(name)) })));
  view.append(
    make("h1", {}, "Collections"),
    table(
      [
        { title: "Name", cell: (row) => make("a", { href: `#/collection/${encodeURIComponent(row.name)}` }, row.name) },
        { title: "Points", number: true, cell: (row) => count(row.info.points_count ?? 0) },
        { title: "Vectors", text: true, cell: (row) => vectorText(row.info.config.params) },
        { title: "Segments", number: true, cell: (row) => count(row.info.segments_count) },
        { title: "State", cell: (row) => make("span", { class: row.info.status === "green" ? "good" : "quiet" }, row.info.status) },
      ],
      rows,
      "There is no collection yet. Load one: engram load FILE.parquet --collection NAME --create",
    ),
  );
}
