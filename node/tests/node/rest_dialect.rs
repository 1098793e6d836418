//! What the same operations against Qdrant's in-memory client found out, each as a small case.

use serde_json::{Value, json};

use crate::running::{Running, start};

const QUERY: &str = "/collections/docs/points/query";

/// Three points with a dense, a sparse and a multi vector, and one without any.
async fn four() -> Running {
    let running = start().await;
    let create = json!({
        "vectors": {
            "a": { "size": 2, "distance": "Dot" },
            "late": { "size": 2, "distance": "Dot", "multivector_config": { "comparator": "max_sim" } },
        },
        "sparse_vectors": { "words": {} },
    });
    running.ok("PUT", "/collections/docs", create).await;
    let words = |indices: [u32; 2], values: [f32; 2]| json!({ "indices": indices, "values": values });
    let points = json!({ "points": [
        { "id": 1, "vector": { "a": [1, 0], "late": [[1, 0], [0, 1]], "words": words([1, 2], [1.0, 1.0]) },
          "payload": { "text": "The river bank", "place": { "lon": 1, "lat": 1 },
                       "nest": [{ "n": 1, "color": "red" }, { "n": 2 }], "deep": { "x": 1, "y": 2 } } },
        { "id": 2, "vector": { "a": [0, 1], "late": [[2, 0]], "words": words([2, 3], [2.0, 1.0]) },
          "payload": { "text": "a bank by the river", "place": { "lon": 3, "lat": 1 } } },
        { "id": 3, "vector": { "a": [1, 1], "late": [[0, 3]], "words": words([3, 4], [1.0, 4.0]) },
          "payload": { "text": "riverbank" } },
        { "id": 4, "vector": {}, "payload": null },
    ] });
    running.ok("PUT", "/collections/docs/points?wait=true", points).await;
    running
}

/// Ids and scores of a query.
async fn hits(running: &Running, body: Value) -> Vec<(u64, f64)> {
    let found = running.ok("POST", QUERY, body).await;
    let points = found["points"].as_array().unwrap();
    points.iter().map(|p| (p["id"].as_u64().unwrap(), p["score"].as_f64().unwrap())).collect()
}

fn same(got: &[(u64, f64)], wanted: &[(u64, f64)]) {
    let close = |((a, x), (b, y)): (&(u64, f64), &(u64, f64))| a == b && (x - y).abs() < 1e-5;
    assert!(got.len() == wanted.len() && got.iter().zip(wanted).all(close), "{got:?} {wanted:?}");
}

async fn matching(running: &Running, condition: Value) -> Vec<u64> {
    let body = json!({ "filter": { "must": condition } });
    let page = running.ok("POST", "/collections/docs/points/scroll", body).await;
    page["points"].as_array().unwrap().iter().map(|p| p["id"].as_u64().unwrap()).collect()
}

async fn payload(running: &Running, id: u64, with: Value) -> Value {
    let body = json!({ "ids": [id], "with_payload": with });
    running.ok("POST", "/collections/docs/points", body).await[0]["payload"].clone()
}

