//! The behaviours that the clients of the dialect rely on, each by its number.

use serde_json::{Value, json};

use crate::http::Answer;
use crate::running::{Running, start, start_with};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn two(distance: &str) -> Value {
    json!({ "vectors": { "size": 2, "distance": distance } })
}

/// Ten points on a line: id = distance from the origin, odd and even ones tagged.
async fn ten() -> Running {
    let running = start().await;
    running.ok("PUT", "/collections/docs", two("Euclid")).await;
    let point = |n: u64| json!({ "id": n, "vector": [n, 0], "payload": { "tag": if n % 2 == 1 { "odd" } else { "even" }, "n": n } });
    let points: Vec<Value> = (1..=10).map(point).collect();
    let done = running.ok("PUT", "/collections/docs/points?wait=true", json!({ "points": points })).await;
    assert_eq!(done["status"], "completed");
    running
}

fn ids(points: &Value) -> Vec<u64> {
    points.as_array().unwrap().iter().map(|p| p["id"].as_u64().unwrap()).collect()
}

async fn count(running: &Running) -> u64 {
    running.ok("POST", "/collections/docs/points/count", json!({})).await["count"].as_u64().unwrap()
}

fn refused(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.text().starts_with(r#"{"status":{"error":""#), "status comes first: {}", answer.text());
    assert!(answer.error().contains(text), "{text}: {}", answer.error());
}

#[tokio::test]
async fn rest_01_the_envelope_has_result_status_and_time() {
    let running = start().await;
    let answer = running.send("GET", "/collections", Value::Null).await;
    assert!(
        answer.text().starts_with(r#"{"result":{"collections":[]},"status":"ok","time":0.0"#),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn rest_02_the_root_tells_title_version_and_commit() {
    let plain = start().await;
    let root = plain.send("GET", "/", Value::Null).await;
    assert_eq!(root.header("server"), Some(&*format!("engram/{}", engram_node::VERSION)));
    let root = root.json();
    assert_eq!(root.as_object().unwrap().keys().collect::<Vec<_>>(), ["title", "version", "commit"]);
    assert_eq!(root["title"], "engram");
    assert!(root["version"].as_str().unwrap().starts_with("1.20."));
    let commit = root["commit"].as_str().unwrap();
    assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{commit}");
    let other = start_with(|raw| raw.rest.qdrant_title = true).await;
    let root = other.send("GET", "/", Value::Null).await.json();
    assert_eq!(root["title"], "qdrant - vector search engine");
}

#[tokio::test]
async fn rest_03_errors_have_the_words_and_codes_that_clients_look_for() {
    let running = ten().await;
    let again = running.send("PUT", "/collections/docs", two("Dot")).await;
    refused(&again, 409, "Wrong input: Collection `docs` already exists!");
    assert!(String::from_utf8_lossy(&again.body[..again.body.len().min(200)]).contains("already exists"));
    let none = running.send("GET", "/collections/none", Value::Null).await;
    refused(&none, 404, "Not found: Collection `none` doesn't exist!");
    let none = running.send("POST", "/collections/none/points/scroll", json!({})).await;
    refused(&none, 404, "Not found: Collection `none` doesn't exist!");
    let none = running.send("GET", "/collections/docs/points/99", Value::Null).await;
    refused(&none, 404, "Point with id 99 does not exists!");
    let bad = running.raw("POST", "/collections/docs/points/query", &[], b"{\"limit\": ").await;
    refused(&bad, 400, "Format error in JSON body: ");
    let bad = running.send("POST", "/collections/docs/points/query", json!({ "limit": 0 })).await;
    refused(&bad, 422, "Validation error in JSON body: ");
    let query = json!({ "query": { "nearest": [1.0] } });
    let bad = running.send("POST", "/collections/docs/points/query", query).await;
    refused(&bad, 400, "Wrong input: ");
    let alone = running.send("PUT", "/collections/docs/shards", json!({ "shard_key": "x" })).await;
    refused(&alone, 405, "cluster");
    let absent = running.send("GET", "/collections/docs/snapshots/none", Value::Null).await;
    assert!([404, 501].contains(&absent.status), "{absent:?}");
}

#[tokio::test]
async fn rest_04_too_much_is_told_to_come_back_in_whole_seconds() {
    let running = start_with(|raw| {
        raw.limits.requests = 1;
        raw.limits.queue_wait_ms = 20;
    })
    .await;
    // One request holds the only place while its body does not come.
    use tokio::io::AsyncWriteExt;
    let mut held = tokio::net::TcpStream::connect(running.node.http_addr()).await.unwrap();
    let head = "PUT /collections/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n";
    held.write_all(head.as_bytes()).await.unwrap();
    let refused_one = loop {
        let answer = running.send("GET", "/collections", Value::Null).await;
        if answer.status != 200 {
            break answer;
        }
    };
    refused(&refused_one, 429, "try again");
    let seconds: u32 = refused_one.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1);
    assert_eq!(running.get("/healthz").await.0, "HTTP/1.1 200 OK", "health waits for nothing");
}

#[tokio::test]
async fn rest_05_the_key_comes_in_either_header_and_nothing_answers_without() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KEY).unwrap();
    let running = start_with(|raw| raw.auth.root_key_file = file.path().display().to_string()).await;
    for header in [("api-key", KEY.to_owned()), ("authorization", format!("Bearer {KEY}"))] {
        let answer = running.raw("GET", "/collections", &[(header.0, &header.1)], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Every route of the description is asked without a key and with a wrong one.
    let description = running.send("GET", "/openapi.json", Value::Null).await.json();
    let mut tried = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            if ["root", "healthz", "livez", "readyz"].contains(&operation["operationId"].as_str().unwrap()) {
                continue;
            }
            let path = path.replace(['{', '}'], "");
            for wrong in [&[][..], &[("api-key", "wrong")]] {
                let answer = running.raw(&method.to_uppercase(), &path, wrong, b"").await;
                assert_eq!(answer.status, 401, "{method} {path}");
                assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
                assert!(!answer.text().starts_with('{') && !answer.text().contains(KEY), "{answer:?}");
            }
            tried += 1;
        }
    }
    assert!(tried > 70, "{tried}");
    for open in ["/", "/healthz", "/livez", "/readyz"] {
        assert_eq!(running.get(open).await.0, "HTTP/1.1 200 OK", "{open}");
    }
}

