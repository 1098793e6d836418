"""What both must refuse."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from .operation import Operation
from .world import Collection, World


def mistake(world: World, c: Collection) -> Operation:
    """A call that is wrong in one way."""
    name = next(iter(c.dense))
    size, using, base = c.dense[name][0], c.using(name), {"collection_name": c.name}
    vector = world.dense(size)
    point = lambda vector, id=1: models.PointStruct(id=id, vector=vector, payload={})  # noqa: E731
    named = lambda vector: {name: vector}  # noqa: E731
    stage = models.Prefetch(query=vector, using=using, limit=5)
    query = lambda **how: ("query_points", {**base, **how})  # noqa: E731
    write = lambda method, **how: (method, {**base, "wait": True, **how})  # noqa: E731
    recommend = lambda **how: query(query=models.RecommendQuery(recommend=models.RecommendInput(**how)), using=using)  # noqa: E731
    fusion = models.FusionQuery(fusion=models.Fusion.RRF)
    rrf = lambda **how: query(prefetch=[stage, stage], query=models.RrfQuery(rrf=models.Rrf.model_construct(**how)))  # noqa: E731
    min_should = models.Filter(min_should=models.MinShould(conditions=[models.HasIdCondition(has_id=[1])], min_count=0))
    wrong_sparse = [
        models.SparseVector.model_construct(indices=[1, 1], values=[1.0, 2.0]),
        models.SparseVector.model_construct(indices=[1, 2], values=[1.0]),
    ]
    sparse = c.sparse[0] if c.sparse else "absent"
    multi = next(iter(c.multi), "absent")
    mistakes: dict[str, tuple[str, dict[str, Any]]] = {
        "absent collection: count": ("count", {"collection_name": "absent"}),
        "absent collection: retrieve": ("retrieve", {"collection_name": "absent", "ids": [1]}),
        "absent collection: upsert": ("upsert", {"collection_name": "absent", "points": [point(vector)]}),
        "absent collection: scroll": ("scroll", {"collection_name": "absent"}),
        "absent collection: info": ("get_collection", {"collection_name": "absent"}),
        "absent collection: lookup": query(query=1, using=using, lookup_from=models.LookupLocation(collection="absent")),
        "collection again": ("create_collection", {**base, "vectors_config": c.vectors_config()}),
        "collection of size 0": (
            "create_collection",
            {"collection_name": "new", "vectors_config": models.VectorParams.model_construct(size=0, distance="Dot")},
        ),
        "collection with a bad name": ("create_collection", {"collection_name": "a/b", "vectors_config": c.vectors_config()}),
        "query of another size": query(query=world.dense(size + 1), using=using),
        "query of an absent field": query(query=vector, using="absent"),
        "query by an absent point": query(query=10**9, using=using),
        "query by several vectors": query(query=[vector, vector], using=using),
        "sparse query of a dense field": query(query=world.sparse(), using=using),
        "sparse query with one index twice": query(query=wrong_sparse[0], using=sparse),
        "sparse query without a value": query(query=wrong_sparse[1], using=sparse),
        "multi query of another size": query(query=[world.dense(7)], using=multi),
        "limit 0": query(query=vector, using=using, limit=0),
        "negative offset": query(query=vector, using=using, offset=-1),
        "min_should 0": query(query=vector, using=using, query_filter=min_should),
        "recommend without examples": recommend(strategy=models.RecommendStrategy.BEST_SCORE),
        "average without positive ones": recommend(negative=[vector]),
        "recommend like an absent point": recommend(positive=[10**9]),
        "context without pairs": query(query=models.ContextQuery(context=[]), using=using),
        "fusion alone": query(query=fusion),
        "fusion of a field": query(prefetch=[stage], query=fusion, using="absent"),
        "formula alone": query(query=models.FormulaQuery(formula="$score")),
        "prefetch alone": query(prefetch=[stage, stage]),
        "rrf with k 0": rrf(k=0),
        "rrf with one weight of two": rrf(k=2, weights=[1.0]),
        "rrf with a negative weight": rrf(k=2, weights=[1.0, -1.0]),
        "threshold alone": query(score_threshold=0.5),
        "threshold of an order": query(query=models.OrderByQuery(order_by="count"), score_threshold=0.5),
        "group size 0": ("query_points_groups", {**base, "group_by": "color", "query": vector, "using": using, "group_size": 0}),
        "no group": ("query_points_groups", {**base, "group_by": "color", "query": vector, "using": using, "limit": 0}),
        "page of 0": ("scroll", {**base, "limit": 0}),
        "ordered page with an offset": ("scroll", {**base, "order_by": "count", "offset": 1}),
        "facet of 0": ("facet", {**base, "key": "color", "limit": 0}),
        "sample of 1": ("search_matrix_pairs", {**base, "sample": 1, "using": using}),
        "matrix of an absent field": ("search_matrix_pairs", {**base, "using": "absent"}),
        "no points": write("upsert", points=[]),
        "point of another size": write("upsert", points=[point(named(world.dense(size + 1)))]),
        "point with an absent field": write("upsert", points=[point({"absent": vector})]),
        "point with a sparse vector in a dense field": write("upsert", points=[point(named(world.sparse()))]),
        "good and bad points": write("upsert", points=[point(named(vector), 1), point(named(world.dense(size + 1)), 2)]),
        "point with one index twice": write("upsert", points=[point({sparse: wrong_sparse[0]})]),
        "vectors of no point": write("update_vectors", points=[]),
        "vector of another size": write("update_vectors", points=[models.PointVectors(id=1, vector=named(world.dense(size + 1)))]),
        "payload of no point": write("set_payload", payload={"color": "red"}, points=[]),
        "payload of an absent point": write("set_payload", payload={"color": "red"}, points=[10**9]),
        "payload of an absent point overwritten": write("overwrite_payload", payload={"color": "red"}, points=[10**9]),
        "keys of an absent point": write("delete_payload", keys=["color"], points=[10**9]),
        "absent point cleared": write("clear_payload", points_selector=[10**9]),
        "vectors of an absent point": write("update_vectors", points=[models.PointVectors(id=10**9, vector=named(vector))]),
        "vectors of an absent point removed": write("delete_vectors", vectors=[name], points=[10**9]),
        "deletion of no point": write("delete", points_selector=[]),
        "vectors without names": write("delete_vectors", vectors=[], points=[1]),
        "absent vectors": write("delete_vectors", vectors=["absent"], points=[1]),
        "bad path": ("scroll", {**base, "with_payload": ["a[x"]}),
        "bad key of a filter": (
            "count",
            {**base, "count_filter": models.Filter(must=[models.FieldCondition(key="a[", match=models.MatchValue(value=1))])},
        ),
        "alias of an absent collection": (
            "update_collection_aliases",
            {
                "change_aliases_operations": [
                    models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="absent", alias_name="new"))
                ]
            },
        ),
        "alias that is a collection": (
            "update_collection_aliases",
            {
                "change_aliases_operations": [
                    models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=c.name, alias_name=c.name))
                ]
            },
        ),
        "absent alias renamed": (
            "update_collection_aliases",
            {
                "change_aliases_operations": [
                    models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name="none", new_alias_name="new"))
                ]
            },
        ),
    }
    what = world.rng.choice(list(mistakes))
    method, arguments = mistakes[what]
    return Operation(method, arguments, kind=f"mistake: {what}")
