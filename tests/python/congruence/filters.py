"""Random filters."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from .world import CITIES, COLORS, World


def condition(world: World, depth: int) -> Any:
    """One condition."""
    rng = world.rng
    field = models.FieldCondition
    makers = [
        lambda: field(key="color", match=models.MatchValue(value=rng.choice(COLORS))),
        lambda: field(key="color", match=models.MatchAny(any=rng.sample(COLORS, 2))),
        lambda: field(key="color", match=models.MatchExcept(**{"except": rng.sample(COLORS, 2)})),
        lambda: field(key="count", match=models.MatchValue(value=rng.randint(-5, 20))),
        lambda: field(key="count", range=models.Range(gte=rng.randint(-5, 10), lt=rng.randint(5, 20))),
        lambda: field(key="price", range=models.Range(gt=rng.randint(0, 200))),
        lambda: field(key="flag", match=models.MatchValue(value=world.chance(0.5))),
        lambda: field(key="when", range=models.DatetimeRange(gte=f"202{rng.randint(0, 6)}-05-01T00:00:00Z")),
        lambda: field(key="place", geo_radius=radius(world)),
        lambda: field(key="color", values_count=models.ValuesCount(gt=rng.randint(0, 2))),
        lambda: field(key="nest[].color", match=models.MatchValue(value=rng.choice(COLORS))),
        lambda: field(key="deep.er.n", range=models.Range(lte=rng.randint(0, 5))),
        lambda: models.IsEmptyCondition(is_empty=models.PayloadField(key=rng.choice(["color", "nothing", "deep.er"]))),
        lambda: models.IsNullCondition(is_null=models.PayloadField(key=rng.choice(["nothing", "count"]))),
        lambda: models.HasIdCondition(has_id=world.some_ids(20)),
        lambda: models.NestedCondition(nested=models.Nested(key="nest", filter=nested(world))),
    ]
    if depth > 0:
        makers.append(lambda: filter(world, depth - 1))
    return rng.choice(makers)()


def radius(world: World) -> models.GeoRadius:
    """A circle around a city."""
    lon, lat = world.rng.choice(CITIES)
    return models.GeoRadius(center=models.GeoPoint(lon=lon, lat=lat), radius=world.rng.choice([1e3, 5e5, 4e6]))


def nested(world: World) -> models.Filter:
    """What one element of `nest` has to be."""
    color = models.FieldCondition(key="color", match=models.MatchValue(value=world.rng.choice(COLORS)))
    number = models.FieldCondition(key="n", range=models.Range(gte=world.rng.randint(0, 4)))
    return models.Filter(must=[color, number])


def filter(world: World, depth: int = 1) -> models.Filter:
    """A filter of a few conditions."""
    some = lambda most: [condition(world, depth) for _ in range(world.rng.randint(1, most))]  # noqa: E731
    kind = world.rng.randrange(5)
    if kind == 0:
        return models.Filter(must=some(2))
    if kind == 1:
        return models.Filter(should=some(3))
    if kind == 2:
        return models.Filter(must_not=some(2))
    if kind == 3:
        return models.Filter(must=some(1), should=some(2), must_not=some(1))
    return models.Filter(min_should=models.MinShould(conditions=some(3), min_count=world.rng.randint(1, 2)))


def maybe(world: World, share: float = 0.5) -> models.Filter | None:
    """A filter in so many cases."""
    return filter(world) if world.chance(share) else None
