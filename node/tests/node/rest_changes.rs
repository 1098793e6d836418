//! Changes of points over REST: points that are not there, filters, limits of payloads, vector fields that go.

use serde_json::{Value, json};

use crate::running::{Running, start};

const POINTS: &str = "/collections/docs/points";

async fn docs(running: &Running) {
    let fields = json!({ "": { "size": 2, "distance": "Euclid" }, "b": { "size": 1, "distance": "Dot" } });
    running.ok("PUT", "/collections/docs", json!({ "vectors": fields })).await;
    let point = |n: u64| json!({ "id": n, "vector": { "": [n, 0], "b": [n] }, "payload": { "n": n } });
    let points: Vec<Value> = (1..=4).map(point).collect();
    running.ok("PUT", &format!("{POINTS}?wait=true"), json!({ "points": points })).await;
}

async fn one(running: &Running, id: u64) -> Value {
    running.ok("GET", &format!("{POINTS}/{id}"), Value::Null).await
}

#[tokio::test]
async fn rest_a_change_of_a_point_that_is_not_there_is_told_and_the_others_are_changed() {
    let running = start().await;
    docs(&running).await;
    let ids = json!([1, 77, 2, 78]);
    let update = |id: u64| json!({ "id": id, "vector": { "b": [9] } });
    let changes = [
        ("POST", "/payload", json!({ "payload": { "a": { "x": 1 } }, "points": ids })),
        ("POST", "/payload", json!({ "payload": { "y": 1 }, "key": "a", "points": ids })),
        ("POST", "/payload/delete", json!({ "keys": ["n"], "points": ids })),
        ("PUT", "/vectors", json!({ "points": [update(1), update(77), update(2), update(78)] })),
    ];
    for (method, path, body) in &changes {
        let answer = running.send(method, &format!("{POINTS}{path}?wait=true"), body.clone()).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.error().starts_with("Not found: No point with id 77 found"), "{answer:?}");
        // Nobody waits for what becomes of it.
        running.ok(method, &format!("{POINTS}{path}"), body.clone()).await;
    }
    for id in [1, 2] {
        let expected = json!({ "a": { "x": 1, "y": 1 } });
        let point = one(&running, id).await;
        assert_eq!((&point["payload"], &point["vector"]["b"]), (&expected, &json!([9.0])));
    }
    let filter = json!({ "must": { "has_id": [1, 77] } });
    let where_ = json!({ "points": [update(2), update(78), update(1)], "update_filter": filter });
    let answer = running.send("PUT", &format!("{POINTS}/vectors?wait=true"), where_).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.error().contains("No point with id 78 found"), "{answer:?}");
    let rest = [
        ("POST", "/vectors/delete", json!({ "vector": ["b"], "points": ids })),
        ("PUT", "/payload", json!({ "payload": { "o": 1 }, "points": ids })),
        ("POST", "/payload/clear", json!({ "points": ids })),
    ];
    for (method, path, body) in rest {
        let answer = running.send(method, &format!("{POINTS}{path}?wait=true"), body).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let point = one(&running, 2).await;
    assert_eq!((&point["payload"], &point["vector"]), (&json!({}), &json!([2.0, 0.0])));
    // What is gone already is deleted all the same, and a filter that nothing matches names nobody.
    running.ok("POST", &format!("{POINTS}/delete?wait=true"), json!({ "points": ids })).await;
    let nobody = json!({ "payload": { "a": 1 }, "filter": { "must": { "has_id": [1] } } });
    running.ok("POST", &format!("{POINTS}/payload?wait=true"), nobody).await;
}

#[tokio::test]
async fn rest_a_batch_ends_at_a_point_that_is_not_there() {
    let running = start().await;
    docs(&running).await;
    let set = |a: u64, ids: Value| json!({ "set_payload": { "payload": { "a": a }, "points": ids } });
    let operations =
        json!({ "operations": [set(1, json!([1])), set(2, json!([2, 77])), set(3, json!([1]))] });
    let answer = running.send("POST", &format!("{POINTS}/batch?wait=true"), operations).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let payloads = (one(&running, 1).await["payload"].take(), one(&running, 2).await["payload"].take());
    assert_eq!(payloads, (json!({ "n": 1, "a": 1 }), json!({ "n": 2, "a": 2 })));
}

