"""Random operations: the name of a client's method and its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from . import filters, queries
from .world import Collection, World


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


def create(world: World) -> Operation:
    """A new collection."""
    collection = world.new_collection()
    world.collections.append(collection)
    arguments = {"collection_name": collection.name, "vectors_config": collection.vectors_config()}
    if collection.sparse:
        arguments["sparse_vectors_config"] = collection.sparse_config()
    return Operation("create_collection", arguments, kind="create")


def upsert(world: World, c: Collection, most: int = 6) -> Operation:
    """New or replaced points."""
    points = [world.point(c, id) for id in world.some_ids(most)]
    return Operation("upsert", {"collection_name": c.name, "points": points, "wait": True}, kind="upsert")


def selector(world: World, c: Collection) -> Any:
    """Points by id or by filter."""
    return world.present(c, 4) if world.chance(0.7) else models.FilterSelector(filter=filters.filter(world))


def write(world: World, c: Collection) -> Operation:
    """A change of points."""
    rng = world.rng
    base = {"collection_name": c.name, "wait": True}
    vectors = lambda: world.vectors(c, 0.6) or {name: world.dense(size) for name, (size, _) in c.dense.items()}  # noqa: E731
    present = world.present(c, 3)
    kind = rng.randrange(8) if present else 7
    if kind == 0:
        return Operation("delete", {**base, "points_selector": selector(world, c)}, kind="delete")
    if kind == 1:
        key = rng.choice([None, None, "deep", "deep.er"])
        return Operation(
            "set_payload", {**base, "payload": world.payload(), "points": selector(world, c), "key": key}, kind="set_payload"
        )
    if kind == 2:
        return Operation(
            "overwrite_payload", {**base, "payload": world.payload(), "points": selector(world, c)}, kind="overwrite_payload"
        )
    if kind == 3:
        keys = rng.sample(["color", "count", "deep.er", "nest[].n", "nothing", "text"], 2)
        return Operation("delete_payload", {**base, "keys": keys, "points": selector(world, c)}, kind="delete_payload")
    if kind == 4:
        return Operation("clear_payload", {**base, "points_selector": selector(world, c)}, kind="clear_payload")
    if kind == 5:
        update = models.PointVectors(id=present[0], vector=vectors())
        return Operation("update_vectors", {**base, "points": [update]}, kind="update_vectors")
    if kind == 6 and len(c.dense) + len(c.sparse) + len(c.multi) > 1:
        names = [name for name in [*c.dense, *c.sparse, *c.multi] if name]
        return Operation(
            "delete_vectors", {**base, "vectors": [rng.choice(names)], "points": present}, kind="delete_vectors"
        )
    return upsert(world, c, 3)


def batch(world: World, c: Collection) -> Operation:
    """Several changes in one call."""
    ids = world.some_ids(3)
    operations = [
        models.UpsertOperation(upsert=models.PointsList(points=[world.point(c, id) for id in ids])),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"color": "batch"}, points=ids[:1])),
        models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["count"], points=ids)),
        models.DeleteOperation(delete=models.PointIdsList(points=world.some_ids(2))),
    ]
    arguments = {"collection_name": c.name, "update_operations": operations, "wait": True}
    return Operation("batch_update_points", arguments, kind="batch")


def read(world: World, c: Collection) -> Operation:
    """Points by id, page by page, or their number."""
    rng = world.rng
    what = {"with_payload": with_payload(world), "with_vectors": with_vectors(world, c)}
    kind = rng.randrange(5)
    if kind == 0:
        return Operation("retrieve", {"collection_name": c.name, "ids": world.some_ids(8), **what}, "ids", "retrieve")
    if kind == 1:
        arguments = {"collection_name": c.name, "count_filter": filters.maybe(world, 0.8), "exact": True}
        return Operation("count", arguments, kind="count")
    if kind == 2:
        key = rng.choice(["color", "count", "flag"])
        arguments = {"collection_name": c.name, "key": key, "facet_filter": filters.maybe(world), "limit": 20, "exact": True}
        return Operation("facet", arguments, "facet", "facet")
    arguments = {"collection_name": c.name, "scroll_filter": filters.maybe(world), "limit": rng.randint(1, 90), **what}
    if kind == 3:
        direction = rng.choice([models.Direction.ASC, models.Direction.DESC])
        order = models.OrderBy(key=rng.choice(["count", "price"]), direction=direction)
        if world.chance(0.3):
            order.start_from = rng.randint(0, 10)
        arguments["order_by"] = order
        return Operation("scroll", arguments, "values", "scroll by value")
    if world.chance(0.3):
        arguments["offset"] = world.id()
    return Operation("scroll", arguments, "exact", "scroll")


def with_payload(world: World) -> Any:
    """What of the payload."""
    choice = world.rng.randrange(5)
    if choice == 0:
        return ["color", "deep.er.n"]
    if choice == 1:
        return models.PayloadSelectorExclude(exclude=["text", "nest[].n"])
    return choice != 2


def with_vectors(world: World, c: Collection) -> Any:
    """Which vectors."""
    names = [name for name in [*c.dense, *c.sparse, *c.multi] if name]
    if names and world.chance(0.3):
        return [world.rng.choice(names)]
    return world.chance(0.4)


def query(world: World, c: Collection) -> Operation:
    """A query of any kind."""
    kind, arguments, order = queries.query(world, c)
    what = {"with_payload": with_payload(world), "with_vectors": with_vectors(world, c)}
    return Operation("query_points", {"collection_name": c.name, **arguments, **what}, order, kind)


def groups(world: World, c: Collection) -> Operation:
    """A query whose results are grouped."""
    name, vector = queries.dense_input(world, c)
    arguments = {
        "collection_name": c.name,
        "group_by": world.rng.choice(["color", "count", "deep.er.color"]),
        "query": vector,
        "using": c.using(name),
        "query_filter": filters.maybe(world, 0.3),
        "limit": world.rng.randint(1, 5),
        "group_size": world.rng.randint(1, 3),
        "with_payload": True,
    }
    return Operation("query_points_groups", arguments, "groups", "groups")


def alias(world: World, c: Collection) -> Operation:
    """An alias set or removed."""
    name = f"alias{world.rng.randrange(3)}"
    if world.chance(0.7):
        change = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=c.name, alias_name=name))
    else:
        change = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
    return Operation("update_collection_aliases", {"change_aliases_operations": [change]}, kind="alias")


def schema(world: World, c: Collection) -> Operation:
    """A payload index made or dropped, or something asked about collections."""
    kinds = {
        "color": models.PayloadSchemaType.KEYWORD,
        "count": models.PayloadSchemaType.INTEGER,
        "price": models.PayloadSchemaType.FLOAT,
        "flag": models.PayloadSchemaType.BOOL,
        "when": models.PayloadSchemaType.DATETIME,
        "place": models.PayloadSchemaType.GEO,
        "deep.er.color": models.PayloadSchemaType.KEYWORD,
    }
    field_name = world.rng.choice(list(kinds))
    kind = world.rng.randrange(5)
    if kind <= 1:
        arguments = {"collection_name": c.name, "field_name": field_name, "field_schema": kinds[field_name], "wait": True}
        return Operation("create_payload_index", arguments, kind="create index")
    if kind == 2:
        return Operation("collection_exists", {"collection_name": world.rng.choice([c.name, "absent"])}, kind="exists")
    if kind == 3:
        return Operation("get_collections", {}, "set", "collections")
    return Operation("get_collection_aliases", {"collection_name": c.name}, "set", "aliases")


def mistake(world: World, c: Collection) -> Operation:
    """What both must refuse."""
    size = next(iter(c.dense.values()))[0]
    name = next(iter(c.dense))
    makers = [
        lambda: Operation("count", {"collection_name": "absent"}),
        lambda: Operation("query_points", {"collection_name": c.name, "query": world.dense(size + 1), "using": c.using(name)}),
        lambda: Operation("query_points", {"collection_name": c.name, "query": world.dense(size), "using": "absent"}),
        lambda: Operation("create_collection", {"collection_name": c.name, "vectors_config": c.vectors_config()}),
        lambda: Operation("retrieve", {"collection_name": "absent", "ids": [1]}),
        lambda: Operation("query_points", {"collection_name": c.name, "query": 10**9, "using": c.using(name)}),
    ]
    operation = world.rng.choice(makers)()
    operation.kind = "mistake"
    return operation


def operation(world: World) -> Operation:
    """Any operation; the first ones make and fill collections."""
    if len(world.collections) < 2 or (len(world.collections) < 8 and world.chance(0.004)):
        return create(world)
    c = world.rng.choice(world.collections[-4:])
    makers = [upsert, write, batch, read, query, groups, alias, schema, mistake]
    weights = [12, 20, 3, 20, 36, 3, 1, 3, 2]
    return world.rng.choices(makers, weights)[0](world, c)
