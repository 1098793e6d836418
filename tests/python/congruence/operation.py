"""A call that both clients get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Operation:
    """A call that both clients get."""

    method: str
    arguments: dict[str, Any]
    # How the order of the answer is meant, for the comparison.
    order: str = "none"
    # What kind of operation it is, for the report.
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.method}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"
