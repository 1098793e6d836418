"""Random operations: the name of a client's method and its arguments."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from . import filters, mistakes, queries
from .operation import Operation
from .world import METRICS, Collection, World


def create(world: World) -> Operation:
    """A new collection."""
    collection = world.new_collection()
    world.collections.append(collection)
    arguments = {"collection_name": collection.name, "vectors_config": collection.vectors_config()}
    if collection.sparse:
        arguments["sparse_vectors_config"] = collection.sparse_config()
    return Operation("create_collection", arguments, kind="create")


def upsert(world: World, c: Collection, most: int = 6) -> Operation:
    """New or replaced points, in one of both forms."""
    points = [world.point(c, id) for id in world.some_ids(most)]
    arguments: dict[str, Any] = {"collection_name": c.name, "points": points, "wait": True}
    if not world.chance(0.25):
        return Operation("upsert", arguments, kind="upsert")
    # In columns every point has every vector.
    count = len(points)
    named: dict[str, Any] = {name: [world.value(c, name) for _ in range(count)] for name in c.fields()}
    vectors = named[""] if list(named) == [""] else named
    payloads = [point.payload for point in points]
    arguments["points"] = models.Batch(ids=[point.id for point in points], vectors=vectors, payloads=payloads)
    return Operation("upsert", arguments, kind="upsert batch")


def selected_ids(world: World, c: Collection, most: int) -> list[Any]:
    """Ids of points that are there, and now and then one that is not: all others are changed, and it is told."""
    ids = world.present(c, most)
    if world.chance(0.15):
        ids.insert(world.rng.randint(0, len(ids)), world.rng.choice([world.id(), 10**9]))
    return list(dict.fromkeys(ids))


def selector(world: World, c: Collection) -> Any:
    """Points by id or by filter."""
    choice = world.rng.randrange(10)
    if choice < 6:
        return selected_ids(world, c, 4)
    if choice == 6:
        return models.PointIdsList(points=selected_ids(world, c, 4))
    return models.FilterSelector(filter=filters.filter(world))


def updated(world: World, c: Collection, id: Any) -> models.PointVectors:
    """Some vectors of a point that is there."""
    name = world.rng.choice(c.fields())
    vectors = world.vectors(c, 0.6) or {name: world.value(c, name)}
    return models.PointVectors(id=id, vector=vectors)


def write(world: World, c: Collection) -> Operation:
    """A change of points."""
    rng = world.rng
    base = {"collection_name": c.name, "wait": True}
    present = world.present(c, 3)
    kind = rng.randrange(8) if present else 7
    if kind == 0:
        return Operation("delete", {**base, "points_selector": selector(world, c)}, kind="delete")
    if kind == 1:
        key = rng.choice([None, None, None, "deep", "deep.er", "nest[]", "nest[0]"])
        arguments = {**base, "payload": world.payload(), "points": selector(world, c), "key": key}
        return Operation("set_payload", arguments, kind="set_payload with a key" if key else "set_payload")
    if kind == 2:
        return Operation(
            "overwrite_payload", {**base, "payload": world.payload(), "points": selector(world, c)}, kind="overwrite_payload"
        )
    if kind == 3:
        keys = rng.sample(["color", "count", "deep.er", "nest[].n", "nest[0].color", "nest[]", "nothing", "text"], 2)
        return Operation("delete_payload", {**base, "keys": keys, "points": selector(world, c)}, kind="delete_payload")
    if kind == 4:
        return Operation("clear_payload", {**base, "points_selector": selector(world, c)}, kind="clear_payload")
    if kind == 5:
        updates = [updated(world, c, id) for id in selected_ids(world, c, 3)]
        return Operation("update_vectors", {**base, "points": updates}, kind="update_vectors")
    if kind == 6 and len(c.fields()) > 1:
        names = rng.sample(names, rng.randint(1, len(names))) if (names := [name for name in c.fields() if name]) else []
        arguments = {**base, "vectors": names, "points": selector(world, c)}
        return Operation("delete_vectors", arguments, kind="delete_vectors")
    return upsert(world, c, 3)


def batch(world: World, c: Collection) -> Operation:
    """Several changes in one call."""
    ids = world.some_ids(3)
    names = [name for name in c.fields() if name]
    # Of the points that the first change makes.
    makers = [
        lambda: models.SetPayloadOperation(set_payload=models.SetPayload(payload={"color": "batch"}, points=ids[:1])),
        lambda: models.SetPayloadOperation(set_payload=models.SetPayload(payload=world.payload(), filter=filters.filter(world))),
        lambda: models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload=world.payload(), points=ids)),
        lambda: models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["count"], points=ids)),
        lambda: models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=ids[:1])),
        lambda: models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[updated(world, c, ids[0])])),
    ]
    if names:
        delete = lambda: models.DeleteVectors(points=ids[:2], vector=[world.rng.choice(names)])  # noqa: E731
        makers.append(lambda: models.DeleteVectorsOperation(delete_vectors=delete()))
    changes = [maker() for maker in world.rng.sample(makers, world.rng.randint(1, 4))]
    first = models.UpsertOperation(upsert=models.PointsList(points=[world.point(c, id) for id in ids]))
    last = models.DeleteOperation(delete=models.PointIdsList(points=world.some_ids(2)))
    arguments = {"collection_name": c.name, "update_operations": [first, *changes, last], "wait": True}
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
        key = rng.choice(["color", "count", "flag", "uid", "deep.er.color", "nest[].color"])
        arguments = {"collection_name": c.name, "key": key, "facet_filter": filters.maybe(world), "limit": 20, "exact": True}
        return Operation("facet", arguments, "facet", "facet")
    arguments = {"collection_name": c.name, "scroll_filter": filters.maybe(world), "limit": rng.randint(1, 90), **what}
    if kind == 3:
        direction = rng.choice([models.Direction.ASC, models.Direction.DESC])
        order = models.OrderBy(key=rng.choice(["count", "price", "when"]), direction=direction)
        if world.chance(0.3):
            order.start_from = "2023-01-01T00:00:00Z" if order.key == "when" else rng.randint(0, 10)
        arguments["order_by"] = order
        return Operation("scroll", arguments, "values", "scroll by value")
    if world.chance(0.3):
        arguments["offset"] = world.id()
    return Operation("scroll", arguments, "exact", "scroll")


def with_payload(world: World) -> Any:
    """What of the payload."""
    choice = world.rng.randrange(7)
    if choice == 0:
        return ["color", "deep.er.n"]
    if choice == 1:
        return models.PayloadSelectorExclude(exclude=["text", "nest[].n"])
    if choice == 2:
        return models.PayloadSelectorInclude(include=["nest[].color", "place", "deep.er.color"])
    if choice == 3:
        return models.PayloadSelectorExclude(exclude=["deep.er", "nest[]", "count"])
    return choice != 4


def with_vectors(world: World, c: Collection) -> Any:
    """Which vectors."""
    names = [name for name in c.fields() if name]
    if names and world.chance(0.3):
        return world.rng.sample(names, world.rng.randint(1, len(names)))
    return world.chance(0.4)


def query(world: World, c: Collection) -> Operation:
    """A query of any kind."""
    kind, arguments, order = queries.query(world, c)
    what = {"with_payload": with_payload(world), "with_vectors": with_vectors(world, c)}
    return Operation("query_points", {"collection_name": c.name, **arguments, **what}, meant(order, arguments), kind)


def meant(order: str, arguments: dict[str, Any]) -> str:
    """The meaning of order where points are skipped."""
    return "scores after some" if order == "scores" and arguments.get("offset") else order


def query_batch(world: World, c: Collection) -> Operation:
    """Several queries in one call."""
    made = [queries.query(world, c) for _ in range(world.rng.randint(1, 3))]
    requests = []
    for _, arguments, _ in made:
        parts = dict(arguments)
        for given, wanted in [("query_filter", "filter"), ("search_params", "params")]:
            if given in parts:
                parts[wanted] = parts.pop(given)
        requests.append(models.QueryRequest(**parts, with_payload=with_payload(world), with_vector=with_vectors(world, c)))
    order = "|".join(meant(order, arguments) for _, arguments, order in made)
    return Operation("query_batch_points", {"collection_name": c.name, "requests": requests}, order, "query batch")


def groups(world: World, c: Collection) -> Operation:
    """A query whose results are grouped."""
    name = queries.any_field(world, c)
    arguments: dict[str, Any] = {
        "collection_name": c.name,
        "group_by": world.rng.choice(["color", "count", "deep.er.color", "nest[].color", "uid"]),
        "query_filter": filters.maybe(world, 0.3),
        "limit": world.rng.randint(1, 5),
        "group_size": world.rng.randint(1, 3),
        "with_payload": with_payload(world),
    }
    if world.chance(0.2):
        lists = [queries.prefetch(world, c) for _ in range(2)]
        arguments |= {"prefetch": lists, "query": models.FusionQuery(fusion=models.Fusion.RRF)}
    else:
        arguments |= {"query": world.example(c, name, 0.2), "using": c.using(name)}
    if world.chance(0.2):
        arguments["with_lookup"] = world.rng.choice(world.collections).name
    return Operation("query_points_groups", arguments, "groups", "groups")


def matrix(world: World, c: Collection) -> Operation:
    """Neighbours of each point of a sample that holds all points."""
    method = world.rng.choice(["search_matrix_pairs", "search_matrix_offsets"])
    name = queries.any_field(world, c)
    arguments = {
        "collection_name": c.name,
        "query_filter": filters.maybe(world, 0.5),
        "limit": world.rng.randint(1, 4),
        "sample": 100,
        "using": c.using(name),
    }
    return Operation(method, arguments, "matrix", f"matrix {queries.kind_of(c, name)}")


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
        "nest[].color": models.PayloadSchemaType.KEYWORD,
        "uid": models.PayloadSchemaType.UUID,
    }
    field_name = world.rng.choice(list(kinds))
    kind = world.rng.randrange(8)
    if kind == 5:
        return Operation("delete_payload_index", {"collection_name": c.name, "field_name": field_name, "wait": True}, kind="delete index")
    if kind == 6:
        return Operation("get_aliases", {}, "sets", "all aliases")
    if kind == 7:
        return Operation("get_collection", {"collection_name": c.name}, "info", "collection info")
    if kind <= 1:
        arguments = {"collection_name": c.name, "field_name": field_name, "field_schema": kinds[field_name], "wait": True}
        return Operation("create_payload_index", arguments, kind="create index")
    if kind == 2:
        return Operation("collection_exists", {"collection_name": world.rng.choice([c.name, "absent"])}, kind="exists")
    if kind == 3:
        return Operation("get_collections", {}, "set", "collections")
    return Operation("get_collection_aliases", {"collection_name": c.name}, "set", "aliases")


def vector_name(world: World, c: Collection) -> Operation:
    """A vector field made, or taken away with all its values."""
    name, base = "extra", {"collection_name": c.name, "vector_name": "extra", "wait": True}
    if "" in c.dense:
        return schema(world, c)
    if name in c.dense and world.chance(0.8):
        del c.dense[name]
        return Operation("delete_vector_name", base, kind="delete vector name")
    if name not in c.dense and world.chance(0.2):
        return Operation("delete_vector_name", base, kind="delete absent vector name")
    size, metric = c.dense.setdefault(name, (world.rng.choice([2, 5]), world.rng.choice(METRICS)))
    config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=size, distance=metric))
    return Operation("create_vector_name", {**base, "vector_name_config": config}, kind="create vector name")


def drop(world: World, c: Collection) -> Operation:
    """A collection dropped; the next one takes its place."""
    if len(world.collections) < 3:
        return schema(world, c)
    world.collections.remove(c)
    return Operation("delete_collection", {"collection_name": c.name}, kind="drop")


def operation(world: World) -> Operation:
    """Any operation; the first ones make and fill collections."""
    if len(world.collections) < 2 or (len(world.collections) < 8 and world.chance(0.004 if world.serial < 40 else 0)):
        return create(world)
    c = world.rng.choice(world.collections[-4:])
    makers = [upsert, write, batch, read, query, query_batch, groups, matrix, alias, schema, vector_name, mistakes.mistake, drop]
    weights = [12, 20, 3, 18, 34, 3, 4, 2, 1, 3, 0.5, 4, 0.1]
    return world.rng.choices(makers, weights)[0](world, c)
