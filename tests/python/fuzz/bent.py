"""Bodies that were in order once: a part of each is put in another's place, or gives way to something odd."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from .world import Client, fill, point

FILTER = {
    "must": [
        {"key": "tag", "match": {"any": ["a", "b"]}},
        {"key": "n", "range": {"gte": 1, "lt": 50}},
        {"key": "at", "range": {"gt": "2026-01-01T00:00:00Z"}},
        {"key": "where", "geo_radius": {"center": {"lat": 1, "lon": 1}, "radius": 1e6}},
        {"key": "where", "geo_bounding_box": {"top_left": {"lat": 9, "lon": 0}, "bottom_right": {"lat": 0, "lon": 9}}},
    ],
    "should": [
        {"has_id": [1, 2, "550e8400-e29b-41d4-a716-446655440000"]},
        {"is_empty": {"key": "none"}}, {"is_null": {"key": "none"}},
        {"key": "text", "match": {"text": "few words"}}, {"key": "text", "match": {"phrase": "few words"}},
        {"key": "deep.list", "values_count": {"gte": 1}},
    ],
    "must_not": {"nested": {"key": "deep.list", "filter": {"must": [{"key": "x", "match": {"value": 3}}]}}},
    "min_should": {"conditions": [{"key": "yes", "match": {"value": True}}, {"key": "u", "match": {"except": ["x"]}}], "min_count": 1},
}
QUERIES: list[Any] = [
    [1, 2, 3], 5, {"nearest": [1, 2, 3], "mmr": {"diversity": 0.5, "candidates_limit": 20}},
    {"recommend": {"positive": [1, [1, 2, 3]], "negative": [2], "strategy": "best_score"}},
    {"discover": {"target": 3, "context": [{"positive": 1, "negative": 2}]}},
    {"context": [{"positive": 1, "negative": 2}]}, {"order_by": {"key": "n", "direction": "desc", "start_from": 40}},
    {"fusion": "rrf"}, {"rrf": {"k": 10, "weights": [1, 2]}}, {"fusion": "dbsf"}, {"sample": "random"},
    {"formula": {"sum": ["$score", {"mult": [0.5, {"key": "tag", "match": {"value": "a"}}]}, {"neg": "n"}, {"abs": "f"},
                         {"div": {"left": 1, "right": "n", "by_zero_default": 0}}, {"sqrt": 4}, {"pow": {"base": 2, "exponent": 3}},
                         {"exp": 1}, {"log10": 10}, {"ln": 2}, {"geo_distance": {"origin": {"lat": 1, "lon": 2}, "to": "where"}},
                         {"datetime_key": "at"}, {"datetime": "2026-01-01T00:00:00Z"},
                         {"gauss_decay": {"x": "n", "target": 3, "scale": 2, "midpoint": 0.5}}]},
     "defaults": {"n": 1, "f": 0}},
]
PREFETCH = [
    {"query": [1, 2, 3], "limit": 20, "filter": FILTER, "params": {"hnsw_ef": 64, "exact": False}},
    {"query": {"indices": [1, 1000], "values": [1, 0.5]}, "using": "words", "limit": 20, "prefetch": {"query": [[1, 2]], "using": "many"}},
]
C = "/collections/docs"


def corpus() -> list[tuple[str, str, Any]]:
    """Requests in order."""
    found: list[tuple[str, str, Any]] = []
    for query in QUERIES:
        body = {"query": query, "limit": 5, "with_payload": True, "with_vector": ["words"], "score_threshold": 0.1}
        found.append(("POST", f"{C}/points/query", body | {"prefetch": PREFETCH, "offset": 1}))
        found.append(("POST", f"{C}/points/query", body | {"filter": FILTER, "params": {"exact": True}}))
        found.append(("POST", f"{C}/points/query/groups", body | {"group_by": "tag", "group_size": 2, "prefetch": PREFETCH}))
    searches = [{"query": query, "limit": 2, "prefetch": PREFETCH} for query in QUERIES[:4]]
    points = [point(n) for n in range(3)]
    columns = {"ids": [1, 2], "vectors": {"": [[1, 2, 3], [4, 5, 6]]}, "payloads": [{"n": 1}, None]}
    set_payload = {"payload": {"n": 5, "deep": {"list": [1]}}, "points": [1, 2], "key": "deep.list[].z"}
    operations = [
        {"upsert": {"points": points}}, {"set_payload": set_payload}, {"delete_payload": {"keys": ["a.b", "n"], "points": [1]}},
        {"update_vectors": {"points": [{"id": 1, "vector": {"many": [[1, 2]]}}]}}, {"delete_vectors": {"points": [1], "vector": ["many"]}},
        {"overwrite_payload": {"payload": {"n": 1}, "filter": FILTER}}, {"clear_payload": {"points": [3]}}, {"delete": {"filter": FILTER}},
    ]
    return found + [
        ("POST", f"{C}/points/query/batch", {"searches": searches}),
        ("POST", f"{C}/points/scroll", {"filter": FILTER, "limit": 10, "order_by": "n", "with_payload": {"exclude": ["deep.list"]}}),
        ("POST", f"{C}/points/scroll", {"offset": 3, "limit": 2, "with_vector": True}),
        ("POST", f"{C}/points/count", {"filter": FILTER, "exact": True}), ("POST", f"{C}/facet", {"key": "tag", "limit": 3, "filter": FILTER}),
        ("POST", f"{C}/points", {"ids": [1, 2, 99], "with_payload": ["n"], "with_vector": True}),
        ("POST", f"{C}/points/search", {"vector": {"name": "words", "vector": {"indices": [1], "values": [1]}}, "limit": 3, "filter": FILTER}),
        ("POST", f"{C}/points/search/batch", {"searches": [{"vector": [1, 2, 3], "limit": 3, "offset": 1}]}),
        ("POST", f"{C}/points/search/matrix/pairs", {"sample": 5, "limit": 2, "filter": FILTER}),
        ("POST", f"{C}/points/search/matrix/offsets", {"sample": 5, "limit": 2, "using": "many"}),
        ("PUT", f"{C}/points", {"points": points, "update_mode": "update_only", "update_filter": FILTER}), ("PUT", f"{C}/points?wait=true", {"batch": columns}),
        ("PUT", f"{C}/points/vectors", {"points": [{"id": 1, "vector": {"": [1, 2, 3], "words": {"indices": [5], "values": [1]}}}], "update_filter": FILTER}),
        ("POST", f"{C}/points/vectors/delete", {"filter": FILTER, "vector": ["many"]}), ("POST", f"{C}/points/payload?wait=true", set_payload),
        ("PUT", f"{C}/points/payload", {"payload": {"n": 1}, "filter": FILTER}), ("POST", f"{C}/points/payload/delete", {"keys": ["deep.list[].x"], "points": [1]}),
        ("POST", f"{C}/points/payload/clear", {"filter": FILTER}), ("POST", f"{C}/points/delete", {"points": [58, 59]}),
        ("POST", f"{C}/points/batch", {"operations": operations}),
        ("PUT", f"{C}/index", {"field_name": "text", "field_schema": {"type": "text", "tokenizer": "word", "min_token_len": 2, "max_token_len": 20, "lowercase": True, "stopwords": {"languages": ["english"], "custom": ["x"]}, "stemmer": {"type": "snowball", "language": "english"}, "phrase_matching": True}}),
        ("PUT", f"{C}/vectors/extra", {"dense": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 8}}}),
        ("PUT", "/collections/scratch", {"vectors": {"a": {"size": 4, "distance": "Dot", "hnsw_config": {"m": 8, "ef_construct": 50}, "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}}}}, "sparse_vectors": {"s": {"index": {"on_disk": True}}}, "optimizers_config": {"indexing_threshold": 10}, "metadata": {"engram": {"regions": ["eu", "us"], "default_region": "us", "retention": [{"region": "us", "max_age_s": 60}]}}}),
        ("PATCH", C, {"optimizers_config": {"indexing_threshold": 10}, "vectors": {"": {"hnsw_config": {"m": 8}}}, "metadata": {"engram": {"retention": [{"max_age_s": 1_000_000_000}]}}}),
        ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "docs", "alias_name": "a"}}, {"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}}, {"delete_alias": {"alias_name": "b"}}]}),
        ("PUT", f"{C}/snapshots/recover", {"location": "x.snapshot", "checksum": "0" * 64, "priority": "snapshot"}),
        ("POST", "/engram/v1/purge", {"collection": "scratch", "older_than_s": 5, "dry_run": True}),
        ("POST", "/engram/v1/flush", {"collection": "docs"}), ("POST", "/engram/v1/compact", {"collection": "docs"}),
    ]


def deep(depth: int, kind: str) -> Any:
    """So many objects in each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {kind: [value]}
    return value


