"""Speed of the machine's memory: a small C program, or Python where there is no compiler."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).with_name("probe.c")


def compiled(cache):
    """The probe program, compiled once into the cache; None where that cannot be done."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        return None
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    program = cache / f"peers-probe-{name}"
    if not program.is_file():
        staged = program.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O3", "-march=native", "-o", str(staged), str(SOURCE)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            print(f"the memory probe does not compile, Python serves: {made.stderr.strip()[-300:]}", file=sys.stderr)
            return None
        staged.rename(program)
    return program


class Probe:
    """Answers `read()` with latency and bandwidth; takes about 0.1 s."""

    def __init__(self, cache, cpu):
        self.process = None
        program = compiled(cache)
        if program is None:
            self.slow = PythonProbe()
            return
        self.process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self.process.pid, {cpu})
        # The first look also fills the arrays.
        self.read()

    def read(self):
        if self.process is None:
            return self.slow.read()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return {key: answer[key] for key in ("ns_128mib", "ns_1gib", "gb_s")}

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


class PythonProbe:
    """Without a compiler: the loop of the interpreter is measured too and taken off, so this is rough."""

    STEPS = 50_000

    def __init__(self):
        import numpy as np

        self.np = np
        self.chains = {size: self.chain(size << 20) for size in (128, 1024)}
        self.tiny = self.chain(4096)

    def chain(self, size):
        np, count = self.np, size // 64
        lines = np.zeros((count, 16), np.uint32)
        at = np.arange(count, dtype=np.uint64)
        lines[:, 0] = (at * 747796405 + 2891336453) & (count - 1)
        return lines

    def walk(self, lines):
        view, i = memoryview(lines.reshape(-1)), 0
        start = time.perf_counter()
        for _ in range(self.STEPS):
            i = view[i * 16]
        return (time.perf_counter() - start) / self.STEPS * 1e9

    def read(self):
        base = self.walk(self.tiny)
        near, far = (max(0.0, self.walk(self.chains[size]) - base) for size in (128, 1024))
        start = time.perf_counter()
        part = self.chains[1024].reshape(-1).view(self.np.uint64)[: 32 << 20]
        part.sum()
        stream = part.nbytes / (time.perf_counter() - start) / 1e9
        return {"ns_128mib": round(near, 1), "ns_1gib": round(far, 1), "gb_s": round(stream, 2)}

    def close(self):
        self.chains.clear()
