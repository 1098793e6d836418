"""Measures Python clients of Engram and of other databases in turns; `benches/run clients` calls it.

Takes one JSON object as its only argument and prints one: for each database its version, settings, the ids it found and
the laps of each number of clients, or why it is missing.
"""

import contextlib
import importlib
import json
import multiprocessing
import pathlib
import sys
import tempfile
import time

import numpy as np

from clients import worker
from clients.process import Missing
from peers.data import Unavailable, column

MODULES = {"engram": "engram_grpc", "pgvector": "pgvector_sql", "chroma": "chroma_http"}
# Queries that an effort is chosen with.
SAMPLE = 500
ANSWER_WITHIN = 600.0


class Client:
    """A client process and the pipe to it."""

    def __init__(self, module, target, queries_file):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker.serve, args=(theirs, module, target, queries_file), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, *command):
        self.pipe.send(command)

    def answer(self):
        if not self.pipe.poll(ANSWER_WITHIN):
            raise RuntimeError("a client does not answer")
        try:
            said = self.pipe.recv()
        except EOFError as error:
            raise RuntimeError("a client ended") from error
        if isinstance(said, Exception):
            raise said
        return said

    def close(self):
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


class Measured:
    """One database in the run."""

    def __init__(self, name, job, data, folder):
        self.name, self.job, self.data, self.missing = name, job, data, None
        self.module = MODULES[name]
        folder.mkdir()
        self.database = importlib.import_module(f"clients.{self.module}").Database(job, folder)
        self.clients, self.ids, self.laps, self.load_s, self.effort = [], [], {}, None, None

    def attempt(self, step):
        """Runs one step; one that fails ends this database's part in the run, and no other's."""
        if self.missing is not None:
            return
        try:
            step()
        except Missing as error:
            self.missing = str(error)
        except Exception as error:  # Client libraries raise what they like.
            self.missing = f"{type(error).__name__}: {error}"
        if self.missing is not None:
            print(f"{self.name}: {self.missing}", file=sys.stderr)

    def prepare(self):
        self.database.start()
        start = time.monotonic()
        if self.name != "engram":
            print(f"loading {self.name}", file=sys.stderr)
            self.database.load(self.data["ids"], self.data["base"])
            self.load_s = time.monotonic() - start
        self.choose()
        target = self.database.target(self.effort)
        self.clients = [self.client(target) for _ in range(max(self.job["clients"]))]
        [client.answer() for client in self.clients]
        self.clients[0].ask("answers", len(self.data["queries"]))
        self.ids = self.clients[0].answer()

    def client(self, target):
        return Client(self.module, target, self.data["queries_file"])

    def choose(self):
        """Takes the first effort whose recall suffices, else the last one."""
        for self.effort in self.database.efforts:
            if len(self.database.efforts) == 1:
                return
            client = self.client(self.database.target(self.effort))
            try:
                client.answer()
                client.ask("answers", SAMPLE)
                found = client.answer()
            finally:
                client.close()
            if recall(found, self.data["true_ids"]) >= self.job["recall"]:
                return

    def lap(self, count, round_number):
        clients = self.clients[:count]
        for number, client in enumerate(clients):
            first = (round_number * 997 + number * 251) % len(self.data["queries"])
            client.ask("lap", self.job["seconds"], first)
        laps = [client.answer() for client in clients]
        times = np.concatenate([times for times, _ in laps])
        qps = sum(len(times) / seconds for times, seconds in laps)
        lap = {"qps": qps, "p50_us": float(np.quantile(times, 0.5)), "p99_us": float(np.quantile(times, 0.99))}
        self.laps.setdefault(str(count), []).append(lap)

    def close(self):
        for client in self.clients:
            client.close()
        self.database.stop()

    def report(self):
        if self.missing is not None:
            return {"name": self.name, "missing": self.missing}
        return {
            "name": self.name,
            "version": self.database.version,
            "settings": self.database.settings(self.effort),
            "load_s": self.load_s,
            "laps": self.laps,
            "ids": self.ids,
        }


def recall(found, truth):
    """Share of the true ids among those found."""
    return sum(len(set(ids) & true) for ids, true in zip(found, truth)) / (worker.K * max(len(found), 1))


def read(job, folder):
    """Ids, vectors, queries and truth."""
    import pyarrow.parquet as pq

    ids = pq.read_table(job["base"], columns=["id"]).column("id").to_numpy()
    queries = np.ascontiguousarray(column(job["queries"], "vector")[: job["most_queries"]], dtype=np.float32)
    np.save(folder / "queries.npy", queries)
    rows = column(job["truth"], "neighbors")[: len(queries), : worker.K].astype(np.int64)
    return {
        "ids": ids,
        "base": np.ascontiguousarray(column(job["base"], "vector"), dtype=np.float32),
        "queries": queries,
        "queries_file": str(folder / "queries.npy"),
        "true_ids": [set(ids[row].tolist()) for row in rows],
    }


def main():
    job = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="engram-bench-clients-", dir=job["folder"]) as name:
        folder = pathlib.Path(name)
        data = read(job, folder)
        databases = [Measured(name, job, data, folder / name) for name in job["databases"]]
        try:
            for database in databases:
                database.attempt(database.prepare)
            for round_number in range(job["rounds"] + 1):
                for database in databases:
                    for count in job["clients"]:
                        database.attempt(lambda: database.lap(count, round_number))
            for database in databases:
                # The first round warms up.
                database.laps = {count: laps[1:] for count, laps in database.laps.items()}
        finally:
            for database in databases:
                database.close()
        print(json.dumps([database.report() for database in databases]))


if __name__ == "__main__":
    try:
        main()
    except Unavailable as error:
        sys.exit(f"benches/run clients: {error}")