#[tokio::test]
async fn rest_06_strict_models_get_their_keys_and_free_metadata_is_kept() {
    let running = start().await;
    let create = json!({
        "vectors": { "a": { "size": 2, "distance": "Dot", "on_disk": true, "hnsw_config": { "m": 24 } } },
        "optimizers_config": { "indexing_threshold": 7 }, "wal_config": { "wal_capacity_mb": 1 },
        "quantization_config": { "scalar": { "type": "int8" } }, "on_disk_payload": false,
        "replication_factor": 2, "strict_mode_config": { "enabled": false }, "something_new": { "x": 1 },
        "metadata": { "owner": "me", "n": [1, 2] },
    });
    running.ok("PUT", "/collections/docs", create).await;
    let config = running.ok("GET", "/collections/docs", Value::Null).await["config"].take();
    let a = &config["params"]["vectors"]["a"];
    assert_eq!(*a, json!({ "size": 2, "distance": "Dot", "hnsw_config": { "m": 24 }, "on_disk": true }));
    assert_eq!(config["params"]["replication_factor"], 2);
    assert_eq!(config["params"]["on_disk_payload"], false);
    assert_eq!(config["optimizer_config"]["indexing_threshold"], 7);
    assert_eq!(config["wal_config"]["wal_capacity_mb"], 1);
    assert_eq!(config["quantization_config"], json!({ "scalar": { "type": "int8" } }));
    assert_eq!(config["strict_mode_config"], json!({ "enabled": false }));
    assert_eq!(config["metadata"], json!({ "owner": "me", "n": [1, 2] }));
    let change = json!({ "metadata": { "owner": null, "more": true } });
    running.ok("PATCH", "/collections/docs", change).await;
    let config = running.ok("GET", "/collections/docs", Value::Null).await["config"].take();
    assert_eq!(config["metadata"], json!({ "n": [1, 2], "more": true }));
}

