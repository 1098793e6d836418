"""`benches/peers`: all libraries on one data set in one run. See benches/README.md."""

import argparse
import json
import math
import os
import pathlib
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import data
import report
from libraries import LIBRARIES
from probe import Probe

OURS = ["engram-fast", "engram-compact", "hnsw_rs"]
NAMES = [*OURS, *LIBRARIES]
HERE = pathlib.Path(__file__).resolve().parent
THREADS = 2
BUILD_LIMIT_S, SEARCH_LIMIT_S = 3_600, 300
# What the first pass tries, and where it stops.
FIRST_EFS = [10, 15, 22, 33, 50, 75, 112, 168, 252, 378, 567, 850, 1_275, 1_912, 2_868, 4_302]
# What our own rows call ef is a slack in thousandths, which may be as small as one likes; others need ef >= k.
FIRST_SLACKS = [1, 2, 4, 7]
ENOUGH, SLOW_S = 0.9965, 20.0
# Recalls that the points of a curve are put at: closer where QPS is read off.
TARGETS = [0.85, 0.88, 0.895, 0.905, 0.93, 0.945, 0.955, 0.975, 0.987, 0.992, 0.996]
# A timed search lasts at least so long, by repeating the queries.
MINIMUM_S, MOST_REPEATS = 0.25, 20


