"""python -m congruence --url http://127.0.0.1:6333 [--operations 12000] [--seed 1]"""

from __future__ import annotations

import argparse
import collections
import sys
import warnings
from typing import Any

from qdrant_client import QdrantClient, models

from . import compare, explained, operations
from .operation import Operation
from .world import World

# Calls that change points.
WRITES = {
    "upsert",
    "delete",
    "set_payload",
    "overwrite_payload",
    "delete_payload",
    "clear_payload",
    "update_vectors",
    "delete_vectors",
    "batch_update_points",
}


def call(client: QdrantClient, operation: Operation) -> tuple[bool, Any]:
    """Whether it was answered, and the answer or what was said against it."""
    try:
        return True, getattr(client, operation.method)(**operation.arguments)
    except Exception as refusal:  # noqa: BLE001 - each client has errors of its own; that it refuses is what counts
        return False, f"{type(refusal).__name__}: {refusal}"


def agree(operation: Operation, memory: tuple[bool, Any], engram: tuple[bool, Any]) -> bool:
    """Whether both did the same."""
    if memory[0] != engram[0]:
        return False
    return not memory[0] or compare.same(operation.order, memory[1], engram[1])


def copy(name: str, memory: QdrantClient, engram: QdrantClient) -> None:
    """Gives Engram the points of the in-memory client, so that one difference does not make others."""
    engram.delete(name, models.Filter(must=[]), wait=True)
    points = memory.scroll(name, limit=10_000, with_vectors=True)[0]
    if points:
        structs = [models.PointStruct(id=point.id, vector=point.vector, payload=point.payload) for point in points]
        engram.upsert(name, structs, wait=True)


class Report:
    """What was done, and how it ended."""

    def __init__(self, show: int) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.explained: collections.Counter[tuple[str, str]] = collections.Counter()
        self.unexplained: collections.Counter[str] = collections.Counter()
        self.show = show

    def differ(self, number: int, operation: Operation, memory: tuple[bool, Any], engram: tuple[bool, Any]) -> None:
        """Counts a difference and shows the first ones."""
        reason = explained.reason(operation, memory, engram)
        if reason:
            self.explained[operation.kind, reason] += 1
            return
        self.unexplained[operation.kind] += 1
        if self.show <= 0:
            return
        self.show -= 1
        print(f"difference at operation {number} ({operation.kind}, order {operation.order}): {str(operation)[:2_000]}")
        left, right = compare.plain(memory[1]), compare.plain(engram[1])
        if memory[0] and engram[0]:
            print(f"  memory / engram {compare.difference(left, right)[:700]}")
        print(f"  memory: {str(left)[:600]}\n  engram: {str(right)[:600]}\n")

    def print(self, seed: int, conditions: collections.Counter[str]) -> None:
        """Operations by kind, differences by reason."""
        print("operations by kind (refused by both), conditions of filters by kind:")
        for kind, count in sorted(self.done.items()):
            print(f"  {count:6} {kind}" + (f" ({self.refused[kind]})" if self.refused[kind] else ""))
        print("  conditions: " + ", ".join(f"{count} {kind}" for kind, count in sorted(conditions.items())))
        reasons: collections.Counter[str] = collections.Counter()
        for (_, reason), count in self.explained.items():
            reasons[reason] += count
        for reason, count in reasons.most_common():
            kinds = ", ".join(f"{n} {kind}" for (kind, why), n in self.explained.most_common() if why == reason)
            print(f"explained {count}: {reason} [{kinds}]")
        print(
            f"seed {seed}: {sum(self.done.values())} operations, {sum(self.refused.values())} refused by both, "
            f"{sum(self.explained.values())} differences explained, {sum(self.unexplained.values())} not"
            + (f": {dict(self.unexplained.most_common())}" if self.unexplained else "")
        )


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
    world, report = World(arguments.seed, memory), Report(arguments.show)
    for number in range(arguments.operations):
        operation = operations.operation(world)
        answers = call(memory, operation), call(engram, operation)
        report.done[operation.kind] += 1
        report.refused[operation.kind] += not answers[0][0] and not answers[1][0]
        if not agree(operation, *answers):
            report.differ(number, operation, *answers)
            name = operation.arguments.get("collection_name")
            if operation.method in WRITES and name and memory.collection_exists(name):
                copy(name, memory, engram)
    report.print(arguments.seed, world.conditions)
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
