"""benches/run vectordbbench: a custom set of VectorDBBench from the WordNet files, then its own command line; nothing is fetched."""

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
from peers import data


def lists(matrix: np.ndarray, kind: type) -> pa.ListArray:
    """Rows as a column of lists, as VectorDBBench reads it."""
    ends = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(matrix.astype(kind).ravel()))


def prepare(files: dict[str, Path], folder: Path) -> tuple[int, int]:
    """Writes train, test and neighbors; the number of rows and their components."""
    base, queries = (data.column(files[part], "vector") for part in ("base", "queries"))
    truth = data.column(files["truth"], "neighbors")
    ids = pq.read_table(files["base"], columns=["id"]).column("id").cast(pa.int64())
    numbers = pa.array(range(len(queries)), pa.int64())
    write = lambda name, **columns: pq.write_table(pa.table(columns), folder / f"{name}.parquet")  # noqa: E731
    write("train", id=ids, emb=lists(base, np.float32))
    write("test", id=numbers, emb=lists(queries, np.float32))
    write("neighbors", id=numbers, neighbors_id=lists(truth, np.int64))
    return base.shape


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
    parser = argparse.ArgumentParser(prog="benches/run vectordbbench", description=__doc__)
    parser.add_argument("--data", default="wordnet", help="a set with ids, or a folder with *base.parquet, *queries.parquet, *truth.parquet")
    parser.add_argument("--work", type=Path, default=data.tool_folder() / "vectordbbench", help="folder for the set and the results")
    parser.add_argument("--clients", default="1,8", help="numbers of concurrent clients")
    parser.add_argument("--seconds", type=int, default=30, help="length of each search phase")
    parser.add_argument("--out", type=Path, help="write its figures to this JSON file too")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    try:
        rows, dimension = prepare(data.find(arguments.data), arguments.work)
    except data.Unavailable as error:
        sys.exit(f"benches/run vectordbbench: {error}")
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
