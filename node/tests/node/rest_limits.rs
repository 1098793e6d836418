//! Bounds of the REST interface, and what it makes of requests that are none.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::running::{Running, start, start_with};

async fn docs(running: &Running) {
    let create = json!({ "vectors": { "size": 2, "distance": "Dot" } });
    running.ok("PUT", "/collections/docs", create).await;
}

/// Pseudo-random numbers (xorshift); the seed is printed by the test that fails.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[tokio::test]
async fn rest_bodies_are_bounded_packed_or_not() {
    let running = start_with(|raw| raw.limits.message_bytes = 64 << 10).await;
    docs(&running).await;
    let path = "/collections/docs/points?wait=true";
    let body = |len: usize| {
        let start = br#"{"points":[{"id":1,"vector":[1,0]}]"#;
        [&start[..], &vec![b' '; len - start.len() - 1], b"}"].concat()
    };
    assert_eq!(running.raw("PUT", path, &[], &body(64 << 10)).await.status, 200);
    let large = running.raw("PUT", path, &[], &body((64 << 10) + 1)).await;
    assert_eq!(large.status, 413, "{large:?}");
    assert!(large.error().contains("limit: 65536 bytes"), "{large:?}");
    let announced = running.raw("PUT", path, &[("transfer-encoding", "chunked")], b"0\r\n\r\n").await;
    assert_eq!(announced.status, 400, "two lengths are refused or the body is empty: {announced:?}");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&body(60 << 10)).unwrap();
    let packed = packed.finish().unwrap();
    let answer = running.raw("PUT", path, &[("content-encoding", "gzip")], &packed).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&body(8 << 20)).unwrap();
    let answer = running.raw("PUT", path, &[("content-encoding", "gzip")], &bomb.finish().unwrap()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let answer = running.raw("PUT", path, &[("content-encoding", "compress")], &packed).await;
    assert_eq!(answer.status, 415, "{answer:?}");
    let answer = running.raw("PUT", path, &[("content-encoding", "zstd")], &packed).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("engram_inflight_bytes 0\n"), "all is given back");
}

#[tokio::test]
async fn rest_limits_hold_at_the_limit_and_refuse_one_more() {
    let running = start().await;
    docs(&running).await;
    let status = async |path: &str, body: Value| {
        let answer = running.send("POST", &format!("/collections/docs/points/{path}"), body).await;
        (answer.status, if answer.status == 200 { String::new() } else { answer.error() })
    };
    let nearest = |limit: usize, offset: usize, ef: usize| json!({ "query": [1, 0], "limit": limit, "offset": offset, "params": { "hnsw_ef": ef } });
    assert_eq!(status("query", nearest(10_000, 10_000, 4_096)).await.0, 200);
    for (body, text) in
        [(nearest(10_001, 0, 10), "10001"), (nearest(1, 10_001, 10), "10001"), (nearest(1, 0, 4_097), "4097")]
    {
        let (code, error) = status("query", body).await;
        assert!(code == 400 && error.starts_with("Wrong input: ") && error.contains(text), "{code} {error}");
    }
    assert_eq!(status("scroll", json!({ "limit": 10_000 })).await.0, 200);
    assert_eq!(status("scroll", json!({ "limit": 10_001 })).await.0, 400);
    assert_eq!(status("scroll", json!({ "limit": 0 })).await.0, 422);
    let many = vec![json!({ "query": [1, 0] }); 1_001];
    assert_eq!(status("query/batch", json!({ "searches": many })).await.0, 400);
    assert_eq!(status("query/batch", json!({ "searches": many[..3] })).await.0, 200);
    let ids: Vec<u64> = (0..10_001).collect();
    assert_eq!(status("delete", json!({ "points": ids })).await.0, 400);
    assert_eq!(status("query", json!({ "query": [1e39, 0] })).await.0, 400);
    assert_eq!(status("query", json!({ "query": [] })).await.0, 400);
    let sparse = json!({ "query": { "indices": [1, 1], "values": [1, 1] } });
    assert_eq!(status("query", sparse).await.0, 422);
    for size in [0, 16_385] {
        let create = json!({ "vectors": { "size": size, "distance": "Dot" } });
        assert_eq!(running.send("PUT", "/collections/other", create).await.status, 422);
    }
    let metadata = json!({ "vectors": {}, "metadata": { "x": "x".repeat(64 << 10) } });
    assert_eq!(running.send("PUT", "/collections/other", metadata).await.status, 400);
}

