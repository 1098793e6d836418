"""python -m hybrid: loads a set into a server of its own and compares its answers with brute force."""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import server
from hybrid.brute import Dense, Words, fused, hits

COLLECTION = "hybrid"
K = 10
# Answers of each kind that are fused, and the constant of the fusion: the server's default.
EACH, RRF_K = 100, 2
GOAL = 0.95


class Rest:
    """One connection that stays open."""

    def __init__(self, address: str):
        self.connection = http.client.HTTPConnection(address)

    def call(self, method: str, path: str, body: object = None) -> dict:
        self.connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:500].decode()}")
        return json.loads(said)


def load(rest: Rest, grpc: str, base: Path, field: str, dimension: int) -> float:
    """Seconds until all is loaded and searched by its indexes."""
    start = time.monotonic()
    path = f"/collections/{COLLECTION}"
    rest.call("PUT", path, {"vectors": {"size": dimension, "distance": "Cosine"}})
    rest.call("PUT", f"{path}/index", {"field_name": field, "field_schema": {"type": "text", "tokenizer": "word"}})
    command = [server.program(), "load", base, "--collection", COLLECTION, "--region", "default", "--server", f"http://{grpc}"]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    rest.call("POST", "/engram/v1/flush", {"collection": COLLECTION})
    while rest.call("GET", path)["result"]["status"] != "green":
        time.sleep(0.1)
    return time.monotonic() - start


def bodies(query: np.ndarray, text: str, field: str) -> dict[str, dict]:
    """The three searches of a query."""
    dense = {"query": query.tolist()}
    bm25 = {"query": {"text": text}, "using": field}
    both = {"prefetch": [dense | {"limit": EACH}, bm25 | {"limit": EACH}], "query": {"rrf": {"k": RRF_K}}}
    return {name: body | {"limit": K} for name, body in (("dense", dense), ("bm25", bm25), ("rrf", both))}


def measure(rest: Rest, searches: list[dict[str, dict]], rounds: int) -> tuple[dict, dict]:
    """Ids by kind and query; times by kind, in milliseconds, with the server's own. Kinds take turns."""
    found: dict[str, list[list[int]]] = {kind: [] for kind in searches[0]}
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in searches[0]}
    path = f"/collections/{COLLECTION}/points/query"
    for lap in range(rounds):
        for search in searches:
            for kind, body in search.items():
                start = time.perf_counter()
                answer = rest.call("POST", path, body)
                times[kind].append(((time.perf_counter() - start) * 1e3, answer["time"] * 1e3))
                if lap == 0:
                    found[kind].append([point["id"] for point in answer["result"]["points"]])
    return found, times


def overlaps(found: dict, rows: dict[int, int], dense: Dense, text: Words, queries: np.ndarray, texts: list[str]) -> dict:
    """Mean share of the true answers that were found, by kind."""
    sums = dict.fromkeys(found, 0.0)
    for number, (query, words) in enumerate(zip(queries, texts, strict=True)):
        scores = {"dense": dense.scores(query), "bm25": text.scores(words)}
        scores["rrf"] = fused([scores["dense"], scores["bm25"]], EACH, RRF_K)
        for kind, lists in found.items():
            sums[kind] += hits([rows[point] for point in lists[number]], scores[kind], K)
    return {kind: total / len(queries) for kind, total in sums.items()}


def vectors(values) -> np.ndarray:
    flat = values.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(values), -1).astype(np.float32)


def report(shares: dict, times: dict) -> dict:
    """Prints a line for each kind; the same as figures."""
    figures = {}
    for kind, share in shares.items():
        whole, inside = np.array(times[kind]).T
        figure = {"overlap": share, "p50_ms": float(np.median(whole)), "p99_ms": float(np.quantile(whole, 0.99))}
        figure |= {"server_p50_ms": float(np.median(inside)), "server_p99_ms": float(np.quantile(inside, 0.99))}
        figures[kind] = figure
        verdict = "" if share >= GOAL else f"  BELOW {GOAL}"
        print(
            f"  {kind:6} overlap@{K} {share:.4f}{verdict}; p50 {figure['p50_ms']:.2f} ms, p99 {figure['p99_ms']:.2f} ms;"
            f" of it the server p50 {figure['server_p50_ms']:.2f} ms, p99 {figure['server_p99_ms']:.2f} ms"
        )
    return figures


def main() -> int:
    """0 where each overlap is at least the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="Parquet file with id, vector and text")
    parser.add_argument("--queries", type=Path, required=True, help="Parquet file with vector and text")
    parser.add_argument("--field", default="gloss", help="column with the text")
    parser.add_argument("--most-queries", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3, help="passes over the queries whose times are taken")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file too")
    arguments = parser.parse_args()
    base = pq.read_table(arguments.base, columns=["id", "vector", arguments.field])
    wanted = pq.read_table(arguments.queries, columns=["vector", arguments.field]).slice(0, arguments.most_queries)
    queries, texts = vectors(wanted.column("vector")), wanted.column(arguments.field).to_pylist()
    rows = {point: row for row, point in enumerate(base.column("id").to_pylist())}
    stored = vectors(base.column("vector"))
    with server.listening() as addresses:
        rest = Rest(addresses["http"])
        seconds = load(rest, addresses["grpc"], arguments.base, arguments.field, stored.shape[1])
        print(f"hybrid: {len(rows)} points, {len(queries)} queries, k {K}, {EACH} of each kind fused by RRF with k {RRF_K}")
        print(f"  loaded, indexed and flushed in {seconds:.1f} s; searches over REST, one client, {arguments.rounds} rounds")
        found, times = measure(rest, [bodies(*pair, arguments.field) for pair in zip(queries, texts, strict=True)], arguments.rounds)
    text = Words(base.column(arguments.field).to_pylist())
    figures = report(overlaps(found, rows, Dense(stored), text, queries, texts), times)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(figure["overlap"] < GOAL for figure in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