ODD: list[Any] = [
    None, True, False, "", "NaN", "Infinity", 0, -1, 1, 0.5, -0.0, 1e39, 1e308, -1e308, 5e-324, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63),
    10**40, "x" * 300, "\u0000", "\ud800", "é", "$score", "$score[9]", "a[", "a[]", "a[0].b", "[]", '"', "..", "/", "%00", [], {}, [[]], [{}], {"": 1}, {"must": []},
    [1, 2], [1, 2, 3], [[1, 2]], [0, 0, 0], {"indices": [1, 1], "values": [1, 1]}, {"indices": [], "values": []}, {"indices": [2**32], "values": [1]},
    "9999-12-31T23:59:59Z", "-271821-04-20T00:00:00Z", "2026-02-30T00:00:00Z", float("nan"), float("inf"),
    deep(40, "list"), deep(40, "must"), deep(120, "must"), deep(40, "prefetch"), deep(60, "sum"), {"lat": 91, "lon": 181}, list(range(200)), "550e8400-e29b-41d4-a716-446655440000",
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Container and key of everything inside."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            found.extend(places(value[key]))
    return found


def odd_like(value: Any, chance: random.Random) -> Any:
    """Something odd that may pass where the value stood."""
    if isinstance(value, bool) or value is None:
        return chance.choice([True, False, None])
    if isinstance(value, int | float):
        return chance.choice([odd for odd in ODD if isinstance(odd, int | float) and not isinstance(odd, bool)] + [2, 3, 7, 100, 10_000])
    if isinstance(value, str):
        return chance.choice([odd for odd in ODD if isinstance(odd, str)] + ["n", "f", "tag", "at", "where", "text", "yes", "u", "deep", "deep.list", "words", "many"])
    return chance.choice([odd for odd in ODD if isinstance(odd, type(value))])


