"""Whether two answers are the same: numbers up to rounding, points of equal scores in any order."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel

# Of the larger of both numbers, or absolute near zero.
TOLERANCE = 2e-4
# Differ from server to server, and say nothing about the data.
VOLATILE = {"operation_id", "version", "shard_key", "time", "usage", "vectors_count", "hardware_usage"}


def plain(value: Any) -> Any:
    """Models as dictionaries, without what is volatile."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if key not in VOLATILE}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def close(a: Any, b: Any) -> bool:
    """The same up to rounding."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def ranked(a: list[dict[str, Any]], b: list[dict[str, Any]], key: str, cut: bool) -> bool:
    """The same ranking: points of one score in any order; of the last score any points where the list was cut there."""
    if len(a) != len(b) or not all(close(x.get(key), y.get(key)) for x, y in zip(a, b, strict=True)):
        return False
    if not a:
        return True
    # A point with several values comes once for each of them.
    name = (lambda p: (str(p["id"]), p[key])) if key == "order_value" else (lambda p: str(p["id"]))
    left, right = ({name(point): point for point in side} for side in (a, b))
    if len(left) != len(right):
        return False
    last = a[-1].get(key)
    for id in left.keys() | right.keys():
        if id in left and id in right:
            if not close(left[id], right[id]):
                return False
        elif not (cut and close((left.get(id) or right.get(id))[key], last)):
            return False
    return True


def same(order: str, a: Any, b: Any) -> bool:
    """Whether both answers are the same under this meaning of order."""
    a, b = plain(a), plain(b)
    if order == "ids":
        return close(sorted(a, key=lambda p: str(p["id"])), sorted(b, key=lambda p: str(p["id"])))
    if order == "set":
        return close(*(sorted(str(x) for x in next(iter(side.values()))) for side in (a, b)))
    if order == "facet":
        hits = [sorted(((h["count"], str(h["value"])) for h in side["hits"]), reverse=True) for side in (a, b)]
        return hits[0] == hits[1]
    if order == "values":
        points = [side["points"] if isinstance(side, dict) else side[0] for side in (a, b)]
        return ranked(*points, key="order_value", cut=True)
    if order == "scores":
        points = [side["points"] for side in (a, b)]
        return ranked(*points, key="score", cut=True)
    if order == "groups":
        return grouped(a["groups"], b["groups"])
    return close(a, b)


def grouped(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> bool:
    """The same groups by their best scores."""
    best = lambda group: group["hits"][0]["score"]  # noqa: E731
    if len(a) != len(b) or not all(close(best(x), best(y)) for x, y in zip(a, b, strict=True)):
        return False
    left, right = ({str(group["id"]): group for group in side} for side in (a, b))
    for id in left.keys() & right.keys():
        if not ranked(left[id]["hits"], right[id]["hits"], "score", True):
            return False
    return all(close(best(left.get(id) or right.get(id)), best(a[-1])) for id in left.keys() ^ right.keys())