class Failed(Exception):
    """A row is lost; says why."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def die_with_parent():
    """In the child: no worker outlives a run that is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Row:
    """A library in its process."""

    def __init__(self, name, command, folder):
        self.name, self.folder = name, folder
        folder.mkdir()
        self.log = folder / "stderr"
        self.points, self.probes, self.efs, self.built = {}, [], [], {}
        self.repeats, self.waits = {}, []
        self.buffer = b""
        with open(self.log, "wb") as log:
            try:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder,
                    preexec_fn=die_with_parent, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
                )
            except OSError as error:
                raise Failed(f"{command[0]}: {error.strerror}") from error

    def ask(self, command, limit):
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Failed(self.last_words()) from error
        answer = self.line(limit)
        try:
            answer = json.loads(answer)
        except ValueError as error:
            raise Failed(f"its answer is no JSON: {answer[:200]!r}") from error
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def line(self, limit):
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            ready = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]
            if not ready:
                self.process.kill()
                raise Failed(f"no answer within {limit} s")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise Failed(self.last_words())
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def last_words(self):
        code = self.process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        # Programs like to end with advice: what went wrong stands above it.
        told = [line for line in lines if "error" in line.lower() or "panicked" in line] or lines
        return f"its process ended with {how}" + (f": {told[-1][-300:]}" if told else "")

    def pin(self, cpu):
        """All threads of the process on one core: pools that a library keeps would be more than one thread."""
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                os.sched_setaffinity(int(task.name), {cpu})
            except ProcessLookupError:
                pass

    def search(self, ef, repeat=1):
        answer = self.ask({"cmd": "search", "ef": ef, "repeat": repeat}, SEARCH_LIMIT_S)
        if not 0 <= answer["recall"] <= 1 or not answer["qps"] > 0:
            raise Failed(f"ef {ef}: recall {answer['recall']}, {answer['qps']} queries a second")
        return answer

    def processor_s(self):
        """Processor time so far, with that of threads and children which have ended."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def build(self, cpu):
        before = self.processor_s()
        self.built = self.ask({"cmd": "build"}, BUILD_LIMIT_S)
        self.built["build_cpu_s"] = round(self.processor_s() - before, 2)
        self.pin(cpu)

    def explore(self, queries):
        """An untimed pass over many ef; chooses those that are measured."""
        curve, flat = [], 0
        for ef in (FIRST_SLACKS if self.name.startswith("engram-") else []) + FIRST_EFS:
            answer = self.search(ef)
            gain = answer["recall"] - curve[-1][1] if curve else 1.0
            flat = flat + 1 if gain < 0.0004 and ef > 100 else 0
            curve.append((ef, answer["recall"]))
            if answer["recall"] >= ENOUGH or queries / answer["qps"] > SLOW_S or flat == 2:
                break
        if curve[-1][1] == 0:
            raise Failed(f"no true neighbour among all answers up to ef {curve[-1][0]}")
        for ef in sorted(choose(curve)):
            answer = self.search(ef)
            self.efs.append(ef)
            self.repeats[ef] = max(1, min(MOST_REPEATS, math.ceil(MINIMUM_S * answer["qps"] / queries)))
            self.points[ef] = []

    def scheduled(self):
        """Nanoseconds that its threads ran, and that they could have run but others had the core."""
        sums = [0, 0]
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                ran, waited = (task / "schedstat").read_text().split()[:2]
            except OSError:
                continue
            sums[0], sums[1] = sums[0] + int(ran), sums[1] + int(waited)
        return sums

    def sweep(self, cpu):
        self.pin(cpu)
        # Others had the caches since: this one is not counted.
        self.search(self.efs[0])
        ran, waited = self.scheduled()
        for ef in self.efs:
            self.points[ef].append(self.search(ef, self.repeats[ef]))
        ran, waited = self.scheduled()[0] - ran, self.scheduled()[1] - waited
        self.waits.append(waited / max(1, ran + waited))

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.write(b'{"cmd":"exit"}\n')
                self.process.stdin.close()
                self.process.wait(timeout=10)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def choose(curve):
    """The ef at which the recalls of TARGETS are to be expected, from a curve of few points."""
    rising, best = [], -1.0
    for ef, recall in curve:
        if recall > best:
            rising.append((math.log(ef), recall))
            best = recall
    chosen = {curve[0][0]} if rising[0][1] > TARGETS[0] else set()
    for target in TARGETS:
        for (ef0, recall0), (ef1, recall1) in zip(rising, rising[1:]):
            if recall0 <= target <= recall1:
                chosen.add(round(math.exp(ef0 + (ef1 - ef0) * (target - recall0) / (recall1 - recall0))))
    if best < TARGETS[-1]:
        chosen.add(round(math.exp(rising[-1][0])))
    return chosen


def command_of(name, files, laid_out, folder, metric, cpu):
    if name in OURS:
        program = os.environ.get("ENGRAM_BENCH_BIN", "")
        reason = os.environ.get("ENGRAM_BENCH_MISSING")
        if reason or not program:
            raise Failed(reason or "no program: start this by benches/peers, or set ENGRAM_BENCH_BIN")
        if not os.access(program, os.X_OK):
            raise Failed(f"ENGRAM_BENCH_BIN names no program: {program}")
        parts = [flag for part in data.PARTS for flag in (f"--{part}", str(files[part].resolve()))]
        program = str(pathlib.Path(program).resolve())
        return [program, "index", "--engine", name, *parts, "--metric", metric, "--threads", str(THREADS)]
    return [
        sys.executable, str(HERE / "worker.py"), "--lib", name, "--data", str(laid_out), "--folder", str(folder),
        "--metric", metric, "--threads", str(THREADS), "--cpu", str(cpu),
    ]


def measure(rows, missing, rounds, probe, cpu):
    """Rounds in which all libraries take turns; the order moves on each time."""
    for turn in range(rounds):
        order = list(rows)
        shift = turn * max(1, len(order) // rounds) % max(1, len(order))
        for row in order[shift:] + order[:shift]:
            try:
                row.probes.append(probe.read())
                row.sweep(cpu)
            except Failed as error:
                say(f"{row.name}: {error}")
                missing[row.name] = str(error)
                rows.remove(row)
                row.close()
        say(f"round {turn + 1} of {rounds} done")


def points_of(row):
    points = []
    for ef in row.efs:
        answers = row.points[ef]
        qps = [answer["qps"] for answer in answers]
        point = {"ef": ef, "recall": statistics.median(a["recall"] for a in answers), "qps": statistics.median(qps)}
        point |= {key: answers[-1].get(key) for key in ("distances", "hops", "bytes")}
        points.append(point | {"qps_rounds": [round(value, 1) for value in qps]})
    return points


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers")
    parser.add_argument("--data", default="wordnet", metavar="wordnet|fashion|glove|DIR")
    parser.add_argument("--metric", choices=["cosine", "euclid"], help="default: that of the set; cosine for a DIR")
    parser.add_argument("--only", metavar="LIB,...", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE.json")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE.png")
    chosen = parser.parse_args()
    chosen.names = [name for name in (chosen.only or ",".join(NAMES)).split(",") if name]
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        parser.error(f"--only: there is no {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    if chosen.rounds < 1:
        parser.error("--rounds: at least 1")
    for file in (chosen.out, chosen.plot):
        # An hour of work should not end at a folder that is not there.
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"{file}: there is no such folder")
    return chosen


def main():
    chosen = arguments()
    metric = chosen.metric or data.METRICS.get(chosen.data, "cosine")
    load_before = os.getloadavg()[0]
    cpus = sorted(os.sched_getaffinity(0))
    cpu = cpus[-1]
    scratch = os.environ.get("ENGRAM_BENCH_DIR") or "/var/tmp"
    # A dead run's signal would leave the workers' files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="engram-peers-", dir=scratch) as folder:
        folder = pathlib.Path(folder)
        try:
            files = data.find(chosen.data)
            (count, dimension), queries = data.lay_out(files, metric, folder)
        except data.Unavailable as error:
            sys.exit(f"benches/peers: {error}")
        title = chosen.data if chosen.data in data.METRICS else pathlib.Path(chosen.data).resolve().name
        facts = {"data": title, "n": count, "d": dimension, "queries": queries, "metric": metric}
        say(f"{title}: {count:,} x {dimension}, {queries:,} queries, {metric}; load average {load_before:.2f}")
        probe = Probe(data.tool_folder(), cpu)
        rows, missing = [], {}
        for name in chosen.names:
            row = None
            try:
                command = command_of(name, files, folder, folder / name, metric, cpu)
                row = Row(name, command, folder / name)
                row.build(cpu)
                say(f"{name}: built in {row.built['build_s']:.1f} s, {row.built['mem_mb']:.0f} MB")
                row.explore(queries)
                rows.append(row)
            except Failed as error:
                say(f"{name}: {error}")
                missing[name] = str(error)
                if row is not None:
                    row.close()
        try:
            measure(rows, missing, chosen.rounds, probe, cpu)
        finally:
            for row in rows:
                row.close()
            probe.close()
        load = [round(load_before, 2), round(os.getloadavg()[0], 2)]
        results = []
        for row in rows:
            results.append(report.result(row.name, facts, row.built, points_of(row), row.probes, row.waits, load))
        results += [{"lib": name, **facts, "missing": missing[name]} for name in chosen.names if name in missing]
    if chosen.out:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    report.table(facts, results, chosen.rounds)
    if chosen.plot:
        report.plot(chosen.plot, results)
    if not rows:
        sys.exit("benches/peers: nothing could be measured")


if __name__ == "__main__":
    main()
