"""Differences that are meant, each with its reason. What is not here is a failure."""

from __future__ import annotations

from typing import Any

from .operation import Operation


def reason(operation: Operation, memory: Any, engram: Any) -> str | None:
    """Why the answers may differ."""
    for why, applies in REASONS:
        if applies(operation, memory, engram):
            return why
    return None


# Sentence, and when it applies to (operation, answer of the in-memory client, answer of Engram).
REASONS: list[tuple[str, Any]] = []