#[tokio::test]
async fn rest_07_what_the_models_require_is_there() {
    let running = ten().await;
    let index = json!({ "field_name": "tag", "field_schema": "keyword" });
    running.ok("PUT", "/collections/docs/index?wait=true", index).await;
    let info = running.ok("GET", "/collections/docs", Value::Null).await;
    assert_eq!((&info["status"], &info["optimizer_status"]), (&json!("green"), &json!("ok")));
    assert!(info["segments_count"].is_u64() && info["points_count"] == 10, "{info}");
    let config = &info["config"];
    assert_eq!(config["params"]["vectors"], json!({ "size": 2, "distance": "Euclid" }));
    for key in ["m", "ef_construct", "full_scan_threshold"] {
        assert!(config["hnsw_config"][key].is_u64(), "{key}");
    }
    for key in ["default_segment_number", "flush_interval_sec"] {
        assert!(config["optimizer_config"][key].is_u64(), "{key}");
    }
    assert_eq!(info["payload_schema"], json!({ "tag": { "data_type": "keyword", "points": 10 } }));
    let query = json!({ "query": [0, 0], "limit": 1 });
    let hit = running.ok("POST", "/collections/docs/points/query", query).await["points"][0].take();
    assert_eq!((&hit["id"], &hit["score"]), (&json!(1), &json!(1.0)));
    assert!(hit["version"].is_u64() && hit.get("payload").is_none() && hit.get("vector").is_none());
    let page = running.ok("POST", "/collections/docs/points/scroll", json!({ "limit": 4 })).await;
    assert_eq!((ids(&page["points"]), &page["next_page_offset"]), (vec![1, 2, 3, 4], &json!(5)));
    let last = json!({ "limit": 10, "offset": 5 });
    let page = running.ok("POST", "/collections/docs/points/scroll", last).await;
    assert_eq!((ids(&page["points"]), &page["next_page_offset"]), ((5..=10).collect(), &Value::Null));
}

#[tokio::test]
async fn rest_08_ids_without_dashes_come_back_with_them() {
    let running = start().await;
    running.ok("PUT", "/collections/docs", two("Cosine")).await;
    let plain = "550e8400e29b41d4a716446655440000";
    let dashed = "550e8400-e29b-41d4-a716-446655440000";
    let point = json!({ "points": [{ "id": plain, "vector": [1, 0] }] });
    running.ok("PUT", "/collections/docs/points?wait=true", point).await;
    let found = running.ok("POST", "/collections/docs/points", json!({ "ids": [plain] })).await;
    assert_eq!(found, json!([{ "id": dashed, "payload": {} }]));
    let one = running.ok("GET", &format!("/collections/docs/points/{plain}"), Value::Null).await;
    assert_eq!(one["id"], dashed);
    let delete = json!({ "points": [plain] });
    let done = running.ok("POST", "/collections/docs/points/delete?wait=true", delete.clone()).await;
    assert_eq!(done["status"], "completed");
    let done = running.ok("POST", "/collections/docs/points/delete", delete).await;
    assert_eq!(done["status"], "acknowledged");
    assert_eq!(count(&running).await, 0);
}

#[tokio::test]
async fn rest_09_the_empty_name_is_the_default_vector_everywhere() {
    let running = start().await;
    let create = json!({ "vectors": { "": { "size": 2, "distance": "Dot" } }, "sparse_vectors": {} });
    running.ok("PUT", "/collections/named", create).await;
    running.ok("PUT", "/collections/plain", two("Dot")).await;
    for name in ["named", "plain"] {
        let points = json!({ "points": [
            { "id": 1, "vector": { "": [1, 0] } }, { "id": 2, "vector": [2, 0], "payload": null } ] });
        running.ok("PUT", &format!("/collections/{name}/points?wait=true"), points).await;
        for using in [json!(null), json!("")] {
            let query = json!({ "query": { "nearest": [1, 0] }, "using": using, "with_vector": true });
            let found = running.ok("POST", &format!("/collections/{name}/points/query"), query).await;
            assert_eq!(ids(&found["points"]), [2, 1]);
            assert_eq!(found["points"][0]["vector"], json!([2.0, 0.0]));
        }
        // Told in the form it was given in: clients look it up by its name, or not.
        let info = running.ok("GET", &format!("/collections/{name}"), Value::Null).await;
        let params = json!({ "size": 2, "distance": "Dot" });
        let told = if name == "named" { json!({ "": params }) } else { params };
        assert_eq!(info["config"]["params"]["vectors"], told);
    }
    running.ok("PUT", "/collections/bare", json!({ "vectors": {} })).await;
    let point = json!({ "points": [{ "id": 1, "vector": {}, "payload": { "a": 1 } }] });
    running.ok("PUT", "/collections/bare/points?wait=true", point).await;
}

