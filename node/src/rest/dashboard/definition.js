// What a collection was made to hold: vector fields, payload indexes, regions and retention, and all of it as JSON.

import { collection, get } from "./api.js";
import { facts, make, table } from "./dom.js";
import { count, seconds } from "./format.js";
import { json } from "./json.js";
import { vectorFields } from "./collections.js";

const VECTORS = [
  { title: "Field", cell: (field) => field.name || "default" },
  { title: "Kind", cell: (field) => field.kind },
  { title: "Components", number: true, cell: (field) => (field.size ? count(field.size) : "–") },
  { title: "Distance", cell: (field) => field.distance ?? (field.modifier === "idf" ? "dot product, weighed by idf" : "dot product") },
];

const INDEXES = [
  { title: "Payload field", cell: ([name]) => name },
  { title: "Kind", cell: ([, index]) => index.data_type },
  { title: "Points with it", number: true, cell: ([, index]) => count(index.points) },
];

const RULES = [
  { title: "Region", cell: (rule) => rule.region ?? "all" },
  { title: "Points are kept for", cell: (rule) => seconds(rule.max_age_s) },
];

export async function showDefinition(view, { name, info, signal }) {
  const { params, metadata } = info.config;
  const own = metadata?.engram ?? {};
  const { aliases } = await get(`${collection(name)}/aliases`, signal);
  view.append(
    facts([
      ["Aliases", aliases.map((one) => one.alias_name).join(", ") || "none"],
      ["Regions", own.regions?.join(", ")],
      ["Default region", own.default_region],
      ["Shards per region", count(params.shard_number ?? 1)],
      ["Graph layout", own.layout],
    ]),
    make("h2", {}, "Vectors"),
    table(VECTORS, vectorFields(params), "This collection holds no vectors."),
    make("h2", {}, "Payload indexes"),
    table(INDEXES, Object.entries(info.payload_schema), "No payload field is indexed; filters read payloads."),
    ...(own.retention?.length ? [make("h2", {}, "Retention"), table(RULES, own.retention, "")] : []),
    make("h2", {}, "As JSON"),
    json(info),
  );
}
