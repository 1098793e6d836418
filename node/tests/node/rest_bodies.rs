//! What bodies become in memory, and how long answers may be.

use serde_json::{Value, json};

use crate::http::Answer;
use crate::running::{Running, start, start_with};

async fn docs(running: &Running) {
    let create = json!({ "vectors": { "size": 2, "distance": "Dot" } });
    running.ok("PUT", "/collections/docs", create).await;
}

/// `unit` as often as fits a body of 3 MB, between `head` and `tail`.
fn filled(head: &str, unit: &str, tail: &str) -> Vec<u8> {
    let units = vec![unit; 3_000_000 / (unit.len() + 1)].join(",");
    [head, &units, tail].concat().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_tiny_values_are_refused_before_they_are_read() {
    let running = start_with(|raw| raw.limits.message_bytes = 4 << 20).await;
    docs(&running).await;
    let condition = r#"{"key":"a","match":{"value":1}}"#;
    for (method, path, head, unit, tail) in [
        ("POST", "/points/scroll", r#"{"filter":{"must":["#, condition, "]}}"),
        ("POST", "/points/count", r#"{"filter":{"should":["#, "{}", "]}}"),
        ("POST", "/points/query", r#"{"prefetch":["#, "{}", r#"],"query":{"fusion":"rrf"}}"#),
        ("POST", "/points/query/batch", r#"{"searches":["#, "{}", "]}"),
        ("POST", "/points/search/batch", r#"{"searches":["#, r#"{"vector":[]}"#, "]}"),
        ("POST", "/points/scroll", r#"{"with_payload":["#, "1", "]}"),
        ("POST", "/points/scroll", r#"{"order_by":{"key":"a","start_from":["#, "1", "]}}"),
        ("PUT", "", r#"{"metadata":{"a":["#, "1", "]}}"),
        ("PUT", "", r#"{"wal_config":{"a":["#, "{}", "]}}"),
    ] {
        let collection = if path.is_empty() { "/collections/new" } else { "/collections/docs" };
        let answer =
            running.raw(method, &format!("{collection}{path}"), &[], &filled(head, unit, tail)).await;
        assert_eq!(answer.status, 413, "{path} {head} {answer:?}");
        assert!(answer.error().contains("send less at once"), "{answer:?}");
    }
    // Bodies with points are not weighed as trees, what is in them is bounded one by one.
    let point = r#"{"points":[{"id":1,"vector":[1,1]}],"update_filter":{"must":["#;
    for (method, path, head, unit, tail, words) in [
        ("PUT", "/points", point, condition, "]}}", "use fewer conditions"),
        ("PUT", "/points", r#"{"points":["#, r#"{"id":1,"vector":[]}"#, "]}", "the number of points is"),
        ("PUT", "/points", r#"{"batch":{"ids":[1],"vectors":["#, "[]", "]}}", "the number of vectors is"),
        (
            "PUT",
            "/points",
            r#"{"batch":{"ids":[1],"vectors":[],"payloads":["#,
            "1",
            "]}}",
            "the number of payloads is",
        ),
        (
            "POST",
            "/points/batch",
            r#"{"operations":["#,
            r#"{"delete":{"points":[]}}"#,
            "]}",
            "of operations is",
        ),
        (
            "POST",
            "/points/payload/delete",
            r#"{"points":[1],"keys":["#,
            r#""a""#,
            "]}",
            "the number of keys is",
        ),
    ] {
        let answer =
            running.raw(method, &format!("/collections/docs{path}"), &[], &filled(head, unit, tail)).await;
        assert_eq!(answer.status, 400, "{path} {head} {answer:?}");
        assert!(answer.error().contains(words), "{answer:?}");
    }
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("engram_inflight_bytes 0\n"), "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_make_sense_are_read() {
    let running = start().await;
    docs(&running).await;
    let ids: Vec<String> = (0..10_000).map(|i| format!("550e8400-e29b-41d4-a716-{i:012}")).collect();
    let one = json!({ "key": "a", "match": { "any": ids } });
    let filter = json!({ "should": vec![one; 5] });
    let body = json!({ "filter": filter }).to_string();
    assert!(body.len() > 1 << 20);
    let answer = running.raw("POST", "/collections/docs/points/scroll", &[], body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let payload = json!({ "a": ids[7], "words": "x".repeat(100) });
    let points: Vec<Value> =
        (0..10_000).map(|id| json!({ "id": id, "vector": [0.125, 1], "payload": payload })).collect();
    running.ok("PUT", "/collections/docs/points?wait=true", json!({ "points": points })).await;
    let count = running.ok("POST", "/collections/docs/points/count", json!({ "filter": filter })).await;
    assert_eq!(count["count"], 10_000);
    // What is wrong with a large body is told as it is of a small one.
    let bad = json!({ "filter": { "must": [{ "key": "a", "match": { "any": ids, "x": 1 } }] } });
    let answer = running.send("POST", "/collections/docs/points/scroll", bad).await;
    assert!(answer.status == 400 && answer.error().starts_with("Wrong input: filter: "), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_no_longer_than_a_message() {
    let running = start_with(|raw| raw.limits.message_bytes = 64 << 10).await;
    docs(&running).await;
    for id in 0..8 {
        let text = format!("{id}{}", "x".repeat(12 << 10));
        let payload = json!({ "t": text, "n": id, "doc": id });
        let point = json!({ "points": [{ "id": id, "vector": [1, id], "payload": payload }] });
        running.ok("PUT", "/collections/docs/points?wait=true", point).await;
    }
    let ask = async |path: &str, body: Value| -> Answer {
        running.send("POST", &format!("/collections/docs{path}"), body).await
    };
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    for with in [json!(true), json!(["t"]), json!({ "exclude": ["n"] })] {
        for (path, few, many) in [
            ("/points/scroll", json!({ "limit": 5 }), json!({ "limit": 8 })),
            ("/points", json!({ "ids": all[..5] }), json!({ "ids": all })),
            ("/points/query", json!({ "query": [1, 1], "limit": 5 }), json!({ "query": [1, 1], "limit": 8 })),
            (
                "/points/query/groups",
                json!({ "query": [1, 1], "limit": 5, "group_by": "n" }),
                json!({ "query": [1, 1], "limit": 8, "group_by": "n" }),
            ),
            (
                "/points/query/batch",
                json!({ "searches": [{ "query": [1, 1], "limit": 2 }, { "query": [1, 1], "limit": 3 }] }),
                json!({ "searches": [{ "query": [1, 1], "limit": 4 }, { "query": [1, 1], "limit": 4 }] }),
            ),
        ] {
            let with_payload = |mut body: Value| {
                match body.get_mut("searches").and_then(Value::as_array_mut) {
                    Some(searches) => searches.iter_mut().for_each(|one| one["with_payload"] = with.clone()),
                    None => body["with_payload"] = with.clone(),
                }
                body
            };
            assert_eq!(ask(path, with_payload(few)).await.status, 200, "{path} {with}");
            let answer = ask(path, with_payload(many)).await;
            assert_eq!(answer.status, 400, "{path} {with} {}", answer.status);
            assert!(answer.error().contains("ask for fewer points at once"), "{answer:?}");
        }
    }
    let lookup =
        |limit: usize| json!({ "query": [1, 1], "limit": limit, "group_by": "doc", "with_lookup": "docs" });
    assert_eq!(ask("/points/query/groups", lookup(5)).await.status, 200);
    assert_eq!(ask("/points/query/groups", lookup(8)).await.status, 400);
    let facet = |limit: usize| json!({ "key": "t", "limit": limit });
    assert_eq!(ask("/facet", facet(5)).await.status, 200);
    assert_eq!(ask("/facet", facet(8)).await.status, 400);
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("engram_inflight_bytes 0\n"), "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_used_or_refused() {
    let running = start().await;
    docs(&running).await;
    let text =
        json!({ "field_name": "t", "field_schema": { "type": "text", "scoring": true, "on_disk": true } });
    running.ok("PUT", "/collections/docs/index?wait=true", text).await;
    for (schema, status) in [
        (json!({ "type": "text", "nested": "a" }), 501),
        (json!({ "type": "keyword", "nested": "a" }), 501),
        (json!({ "type": "keyword", "prefix": true }), 501),
        (json!({ "type": "keyword", "prefix": false, "is_tenant": true, "nested": null }), 200),
        (json!({ "type": "keyword", "is_tenent": true }), 400),
        (json!({ "type": "keyword", "tokenizer": "word" }), 400),
        (json!({ "type": "integer", "lookup": true, "range": true, "is_principal": true }), 200),
        (json!({ "type": "float", "lookup": true }), 400),
        (json!({ "type": "text", "min_token_length": 2 }), 400),
        (json!({ "type": "text", "stopwords": { "language": "english" } }), 400),
        (json!({ "type": "text", "scoring": { "type": "bm25" } }), 200),
        (json!({ "type": "text", "scoring": { "type": "bm25", "k1": 3 } }), 400),
    ] {
        let name = format!("f{status}{}", schema["type"].as_str().unwrap());
        let body = json!({ "field_name": name, "field_schema": schema });
        let answer = running.send("PUT", "/collections/docs/index?wait=true", body.clone()).await;
        assert_eq!(answer.status, status, "{body} {answer:?}");
        assert!(status == 200 || answer.error().contains("field_schema"), "{answer:?}");
    }
    let nearest = |params: Value| json!({ "query": [1, 0], "params": params });
    let words = |query: Value| json!({ "query": { "text": query }, "using": "t" });
    let formula = |default: Value| json!({ "prefetch": [{ "query": [1, 0] }], "query": { "formula": "$score", "defaults": { "$score": default } } });
    for (body, status) in [
        (nearest(json!({ "idf": "global", "quantization": { "rescore": true }, "acorn": {} })), 200),
        (nearest(json!({ "idf": { "corpus": { "must": [] } } })), 501),
        (nearest(json!({ "idf": "local" })), 501),
        (nearest(json!({ "efs": 3 })), 400),
        (words(json!("fox")), 200),
        (words(json!({ "query": "fox" })), 200),
        (words(json!({ "query": "fox", "scoring": { "bm25": { "k": 1.2 } } })), 200),
        (words(json!({ "query": "fox", "scoring": { "bm25": { "k": 2, "b": 0.75 } } })), 501),
        (words(json!({ "query": "fox", "scoring": { "tfidf": {} } })), 400),
        (words(json!({ "query": "fox", "fuzzy": 1 })), 400),
        (formula(json!(0.5)), 200),
        (formula(json!("0.5")), 400),
    ] {
        let answer = running.send("POST", "/collections/docs/points/query", body.clone()).await;
        assert_eq!(answer.status, status, "{body} {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_key_is_good_for_all_operations_of_a_batch() {
    let running = start().await;
    docs(&running).await;
    let operations: Vec<Value> = (0..12)
        .map(
            |id| json!({ "upsert": { "points": [{ "id": id, "vector": [1, id], "payload": { "n": id } }] } }),
        )
        .collect();
    let body = json!({ "operations": operations }).to_string();
    let key = "k".repeat(256);
    let path = "/collections/docs/points/batch?wait=true";
    for _ in 0..2 {
        let answer = running.raw("POST", path, &[("idempotency-key", &key)], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The repeat changed nothing: no version was given twice.
    let points = running.ok("POST", "/collections/docs/points/query", json!({ "limit": 20 })).await;
    let versions: Vec<u64> =
        points["points"].as_array().unwrap().iter().map(|point| point["version"].as_u64().unwrap()).collect();
    assert_eq!(versions.len(), 12);
    assert!(versions.iter().all(|version| *version <= 12), "{versions:?}");
    let long = "k".repeat(257);
    assert_eq!(running.raw("POST", path, &[("idempotency-key", &long)], body.as_bytes()).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_numbers_of_any_length_stay_what_they_are() {
    let running = start().await;
    docs(&running).await;
    let long = "123456789012345678901234567890";
    let body = format!(
        r#"{{"points":[{{"id":1,"vector":[1,0],"payload":{{"a":{long},"o":{{"b":{long},"c":1}}}}}}]}}"#
    );
    let put = running.raw("PUT", "/collections/docs/points?wait=true", &[], body.as_bytes()).await;
    assert_eq!(put.status, 200);
    let set = format!(r#"{{"points":[1],"payload":{{"d":{long}}}}}"#);
    let at = format!(r#"{{"points":[1],"key":"o","payload":{{"e":-{long}}}}}"#);
    for (path, body) in
        [("", set.as_str()), ("", at.as_str()), ("/delete", r#"{"points":[1],"keys":["o.c"]}"#)]
    {
        let path = format!("/collections/docs/points/payload{path}?wait=true");
        let answer = running.raw("POST", &path, &[], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let wanted = format!(r#""payload":{{"a":{long},"o":{{"b":{long},"e":-{long}}},"d":{long}}}"#);
    for with in ["true", r#"["a","o","d"]"#, r#"{"exclude":["x"]}"#] {
        let body = format!(r#"{{"ids":[1],"with_payload":{with}}}"#);
        let read = running.raw("POST", "/collections/docs/points", &[], body.as_bytes()).await;
        assert!(read.text().contains(&wanted), "{}", read.text());
    }
}