#[tokio::test]
async fn rest_10_queries_come_in_all_forms() {
    let running = ten().await;
    let path = "/collections/docs/points/query";
    for query in [json!({ "nearest": [3, 0] }), json!([3, 0]), json!(3)] {
        let found = running.ok("POST", path, json!({ "query": query, "limit": 2 })).await;
        let expected = if query == json!(3) { [2, 4] } else { [3, 2] };
        assert_eq!(ids(&found["points"]), expected, "{query}");
    }
    let cosine = json!({ "vectors": { "size": 2, "distance": "Cosine" } });
    running.ok("PUT", "/collections/unit", cosine).await;
    let point = json!({ "points": [{ "id": 1, "vector": [3, 4] }] });
    running.ok("PUT", "/collections/unit/points?wait=true", point).await;
    let stored = running.ok("GET", "/collections/unit/points/1", Value::Null).await;
    assert_eq!(stored["vector"], json!([0.6, 0.8]), "cosine vectors are stored with length 1");
    // Understood, whether or not this server answers them.
    let prefetch = json!([{ "query": [1, 0], "limit": 5 }, { "query": [2, 0], "using": "" }]);
    for body in [
        json!({ "prefetch": prefetch, "query": { "fusion": "rrf" } }),
        json!({ "prefetch": prefetch, "query": { "rrf": { "k": 10, "weights": [1, 2] } } }),
        json!({ "prefetch": prefetch[0], "query": { "fusion": "dbsf" } }),
        json!({ "query": { "nearest": [1, 0], "mmr": { "diversity": 0.5, "candidates_limit": 20 } } }),
        json!({ "query": { "recommend": { "positive": [1, [2, 0]], "negative": [3], "strategy": "best_score" } } }),
        json!({ "query": { "discover": { "target": 1, "context": [{ "positive": 1, "negative": 2 }] } } }),
        json!({ "query": { "context": { "positive": 1, "negative": 2 } } }),
        json!({ "query": { "order_by": { "key": "n", "direction": "desc" } } }),
        json!({ "query": { "sample": "random" } }),
        json!({ "prefetch": prefetch[0], "query": { "formula": { "sum": ["$score", 1] } } }),
    ] {
        let answer = running.send("POST", path, body.clone()).await;
        assert!([200, 400, 501].contains(&answer.status), "{body}: {answer:?}");
        assert!(answer.status == 200 || !answer.error().contains("JSON body"), "{body}: {answer:?}");
    }
    for bad in [
        json!({ "query": { "nearest": [1, 0], "fusion": "rrf" } }),
        json!({ "query": { "mmr": {} } }),
        json!({ "query": { "unknown": 1 } }),
        json!({ "query": {} }),
        json!({ "query": "x" }),
        json!({ "query": true }),
        json!({ "queries": [1, 0] }),
    ] {
        refused(&running.send("POST", path, bad).await, 400, "Format error in JSON body: ");
    }
    let text = json!({ "query": { "text": "words", "model": "some/model" } });
    refused(&running.send("POST", path, text).await, 501, "embeddings");
}

#[tokio::test]
async fn rest_11_filters_take_one_or_many_and_an_empty_list_constrains_nothing() {
    let running = ten().await;
    let counted = async |filter: Value| {
        running.ok("POST", "/collections/docs/points/count", json!({ "filter": filter })).await["count"]
            .take()
    };
    let odd = json!({ "key": "tag", "match": { "value": "odd" } });
    assert_eq!(counted(json!({ "must": odd })).await, 5);
    assert_eq!(counted(json!({ "must": [odd], "should": [], "must_not": [] })).await, 5);
    assert_eq!(counted(json!({ "must": [] })).await, 10);
    assert_eq!(counted(json!({ "should": [] })).await, 10);
    assert_eq!(
        counted(json!({ "must": [{ "should": [odd] }, { "key": "n", "range": { "gt": 4 } }] })).await,
        3
    );
    assert_eq!(counted(json!({ "must": { "has_id": [1, 2] } })).await, 2);
    assert_eq!(counted(json!({ "must": [{ "is_empty": { "key": "none" } }] })).await, 10);
    let wrong = json!({ "filter": { "msut": [] } });
    refused(&running.send("POST", "/collections/docs/points/delete", wrong).await, 400, "msut");
    for nothing in [json!({}), json!({ "filter": null }), json!({ "filters": { "must": [] } })] {
        let answer = running.send("POST", "/collections/docs/points/delete?wait=true", nothing).await;
        refused(&answer, 400, "Format error");
    }
    assert_eq!(count(&running).await, 10, "a body that says nothing deletes nothing");
    let all = json!({ "filter": { "must": [] } });
    running.ok("POST", "/collections/docs/points/delete?wait=true", all).await;
    assert_eq!(count(&running).await, 0);
}

