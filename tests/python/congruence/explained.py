"""Differences that are meant, each with its reason. What is not here is a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .operation import Operation

# What was answered, or what was said against it.
Answer = tuple[bool, Any]


def reason(operation: Operation, memory: Answer, engram: Answer) -> str | None:
    """Why the answers may differ."""
    for why, applies in REASONS:
        if applies(operation, memory, engram):
            return why
    return None


def refused_by_memory(text: str, *methods: str) -> Callable[[Operation, Answer, Answer], bool]:
    """Only the in-memory client refused, with this text."""
    return lambda operation, memory, engram: (
        engram[0] and not memory[0] and text in memory[1] and (not methods or operation.method in methods)
    )


def refused_by_engram(text: str, *methods: str) -> Callable[[Operation, Answer, Answer], bool]:
    """Only Engram refused, with this text."""
    return lambda operation, memory, engram: (
        memory[0] and not engram[0] and text in engram[1] and (not methods or operation.method in methods)
    )


def alternatives(operation: Operation, memory: Answer, engram: Answer) -> bool:
    """Whether filters of stages inside one another have a `should` each, or a `min_should` each."""

    def meets(stages: Any, above: list[Any]) -> bool:
        for stage in stages if isinstance(stages, list) else [stages] if stages else []:
            levels = [*above, stage.filter] if stage.filter else above
            for clause in ("should", "min_should"):
                if sum(bool(getattr(level, clause)) for level in levels) > 1:
                    return True
            if meets(stage.prefetch, levels):
                return True
        return False

    arguments = operation.arguments
    if not memory[0] or not engram[0]:
        return False
    if "requests" in arguments:
        return any(meets(r.prefetch, [r.filter] if r.filter else []) for r in arguments["requests"])
    outer = arguments.get("query_filter")
    return meets(arguments.get("prefetch"), [outer] if outer else [])


# Sentence, and when it applies to (operation, answer of the in-memory client, answer of Engram).
REASONS: list[tuple[str, Callable[[Operation, Answer, Answer], bool]]] = [
    (
        "the in-memory client fails with an error of numpy where a collection has no points yet; a server finds none",
        refused_by_memory("UFuncTypeError: Cannot cast ufunc 'add' output"),
    ),
    (
        "the in-memory client answers a matrix of a field that is not there with nothing; a server refuses",
        refused_by_engram('no vector field \\\\"absent', "search_matrix_pairs"),
    ),
    (
        "Engram refuses weights of fused lists below 0, by which better places would count less",
        refused_by_engram("give finite weights of 0 or more", "query_points"),
    ),
    (
        "Qdrant makes the `should` (or `min_should`) of a prefetch stage and that of the stage above alternatives of each "
        "other; Engram asks for both filters",
        alternatives,
    ),
]
