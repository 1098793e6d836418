//! Every route over HTTP, and what Engram adds to the dialect.

use engram_proto::v1;
use serde_json::{Value, json};

use crate::running::{Running, start, start_with, upsert};

async fn docs(running: &Running) {
    let create = json!({ "vectors": { "": { "size": 2, "distance": "Euclid" }, "b": { "size": 1, "distance": "Dot" } } });
    running.ok("PUT", "/collections/docs", create).await;
    let point =
        |n: u64| json!({ "id": n, "vector": { "": [n, 0], "b": [n] }, "payload": { "n": n, "tag": "t" } });
    let points: Vec<Value> = (1..=4).map(point).collect();
    running.ok("PUT", "/collections/docs/points?wait=true", json!({ "points": points })).await;
}

async fn payload(running: &Running, id: u64) -> Value {
    running.ok("GET", &format!("/collections/docs/points/{id}"), Value::Null).await["payload"].take()
}

#[tokio::test]
async fn rest_payloads_change_in_every_way() {
    let running = start().await;
    docs(&running).await;
    let path = |what: &str| format!("/collections/docs/points/payload{what}?wait=true");
    let done = running.ok("POST", &path(""), json!({ "payload": { "n": 9 }, "points": [1] })).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(payload(&running, 1).await, json!({ "n": 9, "tag": "t" }));
    let filter = json!({ "must": { "key": "n", "match": { "value": 9 } } });
    running.ok("PUT", &path(""), json!({ "payload": { "x": { "y": 1, "z": 2 } }, "filter": filter })).await;
    assert_eq!(payload(&running, 1).await, json!({ "x": { "y": 1, "z": 2 } }));
    running.ok("POST", &path("/delete"), json!({ "keys": ["x.y"], "points": [1] })).await;
    assert_eq!(payload(&running, 1).await, json!({ "x": { "z": 2 } }));
    running.ok("POST", &path("/clear"), json!({ "points": [1, 2] })).await;
    assert_eq!((payload(&running, 1).await, payload(&running, 2).await), (json!({}), json!({})));
    let nested = json!({ "payload": { "a": 1 }, "points": [1], "key": "x" });
    running.ok("POST", &path(""), nested).await;
    assert_eq!(payload(&running, 1).await, json!({ "x": { "a": 1 } }));
    let deeper = json!({ "payload": { "b": [{}, {}] }, "filter": { "must": { "key": "x.a", "match": { "value": 1 } } }, "key": "x.y" });
    running.ok("POST", &path(""), deeper).await;
    let each = json!({ "payload": { "c": 1 }, "points": [1], "key": "x.y.b[]" });
    running.ok("POST", &path(""), each).await;
    assert_eq!(
        payload(&running, 1).await,
        json!({ "x": { "a": 1, "y": { "b": [{ "c": 1 }, { "c": 1 }] } } })
    );
    for (key, status) in [("", 400), ("a[", 400), (&*"a.".repeat(300), 400), (&*vec!["a"; 33].join("."), 400)]
    {
        let bad = json!({ "payload": { "c": 1 }, "points": [1], "key": key });
        assert_eq!(running.send("POST", &path(""), bad).await.status, status, "{key}");
    }
    let overwrite = json!({ "payload": { "c": 1 }, "points": [1], "key": "x" });
    assert_eq!(running.send("PUT", &path(""), overwrite).await.status, 400);
}

