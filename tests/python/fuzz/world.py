"""A server with something in it, and a client that hides nothing."""

from __future__ import annotations

import collections
import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

# Not built, not now, no space: said by the description, and nobody's defect.
DOCUMENTED = {501, 503, 507}

SCHEMA = {
    "vectors": {
        "": {"size": 3, "distance": "Cosine"},
        "many": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"words": {"modifier": "idf"}},
}
INDEXES = [
    ("n", "integer"), ("f", "float"), ("tag", "keyword"), ("at", "datetime"), ("where", "geo"), ("text", "text"),
    ("yes", "bool"), ("u", "uuid"),
]


class Client:
    """Counts what it gets."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.address, timeout=60)
        self.statuses: collections.Counter[int] = collections.Counter()
        self.wrong: list[str] = []

    def send(self, method: str, path: str, body: bytes | Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            self.connection.request(method, path, body, {"content-type": "application/json"} | (headers or {}))
            answer = self.connection.getresponse()
            status, content = answer.status, answer.read()
        except (http.client.HTTPException, OSError) as e:
            self.connection.close()
            self.connection = http.client.HTTPConnection(self.address, timeout=60)
            self.wrong.append(f"{method} {path}: {e!r}: {body!r:.500}")
            return 0, b""
        self.note(status, f"{method} {path}: {content[:300]!r}: {body!r:.1500}")
        if status >= 400 and status not in (401, 404, 405) and b'"error"' not in content:
            self.wrong.append(f"{method} {path}: {status} without a reason: {content[:300]!r}")
        return status, content

    def note(self, status: int, what: str) -> None:
        self.statuses[status] += 1
        if status >= 500 and status not in DOCUMENTED:
            self.wrong.append(f"{status} {what}")


def point(number: int) -> dict[str, Any]:
    """One of every kind of value."""
    payload = {
        "n": number, "f": number / 3, "tag": ["a", "b", "c"][number % 3], "at": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
        "where": {"lat": number % 90, "lon": number % 180}, "text": "a few words of no use", "yes": number % 2 == 0,
        "u": f"550e8400-e29b-41d4-a716-4466554400{number % 100:02}", "deep": {"list": [{"x": number}, {"y": [number]}]},
    }
    vector = {"": [number, 1, 0.5], "many": [[1, number], [0, 1]], "words": {"indices": [number, 1_000], "values": [1, 2]}}
    return {"id": number, "vector": vector, "payload": payload}


def fill(client: Client) -> None:
    """Puts back what requests may have taken away."""
    client.send("PUT", "/collections/docs", SCHEMA)
    for field, kind in INDEXES:
        client.send("PUT", "/collections/docs/index", {"field_name": field, "field_schema": kind})
    client.send("PUT", "/collections/docs/points?wait=true", {"points": [point(n) for n in range(60)]})
    client.send("PUT", "/collections/scratch", {"vectors": {"size": 2, "distance": "Euclid"}})


class Refill:
    """Fills again while others take away."""

    def __init__(self, url: str) -> None:
        self.client, self.stop = Client(url), threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stop.wait(2):
            fill(self.client)

    def __enter__(self) -> Refill:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
