"""Random filters."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from .world import CITIES, COLORS, WORDS, World


def condition(world: World, depth: int) -> Any:
    """One condition."""
    rng = world.rng
    field = models.FieldCondition
    color, count = lambda: rng.choice(COLORS), lambda: rng.randint(-5, 20)  # noqa: E731
    match = lambda key, **how: field(key=key, match=how)  # noqa: E731
    makers = {
        "match value": lambda: match("color", value=color()),
        "match any": lambda: match("color", any=rng.sample(COLORS, 2)),
        "match except": lambda: match("color", **{"except": rng.sample(COLORS, 2)}),
        "match integer": lambda: match("count", value=count()),
        "match any integer": lambda: match("count", any=[count() for _ in range(4)]),
        "match except integer": lambda: match("count", **{"except": [count() for _ in range(4)]}),
        "match uuid": lambda: match("uid", value=rng.choice(world.uuids)),
        "match bool": lambda: match("flag", value=world.chance(0.5)),
        "match text": lambda: match("text", text=" ".join(rng.sample(WORDS, rng.randint(1, 2)))),
        "match text any": lambda: match("text", text_any=" ".join(rng.sample(WORDS, 2))),
        "match phrase": lambda: match("text", phrase=" ".join(rng.choices(WORDS, k=2))),
        "range": lambda: field(key="count", range=models.Range(gte=rng.randint(-5, 10), lt=rng.randint(5, 20))),
        "range of floats": lambda: field(key="price", range=models.Range(gt=rng.randint(0, 200), lte=rng.randint(100, 250))),
        "range of dates": lambda: field(key="when", range=dates(world)),
        "geo radius": lambda: field(key="place", geo_radius=radius(world)),
        "geo box": lambda: field(key="place", geo_bounding_box=box(world)),
        "geo polygon": lambda: field(key="place", geo_polygon=polygon(world)),
        "values count": lambda: field(key=rng.choice(["color", "nest", "nothing"]), values_count=values_count(world)),
        "key in a list": lambda: match("nest[].color", value=color()),
        "key of an element": lambda: match(f"nest[{rng.randint(0, 1)}].color", value=color()),
        "nested key": lambda: field(key="deep.er.n", range=models.Range(lte=rng.randint(0, 5))),
        "is empty": lambda: models.IsEmptyCondition(is_empty=models.PayloadField(key=rng.choice(["color", "nothing", "deep.er", "nest[].n"]))),
        "is null": lambda: models.IsNullCondition(is_null=models.PayloadField(key=rng.choice(["nothing", "count"]))),
        "is empty of a field": lambda: field(key="nothing", is_empty=world.chance(0.5)),
        "is null of a field": lambda: field(key="nothing", is_null=world.chance(0.5)),
        "has id": lambda: models.HasIdCondition(has_id=world.some_ids(20)),
        "has vector": lambda: models.HasVectorCondition(has_vector=rng.choice(["a", "b", "plain", "late", ""])),
        "nested": lambda: models.NestedCondition(nested=models.Nested(key=rng.choice(["nest", "nest[]"]), filter=nested(world))),
    }
    if depth > 0:
        makers["filter"] = lambda: filter(world, depth - 1)
    kind = rng.choice(list(makers))
    world.conditions[kind] += 1
    return makers[kind]()


def dates(world: World) -> models.DatetimeRange:
    """From one date to another, in several forms."""
    rng = world.rng
    day = f"202{rng.randint(0, 6)}-05-1{rng.randint(0, 9)}"
    start = rng.choice([day, f"{day}T10:00:00Z", f"{day}T12:00:00+02:00", f"{day}T10:00:00.000001Z"])
    end = f"202{rng.randint(3, 7)}-01-01T00:00:00Z"
    return models.DatetimeRange(**{rng.choice(["gt", "gte"]): start, rng.choice(["lt", "lte"]): end})


def values_count(world: World) -> models.ValuesCount:
    """So many values."""
    few, many = world.rng.randint(0, 2), world.rng.randint(1, 3)
    bounds = [{"gt": few}, {"gte": few}, {"lt": many}, {"lte": many}, {"gte": few, "lte": many}]
    return models.ValuesCount(**world.rng.choice(bounds))


def box(world: World) -> models.GeoBoundingBox:
    """A box, now and then one over the date line."""
    rng = world.rng
    west, east = rng.choice([(-10.0, 20.0), (-80.0, 5.0), (0.0, 140.0), (130.0, -60.0)])
    north, south = rng.choice([(60.0, 50.0), (52.0, 30.0)])
    return models.GeoBoundingBox(top_left=models.GeoPoint(lon=west, lat=north), bottom_right=models.GeoPoint(lon=east, lat=south))


def polygon(world: World) -> models.GeoPolygon:
    """A quadrangle, now and then with a hole."""
    ring = lambda west, south, east, north: models.GeoLineString(  # noqa: E731
        points=[
            models.GeoPoint(lon=lon, lat=lat)
            for lon, lat in [(west, south), (east, south), (east, north), (west, north), (west, south)]
        ]
    )
    west, south, east, north = world.rng.choice([(-10, 40, 20, 60), (-80, 35, 0, 53), (100, 20, 150, 50)])
    holes = [ring(10, 50, 15, 55)] if world.chance(0.4) else None
    return models.GeoPolygon(exterior=ring(west, south, east, north), interiors=holes)


def radius(world: World) -> models.GeoRadius:
    """A circle around a city."""
    lon, lat = world.rng.choice(CITIES)
    return models.GeoRadius(center=models.GeoPoint(lon=lon, lat=lat), radius=world.rng.choice([1e3, 5e5, 4e6]))


def nested(world: World) -> models.Filter:
    """What one element of `nest` has to be."""
    color = models.FieldCondition(key="color", match=models.MatchValue(value=world.rng.choice(COLORS)))
    number = models.FieldCondition(key="n", range=models.Range(gte=world.rng.randint(0, 4)))
    if world.chance(0.3):
        return models.Filter(must=[number], must_not=[color])
    return models.Filter(should=[color, number]) if world.chance(0.3) else models.Filter(must=[color, number])


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
