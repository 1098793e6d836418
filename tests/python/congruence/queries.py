"""Random queries: what `query_points` takes."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from . import filters
from .world import Collection, World


def dense_input(world: World, c: Collection) -> tuple[str, Any]:
    """A dense field with a vector or the id of an example."""
    name = world.rng.choice(list(c.dense))
    return name, world.id() if world.chance(0.2) else world.dense(c.dense[name][0])


def any_input(world: World, c: Collection) -> tuple[str, Any]:
    """A field of any kind with a vector."""
    name = world.rng.choice([*c.dense, *c.sparse, *c.multi])
    if name in c.sparse:
        return name, world.sparse()
    if name in c.multi:
        return name, world.multi(c.multi[name][0])
    return name, world.dense(c.dense[name][0])


def common(world: World, name: str, c: Collection) -> dict[str, Any]:
    """What every query has."""
    arguments: dict[str, Any] = {
        "using": c.using(name),
        "limit": world.rng.randint(1, 30),
        "query_filter": filters.maybe(world, 0.4),
    }
    if world.chance(0.2):
        arguments["offset"] = world.rng.randint(0, 5)
    return arguments


def query(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    """Kind, arguments, and how the order of the answer is meant."""
    makers = [nearest, recommend, discover, context, fusion, stages, order_by, formula, no_query, mmr]
    weights = [30, 12, 6, 5, 14, 8, 6, 8, 4, 4]
    return world.rng.choices(makers, weights)[0](world, c)


def nearest(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    name, vector = any_input(world, c) if world.chance(0.7) else dense_input(world, c)
    arguments = {"query": vector, **common(world, name, c)}
    if world.chance(0.15):
        arguments["score_threshold"] = world.rng.randint(-20, 60) / 16
    return "nearest", arguments, "scores"


def recommend(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    name = world.rng.choice(list(c.dense))
    size = c.dense[name][0]
    example = lambda: world.id() if world.chance(0.5) else world.dense(size)  # noqa: E731
    strategy = world.rng.choice(list(models.RecommendStrategy))
    positive = [example() for _ in range(world.rng.randint(1, 3))]
    negative = [example() for _ in range(world.rng.randint(0, 2))]
    recommend = models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
    return f"recommend {strategy.value}", {"query": models.RecommendQuery(recommend=recommend), **common(world, name, c)}, "scores"


def pair(world: World, size: int) -> models.ContextPair:
    return models.ContextPair(positive=world.dense(size), negative=world.dense(size))


def discover(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    name, target = dense_input(world, c)
    pairs = [pair(world, c.dense[name][0]) for _ in range(world.rng.randint(1, 3))]
    query = models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=pairs))
    return "discover", {"query": query, **common(world, name, c)}, "scores"


def context(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    name = world.rng.choice(list(c.dense))
    pairs = [pair(world, c.dense[name][0]) for _ in range(world.rng.randint(1, 3))]
    return "context", {"query": models.ContextQuery(context=pairs), **common(world, name, c)}, "scores"


def prefetch(world: World, c: Collection) -> models.Prefetch:
    name, vector = any_input(world, c)
    # Long enough to hold every point: a cut through equal scores would be another list for each of the two.
    return models.Prefetch(query=vector, using=c.using(name), limit=200, filter=filters.maybe(world, 0.3))


def fusion(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    lists = [prefetch(world, c) for _ in range(world.rng.randint(1, 3))]
    kind = world.rng.randrange(3)
    if kind == 0:
        query: Any = models.FusionQuery(fusion=models.Fusion.RRF)
    elif kind == 1:
        weights = [world.rng.randint(1, 4) / 2 for _ in lists] if world.chance(0.5) else None
        query = models.RrfQuery(rrf=models.Rrf(k=world.rng.choice([1, 2, 60]), weights=weights))
    else:
        query = models.FusionQuery(fusion=models.Fusion.DBSF)
    arguments = {"prefetch": lists, "query": query, "limit": world.rng.randint(1, 30)}
    return ["fusion rrf", "fusion rrf k", "fusion dbsf"][kind], arguments, "scores"


def stages(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    name, vector = any_input(world, c)
    arguments = {"query": vector, "prefetch": [prefetch(world, c)], **common(world, name, c)}
    return "stages", arguments, "scores"


def order_by(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    direction = world.rng.choice([models.Direction.ASC, models.Direction.DESC])
    query = models.OrderByQuery(order_by=models.OrderBy(key=world.rng.choice(["count", "price"]), direction=direction))
    arguments = {"query": query, "limit": world.rng.randint(1, 90), "query_filter": filters.maybe(world, 0.3)}
    return "order by", arguments, "values"


def expression(world: World) -> Any:
    """An expression over the score and the payload."""
    color = models.FieldCondition(key="color", match=models.MatchValue(value="red"))
    lin = models.DecayParamsExpression(x="count", target=5.0, scale=4.0, midpoint=0.5)
    makers = [
        lambda: models.SumExpression(sum=["$score", models.MultExpression(mult=[0.5, "count"])]),
        lambda: models.SumExpression(sum=["$score", models.MultExpression(mult=[2.0, color])]),
        lambda: models.LinDecayExpression(lin_decay=lin),
        lambda: models.ExpDecayExpression(exp_decay=lin),
        lambda: models.GaussDecayExpression(gauss_decay=lin),
        lambda: models.DivExpression(div=models.DivParams(left="$score", right="price", by_zero_default=1.5)),
        lambda: models.AbsExpression(abs=models.NegExpression(neg="count")),
        lambda: models.SqrtExpression(sqrt=models.AbsExpression(abs="price")),
    ]
    return world.rng.choice(makers)()


def formula(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    query = models.FormulaQuery(formula=expression(world), defaults={"count": 1, "price": 2.0})
    return "formula", {"prefetch": [prefetch(world, c)], "query": query, "limit": world.rng.randint(1, 30)}, "scores"


def no_query(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    return "no query", {"limit": world.rng.randint(1, 90), "query_filter": filters.maybe(world, 0.5)}, "exact"


def mmr(world: World, c: Collection) -> tuple[str, dict[str, Any], str]:
    name, vector = any_input(world, c)
    mmr = models.Mmr(diversity=world.rng.choice([0.0, 0.3, 0.7]), candidates_limit=200)
    query = models.NearestQuery(nearest=vector, mmr=mmr)
    return "mmr", {"query": query, "using": c.using(name), "limit": world.rng.randint(1, 10)}, "scores"