#[tokio::test]
async fn rest_vectors_change_and_go() {
    let running = start().await;
    docs(&running).await;
    let update = json!({ "points": [{ "id": 1, "vector": { "b": [0.5] } }, { "id": 2, "vector": [7, 7] }] });
    running.ok("PUT", "/collections/docs/points/vectors?wait=true", update).await;
    let one = async |id: u64| {
        running.ok("GET", &format!("/collections/docs/points/{id}"), Value::Null).await["vector"].take()
    };
    assert_eq!(one(1).await, json!({ "": [1.0, 0.0], "b": [0.5] }));
    assert_eq!(one(2).await, json!({ "": [7.0, 7.0], "b": [2.0] }));
    let delete = json!({ "vector": ["b"], "points": [1] });
    running.ok("POST", "/collections/docs/points/vectors/delete?wait=true", delete).await;
    assert_eq!(one(1).await, json!([1.0, 0.0]));
    let rest = json!({ "vector": ["b"], "filter": { "must": [] } });
    running.ok("POST", "/collections/docs/points/vectors/delete?wait=true", rest).await;
    assert_eq!(one(4).await, json!([4.0, 0.0]));
    let names = json!({ "ids": [4], "with_vector": ["b"], "with_payload": ["n"] });
    let found = running.ok("POST", "/collections/docs/points", names).await;
    assert_eq!(found, json!([{ "id": 4, "payload": { "n": 4 }, "vector": {} }]));
    let add = json!({ "dense": { "size": 3, "distance": "Cosine" } });
    for _ in 0..2 {
        running.ok("PUT", "/collections/docs/vectors/c", add.clone()).await;
    }
    let info = running.ok("GET", "/collections/docs", Value::Null).await;
    assert_eq!(info["config"]["params"]["vectors"]["c"], json!({ "size": 3, "distance": "Cosine" }));
    let other = json!({ "dense": { "size": 4, "distance": "Cosine" } });
    assert_eq!(running.send("PUT", "/collections/docs/vectors/c", other).await.status, 409);
}

