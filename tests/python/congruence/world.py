"""What the generator knows of the collections: enough to make operations that mostly hit something."""

from __future__ import annotations

import collections
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient, models

COLORS = ["red", "green", "blue", "amber", "grey"]
WORDS = ["river", "bank", "stone", "light", "water", "paper", "engine", "garden"]
CITIES = [(13.4, 52.5), (2.35, 48.85), (-0.12, 51.5), (-74.0, 40.7), (139.7, 35.7)]
METRICS = [models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID, models.Distance.MANHATTAN]


@dataclass
class Collection:
    """One collection, as far as it matters for making operations."""

    name: str
    dense: dict[str, tuple[int, models.Distance]]
    sparse: list[str] = field(default_factory=list)
    multi: dict[str, tuple[int, models.Distance]] = field(default_factory=dict)

    def vectors_config(self) -> Any:
        """Configuration of dense and multi vectors."""
        params = {name: models.VectorParams(size=size, distance=metric) for name, (size, metric) in self.dense.items()}
        compare = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        for name, (size, metric) in self.multi.items():
            params[name] = models.VectorParams(size=size, distance=metric, multivector_config=compare)
        return params[""] if list(params) == [""] else params

    def sparse_config(self) -> Any:
        """Configuration of sparse vectors; the second of two has the modifier idf."""
        if not self.sparse:
            return None
        modifiers = [None, models.Modifier.IDF]
        return {name: models.SparseVectorParams(modifier=modifiers[i % 2]) for i, name in enumerate(self.sparse)}

    def fields(self) -> list[str]:
        """Names of all vector fields."""
        return [*self.dense, *self.sparse, *self.multi]

    def using(self, name: str) -> str | None:
        """How a query names a field."""
        return name or None


class World:
    """Random values; the same seed makes the same ones."""

    def __init__(self, seed: int, memory: QdrantClient) -> None:
        self.memory = memory
        self.rng = random.Random(seed)
        self.collections: list[Collection] = []
        # How often each kind of condition was made.
        self.conditions: collections.Counter[str] = collections.Counter()
        self.serial = 0
        self.ids: list[Any] = list(range(60))
        self.uuids = [str(uuid.UUID(int=self.rng.getrandbits(128), version=4)) for _ in range(20)]
        self.ids += self.uuids

    def chance(self, share: float) -> bool:
        """True in so large a share of the calls."""
        return self.rng.random() < share

    def new_collection(self) -> Collection:
        """A collection of one of several shapes."""
        self.serial += 1
        name, shape = f"c{self.serial}", self.rng.randrange(4)
        metric = self.rng.choice(METRICS)
        if shape == 0:
            return Collection(name, {"": (self.rng.choice([3, 8, 33]), metric)})
        if shape == 1:
            return Collection(name, {"": (8, metric)}, sparse=["plain", "idf"])
        dense = {"a": (4, metric), "b": (16, self.rng.choice(METRICS))}
        if shape == 2:
            return Collection(name, dense, sparse=["plain", "idf"])
        multi = {"late": (5, self.rng.choice(METRICS))}
        return Collection(name, dense, sparse=["plain"] if self.chance(0.3) else [], multi=multi)

    def id(self) -> Any:
        """Some point's id."""
        return self.rng.choice(self.ids)

    def some_ids(self, most: int) -> list[Any]:
        """Distinct ids."""
        return self.rng.sample(self.ids, self.rng.randint(1, most))

    def present(self, c: Collection, most: int) -> list[Any]:
        """Ids of points that are there."""
        points = self.memory.scroll(c.name, limit=1_000, with_payload=False)[0]
        return [point.id for point in self.rng.sample(points, min(len(points), self.rng.randint(1, most)))]

    def dense(self, size: int) -> list[float]:
        """A vector that is not zero, of numbers whose sums are exact in 32 bits, and so many that scores are hardly ever equal."""
        return [self.rng.randint(-(2**19), 2**19) / 2**18 or 0.25 for _ in range(size)]

    def sparse(self) -> models.SparseVector:
        """A sparse vector."""
        indices = self.rng.sample(range(40), self.rng.randint(1, 8))
        return models.SparseVector(indices=indices, values=[self.rng.randint(1, 16_384) / 4_096 for _ in indices])

    def multi(self, size: int) -> list[list[float]]:
        """A few vectors."""
        return [self.dense(size) for _ in range(self.rng.randint(1, 4))]

    def value(self, collection: Collection, name: str) -> Any:
        """A value of a field."""
        if name in collection.sparse:
            return self.sparse()
        if name in collection.multi:
            return self.multi(collection.multi[name][0])
        return self.dense(collection.dense[name][0])

    def example_id(self, c: Collection, name: str) -> Any:
        """The id of a point, nearly always of one with a value in the field."""
        if self.chance(0.05):
            return self.id()
        has_it = models.Filter(must=[models.HasVectorCondition(has_vector=name)])
        points = self.memory.scroll(c.name, has_it, limit=1_000, with_payload=False)[0]
        return self.rng.choice(points).id if points else self.id()

    def example(self, collection: Collection, name: str, by_id: float = 0.5) -> Any:
        """A value of a field, or the id of a point that has one."""
        return self.example_id(collection, name) if self.chance(by_id) else self.value(collection, name)

    def vectors(self, collection: Collection, share: float = 0.9) -> Any:
        """The vectors of a point; now and then one is missing."""
        named: dict[str, Any] = {}
        for name, (size, _) in collection.dense.items():
            if name == "" or self.chance(share):
                named[name] = self.dense(size)
        for name in collection.sparse:
            if self.chance(share):
                named[name] = self.sparse()
        for name, (size, _) in collection.multi.items():
            if self.chance(share):
                named[name] = self.multi(size)
        return named[""] if list(collection.dense) == [""] and not collection.sparse else named

    def payload(self) -> dict[str, Any]:
        """A payload: fields are missing, null, lists or nested now and then."""
        rng = self.rng
        payload: dict[str, Any] = {}
        if self.chance(0.8):
            payload["color"] = rng.choice(COLORS) if self.chance(0.8) else rng.sample(COLORS, 2)
        if self.chance(0.8):
            payload["count"] = rng.randint(-5, 20) if self.chance(0.9) else [rng.randint(0, 5), rng.randint(10, 20)]
        if self.chance(0.6):
            payload["price"] = rng.randint(0, 4000) / 16
        if self.chance(0.5):
            payload["flag"] = self.chance(0.5)
        if self.chance(0.4):
            payload["when"] = f"202{rng.randint(0, 6)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T10:00:00Z"
        if self.chance(0.4):
            lon, lat = rng.choice(CITIES)
            payload["place"] = {"lon": lon, "lat": lat}
        if self.chance(0.5):
            payload["text"] = " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
        if self.chance(0.4):
            payload["nest"] = [{"color": rng.choice(COLORS), "n": rng.randint(0, 5)} for _ in range(rng.randint(1, 3))]
        if self.chance(0.2):
            payload["nothing"] = rng.choice([None, [], "here"])
        if self.chance(0.2):
            payload["uid"] = rng.choice(self.uuids)
        if self.chance(0.3):
            payload["deep"] = {"er": {"color": rng.choice(COLORS), "n": rng.randint(0, 5)}}
        return payload

    def point(self, collection: Collection, id: Any) -> models.PointStruct:
        """A point with this id."""
        return models.PointStruct(id=id, vector=self.vectors(collection), payload=self.payload())
