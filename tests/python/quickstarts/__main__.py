"""python -m quickstarts --url URL [NAME ...]: runs them and ends with the number of failures."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback

NAMES = ["langchain", "llama_index", "mem0", "haystack", "mcp"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("names", nargs="*", default=NAMES)
    arguments = parser.parse_args()
    failures = 0
    for name in arguments.names or NAMES:
        try:
            importlib.import_module(f".{name}", __package__).run(arguments.url)
        except Exception:  # noqa: BLE001 - whatever it is, the others still run
            failures += 1
            print(f"quick start of {name}: FAILED")
            traceback.print_exc()
        else:
            print(f"quick start of {name}: ok")
    return failures


if __name__ == "__main__":
    sys.exit(main())