#[tokio::test]
async fn rest_upserts_reach_what_their_mode_and_filter_say() {
    let running = start().await;
    docs(&running).await;
    let upsert = async |ids: [u64; 2], mode: Value, filter: Value| {
        let point = |n: u64| json!({ "id": n, "vector": { "": [9, 9] }, "payload": { "new": n } });
        let body = json!({ "points": ids.map(point), "update_mode": mode, "update_filter": filter });
        let done = running.ok("PUT", "/collections/docs/points", body).await;
        assert!(done["operation_id"].is_u64(), "{done}");
    };
    let all = async || running.ok("POST", "/collections/docs/points/count", json!({})).await["count"].clone();
    let first = json!({ "must": { "key": "n", "match": { "value": 1 } } });
    upsert([1, 2], json!("upsert"), first.clone()).await;
    assert_eq!(payload(&running, 1).await, json!({ "new": 1 }));
    assert_eq!(payload(&running, 2).await, json!({ "n": 2, "tag": "t" }));
    upsert([2, 5], json!("update_only"), Value::Null).await;
    assert_eq!((payload(&running, 2).await, all().await), (json!({ "new": 2 }), json!(4)));
    upsert([3, 6], json!("insert_only"), first.clone()).await;
    assert_eq!((payload(&running, 3).await["n"].clone(), all().await), (json!(3), json!(5)));
    upsert([7, 3], Value::Null, first.clone()).await;
    assert_eq!((payload(&running, 3).await["n"].clone(), all().await), (json!(3), json!(6)));
    let vectors = json!({ "points": [{ "id": 3, "vector": { "b": [0.5] } }, { "id": 4, "vector": { "b": [0.5] } }],
        "update_filter": { "must": { "key": "n", "match": { "value": 4 } } } });
    running.ok("PUT", "/collections/docs/points/vectors", vectors).await;
    let found =
        running.ok("POST", "/collections/docs/points", json!({ "ids": [3, 4], "with_vector": ["b"] })).await;
    assert_eq!((&found[0]["vector"]["b"], &found[1]["vector"]["b"]), (&json!([3.0]), &json!([0.5])));
    let bad = json!({ "points": [], "update_filter": { "must": [{ "key": 1 }] } });
    assert_eq!(running.send("PUT", "/collections/docs/points", bad).await.status, 400);
    let one = json!([{ "id": 1, "vector": { "": [9, 9] } }]);
    let keyed = json!({ "points": one, "update_filter": first }).to_string();
    let path = "/collections/docs/points";
    let answer = running.raw("PUT", path, &[("idempotency-key", "k")], keyed.as_bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test]
async fn rest_batches_of_writes_run_in_order() {
    let running = start().await;
    docs(&running).await;
    let operations = json!({ "operations": [
        { "upsert": { "points": [{ "id": 9, "vector": [9, 9], "payload": { "a": 1, "b": 2 } }] } },
        { "set_payload": { "payload": { "a": 3 }, "points": [9] } },
        { "delete_payload": { "keys": ["b"], "points": [9] } },
        { "update_vectors": { "points": [{ "id": 9, "vector": { "b": [1] } }] } },
        { "delete_vectors": { "points": [9], "vector": ["b"] } },
        { "overwrite_payload": { "payload": { "z": 1 }, "points": [1] } },
        { "clear_payload": { "points": [2] } },
        { "delete": { "filter": { "must": { "has_id": [3] } } } },
    ] });
    let done = running.ok("POST", "/collections/docs/points/batch?wait=true", operations).await;
    assert_eq!(done.as_array().unwrap().len(), 8);
    let scroll = json!({ "with_vector": true });
    let all = running.ok("POST", "/collections/docs/points/scroll", scroll).await["points"].take();
    assert_eq!(all[0]["payload"], json!({ "z": 1 }));
    assert_eq!(all[1]["payload"], json!({}));
    assert_eq!(all[2]["id"], 4);
    assert_eq!(all[3], json!({ "id": 9, "payload": { "a": 3 }, "vector": [9.0, 9.0] }));
}

#[tokio::test]
async fn rest_aliases_stand_for_collections() {
    let running = start().await;
    docs(&running).await;
    let change = |actions: Value| running.ok("POST", "/collections/aliases", json!({ "actions": actions }));
    let create = json!([{ "create_alias": { "collection_name": "docs", "alias_name": "a" } }]);
    assert_eq!(change(create).await, json!(true));
    assert_eq!(running.ok("GET", "/collections/a/exists", Value::Null).await["exists"], true);
    let expected = json!({ "aliases": [{ "alias_name": "a", "collection_name": "docs" }] });
    for path in ["/aliases", "/collections/docs/aliases"] {
        assert_eq!(running.ok("GET", path, Value::Null).await, expected, "{path}");
    }
    let rename = json!([{ "rename_alias": { "old_alias_name": "a", "new_alias_name": "b" } }]);
    change(rename).await;
    let found = running.ok("POST", "/collections/b/points/count", json!({ "exact": true })).await;
    assert_eq!(found["count"], 4);
    change(json!([{ "delete_alias": { "alias_name": "b" } }])).await;
    assert_eq!(running.ok("GET", "/aliases", Value::Null).await, json!({ "aliases": [] }));
    assert_eq!(running.ok("DELETE", "/collections/docs", Value::Null).await, true);
    assert_eq!(running.ok("DELETE", "/collections/docs", Value::Null).await, false);
}

#[tokio::test]
async fn rest_aliases_of_one_request_change_as_one() {
    let running = start().await;
    docs(&running).await;
    running.ok("PUT", "/collections/green", json!({ "vectors": { "size": 2, "distance": "Euclid" } })).await;
    let create =
        |alias: &str, to: &str| json!({ "create_alias": { "collection_name": to, "alias_name": alias } });
    let delete = |alias: &str| json!({ "delete_alias": { "alias_name": alias } });
    let rename = |from: &str| json!({ "rename_alias": { "old_alias_name": from, "new_alias_name": "x" } });
    let swap = |to: &str| json!({ "actions": [delete("live"), create("live", to)] });
    running.ok("POST", "/collections/aliases", swap("docs")).await;
    for (bad, status) in
        [(create("live", "none"), 404), (rename("live"), 404), (create("docs", "green"), 409)]
    {
        let actions = json!({ "actions": [create("new", "green"), delete("live"), bad] });
        assert_eq!(running.send("POST", "/collections/aliases", actions).await.status, status, "{bad}");
        let all = json!({ "aliases": [{ "alias_name": "live", "collection_name": "docs" }] });
        assert_eq!(running.ok("GET", "/aliases", Value::Null).await, all, "{bad}: all or none");
    }
    running.ok("POST", "/collections/aliases", swap("green")).await;
    let all = json!({ "aliases": [{ "alias_name": "live", "collection_name": "green" }] });
    assert_eq!(running.ok("GET", "/aliases", Value::Null).await, all);
}

#[tokio::test]
async fn rest_searches_of_older_clients_are_answered() {
    let running = start().await;
    docs(&running).await;
    let search = json!({ "vector": [0, 0], "limit": 2, "with_payload": { "exclude": ["tag"] }, "score_threshold": 1.5 });
    let found = running.ok("POST", "/collections/docs/points/search", search.clone()).await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["payload"], json!({ "n": 1 }));
    let named = json!({ "vector": { "name": "b", "vector": [1] }, "limit": 1 });
    let both = json!({ "searches": [search, named] });
    let found = running.ok("POST", "/collections/docs/points/search/batch", both).await;
    assert_eq!((&found[0][0]["id"], &found[1][0]["id"]), (&json!(1), &json!(4)));
    let batch =
        json!({ "searches": [{ "query": [0, 0], "limit": 1 }, { "query": 4, "using": "b", "limit": 1 }] });
    let found = running.ok("POST", "/collections/docs/points/query/batch", batch).await;
    assert_eq!((&found[0]["points"][0]["id"], &found[1]["points"][0]["id"]), (&json!(1), &json!(3)));
}

