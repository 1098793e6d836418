"""python -m congruence --url http://127.0.0.1:6333 [--operations 12000] [--seed 1]"""

from __future__ import annotations

import argparse
import collections
import sys
import warnings
from typing import Any

from qdrant_client import QdrantClient

from . import compare, explained, operations
from .world import World


def call(client: QdrantClient, operation: operations.Operation) -> tuple[bool, Any]:
    """Whether it was answered, and the answer or what was said against it."""
    try:
        return True, getattr(client, operation.method)(**operation.arguments)
    except Exception as refusal:  # noqa: BLE001 - each client has errors of its own; that it refuses is what counts
        return False, f"{type(refusal).__name__}: {refusal}"


def agree(operation: operations.Operation, memory: tuple[bool, Any], engram: tuple[bool, Any]) -> bool:
    """Whether both did the same."""
    if memory[0] != engram[0]:
        return False
    return not memory[0] or compare.same(operation.order, memory[1], engram[1])


def main() -> int:
    """Runs the operations and reports; 1 where a difference is not explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the server; `:memory:` compares the in-memory client with itself")
    parser.add_argument("--operations", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="unexplained differences shown")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    memory = QdrantClient(":memory:")
    engram = QdrantClient(":memory:") if arguments.url == ":memory:" else QdrantClient(arguments.url, timeout=60)
    for left in engram.get_collections().collections:
        engram.delete_collection(left.name)
    world = World(arguments.seed, memory)
    done, refused, differ = collections.Counter(), 0, collections.Counter()
    why, shown = collections.Counter(), 0
    for number in range(arguments.operations):
        operation = operations.operation(world)
        answers = call(memory, operation), call(engram, operation)
        done[operation.kind] += 1
        refused += not answers[0][0]
        if agree(operation, *answers):
            continue
        reason = explained.reason(operation, answers[0], answers[1])
        if reason:
            why[reason] += 1
            continue
        differ[operation.kind] += 1
        if shown < arguments.show:
            shown += 1
            left, right = (str(compare.plain(answer[1]))[:1_500] for answer in answers)
            print(f"difference at operation {number}: {str(operation)[:1_500]}\n  memory: {left}\n  engram: {right}\n")
    print(f"seed {arguments.seed}: {sum(done.values())} operations, {refused} refused by both or one, kinds: {dict(done)}")
    for reason, count in why.most_common():
        print(f"explained {count}: {reason}")
    print(f"unexplained {sum(differ.values())} {dict(differ) or ''}")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
