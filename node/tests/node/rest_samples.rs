//! A REST request of every route that is in order, and the least role that it needs.

use serde_json::{Value, json};

use crate::samples::Level::{self, Admin, Nobody, Read, Root, Write};
use crate::samples::{FRESH, NEEDLE, Names};

/// A request.
pub struct Sample {
    pub needs: Level,
    pub path: String,
    pub content: &'static str,
    pub body: Vec<u8>,
    /// What it answers to who may ask.
    pub status: u16,
}

/// A request of this route that is in order.
#[allow(clippy::too_many_lines, reason = "one row a route")]
pub fn rest_sample(method: &str, template: &str, names: &Names) -> Option<Sample> {
    let collection = &names.collection;
    // Routes of a collection begin with a `*` here.
    let short = template.replacen("/collections/{collection_name}", "*", 1);
    let point = json!({ "id": 1, "vector": [1, 2], "payload": { "secret": NEEDLE } });
    let change = json!({ "payload": { "n": 1 }, "points": [1] });
    let (mut target, mut status) = (collection.as_str(), 200);
    let mut of_cluster = |code: u16| {
        status = code;
        (Admin, json!({}))
    };
    let (needs, body) = match (method, short.as_str()) {
        ("GET", "/" | "/healthz" | "/livez" | "/readyz") => (Nobody, Value::Null),
        ("GET", "/metrics") => (Root, Value::Null),
        ("GET", "/collections" | "/aliases" | "/cluster" | "/telemetry" | "/engram/v1/receipts") => {
            (Read, Value::Null)
        }
        ("GET", "/engram/v1/receipts/{id}") => (Read, Value::Null),
        ("GET", "*" | "*/exists" | "*/aliases" | "*/cluster" | "*/shards" | "*/points/{id}") => {
            (Read, Value::Null)
        }
        ("PUT", "*") => {
            target = FRESH;
            (Admin, json!({ "vectors": { "size": 2, "distance": "Dot" } }))
        }
        ("PATCH", "*") => (Admin, json!({ "metadata": { "by": "a test" } })),
        ("DELETE", "*") => (Admin, Value::Null),
        ("PUT", "*/index") => (Admin, json!({ "field_name": "n", "field_schema": "integer" })),
        ("DELETE", "*/index/{field_name}") => (Admin, Value::Null),
        ("PUT", "*/vectors/{vector_name}") => (Admin, json!({ "dense": { "size": 2, "distance": "Dot" } })),
        ("DELETE", "*/vectors/{vector_name}") => (Admin, Value::Null),
        ("POST", "/collections/aliases") => {
            let create = json!({ "collection_name": collection, "alias_name": "alias" });
            (Admin, json!({ "actions": [{ "create_alias": create }] }))
        }
        ("PUT", "*/points") => (Write, json!({ "points": [point] })),
        ("POST", "*/points") => (Read, json!({ "ids": [1], "with_vector": true })),
        ("POST", "*/points/delete") => (Write, json!({ "points": [9] })),
        ("PUT", "*/points/vectors") => (Write, json!({ "points": [{ "id": 1, "vector": [3, 4] }] })),
        ("POST", "*/points/vectors/delete") => {
            (Write, json!({ "filter": { "must": { "has_id": [9] } }, "vector": [""] }))
        }
        ("POST", "*/points/payload") => (Write, change),
        ("PUT", "*/points/payload") => (Write, json!({ "payload": { "secret": NEEDLE }, "points": [1] })),
        ("POST", "*/points/payload/delete") => (Write, json!({ "keys": ["n"], "points": [1] })),
        ("POST", "*/points/payload/clear") => (Write, json!({ "filter": { "must": { "has_id": [9] } } })),
        ("POST", "*/points/batch") => (Write, json!({ "operations": [{ "set_payload": change }] })),
        ("POST", "*/points/scroll" | "*/points/count") => (Read, json!({})),
        ("POST", "*/facet") => (Read, json!({ "key": "secret" })),
        ("POST", "*/points/query") => (Read, json!({ "query": [1, 2], "with_payload": true })),
        ("POST", "*/points/query/batch") => (Read, json!({ "searches": [{ "query": [1, 2], "limit": 1 }] })),
        ("POST", "*/points/query/groups") => (Read, json!({ "query": [1, 2], "group_by": "secret" })),
        ("POST", "*/points/search") => (Read, json!({ "vector": [1, 2], "limit": 1, "with_payload": true })),
        ("POST", "*/points/search/batch") => {
            (Read, json!({ "searches": [{ "vector": [1, 2], "limit": 1 }] }))
        }
        ("POST", "*/points/search/matrix/pairs" | "*/points/search/matrix/offsets") => (Read, json!({})),
        ("PUT", "*/shards") | ("POST", "*/shards/delete" | "*/cluster") => of_cluster(405),
        ("GET", "/cluster/telemetry") | ("POST", "/cluster/recover") => of_cluster(405),
        ("DELETE", "/cluster/peer/{peer_id}") => of_cluster(405),
        ("GET" | "POST", "*/snapshots") => (Admin, Value::Null),
        ("GET" | "DELETE", "*/snapshots/{snapshot_name}") => (Admin, Value::Null),
        ("PUT", "*/snapshots/recover") => {
            target = FRESH;
            (Admin, json!({ "location": names.snapshot }))
        }
        ("POST", "*/snapshots/upload") => {
            target = FRESH;
            (Admin, Value::Null)
        }
        ("GET" | "POST", "/snapshots") => of_cluster(501),
        ("GET" | "DELETE", "/snapshots/{snapshot_name}") => of_cluster(501),
        (_, shard) if shard.starts_with("*/shards/{shard_id}/snapshot") => of_cluster(501),
        ("GET", "*/optimizations") => of_cluster(501),
        ("GET" | "PUT", "/quotas") | ("GET" | "DELETE", "/issues") => of_cluster(501),
        ("POST", "/engram/v1/purge") => {
            (Admin, json!({ "collection": collection, "older_than_s": 1_000_000_000, "wait": true }))
        }
        ("GET", "/engram/v1/stats") => (Admin, Value::Null),
        ("POST", "/engram/v1/flush" | "/engram/v1/compact") => (Admin, json!({ "collection": collection })),
        _ => return None,
    };
    let id = if template.contains("/receipts/") { names.receipt.as_str() } else { "1" };
    let mut path = template.replace("{collection_name}", target).replace("{id}", id);
    for (name, value) in [
        ("{snapshot_name}", names.snapshot.as_str()),
        ("{field_name}", "n"),
        ("{vector_name}", "extra"),
        ("{shard_id}", "0"),
        ("{peer_id}", "1"),
    ] {
        path = path.replace(name, value);
    }
    if template == "/engram/v1/stats" {
        path += &format!("?collection={collection}");
    } else if needs == Write {
        path += "?wait=true";
    }
    let (content, body) = match template.ends_with("{collection_name}/snapshots/upload") {
        true => ("multipart/form-data; boundary=XX", form(&names.file)),
        false if body.is_null() => ("application/json", Vec::new()),
        false => ("application/json", body.to_string().into_bytes()),
    };
    Some(Sample { needs, path, content, body, status })
}

fn form(file: &[u8]) -> Vec<u8> {
    let head = "--XX\r\ncontent-disposition: form-data; name=\"snapshot\"; filename=\"x\"\r\n\r\n";
    [head.as_bytes(), file, b"\r\n--XX--\r\n"].concat()
}