#[tokio::test]
async fn rest_12_indexes_may_be_made_again_and_again() {
    let running = ten().await;
    for _ in 0..3 {
        for (field, kind) in [("tag", json!("keyword")), ("n", json!({ "type": "integer", "lookup": true }))]
        {
            let index = json!({ "field_name": field, "field_schema": kind });
            let done = running.ok("PUT", "/collections/docs/index?wait=true", index).await;
            assert_eq!(done["status"], "completed");
        }
    }
    let info = running.ok("GET", "/collections/docs", Value::Null).await;
    assert_eq!(info["payload_schema"].as_object().unwrap().len(), 2);
    for _ in 0..2 {
        running.ok("DELETE", "/collections/docs/index/tag", Value::Null).await;
    }
    let info = running.ok("GET", "/collections/docs", Value::Null).await;
    assert_eq!(info["payload_schema"], json!({ "n": { "data_type": "integer", "points": 10 } }));
}

#[tokio::test]
async fn rest_13_points_come_in_columns_and_the_collection_turns_green() {
    let running = start().await;
    running.ok("PUT", "/collections/docs", two("Dot")).await;
    let patch = json!({ "optimizers_config": { "indexing_threshold": 0 } });
    running.ok("PATCH", "/collections/docs", patch).await;
    let batch = json!({ "batch": {
        "ids": [1, 2, 3], "vectors": [[1, 0], [2, 0], [3, 0]], "payloads": [{ "a": 1 }, null, { "a": 3 }] } });
    running.ok("PUT", "/collections/docs/points?wait=true", batch).await;
    let named = json!({ "batch": { "ids": [4], "vectors": { "": [[4, 0]] } } });
    running.ok("PUT", "/collections/docs/points?wait=true", named).await;
    let found = running.ok("POST", "/collections/docs/points", json!({ "ids": [3, 2] })).await;
    assert_eq!(found, json!([{ "id": 3, "payload": { "a": 3 } }, { "id": 2, "payload": {} }]));
    let uneven = json!({ "batch": { "ids": [1, 2], "vectors": [[1, 0]] } });
    refused(&running.send("PUT", "/collections/docs/points", uneven).await, 422, "2 ids and 1 vectors");
    let info = running.ok("GET", "/collections/docs", Value::Null).await;
    assert_eq!((&info["status"], &info["points_count"]), (&json!("green"), &json!(4)));
    assert_eq!(info["config"]["optimizer_config"]["indexing_threshold"], 0);
}

#[tokio::test]
async fn rest_14_names_are_decoded_once_and_bounded() {
    let running = start().await;
    running.ok("PUT", "/collections/a%20b%25%C3%A9", two("Dot")).await;
    let list = running.ok("GET", "/collections", Value::Null).await;
    assert_eq!(list["collections"], json!([{ "name": "a b%é" }]));
    let exists = running.ok("GET", "/collections/a%20b%25%C3%A9/exists", Value::Null).await;
    assert_eq!(exists, json!({ "exists": true }));
    let longest = "x".repeat(255);
    running.ok("PUT", &format!("/collections/{longest}?timeout=5"), two("Dot")).await;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = running.send(method, &format!("/collections/{longest}x"), two("Dot")).await;
        refused(&answer, 422, "collection_name");
    }
    refused(&running.send("PUT", "/collections/a%2Fb", two("Dot")).await, 400, "not allowed");
    refused(&running.send("GET", "/collections/%FF", Value::Null).await, 400, "UTF-8");
    for timeout in ["0", "x", "-1", "1.5"] {
        let path = format!("/collections/{longest}/points/scroll?timeout={timeout}");
        refused(&running.send("POST", &path, json!({})).await, 422, "timeout");
    }
}

