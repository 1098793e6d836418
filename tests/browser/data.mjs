// What the servers hold: real words, made articles in regions, names and payloads that would do harm as markup.

import { join } from "node:path";

export const ROOT_KEY = "root-key-of-the-dashboard-test-0123456789";
export const HOSTILE = "<img src=x onerror=window.__hit=1>";
export const LONG = `${"a-long-name-".repeat(20)}end`;
export const LARGE_ID = "18446744073709551615";
export const SMALL = 60;
const TOPICS = ["physics", "music", "law", "cooking", "chess & <b>bold</b>"];
const DAY_MS = 86_400_000;

// Repeatable numbers between -1 and 1.
function numbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

const path = (name) => `/collections/${encodeURIComponent(name)}`;

export async function fill(server) {
  server.run("", "load", join("datasets", "data", "wordnet-5k.parquet"), "--collection", "words", "--create");
  await server.call("PUT", `${path("words")}/index?wait=true`, { field_name: "gloss", field_schema: { type: "text", tokenizer: "word", lowercase: true } });
  await articles(server);
  await hostile(server);
  for (let i = 0; i < SMALL; i += 1) await server.call("PUT", path(`small-${String(i).padStart(3, "0")}`), { vectors: { size: 4, distance: "Dot" } });
  await server.call("PUT", path(LONG), { vectors: {}, sparse_vectors: { bm25: {} } });
}

// 600 articles in three regions. Those of `eu` that are older than 30 days, 130, are past their time by the rules: hidden,
// and erased by the next purge.
async function articles(server) {
  const next = numbers(7);
  await server.call("PUT", path("articles"), {
    vectors: { title: { size: 16, distance: "Cosine" }, body: { size: 32, distance: "Euclid" }, tokens: { size: 8, distance: "Cosine", multivector_config: { comparator: "max_sim" } } },
    sparse_vectors: { bm25: { modifier: "idf" } },
    metadata: { engram: { regions: ["eu", "us", "ap"], default_region: "eu", shards_per_region: 2, retention: [{ region: "eu", max_age_s: 30 * 86_400 }] } },
  });
  for (const [field_name, field_schema] of [["lang", "keyword"], ["year", "integer"], ["topic", "keyword"]]) {
    await server.call("PUT", `${path("articles")}/index?wait=true`, { field_name, field_schema });
  }
  const middles = TOPICS.map(() => Array.from({ length: 32 }, () => 2 * next()));
  const now = Date.now();
  const points = Array.from({ length: 600 }, (_, id) => {
    const topic = id % TOPICS.length;
    const body = middles[topic].map((x) => x + next());
    return {
      id,
      vector: { title: body.slice(0, 16), body, tokens: [body.slice(0, 8), body.slice(8, 16)], bm25: { indices: [id, 1000 + topic], values: [1, 0.5] } },
      payload: { region: ["eu", "us", "ap"][id % 3], topic: TOPICS[topic], lang: ["en", "de"][id % 2], year: 1990 + (id % 36), text: `article ${id} about ${TOPICS[topic]}`, created_at: now - (id % 90) * DAY_MS },
    };
  });
  await server.call("PUT", `${path("articles")}/points?wait=true`, { points });
}

async function hostile(server) {
  const texts = ["<script>window.__hit=1</script>", '<img src=x onerror="window.__hit=1">', '"><svg onload=window.__hit=1>', "\u202egnp.exe", "a".repeat(3000)];
  await server.call("PUT", path(HOSTILE), { vectors: { size: 4, distance: "Dot" } });
  const points = texts.map((text, id) => ({ id, vector: [id, 1, 2, 3], payload: { text, [text.slice(0, 60)]: text, ...(id % 2 ? {} : { constructor: "own", ["__proto__"]: text }) } }));
  const body = JSON.stringify({ points: [...points, { id: "LARGE", vector: [0, 0, 0, 1], payload: { text: "a large id" } }] }).replace('"LARGE"', LARGE_ID);
  const answer = await fetch(`${server.url}${path(HOSTILE)}/points?wait=true`, { method: "PUT", headers: { "content-type": "application/json" }, body });
  if (!answer.ok) throw new Error(await answer.text());
}
