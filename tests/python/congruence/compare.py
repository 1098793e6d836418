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


def ranked(a: list[dict[str, Any]], b: list[dict[str, Any]], key: str, cut: bool, skipped: bool = False) -> bool:
    """The same ranking: points of one score in any order; of the last score any points where the list was cut there, and
    of the first one where points before were skipped."""
    if len(a) != len(b) or not all(close(x.get(key), y.get(key)) for x, y in zip(a, b, strict=True)):
        return False
    if not a:
        return True
    # A point with several values comes once for each of them.
    name = (lambda p: (str(p["id"]), p[key])) if key == "order_value" else (lambda p: str(p["id"]))
    left, right = ({name(point): point for point in side} for side in (a, b))
    if len(left) != len(right):
        return False
    ends = [a[-1].get(key)] if cut else []
    ends += [a[0].get(key)] if skipped else []
    for id in left.keys() | right.keys():
        if id in left and id in right:
            if not close(left[id], right[id]):
                return False
        elif not any(close((left.get(id) or right.get(id))[key], end) for end in ends):
            return False
    return True


def same(order: str, a: Any, b: Any) -> bool:
    """Whether both answers are the same under this meaning of order."""
    if "|" in order:
        orders = order.split("|")
        return len(a) == len(b) == len(orders) and all(same(*each) for each in zip(orders, a, b, strict=True))
    a, b = plain(a), plain(b)
    if isinstance(a, list) and len(a) == 1 and order in RANKINGS:
        # A batch of one.
        return len(b) == 1 and same(order, a[0], b[0])
    if order == "any order":
        a, b = a["points"], b["points"]
    if order == "matrix":
        return matrices(a, b)
    if order == "info":
        # Segments, indexed vectors and options differ from server to server.
        return a["points_count"] == b["points_count"] and vectors_of(a) == vectors_of(b)
    if order == "sets":
        lists = [sorted(str(sorted(x.items())) for x in side["aliases"]) for side in (a, b)]
        return lists[0] == lists[1]
    if order in ("ids", "any order"):
        return close(sorted(a, key=lambda p: str(p["id"])), sorted(b, key=lambda p: str(p["id"])))
    if order == "set":
        return close(*(sorted(str(x) for x in next(iter(side.values()))) for side in (a, b)))
    if order == "facet":
        hits = [sorted(((h["count"], str(h["value"])) for h in side["hits"]), reverse=True) for side in (a, b)]
        return hits[0] == hits[1]
    if order == "values":
        points = [side["points"] if isinstance(side, dict) else side[0] for side in (a, b)]
        return ranked(*points, key="order_value", cut=True)
    if order in ("scores", "scores after some"):
        points = [side["points"] for side in (a, b)]
        return ranked(*points, key="score", cut=True, skipped=order != "scores")
    if order == "groups":
        return grouped(a["groups"], b["groups"])
    return close(a, b)


# Meanings of order of what `query_points` answers.
RANKINGS = {"scores", "scores after some", "values", "exact", "any order"}


def vectors_of(info: dict[str, Any]) -> Any:
    """Vector fields of a collection: size, distance, what they hold."""
    params = info["config"]["params"]
    fields = params["vectors"] if "size" not in params["vectors"] else {"": params["vectors"]}
    dense = {name: (field["size"], field["distance"], "multivector_config" in field) for name, field in fields.items()}
    sparse = {name: field.get("modifier", "none") for name, field in (params.get("sparse_vectors") or {}).items()}
    return dense, sparse


def rows(matrix: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The neighbours of each point, of both forms of a matrix."""
    if "pairs" in matrix:
        found = [(pair["a"], pair["b"], pair["score"]) for pair in matrix["pairs"]]
    else:
        ids = matrix["ids"]
        parts = zip(matrix["offsets_row"], matrix["offsets_col"], matrix["scores"], strict=True)
        found = [(ids[row], ids[column], score) for row, column, score in parts]
    lists: dict[str, list[dict[str, Any]]] = {}
    for a, b, score in found:
        lists.setdefault(str(a), []).append({"id": b, "score": score})
    return lists


def matrices(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """The same neighbours of each point."""
    left, right = rows(a), rows(b)
    same_ids = a.get("ids") == b.get("ids")
    return same_ids and list(left) == list(right) and all(ranked(left[id], right[id], "score", True) for id in left)


def difference(a: Any, b: Any, at: str = "") -> str:
    """Where two answers differ first, in the order they came."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            if key not in a or key not in b:
                return f"{at}.{key}: {a.get(key, 'absent')!r} / {b.get(key, 'absent')!r}"
            if not close(a[key], b[key]):
                return difference(a[key], b[key], f"{at}.{key}")
    if isinstance(a, list) and isinstance(b, list):
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            if not close(x, y):
                return difference(x, y, f"{at}[{i}]")
        return f"{at}: {len(a)} / {len(b)} elements"
    return f"{at}: {a!r} / {b!r}"


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
