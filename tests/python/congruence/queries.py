"""Random queries: what `query_points` takes."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from . import filters
from .world import Collection, World

# Kind, arguments, and how the order of the answer is meant.
Made = tuple[str, dict[str, Any], str]


def kind_of(c: Collection, name: str) -> str:
    """What a field holds, for the report."""
    return "sparse" if name in c.sparse else "multi" if name in c.multi else "dense"


def common(world: World, name: str, c: Collection) -> dict[str, Any]:
    """What every query has."""
    arguments: dict[str, Any] = {
        "using": c.using(name),
        "limit": world.rng.randint(1, 30),
        "query_filter": filters.maybe(world, 0.4),
    }
    if world.chance(0.2):
        arguments["offset"] = world.rng.randint(0, 5)
    if world.chance(0.1):
        arguments["search_params"] = models.SearchParams(exact=True, hnsw_ef=world.rng.choice([None, 64]))
    return arguments


def threshold(world: World, c: Collection, name: str, examples: bool = False) -> dict[str, Any]:
    """Now and then a threshold. None of scores of examples in a field of distances: Qdrant cuts those backwards (it compares
    as if they were distances), Engram leaves out what scores worse, as everywhere."""
    metrics = {field: metric for field, (_, metric) in [*c.dense.items(), *c.multi.items()]}
    backwards = metrics.get(name) in (models.Distance.EUCLID, models.Distance.MANHATTAN)
    if (examples and backwards) or not world.chance(0.15):
        return {}
    return {"score_threshold": world.rng.randint(-20, 60) / 16 + 0.0123}


def query(world: World, c: Collection) -> Made:
    """A query of any kind."""
    makers = [nearest, nearest_by_id, recommend, discover, context, fusion, stages, order_by, formula, no_query, mmr, lookup, sample]
    weights = [24, 8, 14, 7, 6, 14, 10, 6, 8, 4, 7, 4, 1]
    return world.rng.choices(makers, weights)[0](world, c)


def any_field(world: World, c: Collection) -> str:
    """A field of any kind."""
    return world.rng.choice(c.fields())


def nearest(world: World, c: Collection) -> Made:
    name = any_field(world, c)
    value = world.value(c, name)
    query = models.NearestQuery(nearest=value) if world.chance(0.3) else value
    arguments = {"query": query, **common(world, name, c), **threshold(world, c, name)}
    return f"nearest {kind_of(c, name)}", arguments, "scores"


def nearest_by_id(world: World, c: Collection) -> Made:
    name = any_field(world, c)
    return f"nearest {kind_of(c, name)} by id", {"query": world.example_id(c, name), **common(world, name, c)}, "scores"


def recommend(world: World, c: Collection) -> Made:
    name = any_field(world, c)
    strategy = world.rng.choice([None, *models.RecommendStrategy])
    positive = [world.example(c, name) for _ in range(world.rng.randint(0 if world.chance(0.1) else 1, 3))]
    negative = [world.example(c, name) for _ in range(world.rng.randint(0, 2))]
    recommend = models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
    kind = f"recommend {strategy.value if strategy else 'default'} {kind_of(c, name)}"
    return kind, {
        "query": models.RecommendQuery(recommend=recommend),
        **common(world, name, c),
        **threshold(world, c, name, examples=True),
    }, "scores"


def pairs(world: World, c: Collection, name: str) -> list[models.ContextPair]:
    """Pairs of examples."""
    example = lambda: world.example(c, name, 0.2)  # noqa: E731
    return [models.ContextPair(positive=example(), negative=example()) for _ in range(world.rng.randint(1, 3))]


def discover(world: World, c: Collection) -> Made:
    name = any_field(world, c)
    target = world.example(c, name, 0.3)
    query = models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=pairs(world, c, name)))
    arguments = {"query": query, **common(world, name, c), **threshold(world, c, name, examples=True)}
    return f"discover {kind_of(c, name)}", arguments, "scores"


def context(world: World, c: Collection) -> Made:
    name = any_field(world, c)
    query = models.ContextQuery(context=pairs(world, c, name))
    return f"context {kind_of(c, name)}", {"query": query, **common(world, name, c)}, "scores"


def prefetch(world: World, c: Collection, depth: int = 0) -> models.Prefetch:
    """A stage."""
    name = any_field(world, c)
    # Long enough to hold every point: a cut through equal scores would be another list for each of the two.
    stage = models.Prefetch(query=world.value(c, name), using=c.using(name), limit=200, filter=filters.maybe(world, 0.3))
    if world.chance(0.1):
        stage.score_threshold = world.rng.randint(-20, 60) / 16 + 0.0123
    if depth and world.chance(0.4):
        stage.prefetch = [prefetch(world, c, depth - 1)]
    return stage


def fusion(world: World, c: Collection) -> Made:
    lists = [prefetch(world, c, 1) for _ in range(world.rng.randint(1, 3))]
    kind = world.rng.randrange(3)
    if kind == 0:
        query: Any = models.FusionQuery(fusion=models.Fusion.RRF)
    elif kind == 1:
        weights = [world.rng.randint(1, 4) / 2 for _ in lists] if world.chance(0.5) else None
        query = models.RrfQuery(rrf=models.Rrf(k=world.rng.choice([1, 2, 60]), weights=weights))
    else:
        query = models.FusionQuery(fusion=models.Fusion.DBSF)
    arguments = {"prefetch": lists, "query": query, "limit": world.rng.randint(1, 30)}
    if world.chance(0.2):
        arguments["offset"] = world.rng.randint(0, 5)
    if world.chance(0.1):
        arguments["score_threshold"] = world.rng.randint(0, 16) / 16 + 0.0123
    return ["fusion rrf", "fusion rrf k", "fusion dbsf"][kind], arguments, "scores"


def stages(world: World, c: Collection) -> Made:
    lists = [prefetch(world, c, 2) for _ in range(world.rng.randint(1, 2))]
    maker = world.rng.choices([nearest, recommend, discover, context, mmr], [6, 1, 1, 1, 1])[0]
    kind, arguments, order = maker(world, c)
    return f"stages: {kind.split()[0]}", {"prefetch": lists, **arguments}, order


def order_by(world: World, c: Collection) -> Made:
    direction = world.rng.choice([None, *models.Direction])
    order = models.OrderBy(key=world.rng.choice(["count", "price", "when"]), direction=direction)
    arguments = {"query": models.OrderByQuery(order_by=order), "limit": world.rng.randint(1, 90), "query_filter": filters.maybe(world, 0.3)}
    return "order by", arguments, "values"


def expression(world: World, depth: int = 1) -> Any:
    """An expression over the score and the payload."""
    rng = world.rng
    inner = lambda: expression(world, depth - 1) if depth and world.chance(0.4) else rng.choice(["$score", "count", "price", 0.5])  # noqa: E731
    color = models.FieldCondition(key="color", match=models.MatchValue(value="red"))
    lin = models.DecayParamsExpression(x=rng.choice(["count", "$score"]), target=5.0, scale=4.0, midpoint=0.5)
    age = models.DecayParamsExpression(
        x=models.DatetimeKeyExpression(datetime_key="when"),
        target=models.DatetimeExpression(datetime="2023-01-01T00:00:00Z"),
        scale=86_400.0 * 365,
    )
    berlin = models.GeoDistance(geo_distance=models.GeoDistanceParams(origin=models.GeoPoint(lon=13.4, lat=52.5), to="place"))
    makers = [
        lambda: models.SumExpression(sum=["$score", models.MultExpression(mult=[0.5, inner()])]),
        lambda: models.SumExpression(sum=["$score", models.MultExpression(mult=[2.0, color])]),
        lambda: models.LinDecayExpression(lin_decay=lin),
        lambda: models.ExpDecayExpression(exp_decay=lin),
        lambda: models.GaussDecayExpression(gauss_decay=lin),
        lambda: models.SumExpression(sum=[models.GaussDecayExpression(gauss_decay=age), "$score"]),
        lambda: models.DivExpression(div=models.DivParams(left=berlin, right=1000.0)),
        lambda: models.DivExpression(div=models.DivParams(left="$score", right="price", by_zero_default=1.5)),
        lambda: models.AbsExpression(abs=models.NegExpression(neg=inner())),
        lambda: models.SqrtExpression(sqrt=models.AbsExpression(abs=inner())),
        lambda: models.PowExpression(pow=models.PowParams(base=models.AbsExpression(abs=inner()), exponent=2.0)),
        lambda: models.ExpExpression(exp=models.LinDecayExpression(lin_decay=lin)),
        lambda: models.LnExpression(ln=models.SumExpression(sum=[1.0, models.AbsExpression(abs=inner())])),
        lambda: models.Log10Expression(log10=models.SumExpression(sum=[1.0, models.AbsExpression(abs=inner())])),
        lambda: models.SumExpression(sum=[models.SqrtExpression(sqrt="count"), "$score"]),
    ]
    return rng.choice(makers)()


def formula(world: World, c: Collection) -> Made:
    defaults = {"count": 1, "price": 2.0, "when": "2022-01-01T00:00:00Z", "place": {"lon": 0.0, "lat": 0.0}}
    query = models.FormulaQuery(formula=expression(world), defaults=defaults)
    return "formula", {"prefetch": [prefetch(world, c)], "query": query, "limit": world.rng.randint(1, 30)}, "scores"


def no_query(world: World, c: Collection) -> Made:
    arguments = {"limit": world.rng.randint(1, 90), "query_filter": filters.maybe(world, 0.5)}
    if world.chance(0.3):
        arguments["offset"] = world.rng.randint(0, 5)
    return "no query", arguments, "exact"


def mmr(world: World, c: Collection) -> Made:
    name = any_field(world, c)
    # By 0.5, the default, points in line with one that was chosen are all as good as each other where the metric is
    # Manhattan: which one comes first is then a matter of rounding.
    metric = {**c.dense, **c.multi}.get(name, (0, None))[1]
    diversity = world.rng.choice([0.0, 0.3, 0.7, 0.4 if metric == models.Distance.MANHATTAN else None])
    mmr = models.Mmr(diversity=diversity, candidates_limit=200)
    query = models.NearestQuery(nearest=world.value(c, name), mmr=mmr)
    arguments = {"query": query, "using": c.using(name), "limit": world.rng.randint(1, 10), "query_filter": filters.maybe(world, 0.3)}
    return f"mmr {kind_of(c, name)}", arguments, "scores"


def lookup(world: World, c: Collection) -> Made:
    """An example that is a point of another collection."""
    name, other = any_field(world, c), world.rng.choice(world.collections)
    field = world.rng.choice([name, name, name, any_field(world, other)])
    example = world.example_id(other, field)
    if world.chance(0.4):
        inputs = models.RecommendInput(positive=[example, world.example_id(other, field)])
        query: Any = models.RecommendQuery(recommend=inputs)
    else:
        query = example
    where = models.LookupLocation(collection=other.name, vector=field if field or world.chance(0.5) else None)
    return "lookup from", {"query": query, "lookup_from": where, **common(world, name, c)}, "scores"


def sample(world: World, c: Collection) -> Made:
    """All points, in any order."""
    query = models.SampleQuery(sample=models.Sample.RANDOM)
    return "sample", {"query": query, "limit": 200, "query_filter": filters.maybe(world, 0.5)}, "any order"
