//! Snapshots through the one door: answers before and after are the same, and definitions are checked again.

use crate::support::*;
use bytes::Bytes;
use engram_query::QueryError;
use engram_query::database::{SnapshotSource, Upload};
use engram_storage::ErrorKind;
use engram_storage::snapshot::format::ContainerWriter;
use engram_storage::snapshot::{ShardSummary, SnapshotHeader};

async fn download(world: &World, collection: &str, snapshot: &str) -> Vec<u8> {
    let mut file = world.db.open_snapshot(OWNER, collection, snapshot).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = file.next_part().await.unwrap() {
        bytes.extend_from_slice(&part);
    }
    bytes
}

fn upload(bytes: Vec<u8>) -> SnapshotSource {
    let (parts, received) = tokio::sync::mpsc::channel(1);
    parts.try_send(Ok(Bytes::from(bytes))).unwrap();
    SnapshotSource::Upload(Upload::new(received))
}

/// Ids with the bits of their scores.
async fn rankings(world: &World, collection: &str) -> Vec<Vec<(String, u32)>> {
    let mut all = Vec::new();
    for seed in 0..5 {
        for filter in [None, Some(odd())] {
            let mut request = near(collection, vector(1_000 + seed), 50);
            request.filter = filter;
            let answer = world.search(request).await;
            all.push(
                ranking(&answer).into_iter().map(|(id, score)| (id.to_string(), score.to_bits())).collect(),
            );
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_answers_are_the_same_to_the_last_bit() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 3).await;
    let regions = ["eu", "us"];
    world.put("c", (0..300).map(|id| point_in(id, regions[id as usize % 2])).collect()).await;
    world.flush().await;
    world.delete("c", &(0..40).collect::<Vec<_>>()).await;
    world.put("c", (300..340).map(|id| point_in(id, regions[id as usize % 2])).collect()).await;
    let before = rankings(&world, "c").await;
    let info = world.db.create_snapshot(OWNER, "c").await.unwrap();
    assert_eq!(info.points, 300);
    let bytes = download(&world, "c", &info.name).await;
    let other = World::new().await;
    for (world, name) in [(&world, "copy"), (&other, "c")] {
        world.db.recover_snapshot(OWNER, upload(bytes.clone()), (name, false)).await.unwrap();
        assert_eq!(rankings(world, name).await, before);
        assert_eq!(world.count(name).await, 300);
        // It goes on as any other.
        world.put(name, vec![point_in(1_000, "us")]).await;
        assert_eq!(world.count(name).await, 301);
    }
    assert_eq!(world.db.snapshots(OWNER, "c").await.unwrap(), [info]);
    let refused = world.db.snapshots(STRANGER, "c").await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::NotFound, "collection_not_found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_definition_inside_must_be_allowed_today() {
    let world = World::new().await;
    world.create("c", &["eu"], 1).await;
    let schema = world.db.collection(OWNER, "c").unwrap();
    let forged = |edit: &dyn Fn(&mut SnapshotHeader)| {
        let shard = ShardSummary { region: region("eu"), bucket: 0, points: 0, objects: 0, bytes: 0 };
        let mut header = SnapshotHeader {
            name: "x".into(),
            created_at: 0,
            server_version: "0".into(),
            schema: (*schema).clone(),
            purges: vec![],
            shards: vec![shard],
            body_bytes: 0,
        };
        edit(&mut header);
        let mut out = Vec::new();
        ContainerWriter::begin(&mut out, &header).unwrap().finish().unwrap();
        out
    };
    type Edit<'a> = &'a dyn Fn(&mut SnapshotHeader);
    let cases: [(&str, Edit<'_>); 6] = [
        ("limit_exceeded", &|h| h.schema.vectors[0].dimension = 1 << 20),
        ("invalid_argument", &|h| h.schema.vectors[0].dimension = 0),
        ("limit_exceeded", &|h| h.schema.shards_per_region = 1 << 20),
        ("invalid_argument", &|h| h.schema.shards_per_region = 0),
        ("unknown_region", &|h| h.schema.default_region = region("us")),
        ("invalid_argument", &|h| h.schema.vectors[0].hnsw_m = 100_000),
    ];
    for (number, (code, edit)) in cases.into_iter().enumerate() {
        let source = upload(forged(edit));
        let refused: QueryError = world.db.recover_snapshot(OWNER, source, ("r", false)).await.unwrap_err();
        assert_eq!(refused.code(), code, "case {number}: {refused}");
        assert!(world.db.collection(OWNER, "r").is_err());
    }
    let name = world.db.recover_snapshot(OWNER, upload(forged(&|_| ())), ("a/b", false)).await.unwrap_err();
    assert_eq!(name.code(), "invalid_name");
}
