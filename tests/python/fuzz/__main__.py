"""Starts a server, sends what was asked for, and says what came back."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from server import running

from . import bent, raw, schema
from .world import Client

PARTS = ["schema", "bent", "raw"]


def main() -> int:
    """0 where nothing was wrong."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all where absent")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    seed = int(os.environ.get("ENGRAM_SEED", "1"))
    wrong = 0
    with running() as url:
        for part in asked.parts or PARTS:
            client, well = Client(url), True
            if part == "schema":
                well = schema.run(client, url, asked.work, int(os.environ.get("ENGRAM_FUZZ_EXAMPLES", "250")), seed)
            elif part == "bent":
                bent.run(client, int(os.environ.get("ENGRAM_FUZZ_BENT", "15000")), seed)
            else:
                raw.run(client)
            alive = Client(url).send("GET", "/readyz")[0]
            if alive != 200:
                client.wrong.append(f"GET /readyz: {alive}")
            for what in client.wrong[:40]:
                print(f"wrong: {what}")
            wrong += len(client.wrong) + (not well)
            served = dict(sorted(client.statuses.items()))
            errors = {status: number for status, number in served.items() if status >= 500}
            print(f"fuzz {part}: seed {seed}, requests {sum(served.values())}, 5xx {errors}, statuses {served}, wrong {len(client.wrong)}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