#[tokio::test]
async fn sparse_examples_are_compared_by_product_and_zero_without_a_common_word() {
    let running = four().await;
    let like = |positive: Value, negative: Value, strategy: &str| {
        let recommend = json!({ "positive": positive, "negative": negative, "strategy": strategy });
        json!({ "query": { "recommend": recommend }, "using": "words" })
    };
    let word = |index: u32| json!({ "indices": [index], "values": [1.0] });
    // By the words of point 1: 2 * 1 to point 2, none to point 3.
    same(&hits(&running, like(json!([1]), json!([]), "sum_scores")).await, &[(2, 2.0), (3, 0.0)]);
    // 2 * word 3 - word 4.
    let average = like(json!([word(3)]), json!([word(4)]), "average_vector");
    same(&hits(&running, average).await, &[(2, 2.0), (3, -2.0)]);
    let best = like(json!([word(3)]), json!([word(2)]), "best_score");
    // Products 0/1, 1/2 and 1/0: sigmoids of the larger one, negated where that is the negative one.
    same(&hits(&running, best).await, &[(3, 0.75), (1, -0.75), (2, -5.0 / 6.0)]);
    let pair = json!({ "positive": word(3), "negative": word(2) });
    let context = json!({ "query": { "context": [pair] }, "using": "words" });
    same(&hits(&running, context).await, &[(3, 0.0), (1, -0.5), (2, -0.5)]);
    let discover =
        json!({ "query": { "discover": { "target": word(4), "context": [pair] } }, "using": "words" });
    same(&hits(&running, discover).await, &[(3, 1.9), (1, -0.5), (2, -0.5)]);
    // Word 2 is in points 1 and 2: the second chosen is the less alike one.
    let mmr = json!({ "query": { "nearest": { "indices": [2, 3], "values": [1.0, 1.0] }, "mmr": { "diversity": 0.9, "candidates_limit": 9 } },
                      "using": "words", "limit": 2 });
    assert_eq!(hits(&running, mmr).await.iter().map(|hit| hit.0).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn multi_examples_are_compared_by_the_best_of_each_vector() {
    let running = four().await;
    let sums = |positive: Value, negative: Value| {
        let recommend = json!({ "positive": positive, "negative": negative, "strategy": "sum_scores" });
        json!({ "query": { "recommend": recommend }, "using": "late" })
    };
    // [1, 0] and [0, 1] against [[2, 0]] and [[0, 3]].
    same(&hits(&running, sums(json!([1]), json!([]))).await, &[(3, 3.0), (2, 2.0)]);
    same(&hits(&running, sums(json!([[[1, 0]]]), json!([[0, 1]]))).await, &[(2, 2.0), (1, 0.0), (3, -3.0)]);
    let average = json!({ "query": { "recommend": { "positive": [[[1, 0]]], "negative": [[[0, 1]]] } }, "using": "late" });
    // [1, 0] and [0, -1] together; of point 1 the best are 1 and 0.
    same(&hits(&running, average).await, &[(2, 2.0), (1, 1.0), (3, -3.0)]);
    let pairs = running
        .ok(
            "POST",
            "/collections/docs/points/search/matrix/pairs",
            json!({ "using": "late", "sample": 10, "limit": 1 }),
        )
        .await;
    assert_eq!(
        pairs["pairs"],
        json!([
        { "a": 1, "b": 3, "score": 3.0 }, { "a": 2, "b": 1, "score": 2.0 }, { "a": 3, "b": 1, "score": 3.0 }])
    );
    let words = running
        .ok(
            "POST",
            "/collections/docs/points/search/matrix/pairs",
            json!({ "using": "words", "sample": 10, "limit": 3 }),
        )
        .await;
    assert_eq!(
        words["pairs"],
        json!([
        { "a": 1, "b": 2, "score": 2.0 }, { "a": 2, "b": 1, "score": 2.0 }, { "a": 2, "b": 3, "score": 1.0 },
        { "a": 3, "b": 2, "score": 1.0 }]),
        "what shares no word is no neighbour"
    );
}

#[tokio::test]
async fn filters_know_vectors_polygons_and_plain_words() {
    let running = four().await;
    assert_eq!(matching(&running, json!({ "has_vector": "words" })).await, [1, 2, 3]);
    assert!(matching(&running, json!({ "has_vector": "absent" })).await.is_empty());
    let none = json!({ "must_not": [{ "has_vector": "a" }] });
    assert_eq!(matching(&running, none.clone()).await, [4]);
    let removed = json!({ "points": [2], "vector": ["words"] });
    running.ok("POST", "/collections/docs/points/vectors/delete?wait=true", removed).await;
    assert_eq!(matching(&running, json!({ "has_vector": "words" })).await, [1, 3]);
    let deleted = json!({ "filter": none });
    running.ok("POST", "/collections/docs/points/delete?wait=true", deleted).await;

    let ring = |west: f64, east: f64| {
        json!({ "points": [{ "lon": west, "lat": 0 }, { "lon": east, "lat": 0 }, { "lon": east, "lat": 2 },
                           { "lon": west, "lat": 2 }, { "lon": west, "lat": 0 }] })
    };
    let polygon = |interiors: Value| json!({ "key": "place", "geo_polygon": { "exterior": ring(0.0, 4.0), "interiors": interiors } });
    for indexed in [false, true] {
        if indexed {
            let index = json!({ "field_name": "place", "field_schema": "geo" });
            running.ok("PUT", "/collections/docs/index?wait=true", index).await;
        }
        assert_eq!(matching(&running, polygon(json!([]))).await, [1, 2]);
        assert_eq!(matching(&running, polygon(json!([ring(0.5, 2.0)]))).await, [2]);
    }

    let text = |how: &str, text: &str| json!({ "key": "text", "match": { how: text } });
    assert_eq!(matching(&running, text("text", "RIVER bank")).await, [1, 2]);
    assert_eq!(matching(&running, text("phrase", "river bank")).await, [1]);
    assert_eq!(matching(&running, text("text_any", "sea riverbank")).await, [3]);
    assert!(matching(&running, text("text", "iver")).await.is_empty(), "a part of a word is none");
}

#[tokio::test]
async fn paths_of_payloads_look_into_lists() {
    let running = four().await;
    let chosen = payload(&running, 1, json!({ "include": ["nest[].color", "deep.z", "text.x"] })).await;
    assert_eq!(chosen, json!({ "text": "The river bank", "nest": [{ "color": "red" }, {}], "deep": {} }));
    let rest = payload(&running, 1, json!({ "exclude": ["nest[].n", "deep.x", "text", "place"] })).await;
    assert_eq!(rest, json!({ "nest": [{ "color": "red" }, {}], "deep": { "y": 2 } }));
    let refused =
        running.send("POST", "/collections/docs/points", json!({ "ids": [1], "with_payload": ["a["] })).await;
    assert_eq!(refused.status, 400, "{refused:?}");

    let keys = json!({ "keys": ["nest[].n", "deep.x", "place"], "points": [1] });
    running.ok("POST", "/collections/docs/points/payload/delete?wait=true", keys).await;
    let left = json!({ "text": "The river bank", "nest": [{ "color": "red" }, {}], "deep": { "y": 2 } });
    assert_eq!(payload(&running, 1, json!(true)).await, left);
    let merged = json!({ "payload": { "text": null, "n": 1 }, "points": [1] });
    running.ok("POST", "/collections/docs/points/payload?wait=true", merged).await;
    let left = json!({ "nest": [{ "color": "red" }, {}], "deep": { "y": 2 }, "n": 1 });
    assert_eq!(payload(&running, 1, json!(true)).await, left, "null takes a key out");
}

#[tokio::test]
async fn what_would_be_ignored_is_refused() {
    let running = four().await;
    let stage = json!({ "query": [1, 0], "using": "a" });
    for (path, body) in [
        ("/points/query", json!({ "score_threshold": 0.5 })),
        ("/points/query", json!({ "query": { "order_by": "n" }, "score_threshold": 0.5 })),
        ("/points/query", json!({ "prefetch": [stage], "query": { "fusion": "rrf" }, "using": "a" })),
        (
            "/points/count",
            json!({ "filter": { "min_should": { "conditions": [{ "has_id": [1] }], "min_count": 0 } } }),
        ),
        (
            "/points/query",
            json!({ "prefetch": [stage], "query": { "formula": { "key": "n", "match": { "value": 1 } } },
                                  "filter": { "must": [{ "must": { "min_should": { "conditions": [], "min_count": 0 } } }] } }),
        ),
        ("/points/query", json!({ "prefetch": [stage], "query": { "formula": { "has_vector": "a" } } })),
    ] {
        let refused = running.send("POST", &format!("/collections/docs{path}"), body.clone()).await;
        assert!([400, 422].contains(&refused.status), "{body}: {refused:?}");
    }
    for path in ["/points", "/points/vectors"] {
        let refused = running.send("PUT", &format!("/collections/docs{path}"), json!({ "points": [] })).await;
        assert_eq!(refused.status, 422, "{path}: {refused:?}");
    }
}