#[tokio::test]
async fn what_would_be_passed_over_is_refused() {
    let running = ten().await;
    for (path, body) in [
        ("points/delete", json!({ "filter": {}, "shard_key": "a" })),
        ("points/query", json!({ "query": [1, 0], "shard_key": ["a"] })),
        ("points/payload", json!({ "payload": { "x": 1 }, "points": [1], "shard_key": "a" })),
    ] {
        let answer = running.send("POST", &format!("/collections/docs/{path}"), body).await;
        refused(&answer, 400, "shard_key");
    }
    assert_eq!(count(&running).await, 10);
    let custom = json!({ "vectors": { "size": 2, "distance": "Dot" }, "sharding_method": "custom" });
    refused(&running.send("PUT", "/collections/other", custom).await, 501, "sharding_method");
    let names: Vec<String> = (0..3_000).map(|n| format!("v{n}")).collect();
    let many = json!({ "vector": names, "points": [1, 2] });
    refused(
        &running.send("POST", "/collections/docs/points/vectors/delete", many).await,
        400,
        "vector names",
    );
    let matrix = json!({ "sample": 4_096, "limit": 4_095 });
    let answer = running.send("POST", "/collections/docs/points/search/matrix/pairs", matrix).await;
    refused(&answer, 400, "sample x limit");
}

#[tokio::test]
async fn a_payload_that_grows_too_large_is_no_success() {
    let running = ten().await;
    let path = "/collections/docs/points/payload?wait=true";
    let part = |key: &str| json!({ "payload": { key: "x".repeat(700 << 10) }, "points": [1] });
    running.ok("POST", path, part("first")).await;
    refused(&running.send("POST", path, part("second")).await, 400, "larger than");
    let batch = json!({ "operations": [{ "set_payload": part("third") }] });
    refused(
        &running.send("POST", "/collections/docs/points/batch?wait=true", batch).await,
        400,
        "larger than",
    );
}

#[tokio::test]
async fn regions_and_times_change_by_upserts_alone() {
    let running = start().await;
    let engram = json!({ "regions": ["eu", "us"], "expires_at_field": "until" });
    let body = json!({ "vectors": { "size": 2, "distance": "Dot" }, "metadata": { "engram": engram } });
    running.ok("PUT", "/collections/docs", body).await;
    let point = json!({ "points": [{ "id": 1, "vector": [1, 0], "payload": { "region": "us", "a": 1 } }] });
    running.ok("PUT", "/collections/docs/points?wait=true", point).await;
    let path = "/collections/docs/points/payload?wait=true";
    for payload in [json!({ "region": "eu" }), json!({ "until": "2001-01-01T00:00:00Z" })] {
        for method in ["POST", "PUT"] {
            let answer = running.send(method, path, json!({ "payload": payload, "points": [1] })).await;
            refused(&answer, 400, "upsert");
        }
    }
    let keys = json!({ "keys": ["region"], "points": [1] });
    refused(&running.send("POST", "/collections/docs/points/payload/delete", keys).await, 400, "upsert");
    running.ok("POST", path, json!({ "payload": { "a": 2 }, "points": [1] })).await;
    let forget = json!({ "metadata": { "engram": null } });
    refused(&running.send("PATCH", "/collections/docs", forget).await, 400, "metadata.engram");
}

#[tokio::test]
async fn an_alias_that_is_given_its_own_name_stays() {
    let running = ten().await;
    let action = |body: Value| json!({ "actions": [body] });
    let create = action(json!({ "create_alias": { "collection_name": "docs", "alias_name": "live" } }));
    running.ok("POST", "/collections/aliases", create).await;
    let same = action(json!({ "rename_alias": { "old_alias_name": "live", "new_alias_name": "live" } }));
    running.ok("POST", "/collections/aliases", same).await;
    let aliases = running.ok("GET", "/aliases", Value::Null).await;
    assert_eq!(aliases["aliases"], json!([{ "alias_name": "live", "collection_name": "docs" }]));
}