def bend(body: Any, others: list[tuple[str, str, Any]], chance: random.Random) -> Any:
    """The body with one or two parts in another way."""
    body = copy.deepcopy(body)
    for _ in range(chance.choice([1, 1, 2])):
        inside = places(body)
        if not inside:
            return body
        container, key = chance.choice(inside)
        match chance.randrange(9):
            case 0 | 1 | 2 | 6 | 7:
                container[key] = copy.deepcopy(odd_like(container[key], chance))
            case 5:
                container[key] = copy.deepcopy(chance.choice(ODD))
            case 3:
                other, at = chance.choice(places(chance.choice(others)[2]))
                container[key] = copy.deepcopy(other[at])
            case 4:
                del container[key]
            case _:
                name = str(chance.choice(["limit", "offset", "filter", "key", "using", "params", "x", "query", "nearest", "prefetch"]))
                if isinstance(container, dict):
                    container[name] = copy.deepcopy(chance.choice(ODD))
                else:
                    container.append(copy.deepcopy(container[key]))
    return body


def run(client: Client, count: int, seed: int) -> None:
    """Sends so many."""
    chance, requests = random.Random(seed), corpus()
    fill(client)
    for method, path, body in requests:
        status, content = client.send(method, path, body)
        if status not in (200, 409) and "recover" not in path:
            print(f"note: {method} {path} was meant to be in order: {status} {content[:200]!r}")
    for number in range(count):
        if number % 100 == 0:
            fill(client)
        method, path, body = chance.choice(requests)
        text = json.dumps(bend(body, requests, chance))
        if chance.random() < 0.05:
            # A key twice.
            text = text.replace('"limit"', '"limit": 3, "limit"', 1).replace('"points"', '"points": [], "points"', 1)
        client.send(method, path, text.encode())
