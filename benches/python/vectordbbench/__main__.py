"""python -m vectordbbench: a custom set of VectorDBBench from the WordNet files, then its own command line; nothing is fetched."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import server


def lists(column: pa.ChunkedArray, kind: type) -> pa.ListArray:
    """A column of lists of one length as VectorDBBench reads it."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(kind)
    width = len(flat) // len(column)
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, width, dtype=np.int32)), pa.array(flat))


def prepare(data: Path, folder: Path) -> tuple[int, int]:
    """Writes train, test and neighbors; the number of rows and their components."""
    find = lambda end: next(data.glob(f"*{end}.parquet"))  # noqa: E731
    base = pq.read_table(find("base"), columns=["id", "vector"])
    queries, truth = pq.read_table(find("queries"), columns=["vector"]), pq.read_table(find("truth"))
    numbers = pa.array(range(len(queries)), pa.int64())
    vectors = lists(base.column("vector"), np.float32)
    write = lambda name, **columns: pq.write_table(pa.table(columns), folder / f"{name}.parquet")  # noqa: E731
    write("train", id=base.column("id").cast(pa.int64()), emb=vectors)
    write("test", id=numbers, emb=lists(queries.column("vector"), np.float32))
    write("neighbors", id=numbers, neighbors_id=lists(truth.column("neighbors"), np.int64))
    return len(base), len(vectors[0])


def command(url: str, folder: Path, rows: int, dimension: int, arguments: argparse.Namespace) -> list[str]:
    custom = {"dir": folder, "name": "wordnet", "size": rows, "dim": dimension, "file-count": 1, "metric-type": "COSINE"}
    options = {f"custom-dataset-{key}": value for key, value in custom.items()}
    options |= {"url": url, "case-type": "PerformanceCustomDataset", "custom-case-name": "WordNet", "db-label": "engram"}
    # The links and candidates of Engram's defaults; without hnsw-ef its own recall target holds.
    options |= {"k": 10, "m": 16, "ef-construct": 128, "hnsw-ef": 0, "task-label": "wordnet"}
    options |= {"num-concurrency": arguments.clients, "concurrency-duration": arguments.seconds}
    program = Path(sys.executable).parent / "vectordbbench"
    return [str(program), "qdrantlocal", *(str(part) for key, value in options.items() for part in (f"--{key}", value))]


def report(results: Path) -> dict:
    """The figures of the only result, printed."""
    metrics = json.loads(next(results.rglob("result_*.json")).read_text())["results"][0]["metrics"]
    milliseconds = lambda seconds: f"{seconds * 1e3:.1f} ms"  # noqa: E731
    print(f"VectorDBBench 2.0, WordNet: loaded and indexed in {metrics['load_duration']:.1f} s, recall@10 {metrics['recall']:.4f}")
    print(f"  one client after the other: p99 {milliseconds(metrics['serial_latency_p99'])}")
    rows = zip(metrics["conc_num_list"], metrics["conc_qps_list"], metrics["conc_latency_p99_list"], strict=True)
    for clients, rate, p99 in rows:
        print(f"  {clients:2} clients in Python: {rate:.0f} QPS, p99 {milliseconds(p99)}")
    return metrics


def main() -> int:
    """0 where VectorDBBench found no fault and the recall is what Engram promises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with *base.parquet, *queries.parquet, *truth.parquet")
    parser.add_argument("--work", type=Path, required=True, help="folder for the set and the results")
    parser.add_argument("--clients", default="1,8", help="numbers of concurrent clients")
    parser.add_argument("--seconds", type=int, default=30, help="length of each search phase")
    parser.add_argument("--out", type=Path, help="write its figures to this JSON file too")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows, dimension = prepare(arguments.data, arguments.work)
    results = arguments.work / "results"
    for old in results.rglob("result_*.json"):
        old.unlink()
    environment = os.environ | {"RESULTS_LOCAL_DIR": str(results), "LOG_FILE": str(arguments.work / "vectordbbench.log")}
    with server.running() as url:
        run = subprocess.run(command(url, arguments.work, rows, dimension, arguments), env=environment, cwd=arguments.work)
    if run.returncode != 0:
        return run.returncode
    metrics = report(results)
    if arguments.out:
        arguments.out.write_text(json.dumps(metrics, indent=2) + "\n")
    return int(metrics["recall"] < 0.97)


if __name__ == "__main__":
    sys.exit(main())
