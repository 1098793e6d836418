"""benches/run hybrid: loads a set into a server of its own and compares its answers with brute force."""

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
from peers import data

COLLECTION = "hybrid"
K = 10
# Answers of each kind that are fused, and the constant of the fusion: the server's default.
EACH, RRF_K = 100, 2
GOAL = 0.95
# Seconds: of one call, and until the indexes are built.
PATIENCE, BUILT_WITHIN = 120, 900


class Rest:
    """One connection that stays open."""

    def __init__(self, address: str):
        self.connection = http.client.HTTPConnection(address, timeout=PATIENCE)

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
    deadline = time.monotonic() + BUILT_WITHIN
    while (status := rest.call("GET", path)["result"]["status"]) != "green":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} is still {status} after {BUILT_WITHIN} s")
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


def texts_of(path: Path, field: str) -> list[str]:
    """A column of texts."""
    if field not in pq.read_schema(path).names:
        raise data.Unavailable(f"{path} has no column {field!r}; name one with --field")
    return pq.read_table(path, columns=[field]).column(field).to_pylist()


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


def compare(arguments: argparse.Namespace) -> dict:
    """The figures of a run, by kind of search."""
    files = data.find(arguments.data)
    queries = data.column(files["queries"], "vector")[: arguments.most_queries].astype(np.float32)
    texts = texts_of(files["queries"], arguments.field)[: arguments.most_queries]
    stored = data.column(files["base"], "vector").astype(np.float32)
    words = texts_of(files["base"], arguments.field)
    rows = {point: row for row, point in enumerate(pq.read_table(files["base"], columns=["id"]).column("id").to_pylist())}
    with server.listening() as addresses:
        rest = Rest(addresses["http"])
        seconds = load(rest, addresses["grpc"], files["base"], arguments.field, stored.shape[1])
        print(f"hybrid: {len(rows)} points, {len(queries)} queries, k {K}, {EACH} of each kind fused by RRF with k {RRF_K}")
        print(f"  loaded, indexed and flushed in {seconds:.1f} s; searches over REST, one client, {arguments.rounds} rounds")
        found, times = measure(rest, [bodies(*pair, arguments.field) for pair in zip(queries, texts, strict=True)], arguments.rounds)
    return report(overlaps(found, rows, Dense(stored), Words(words), queries, texts), times)


def main() -> int:
    """0 where each overlap is at least the goal."""
    parser = argparse.ArgumentParser(prog="benches/run hybrid", description=__doc__)
    parser.add_argument("--data", default="wordnet", help="a set with ids and texts, or a folder with *base.parquet, *queries.parquet, *truth.parquet")
    parser.add_argument("--field", default="gloss", help="column with the text")
    parser.add_argument("--most-queries", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3, help="passes over the queries whose times are taken")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file too")
    arguments = parser.parse_args()
    try:
        figures = compare(arguments)
    except data.Unavailable as error:
        sys.exit(f"benches/run hybrid: {error}")
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(figure["overlap"] < GOAL for figure in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