#[tokio::test]
async fn rest_changes_of_no_point_are_refused() {
    let running = start().await;
    docs(&running).await;
    for (path, body) in [
        ("/payload", json!({ "payload": { "a": 1 }, "points": [] })),
        ("/payload/clear", json!({ "points": [] })),
        ("/vectors/delete", json!({ "vector": ["b"], "points": [] })),
        ("/delete", json!({ "points": [] })),
    ] {
        let answer = running.send("POST", &format!("{POINTS}{path}?wait=true"), body).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.error().starts_with("Wrong input: Empty update request"), "{answer:?}");
    }
    for names in [json!([]), json!(["b", "b"]), json!(["none"])] {
        let body = json!({ "vector": names, "points": [1] });
        let answer = running.send("POST", &format!("{POINTS}/vectors/delete"), body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_vectors_go_by_a_filter_also_from_writes_that_nobody_waited_for() {
    let running = start().await;
    docs(&running).await;
    let all = json!({ "vector": ["b"], "filter": { "must": { "key": "n", "range": { "gte": 0 } } } });
    let having = json!({ "filter": { "must": [{ "has_vector": "b" }] } });
    for round in 0..20 {
        let point = |n: u64| json!({ "id": n, "vector": { "": [n, 0], "b": [n] }, "payload": { "n": n } });
        let points: Vec<Value> = (0..300).map(|n| point(round * 300 + n)).collect();
        running.ok("PUT", POINTS, json!({ "points": points })).await;
        running.ok("POST", &format!("{POINTS}/vectors/delete?wait=true"), all.clone()).await;
        let left = running.ok("POST", &format!("{POINTS}/count"), having.clone()).await;
        assert_eq!(left["count"], 0, "round {round}");
    }
    let key = [("idempotency-key", "once")];
    let path = format!("{POINTS}/vectors/delete?wait=true");
    let first = running.raw("POST", &path, &key, all.to_string().as_bytes()).await;
    assert_eq!(first.status, 200, "a filter takes an idempotency key too: {first:?}");
    let set = json!({ "points": [{ "id": 1, "vector": { "b": [1] } }] });
    running.ok("PUT", &format!("{POINTS}/vectors?wait=true"), set).await;
    assert_eq!(running.raw("POST", &path, &key, all.to_string().as_bytes()).await.status, 200);
    let left = running.ok("POST", &format!("{POINTS}/count"), having).await;
    assert_eq!(left["count"], 1, "a repeat changes nothing");
}

#[tokio::test]
async fn rest_a_merge_that_would_pass_a_limit_is_told_by_ids_and_by_a_filter() {
    let running = start().await;
    docs(&running).await;
    let keys =
        |name: &str, n: usize| Value::Object((0..n).map(|i| (format!("{name}{i}"), json!(0))).collect());
    let path = format!("{POINTS}/payload?wait=true");
    running.ok("POST", &path, json!({ "payload": keys("a", 600), "points": [1, 2] })).await;
    let selections = [json!({ "points": [1, 2, 3, 4] }), json!({ "filter": { "must": [] } })];
    for (number, selection) in selections.into_iter().enumerate() {
        for key in [Value::Null, json!("deep")] {
            let mut body = selection.clone();
            body["payload"] = keys("b", 500 + number);
            body["key"] = key;
            let answer = running.send("POST", &path, body).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.error().contains("the payload of 2 points would be larger than"), "{answer:?}");
        }
        let there = one(&running, 1).await["payload"].as_object().unwrap().len();
        assert_eq!(there, 601, "it stays as it is");
        let other = one(&running, 3).await;
        assert_eq!(
            other["payload"]["deep"].as_object().unwrap().len(),
            500 + number,
            "the others are changed"
        );
        running
            .ok(
                "POST",
                &format!("{POINTS}/payload/delete?wait=true"),
                json!({ "keys": ["deep"], "points": [3, 4] }),
            )
            .await;
    }
}

#[tokio::test]
async fn rest_a_repeat_is_no_success_where_the_first_try_was_none() {
    let running = start().await;
    docs(&running).await;
    let keys =
        |name: &str, n: usize| Value::Object((0..n).map(|i| (format!("{name}{i}"), json!(0))).collect());
    running
        .ok(
            "POST",
            &format!("{POINTS}/payload?wait=true"),
            json!({ "payload": keys("a", 600), "points": [1, 2] }),
        )
        .await;
    let vectors =
        json!({ "points": [{ "id": 2, "vector": { "b": [9] } }, { "id": 9, "vector": { "b": [9] } }] });
    let set = json!({ "set_payload": { "payload": { "x": 1 }, "points": [3, 9] } });
    let all = json!({ "must": [] });
    let changes = [
        ("fine", "POST", "/payload", json!({ "payload": { "x": 1 }, "points": [3, 4] }), 200),
        ("absent", "POST", "/payload", json!({ "payload": { "x": 1 }, "points": [1, 9] }), 404),
        ("twice", "POST", "/payload/clear", json!({ "points": [9, 4, 9] }), 404),
        ("vectors", "PUT", "/vectors", vectors, 404),
        ("gone", "POST", "/vectors/delete", json!({ "vector": ["b"], "points": [4, 9] }), 404),
        ("batch", "POST", "/batch", json!({ "operations": [set] }), 404),
        ("large", "POST", "/payload", json!({ "payload": keys("b", 500), "points": [1, 3] }), 400),
        ("filter", "POST", "/payload", json!({ "payload": keys("c", 500), "filter": all }), 400),
    ];
    for (key, method, path, body, status) in &changes {
        let path = format!("{POINTS}{path}?wait=true");
        let headers = [("idempotency-key", *key)];
        let mut errors = Vec::new();
        for round in 0..3 {
            let answer = running.raw(method, &path, &headers, body.to_string().as_bytes()).await;
            assert_eq!(answer.status, *status, "{key}, round {round}: {answer:?}");
            if *status != 200 {
                errors.push(answer.error());
            }
        }
        assert!(errors.windows(2).all(|pair| pair[0] == pair[1]), "{key}: {errors:?}");
    }
    // Once the point is there, nothing is left to tell.
    let nine = json!({ "points": [{ "id": 9, "vector": { "": [9, 0], "b": [9] } }] });
    running.ok("PUT", &format!("{POINTS}?wait=true"), nine).await;
    let (key, method, path, body, _) = &changes[1];
    let path = format!("{POINTS}{path}?wait=true");
    let answer = running.raw(method, &path, &[("idempotency-key", *key)], body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(one(&running, 9).await["payload"].get("x"), None, "a repeat changes nothing");
}

#[tokio::test]
async fn rest_a_vector_field_is_taken_away_and_its_name_is_free() {
    let running = start().await;
    docs(&running).await;
    let path = "/collections/docs/vectors/b";
    let on_disk = json!({ "vectors": { "b": { "on_disk": true } } });
    running.ok("PATCH", "/collections/docs", on_disk).await;
    for _ in 0..2 {
        let done = running.ok("DELETE", path, Value::Null).await;
        assert_eq!(done["status"], "completed", "what is gone already is no mistake");
    }
    let info = running.ok("GET", "/collections/docs", Value::Null).await;
    assert_eq!(info["config"]["params"]["vectors"], json!({ "": { "size": 2, "distance": "Euclid" } }));
    assert_eq!(one(&running, 1).await["vector"], json!([1.0, 0.0]));
    let search = json!({ "query": [1], "using": "b" });
    assert_eq!(running.send("POST", &format!("{POINTS}/query"), search.clone()).await.status, 400);
    let add = json!({ "dense": { "size": 1, "distance": "Dot" } });
    running.ok("PUT", path, add).await;
    assert_eq!(one(&running, 1).await["vector"], json!([1.0, 0.0]), "the old values do not come back");
    let found = running.ok("POST", &format!("{POINTS}/query"), search.clone()).await;
    assert_eq!(found["points"], json!([]));
    let set = json!({ "points": [{ "id": 2, "vector": { "b": [0.5] } }] });
    running.ok("PUT", &format!("{POINTS}/vectors?wait=true"), set).await;
    let found = running.ok("POST", &format!("{POINTS}/query"), search).await;
    assert_eq!(found["points"].as_array().unwrap().len(), 1);
    let absent = running.send("DELETE", "/collections/none/vectors/b", Value::Null).await;
    assert_eq!(absent.status, 404);
}

#[tokio::test]
async fn rest_conditions_that_this_server_has_not_are_told_as_what_they_are() {
    let running = start().await;
    docs(&running).await;
    for (condition, what) in [
        (json!({ "key": "n", "match": { "prefix": "a" } }), "must[0].match uses `prefix`"),
        (json!({ "key": "n", "match": { "substring": "a" } }), "must[0].match uses `substring`"),
        (json!({ "slice": { "total": 4, "index": 0 } }), "must[0] uses `slice`"),
    ] {
        let body = json!({ "filter": { "must": [condition] } });
        let answer = running.send("POST", &format!("{POINTS}/count"), body).await;
        assert_eq!(answer.status, 501, "{answer:?}");
        let told = format!("Not implemented: filter: {what}, which this server does not support: ");
        assert!(answer.error().starts_with(&told), "{answer:?}");
    }
    let unknown = json!({ "filter": { "must": [{ "key": "n", "match": { "prefixx": "a" } }] } });
    assert_eq!(running.send("POST", &format!("{POINTS}/count"), unknown).await.status, 400);
}
