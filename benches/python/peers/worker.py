"""One library in a process of its own: commands as JSON lines on stdin, answers on stdout.

{"cmd":"build"} -> build_s, mem_mb, mapped_mb; {"cmd":"search","ef":N,"repeat":R} -> recall, qps, ...; {"cmd":"exit"}.

Memory is the growth of RssAnon over the process as it was with the library imported and before the index was built. The
input is a mapped file, so it is no part of that, and what the build freed is given back by malloc_trim first. Libraries
that keep their index in files are opened anew by a process that did not build; what they map is told apart.
"""

import argparse
import ctypes
import gc
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from libraries import K, LIBRARIES, Unusable

# The kernel says kB and means KiB; a MB here is a million bytes, as in our own program.
MB_OF_KIB = 1024 / 1e6


def anonymous_mb():
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * MB_OF_KIB


def mapped_mb(folder):
    """Resident part of mapped files below a folder."""
    total, ours = 0, False
    with open("/proc/self/smaps", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("Rss:"):
                total += int(line.split()[1]) if ours else 0
            elif not line.split(" ", 1)[0].endswith(":"):
                ours = folder in line
    return total * MB_OF_KIB


def trim():
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass


class Truth:
    """Counts hits: the true ten, and whatever is no farther than the tenth of them."""

    # Sums of another order differ in the last bits.
    TOLERANCE = np.float32(1e-6)

    def __init__(self, base, queries, neighbors, metric):
        self.base, self.queries, self.neighbors, self.metric = base, queries, neighbors, metric
        self.limit = self.distances(np.arange(len(queries)), neighbors[:, K - 1])
        self.limit = self.limit + np.abs(self.limit) * self.TOLERANCE

    def distances(self, query_rows, base_rows):
        vectors, queries = np.asarray(self.base[base_rows]), self.queries[query_rows]
        if self.metric == "cosine":
            return np.float32(1) - np.einsum("ij,ij->i", vectors, queries)
        difference = vectors - queries
        return np.einsum("ij,ij->i", difference, difference)

    def recall(self, ids):
        ids = np.asarray(ids)[:, :K]
        if ids.max(initial=-1) >= len(self.base):
            raise RuntimeError("an answer names a row that the base does not have")
        # An id counts once, whatever the library says how often.
        repeated = np.zeros(ids.shape, bool)
        for at in range(1, ids.shape[1]):
            repeated[:, at] = (ids[:, :at] == ids[:, at : at + 1]).any(1)
        valid = (ids >= 0) & ~repeated
        hit = valid & (ids[:, :, None] == self.neighbors[:, None, :]).any(2)
        rows, columns = np.nonzero(valid & ~hit)
        hit[rows, columns] = self.distances(rows, ids[rows, columns]) <= self.limit[rows]
        return float(hit.sum() / (len(ids) * K))


class Worker:
    def __init__(self, arguments):
        self.arguments = arguments
        self.data = pathlib.Path(arguments.data)
        self.queries = np.load(self.data / "queries.npy")
        self.library = LIBRARIES[arguments.lib](
            arguments.lib, arguments.metric, arguments.threads, arguments.folder, arguments.cpu
        )
        self.library.set_queries(self.queries)
        self.warm = set()

    def base(self):
        # Copy on write: some bindings insist on an array they could write to.
        return np.load(self.data / "base.npy", mmap_mode="c").view(np.ndarray)

    def timed_build(self):
        base = self.base()
        base.sum(dtype=np.float32)  # reads the file: the disk is not measured
        start = [time.perf_counter()]
        # An adapter that first has to write its input as a file of its own kind starts the clock after that.
        self.library.started = lambda: start.__setitem__(0, time.perf_counter())
        self.library.build(base)
        return time.perf_counter() - start[0]

    def build(self):
        self.library.prepare()
        trim()
        before = anonymous_mb()
        if self.library.stored:
            command = [sys.executable, __file__, *sys.argv[1:], "--build-only"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"the process that builds ended with {done.returncode}")
            build_s = json.loads(done.stdout.splitlines()[-1])["build_s"]
            self.library.open(len(self.base()))
        else:
            build_s = self.timed_build()
        base = self.base()
        self.truth = Truth(base, self.queries, np.load(self.data / "truth.npy"), self.arguments.metric)
        # The first search makes the visited lists and reads what is mapped; both belong to a running index.
        self.library.run(64)
        trim()
        return {
            "build_s": build_s,
            "mem_mb": max(0.0, anonymous_mb() - before),
            "mapped_mb": mapped_mb(self.arguments.folder),
            "version": importlib.metadata.version(self.library.package),
            "note": self.library.note,
            "per_query_call": self.library.per_query_call,
        }

    def search(self, ef, repeat):
        if ef not in self.warm:
            self.library.run(ef)
            self.warm.add(ef)
        start = time.perf_counter()
        for _ in range(repeat):
            raw = self.library.run(ef)
        took = time.perf_counter() - start
        distances, hops = self.library.effort()
        return {
            "ef": ef,
            "recall": self.truth.recall(self.library.ids(raw)),
            "qps": len(self.queries) * repeat / took,
            "distances": distances,
            "hops": hops,
            "bytes": None,
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", required=True, choices=LIBRARIES)
    parser.add_argument("--data", required=True, help="folder of base.npy, queries.npy and truth.npy")
    parser.add_argument("--folder", required=True, help="folder for what the library writes")
    parser.add_argument("--metric", required=True, choices=["cosine", "euclid"])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cpu", type=int, required=True, help="core that searches are pinned to")
    parser.add_argument("--build-only", action="store_true")
    arguments = parser.parse_args()
    # Libraries print; only answers may go to stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if arguments.build_only:
        worker = Worker(arguments)
        worker.library.prepare()
        answers.write(json.dumps({"build_s": worker.timed_build()}) + "\n")
        answers.flush()
        return
    worker = Worker(arguments)
    for line in sys.stdin:
        command = json.loads(line)
        if command["cmd"] == "exit":
            break
        try:
            if command["cmd"] == "build":
                answer = worker.build()
            else:
                answer = worker.search(command["ef"], command.get("repeat", 1))
        except Unusable as error:
            answer = {"error": str(error)}
        except Exception as error:  # whatever a library throws costs its row, and says why
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    # Not all libraries survive the end of the interpreter, and nothing is left to save.
    os._exit(0)


if __name__ == "__main__":
    main()
