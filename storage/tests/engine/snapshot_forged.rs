//! Snapshots that no server wrote.

use std::collections::BTreeSet;
use std::path::Path;

use engram_storage::StorageError;
use engram_storage::op::Op;
use engram_storage::point::Point;
use engram_storage::schema::DEFAULT_TENANT;
use engram_storage::snapshot::format::{ContainerReader, ContainerWriter, EntryKind};
use engram_storage::snapshot::{ShardSummary, SnapshotHeader};

use super::snapshots::{recover, target, upload};
use super::{Fixture, NOW, batch, point, upserts};

/// A snapshot taken apart.
struct Parts {
    header: SnapshotHeader,
    shards: Vec<serde_json::Value>,
    objects: Vec<Vec<u8>>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let (header, mut reader) = ContainerReader::open(bytes).unwrap();
        let mut shards = Vec::new();
        for _ in &header.shards {
            let json = reader.entry(EntryKind::Shard, "a shard", 1 << 26).unwrap();
            shards.push(serde_json::from_slice(&json).unwrap());
        }
        let count: u64 = header.shards.iter().map(|shard| shard.objects).sum();
        let objects =
            (0..count).map(|_| reader.entry(EntryKind::Object, "an object", 1 << 26).unwrap()).collect();
        reader.finish().unwrap();
        Self { header, shards, objects }
    }

    /// Put together again, with checksums that fit.
    fn forged(mut self) -> Vec<u8> {
        let shards: Vec<Vec<u8>> = self.shards.iter().map(|s| serde_json::to_vec(s).unwrap()).collect();
        let entries = || shards.iter().chain(&self.objects);
        self.header.body_bytes = entries().map(|content| content.len() as u64 + 41).sum();
        let mut out = Vec::new();
        let mut writer = ContainerWriter::begin(&mut out, &self.header).unwrap();
        for content in &shards {
            writer.entry(EntryKind::Shard, content, |_| Ok(())).unwrap();
        }
        for content in &self.objects {
            writer.entry(EntryKind::Object, content, |_| Ok(())).unwrap();
        }
        writer.finish().unwrap();
        out
    }
}

/// Whoever sends a file can make its checksums fit: what it says is looked at all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_snapshots_are_refused_and_leave_nothing() {
    let fixture = Fixture::new().await;
    fixture.shard().await.write(upserts(0..5, "a"), true).await.unwrap();
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    assert_eq!(Parts::of(&bytes).forged(), bytes, "the control");
    type Forge = Box<dyn Fn(&mut Parts)>;
    let segment = |name: &'static str, value: serde_json::Value| -> Forge {
        Box::new(move |parts| parts.shards[0]["segments"][0][name] = value.clone())
    };
    let path = |path: &'static str| -> Forge {
        Box::new(move |parts| parts.shards[0]["segments"][0]["parquet"]["path"] = path.into())
    };
    let forgeries: [(&str, Forge); 21] = [
        ("a shard is missing", Box::new(|parts| drop((parts.header.shards.pop(), parts.shards.pop())))),
        ("a shard is there twice", Box::new(|parts| parts.shards[1] = parts.shards[0].clone())),
        ("a path that leads out", path("seg/../../../../../../escaped")),
        ("an absolute path", path("/tmp/escaped")),
        ("another place of the store", path("manifest/00000000000000000001.manifest")),
        ("more rows than there are", segment("rows", 6.into())),
        ("no rows", segment("rows", 0.into())),
        ("times of other rows", segment("min_created_at", 0.into())),
        ("an expiry that no row has", segment("min_expires_at", NOW.into())),
        ("a segment that is none", segment("id", "../x".into())),
        ("versions from after the log", Box::new(|parts| parts.shards[0]["checkpoint"] = 0.into())),
        ("an offset beyond any log", Box::new(|parts| parts.shards[0]["checkpoint"] = u64::MAX.into())),
        ("bytes of another object", Box::new(|parts| parts.objects[0][10] ^= 1)),
        ("an object without its last byte", Box::new(|parts| parts.objects[0].truncate(10))),
        ("an object too many", Box::new(|parts| parts.objects.push(vec![1; 10]))),
        ("an object too few", Box::new(|parts| drop(parts.objects.pop()))),
        (
            "more shards than a server counts",
            Box::new(|parts| parts.header.schema.shards_per_region = u32::MAX),
        ),
        ("another dimension", Box::new(|parts| parts.header.schema.vectors[0].dimension *= 2)),
        ("more changes than there can be", Box::new(|parts| parts.header.schema.revision = u64::MAX)),
        (
            "other shards than its points belong to",
            Box::new(|parts| {
                parts.header.schema.shards_per_region = 2;
                let summary = |region: &str, bucket| ShardSummary {
                    region: region.try_into().unwrap(),
                    bucket,
                    points: 0,
                    objects: 0,
                    bytes: 0,
                };
                let empty = |region: &str, bucket: u32| serde_json::json!({"region": region, "bucket": bucket, "checkpoint": 0, "segments": []});
                parts.header.shards.splice(1.., [summary("eu", 1), summary("us", 0), summary("us", 1)]);
                parts.shards.splice(1.., [empty("eu", 1), empty("us", 0), empty("us", 1)]);
            }),
        ),
        (
            "points that are alive in two regions",
            Box::new(|parts| {
                parts.shards[1] = parts.shards[0].clone();
                parts.shards[1]["region"] = "us".into();
                parts.header.shards[1] =
                    ShardSummary { region: "us".try_into().unwrap(), ..parts.header.shards[0].clone() };
                parts.objects.extend(parts.objects.clone());
            }),
        ),
    ];
    for (what, forge) in forgeries {
        let mut parts = Parts::of(&bytes);
        forge(&mut parts);
        let e = recover(&fixture.engine, upload(&parts.forged(), 1 << 16), target("r", false)).await;
        let e = e.expect_err(what);
        println!("{what}: {e}");
        assert!(matches!(e, StorageError::Snapshot(_)), "{what}: {e}");
        assert!(fixture.engine.collection(DEFAULT_TENANT, "r").is_err(), "{what}");
        assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]), "{what}");
    }
    let outside = fixture.dir.path().join("objects/escaped");
    assert!(!outside.exists() && !Path::new("/tmp/escaped").exists());
}

/// A payload that readers of texts and readers of trees would take for different ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_repeats_a_key_is_refused_with_its_point() {
    let fixture = Fixture::new().await;
    let bad = Point { payload: r#"{"o":{"a":1,"a":2}}"#.into(), ..point(1234, "", NOW) };
    fixture.shard().await.write(batch([Op::Upsert(bad)]), true).await.unwrap();
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    let e = recover(&fixture.engine, upload(&bytes, 1 << 16), target("r", false)).await.unwrap_err();
    assert!(e.to_string().contains("1234") && e.to_string().contains("key \"a\" is repeated"), "{e}");
    assert!(fixture.engine.collection(DEFAULT_TENANT, "r").is_err());
}
