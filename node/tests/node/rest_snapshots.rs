//! Snapshots over REST: the shapes that clients expect, files that travel, and what is refused.

use std::time::Duration;

use engram_query::request::Principal;
use engram_storage::schema::DEFAULT_TENANT;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::Answer;
use crate::running::{Running, start};

async fn docs(running: &Running) -> Value {
    let create = json!({ "vectors": { "size": 2, "distance": "Euclid" } });
    running.ok("PUT", "/collections/docs", create).await;
    let points: Vec<Value> =
        (1..=30).map(|n| json!({ "id": n, "vector": [n, 0], "payload": { "n": n } })).collect();
    running.ok("PUT", "/collections/docs/points?wait=true", json!({ "points": points })).await;
    running.ok("POST", "/collections/docs/snapshots", Value::Null).await
}

async fn points(running: &Running, collection: &str) -> Value {
    let scroll = json!({ "limit": 100, "with_vector": true });
    running.ok("POST", &format!("/collections/{collection}/points/scroll"), scroll).await["points"].take()
}

fn form(field: &str, file: &[u8]) -> Vec<u8> {
    let head = format!(
        "--XX\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"../../x\"\r\ncontent-type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), file, b"\r\n--XX--\r\n"].concat()
}

const FORM: [(&str, &str); 1] = [("content-type", "multipart/form-data; boundary=XX")];

impl Running {
    async fn upload(&self, path: &str, body: &[u8]) -> Answer {
        self.raw("POST", path, &FORM, body).await
    }

    async fn download(&self, snapshot: &Value) -> Vec<u8> {
        let path = format!("/collections/docs/snapshots/{}", snapshot["name"].as_str().unwrap());
        // Never packed, whoever asks for it.
        let answer = self.raw("GET", &path, &[("accept-encoding", "gzip")], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("content-length").unwrap(), snapshot["size"].to_string());
        let named = format!("attachment; filename={}", snapshot["name"]);
        assert_eq!(answer.header("content-disposition"), Some(&*named));
        assert_eq!(answer.body.len() as u64, snapshot["size"].as_u64().unwrap());
        answer.body
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_snapshots_are_made_listed_downloaded_and_deleted() {
    let running = start().await;
    let made = docs(&running).await;
    let name = made["name"].as_str().unwrap();
    assert!(made["size"].as_u64().unwrap() > 100, "{made}");
    let time = made["creation_time"].as_str().unwrap();
    assert!(time.len() == 19 && time.as_bytes()[10] == b'T', "{time}");
    let path = "/collections/docs/snapshots";
    assert_eq!(running.ok("GET", path, Value::Null).await, json!([made]));
    let file = running.download(&made).await;
    let end: String = file[file.len() - 32..].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(made["checksum"], json!(end), "the checksum ends the file");
    assert_eq!(running.ok("DELETE", &format!("{path}/{name}"), Value::Null).await, true);
    assert_eq!(running.ok("GET", path, Value::Null).await, json!([]));
    for method in ["GET", "DELETE"] {
        for gone in [name, "none", "..%2F..%2Fcatalog.redb", "%2e%2e"] {
            let answer = running.send(method, &format!("{path}/{gone}"), Value::Null).await;
            assert_eq!(answer.status, 404, "{method} {gone}: {answer:?}");
        }
    }
    for (method, path) in [("GET", path), ("POST", path)] {
        let answer = running.send(method, &path.replace("docs", "none"), Value::Null).await;
        assert_eq!((answer.status, &*answer.error()), (404, "Not found: Collection `none` doesn't exist!"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_an_upload_makes_a_collection_or_replaces_it() {
    let running = start().await;
    let made = docs(&running).await;
    let (file, before) = (running.download(&made).await, points(&running, "docs").await);
    let answer =
        running.upload("/collections/new/snapshots/upload?wait=true", &form("snapshot", &file)).await;
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!(true)), "{answer:?}");
    assert_eq!(points(&running, "new").await, before);
    let all = json!({ "filter": { "must": [] } });
    running.ok("POST", "/collections/docs/points/delete?wait=true", all).await;
    let sum = made["checksum"].as_str().unwrap();
    let path = format!("/collections/docs/snapshots/upload?priority=snapshot&checksum={sum}");
    assert_eq!(running.upload(&path, &form("snapshot", &file)).await.status, 200);
    assert_eq!(points(&running, "docs").await, before);
    assert_eq!(running.ok("GET", "/collections/docs/snapshots", Value::Null).await, json!([made]));
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("engram_inflight_bytes 0\n"), "all is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_a_broken_upload_is_refused_and_changes_nothing() {
    let running = start().await;
    let made = docs(&running).await;
    let (file, before) = (running.download(&made).await, points(&running, "docs").await);
    let mut flipped = file.clone();
    flipped[file.len() / 2] ^= 1;
    let whole = form("snapshot", &file);
    let upload = "/collections/docs/snapshots/upload";
    let wrong = format!("{upload}?checksum={}", "0".repeat(64));
    let cases: [(&str, &str, Vec<u8>, u16); 9] = [
        ("another field", upload, form("file", &file), 400),
        ("no field", upload, b"--XX--\r\n".to_vec(), 400),
        ("no file", upload, form("snapshot", b""), 400),
        ("no snapshot", upload, form("snapshot", b"PK\x03\x04 an archive"), 400),
        ("a flipped bit", upload, form("snapshot", &flipped), 400),
        ("a short file", upload, form("snapshot", &file[..file.len() - 1]), 400),
        ("no end of the form", upload, whole[..whole.len() - 8].to_vec(), 400),
        ("another checksum", &wrong, whole.clone(), 400),
        ("an endless head", upload, [&b"--XX\r\nx: "[..], &vec![b'x'; 2 << 20]].concat(), 400),
    ];
    for (what, path, body, status) in cases {
        let answer = running.upload(path, &body).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(!answer.error().is_empty());
    }
    let (sum, priority) = (format!("{upload}?checksum=1"), format!("{upload}?priority=x"));
    for path in [&*sum, &*priority] {
        assert_eq!(running.upload(path, &whole).await.status, 422, "{path}");
    }
    assert_eq!(running.raw("POST", upload, &[("content-type", "application/json")], b"{}").await.status, 415);
    let packed = [FORM[0], ("content-encoding", "gzip")];
    assert_eq!(running.raw("POST", upload, &packed, &whole).await.status, 415);
    assert_eq!(points(&running, "docs").await, before);
    assert_eq!(
        running.ok("GET", "/collections", Value::Null).await["collections"],
        json!([{ "name": "docs" }])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_an_upload_larger_than_a_message_is_taken() {
    let running = crate::running::start_with(|raw| raw.limits.message_bytes = 64 << 10).await;
    let create = json!({ "vectors": { "size": 512, "distance": "Dot" } });
    running.ok("PUT", "/collections/docs", create).await;
    for n in 0..200u64 {
        let vector: Vec<f64> = (0..512u64).map(|i| ((n * 512 + i) % 997) as f64 / 997.0).collect();
        let body = json!({ "points": [{ "id": n, "vector": vector }] });
        running.ok("PUT", "/collections/docs/points?wait=true", body).await;
    }
    let made = running.ok("POST", "/collections/docs/snapshots", Value::Null).await;
    let file = running.download(&made).await;
    assert!(file.len() > 128 << 10, "{}", file.len());
    let answer = running.upload("/collections/new/snapshots/upload", &form("snapshot", &file)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let count = running.ok("POST", "/collections/new/points/count", json!({})).await;
    assert_eq!(count["count"], 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_an_upload_that_is_cut_off_leaves_nothing() {
    let running = start().await;
    let made = docs(&running).await;
    let whole = form("snapshot", &running.download(&made).await);
    let objects = running.directory.path().join("data").join("objects");
    let files = walk(&objects);
    let mut stream = tokio::net::TcpStream::connect(running.node.http_addr()).await.unwrap();
    let head = format!(
        "POST /collections/new/snapshots/upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{}: {}\r\n\r\n",
        whole.len(),
        FORM[0].0,
        FORM[0].1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&whole[..whole.len() / 2]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await.unwrap();
    let look = || async {
        let (_, metrics) = running.get("/metrics").await;
        Ok(metrics.contains("engram_inflight_bytes 0\n").then_some(()))
    };
    crate::wait::until_some("the upload lets go", Duration::from_secs(30), look).await.unwrap();
    let exists = running.ok("GET", "/collections/new/exists", Value::Null).await;
    assert_eq!(exists, json!({ "exists": false }));
    assert_eq!(walk(&objects), files);
}

/// Paths of all files, in order.
fn walk(directory: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_a_recovery_reads_the_listing_and_nothing_else() {
    let running = start().await;
    let made = docs(&running).await;
    let (name, before) = (made["name"].as_str().unwrap(), points(&running, "docs").await);
    let file = running.download(&made).await;
    let folder = running.directory.path().join("data").join("objects").join("snapshots");
    let recover = async |collection: &str, body: Value| {
        running.send("PUT", &format!("/collections/{collection}/snapshots/recover?wait=true"), body).await
    };
    for (collection, location) in [
        ("docs", name.to_owned()),
        ("other", name.to_owned()),
        ("third", format!("file://{}/docs/{name}", folder.display())),
    ] {
        let body = json!({ "location": location, "checksum": made["checksum"], "priority": "snapshot" });
        let answer = recover(collection, body).await;
        assert_eq!(answer.status, 200, "{location}: {answer:?}");
        assert_eq!(points(&running, collection).await, before, "{collection}");
    }
    // What is there and holds a snapshot, but is in no listing.
    let outside = running.directory.path().join("outside.snapshot");
    std::fs::write(&outside, &file).unwrap();
    let inside = folder.join("outside.snapshot");
    std::fs::write(&inside, &file).unwrap();
    let long = "x".repeat(5_000);
    for (location, status) in [
        (format!("file://{}", outside.display()), 403),
        (outside.display().to_string(), 403),
        (format!("file://{}/../../../outside.snapshot", folder.display()), 403),
        ("../outside.snapshot".into(), 403),
        (format!("http://{}/collections/docs/snapshots/{name}", running.node.http_addr()), 403),
        ("https://127.0.0.1/x.snapshot".into(), 403),
        ("s3://bucket/x.snapshot".into(), 403),
        (format!("file://{}", inside.display()), 404),
        ("outside.snapshot".into(), 404),
        (String::new(), 422),
        (long, 422),
    ] {
        let answer = recover("fresh", json!({ "location": location })).await;
        assert_eq!(answer.status, status, "{location}: {answer:?}");
    }
    for bad in [json!({ "location": name, "checksum": "0".repeat(64) }), json!({ "location": 1 }), json!({})]
    {
        assert_eq!(recover("fresh", bad).await.status, 400);
    }
    let exists = running.ok("GET", "/collections/fresh/exists", Value::Null).await;
    assert_eq!(exists, json!({ "exists": false }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_snapshots_that_nobody_waits_for_are_answered_at_once_and_come_about() {
    let running = start().await;
    docs(&running).await;
    let path = "/collections/docs/snapshots";
    let listed = async || running.ok("GET", path, Value::Null).await.as_array().unwrap().clone();
    let until = async |wanted: &dyn Fn(usize) -> bool| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !wanted(listed().await.len()) {
            assert!(std::time::Instant::now() < deadline, "it does not come about");
            tokio::task::yield_now().await;
        }
    };
    let accepted = |answer: Answer| {
        let json = answer.json();
        assert_eq!((answer.status, &json["status"]), (202, &json!("accepted")), "{answer:?}");
        assert!(json["time"].is_number() && json.get("result").is_none(), "{json}");
    };
    // What is to be seen already may still have its place for a moment.
    let send = async |method: &str, path: &str, body: Value| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = running.send(method, path, body.clone()).await;
            if answer.status != 429 || std::time::Instant::now() > deadline {
                return answer;
            }
        }
    };
    accepted(send("POST", &format!("{path}?wait=false"), Value::Null).await);
    until(&|n| n == 2).await;
    let made = listed().await[1].clone();
    let name = made["name"].as_str().unwrap();
    // Into another collection; one whose file is another one leaves nothing.
    let recover = async |target: &str, checksum: &str| {
        let body = json!({ "location": name, "checksum": checksum });
        send("PUT", &format!("/collections/{target}/snapshots/recover?wait=false"), body).await
    };
    accepted(recover("bad", &"0".repeat(64)).await);
    accepted(recover("copy", made["checksum"].as_str().unwrap()).await);
    let exists = async |name: &str| {
        running.ok("GET", &format!("/collections/{name}/exists"), Value::Null).await["exists"] == true
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !exists("copy").await {
        assert!(std::time::Instant::now() < deadline, "it does not come about");
        tokio::task::yield_now().await;
    }
    assert_eq!(points(&running, "copy").await, points(&running, "docs").await);
    assert!(!exists("bad").await);
    accepted(send("DELETE", &format!("{path}/{name}?wait=false"), Value::Null).await);
    until(&|n| n == 1).await;
    // What can be told at once is.
    let none = running.send("POST", "/collections/none/snapshots?wait=false", Value::Null).await;
    assert_eq!(none.status, 404, "{none:?}");
    let none =
        running.send("PUT", "/collections/a/snapshots/recover?wait=false", json!({ "location": "none" }));
    assert_eq!(none.await.status, 404);
    let odd = running.send("POST", &format!("{path}?wait=perhaps"), Value::Null).await;
    assert_eq!(odd.status, 422, "{odd:?}");
}

impl Running {
    /// Waits until the collection has so many snapshots, and finds no more of them.
    async fn until_snapshots(&self, count: usize) {
        let look = || async {
            let listed = self.ok("GET", "/collections/docs/snapshots", Value::Null).await;
            let found = listed.as_array().unwrap().len();
            assert!(found <= count, "{found} snapshots, {count} were to be made");
            Ok((found == count).then_some(()))
        };
        crate::wait::until_some("all snapshots are made", Duration::from_secs(60), look).await.unwrap();
    }
}

const NOT_WAITED: &str = "/collections/docs/snapshots?wait=false";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_of_many_snapshots_that_nobody_waits_for_those_that_are_accepted_come_about() {
    let running = start().await;
    docs(&running).await;
    let mut accepted = 0;
    for round in 0..3 {
        let calls = (0..16).map(|_| running.send("POST", NOT_WAITED, Value::Null));
        let answers = futures::future::join_all(calls).await;
        for answer in &answers {
            assert!([202, 429].contains(&answer.status), "round {round}: {answer:?}");
        }
        accepted += answers.iter().filter(|answer| answer.status == 202).count();
        assert!(accepted > 0, "none was accepted");
        running.until_snapshots(1 + accepted).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_a_snapshot_that_has_no_place_is_refused_before_it_is_accepted() {
    let running = start().await;
    let made = docs(&running).await;
    let (database, root) = (running.node.database(), Principal::root(DEFAULT_TENANT));
    let place = async || {
        let look = || async { Ok(database.snapshot_passage(root).ok()) };
        crate::wait::until_some("a place is free", Duration::from_secs(30), look).await.unwrap()
    };
    let (one, other) = (place().await, place().await);
    let recover = json!({ "location": made["name"] });
    for wait in [false, true] {
        let path = format!("/collections/docs/snapshots?wait={wait}");
        let refused = running.send("POST", &path, Value::Null).await;
        assert_eq!(refused.status, 429, "wait={wait}: {refused:?}");
        let path = format!("/collections/copy/snapshots/recover?wait={wait}");
        let refused = running.send("PUT", &path, recover.clone()).await;
        assert_eq!(refused.status, 429, "wait={wait}: {refused:?}");
    }
    drop(one);
    assert_eq!(running.send("POST", NOT_WAITED, Value::Null).await.status, 202);
    running.until_snapshots(2).await;
    drop(other);
    let exists = running.ok("GET", "/collections/copy/exists", Value::Null).await;
    assert_eq!(exists, json!({ "exists": false }));
}