#[tokio::test]
async fn rest_every_route_of_the_description_answers_in_the_envelope() {
    let running = start().await;
    docs(&running).await;
    let description = running.send("GET", "/openapi.json", Value::Null).await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"), "{}", description["openapi"]);
    let mut tried = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            let path = path.replace("{collection_name}", "none").replace(['{', '}'], "");
            let answer = running.send(&method.to_uppercase(), &path, json!({})).await;
            tried += 1;
            assert!(operation["summary"].is_string() && operation["operationId"].is_string());
            if operation["tags"][0] == "Service" && answer.status == 200 {
                continue;
            }
            let absent = operation["responses"].get("200").is_none();
            let refused = [405, 501].contains(&answer.status);
            assert!(refused || !absent, "{method} {path}: {answer:?}");
            assert!(!refused || absent || answer.error().ends_with("yet"), "{method} {path}: {answer:?}");
            assert!(answer.status == 200 || !answer.error().is_empty(), "{answer:?}");
        }
    }
    assert_eq!(tried, 77, "routes are named in the table and tested here");
    // Each list is described by what is in it, and an identity by what it looks like.
    let result = |path: &str, method: &str| {
        description["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
            ["result"]["items"]["$ref"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for (path, method, item) in [
        ("/collections/{collection_name}/snapshots", "get", "SnapshotDescription"),
        ("/collections/{collection_name}/points/batch", "post", "UpdateResult"),
        ("/collections/{collection_name}/points", "post", "Record"),
        ("/collections/{collection_name}/points/query/batch", "post", "QueryResult"),
    ] {
        assert_eq!(result(path, method), format!("#/components/schemas/{item}"), "{path}");
    }
    let kinds: Vec<&Value> = description["components"]["schemas"]["PointId"]["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| &kind["type"])
        .collect();
    assert_eq!(kinds, ["integer", "string"]);
    // What is referred to is there.
    let text = description.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(description["components"]["schemas"].get(name).is_some(), "{name}");
    }
    let docs = running.send("GET", "/docs", Value::Null).await;
    assert!(docs.text().contains("/openapi.json") && !docs.text().contains("https://"), "no page of others");
    let nothing = running.send("GET", "/nothing", Value::Null).await;
    assert_eq!((nothing.status, nothing.error().starts_with("Not found: ")), (404, true));
    let method = running.send("PATCH", "/collections/docs/points", json!({})).await;
    assert_eq!((method.status, method.error().starts_with("Method not allowed: ")), (405, true));
}

#[tokio::test]
async fn rest_cluster_and_telemetry_tell_of_one_node() {
    let running = start().await;
    docs(&running).await;
    assert_eq!(running.ok("GET", "/cluster", Value::Null).await, json!({ "status": "disabled" }));
    let info = running.ok("GET", "/collections/docs/cluster", Value::Null).await;
    let shard = json!([{ "shard_id": 0, "points_count": 4, "state": "Active" }]);
    assert_eq!((&info["shard_count"], &info["local_shards"]), (&json!(1), &shard));
    assert_eq!(running.ok("GET", "/telemetry", Value::Null).await["app"]["name"], "engram");
    let keys = running.ok("GET", "/collections/docs/shards", Value::Null).await;
    assert_eq!(keys, json!({ "shard_keys": [] }));
}

#[tokio::test]
async fn rest_regions_ages_and_erasure_come_by_metadata_and_own_paths() {
    let running = start().await;
    let create = json!({
        "vectors": { "size": 2, "distance": "Dot" },
        "metadata": { "team": "x", "engram": {
            "regions": ["eu", "us"], "default_region": "us", "region_field": "where", "created_at_field": "made",
            "shards_per_region": 2, "layout": "compact" } },
    });
    running.ok("PUT", "/collections/docs", create).await;
    let get = v1::GetCollectionRequest { name: "docs".into() };
    let collection = running.collections().get_collection(get).await.unwrap().into_inner();
    assert_eq!(
        (collection.regions, collection.default_region),
        (vec!["eu".into(), "us".into()], "us".to_owned())
    );
    assert_eq!(collection.shards_per_region, 2);
    let point =
        |id: u64, payload: Value| json!({ "points": [{ "id": id, "vector": [1, 0], "payload": payload }] });
    let path = "/collections/docs/points?wait=true";
    running.ok("PUT", path, point(1, json!({ "where": "eu", "made": "2001-01-01T00:00:00Z" }))).await;
    running.ok("PUT", path, point(2, json!({ "made": "2002-01-01T00:00:00Z" }))).await;
    let get = v1::GetRequest {
        collection: "docs".into(),
        ids: vec![crate::running::num(1), crate::running::num(2)],
        ..Default::default()
    };
    let points = running.points().get(get).await.unwrap().into_inner().points;
    assert_eq!((points[0].region.as_str(), points[1].region.as_str()), ("eu", "us"));
    assert_eq!(points[0].created_at_ms, Some(978_307_200_000));
    for wrong in [json!({ "where": "mars" }), json!({ "where": 1 }), json!({ "made": "soon" })] {
        assert_eq!(running.send("PUT", path, point(3, wrong)).await.status, 400);
    }
    let moved = running.send("PUT", path, point(1, json!({ "where": "us" }))).await;
    assert_eq!(moved.status, 409, "{moved:?}");

    let scope = json!({ "collection": "docs", "region": "eu", "older_than_s": 3600, "wait": true });
    let mut dry = scope.clone();
    dry["dry_run"] = json!(true);
    assert_eq!(running.ok("POST", "/engram/v1/purge", dry).await["points"], 1);
    let receipt = running.ok("POST", "/engram/v1/purge", scope).await;
    assert_eq!((&receipt["state"], &receipt["points_erased"]), (&json!("complete"), &json!(1)));
    let id = receipt["id"].as_str().unwrap();
    assert_eq!(running.ok("GET", &format!("/engram/v1/receipts/{id}"), Value::Null).await, receipt);
    let all = running.ok("GET", "/engram/v1/receipts?limit=5", Value::Null).await;
    assert_eq!(all["receipts"], json!([receipt]));
    let change = json!({ "metadata": { "engram": { "retention": [{ "region": "us", "max_age_s": 60 }] } } });
    running.ok("PATCH", "/collections/docs", change).await;
    let count = running.ok("POST", "/collections/docs/points/count", json!({})).await;
    assert_eq!(count["count"], 0, "the other one is too old by the new rule");
    let wrong = json!({ "metadata": { "engram": { "regoins": [] } } });
    assert_eq!(running.send("PATCH", "/collections/docs", wrong).await.status, 400);
    let flushed = running.ok("POST", "/engram/v1/flush", json!({ "collection": "docs" })).await;
    assert!(flushed["shards"].as_u64().unwrap() >= 1);
    running.ok("POST", "/engram/v1/compact", Value::Null).await;
    let stats = running.ok("GET", "/engram/v1/stats?collection=docs", Value::Null).await;
    assert_eq!(stats["collections"][0]["name"], "docs");
}

#[tokio::test]
async fn rest_tokens_keys_and_request_ids_travel_in_headers() {
    let running = start().await;
    docs(&running).await;
    let body = json!({ "points": [{ "id": 50, "vector": [1, 1] }] }).to_string();
    let write = |key: &'static str, body: String| {
        let running = &running;
        async move {
            let headers = [("idempotency-key", key), ("x-request-id", "mine-1")];
            running.raw("PUT", "/collections/docs/points", &headers, body.as_bytes()).await
        }
    };
    let first = write("k", body.clone()).await;
    assert_eq!(first.header("x-request-id"), Some("mine-1"));
    let token = first.header("engram-token").unwrap().to_owned();
    assert!(token.starts_with("1:default.0="), "{token}");
    assert_eq!(write("k", body.clone()).await.status, 200);
    let other = write("k", body.replace("50", "51")).await;
    assert_eq!(other.status, 409, "{other:?}");
    let headers = [("engram-token", &*token)];
    let read = running.raw("GET", "/collections/docs/points/50", &headers, b"").await;
    assert_eq!(read.status, 200);
    assert!(read.header("x-request-id").unwrap().len() == 36, "one is made");
    let bad = running.raw("GET", "/collections/docs/points/50", &[("engram-token", "x")], b"").await;
    assert_eq!(bad.status, 400, "{bad:?}");
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains(r#"engram_requests_total{method="upsert_points",code="ok"}"#), "{metrics}");
    assert!(metrics.contains(r#"engram_requests_total{method="upsert_points",code="already_exists"} 1"#));
}

#[tokio::test]
async fn rest_both_fronts_see_the_same_points() {
    let running = start().await;
    running.create("docs").await;
    let point = crate::running::point(1, &[1.0, 2.0], r#"{"a":1}"#);
    running.points().upsert(upsert("docs", vec![point])).await.unwrap();
    let found = running.ok("GET", "/collections/docs/points/1", Value::Null).await;
    assert_eq!(found, json!({ "id": 1, "payload": { "a": 1 }, "vector": [1.0, 2.0] }));
}

#[tokio::test]
async fn rest_browsers_of_named_origins_only_may_call() {
    let preflight = |origin: &'static str| [("origin", origin), ("access-control-request-method", "PUT")];
    let closed = start().await;
    let answer = closed.raw("OPTIONS", "/collections/docs", &preflight("https://a.example"), b"").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let open = start_with(|raw| raw.rest.cors_origins = vec!["https://a.example".into()]).await;
    let answer = open.raw("OPTIONS", "/collections/docs", &preflight("https://a.example"), b"").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    let answer = open.raw("OPTIONS", "/collections/docs", &preflight("https://b.example"), b"").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn rest_pages_of_other_origins_are_refused_where_no_key_is_asked_for() {
    let running = start().await;
    running.ok("PUT", "/collections/docs", json!({ "vectors": { "size": 2, "distance": "Dot" } })).await;
    for headers in [
        vec![("origin", "http://evil.example"), ("content-type", "text/plain")],
        vec![("origin", "null"), ("content-type", "text/plain")],
    ] {
        let erase = br#"{"older_than_s":1}"#;
        assert_eq!(running.raw("POST", "/engram/v1/purge", &headers, erase).await.status, 403);
        assert_eq!(running.raw("DELETE", "/collections/docs", &headers, b"").await.status, 403);
    }
    running.ok("GET", "/collections/docs", Value::Null).await;
    let named = start_with(|raw| raw.rest.cors_origins = vec!["http://good.example".into()]).await;
    assert_eq!(named.raw("GET", "/collections", &[("origin", "http://good.example")], b"").await.status, 200);
    assert_eq!(named.raw("GET", "/collections", &[("origin", "http://evil.example")], b"").await.status, 403);
}

/// The status of a request over HTTP/2, which has no header `host`.
async fn over_http2(running: &Running, name: &str, origin: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect(running.node.http_addr()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = axum::http::Request::get(format!("http://{name}/collections")).header("origin", origin);
    let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    answer.await.unwrap().status().as_u16()
}

#[tokio::test]
async fn rest_pages_are_told_apart_over_http2_too() {
    let running = start().await;
    for (name, origin, status) in [
        ("localhost:6333", "http://localhost:6333", 200),
        ("localhost:6333", "http://evil.example", 403),
        ("evil.example", "http://evil.example", 403),
    ] {
        assert_eq!(over_http2(&running, name, origin).await, status, "{origin} at {name}");
    }
}
