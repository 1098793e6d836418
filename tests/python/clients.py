"""python -m clients [langchain|quickstarts|cookbook|congruence ...]: each part against a server of its own; `tests/clients` prepares."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import server

# Tests of langchain-qdrant 1.1.0 for its present class that must pass, of 309.
LANGCHAIN_GOAL = 307


def langchain(url: str, source: Path) -> bool:
    """langchain-qdrant's own tests of `QdrantVectorStore`."""
    environment = os.environ | {"QDRANT_URL": url, "PYTHONPATH": str(source)}
    tests = ["tests/integration_tests/qdrant_vector_store", "-q", "-rs", "-p", "no:cacheprovider", "--tb=short"]
    run = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=source, env=environment, capture_output=True, text=True)
    print(run.stdout[-6_000:], run.stderr[-2_000:])
    count = lambda what: int(next(iter(re.findall(rf"(\d+) {what}", run.stdout.rsplit("\n", 2)[-2])), 0))  # noqa: E731
    passed, failed, errors = count("passed"), count("failed"), count("error")
    print(f"langchain-qdrant: {passed} passed, {failed} failed, {errors} errors (goal: at least {LANGCHAIN_GOAL} passed)")
    return passed >= LANGCHAIN_GOAL and failed + errors == 0


def module(name: str, *arguments: str) -> bool:
    """A package of this folder as a program."""
    return subprocess.run([sys.executable, "-m", name, *arguments]).returncode == 0


def quickstarts(url: str, _: Path) -> bool:
    """The quick start of each integration."""
    return module("quickstarts", "--url", url)


def congruence(url: str, _: Path) -> bool:
    """The same operations as the in-memory client."""
    operations, seeds = os.environ.get("ENGRAM_OPERATIONS", "12000"), os.environ.get("ENGRAM_SEED", "1").split()
    return all([module("congruence", "--url", url, "--operations", operations, "--seed", seed) for seed in seeds])


def cookbook(url: str, _: Path) -> bool:
    """Each snippet of the cookbook, a process of its own."""
    text = (server.REPOSITORY / "node" / "COOKBOOK.md").read_text()
    snippets = re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    failed = 0
    for title, snippet in snippets:
        status = subprocess.run([sys.executable, "-c", snippet], env=os.environ | {"ENGRAM_URL": url}).returncode
        print(f"cookbook, {title}: {'ok' if status == 0 else 'FAILED'}", flush=True)
        failed += status != 0
    return failed == 0 and bool(snippets)


PARTS: dict[str, Callable[[str, Path], bool]] = {
    "langchain": langchain,
    "quickstarts": quickstarts,
    "cookbook": cookbook,
    "congruence": congruence,
}


def main() -> int:
    """The number of parts that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--langchain", type=Path, required=True, help="the unpacked source distribution")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them where absent")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.parts if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    failed = []
    for name in arguments.parts or PARTS:
        print(f"\n== {name}", flush=True)
        with server.running(rest__qdrant_title=True) as url:
            if not PARTS[name](url, arguments.langchain):
                failed.append(name)
    print(f"clients: {'failed: ' + ', '.join(failed) if failed else 'all parts ok'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