#[tokio::test]
async fn rest_bad_json_is_never_our_fault() {
    let running = start().await;
    docs(&running).await;
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(7, |t| t.as_nanos() as u64) | 1;
    let mut random = Random(seed);
    let bodies = [
        ("PUT", "", json!({ "points": [{ "id": 1, "vector": [1, 0.5], "payload": { "a": ["b", null] } }] })),
        (
            "PUT",
            "",
            json!({ "batch": { "ids": [1], "vectors": { "": [[1, 2]] }, "payloads": [{ "a": 1 }] } }),
        ),
        (
            "POST",
            "/query",
            json!({ "query": { "nearest": [1, 0] }, "filter": { "must": [{ "key": "a", "match": { "any": [1] } }] } }),
        ),
        (
            "POST",
            "/query",
            json!({ "prefetch": { "query": { "indices": [1], "values": [2] } }, "query": { "fusion": "rrf" } }),
        ),
        (
            "POST",
            "/query",
            json!({ "prefetch": [{}], "query": { "formula": { "mult": ["$score", { "lin_decay": { "x": "a" } }] } } }),
        ),
        (
            "POST",
            "/scroll",
            json!({ "filter": { "min_should": { "conditions": [], "min_count": 1 } }, "with_payload": { "include": ["a"] } }),
        ),
        ("POST", "/delete", json!({ "points": [9, "550e8400-e29b-41d4-a716-446655440000"] })),
        ("POST", "/payload", json!({ "payload": { "a": 1 }, "points": [1] })),
        (
            "POST",
            "/batch",
            json!({ "operations": [{ "delete": { "points": [5] } }, { "clear_payload": { "points": [1] } }] }),
        ),
    ];
    let pieces: [&[u8]; 14] = [
        b"null",
        b"{}",
        b"[]",
        b"\"",
        b"-1",
        b"1e999",
        b"\xff",
        b"{\"\":",
        b"]",
        b"}",
        b"0x",
        b"true",
        b"99999999999999999999",
        b"\"\\ud800\"",
    ];
    for _ in 0..400 {
        let (method, path, body) = &bodies[random.next(bodies.len())];
        let mut bytes = body.to_string().into_bytes();
        for _ in 0..=random.next(3) {
            let at = random.next(bytes.len() + 1);
            let end = (at + random.next(6)).min(bytes.len());
            bytes.splice(at..end, pieces[random.next(pieces.len())].iter().copied());
        }
        let answer = running.raw(method, &format!("/collections/docs/points{path}"), &[], &bytes).await;
        let fine = answer.status < 500 || answer.status == 501;
        assert!(fine, "seed {seed}: {} {answer:?}", String::from_utf8_lossy(&bytes));
        assert!(answer.status == 200 || !answer.error().is_empty());
    }
    for deep in ["[", "{\"must\":[", "{\"must\":{\"must\":"] {
        let body = format!("{{\"filter\":{}", deep.repeat(20_000));
        let answer = running.raw("POST", "/collections/docs/points/scroll", &[], body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
}

#[tokio::test]
async fn rest_a_connection_that_is_closed_over_an_unread_body_says_so() {
    let running = start().await;
    docs(&running).await;
    let scroll = "POST /collections/docs/points/scroll HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n";
    for (head, status, closes) in [
        (scroll.to_owned(), 200, false),
        (format!("{scroll}engram-tenant: other\r\n"), 403, true),
        (format!("{scroll}content-encoding: deflate\r\n"), 415, true),
        (scroll.replace("/collections", "/nothing"), 404, true),
        (scroll.replace("POST", "PATCH"), 405, true),
        (scroll.replace("points/scroll", "snapshots/upload"), 415, true),
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(running.node.http_addr()).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        if !closes {
            stream.write_all(b"{}").await.unwrap();
        }
        let mut answer = vec![0; 64 << 10];
        let read = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read(&mut answer));
        let len = read.await.unwrap().unwrap();
        answer.truncate(len);
        let text = String::from_utf8(answer).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {text}");
        assert_eq!(text.contains("\r\nconnection: close\r\n"), closes, "{head}: {text}");
    }
}

#[tokio::test]
async fn rest_large_answers_are_packed_for_those_who_ask() {
    let running = start().await;
    docs(&running).await;
    let points: Vec<Value> = (0..500)
        .map(
            |n| json!({ "id": n, "vector": [n, 1], "payload": { "text": "the same words again and again" } }),
        )
        .collect();
    running.ok("PUT", "/collections/docs/points?wait=true", json!({ "points": points })).await;
    let body = json!({ "limit": 500 }).to_string();
    let path = "/collections/docs/points/scroll";
    let plain = running.raw("POST", path, &[], body.as_bytes()).await;
    assert_eq!(plain.header("content-encoding"), None);
    for encoding in ["gzip", "zstd", "br"] {
        let packed = running.raw("POST", path, &[("accept-encoding", encoding)], body.as_bytes()).await;
        assert_eq!(packed.header("content-encoding"), Some(encoding));
        let bytes = whole(&packed.body);
        assert!(bytes.len() < plain.body.len() / 4, "{} {}", bytes.len(), plain.body.len());
        let mut text = String::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
            "zstd" => {
                zstd::stream::read::Decoder::new(&bytes[..]).unwrap().read_to_string(&mut text).unwrap()
            }
            _ => brotli::Decompressor::new(&bytes[..], 4096).read_to_string(&mut text).unwrap(),
        };
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["result"], plain.json()["result"], "{encoding}");
    }
}

/// Chunks without their lengths.
fn whole(mut chunked: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let at = chunked.windows(2).position(|w| w == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&chunked[..at]).unwrap(), 16).unwrap();
        if len == 0 {
            return all;
        }
        all.extend_from_slice(&chunked[at + 2..at + 2 + len]);
        chunked = &chunked[at + 4 + len..];
    }
}
