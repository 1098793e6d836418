"""A real Engram server for the tests in Python: ports of its own, ended by its own process id."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def program() -> Path:
    """The server's binary: `ENGRAM_BIN`, or the release build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return Path(os.environ.get("ENGRAM_BIN", target / "release" / "engram"))


@contextmanager
def running(**settings: object) -> Iterator[str]:
    """The URL of a server that ends with the block. Settings are named `section__key`."""
    with listening(**settings) as addresses:
        yield f"http://{addresses['http']}"


@contextmanager
def listening(**settings: object) -> Iterator[dict[str, str]]:
    """As `running`: its addresses `http` and `grpc`."""
    home = Path(tempfile.mkdtemp(prefix="engram-clients-"))
    ready, log = home / "ready", home / "server.log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ENGRAM__")}
    environment |= {"ENGRAM__LISTEN__GRPC": "127.0.0.1:0", "ENGRAM__LISTEN__HTTP": "127.0.0.1:0"}
    environment |= {f"ENGRAM__{key.upper()}": json.dumps(value).strip('"') for key, value in settings.items()}
    command = [str(program()), "serve", "--data-dir", str(home / "data"), "--ready-file", str(ready)]
    failed = True
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield addresses_of(server, ready, log)
        failed = False
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if failed:
            print(f"the server's log: {log}")
        else:
            shutil.rmtree(home, ignore_errors=True)


def addresses_of(server: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, str]:
    """Waits for the ready file and reads it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}: {log.read_text()[-2000:]}")
        # It is put in place as a whole.
        if ready.exists():
            return json.loads(ready.read_text())
        time.sleep(0.02)
    raise RuntimeError(f"the server was not ready within a minute: {log.read_text()[-2000:]}")

