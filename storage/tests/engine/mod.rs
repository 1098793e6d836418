//! The engine over its embedded backends: what was acknowledged survives, what was deleted does not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engram_index::payload::PayloadIndexKind;
use engram_index::vector::Metric;
use engram_storage::catalog::redb::RedbCatalog;
use engram_storage::engine::{Engine, EngineOptions, EngineParts, NewCollection, PurgeRequest};
use engram_storage::log::file::{FileLogOptions, FileLogProvider};
use engram_storage::object::DurableStore;
use engram_storage::op::{ConditionalOp, Op, OpBatch, OpOutcome, PayloadChange};
use engram_storage::point::{Point, PointId};
use engram_storage::schema::{
    CollectionSchema, DEFAULT_TENANT, PayloadIndexSpec, RegionName, ShardKey, VectorField,
};
use engram_storage::shard::{RunSource, Shard};
use engram_storage::{Clock, ManualClock, StorageError};

/// Downloads that a purge ends.
mod downloads;
/// Graphs through merges, purges and damage.
mod graphs;
/// Purges that fail, and what completes them.
mod purge_failures;
/// Recoveries while what they are of, or for, is dropped.
mod recover_beside_drops;
/// Snapshots that no server wrote.
mod snapshot_forged;
/// Kills and full disks beside snapshots.
mod snapshot_kills;
/// Purges and snapshots.
mod snapshot_purges;
/// Snapshots and what is made of them.
mod snapshots;
/// Indexes of words through flushes, merges, restarts and purges.
mod texts;
/// Sparse and multi vectors from the log to the purge.
mod values;
/// Shared with the tests of the whole.
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../tests/src/wait.rs"]
mod wait;

use wait::until_some;

const DIM: usize = 8;
const DAY: i64 = 86_400_000;
const NOW: i64 = 1_800_000_000_000;

struct Fixture {
    dir: tempfile::TempDir,
    clock: ManualClock,
    engine: Arc<Engine>,
    schema: Arc<CollectionSchema>,
}

async fn open(dir: &Path, clock: &ManualClock) -> Arc<Engine> {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let path = dir.join("catalog.redb");
    // A test beside this one that starts a process has our files open in it for a moment, with their locks.
    let free = || async {
        match RedbCatalog::open(&path).await {
            Err(StorageError::Fenced(_)) => Ok(None),
            other => Ok(Some(other?)),
        }
    };
    let parts = EngineParts {
        catalog: until_some("the catalog to be free", Duration::from_secs(30), free).await.unwrap(),
        logs: Arc::new(FileLogProvider::new(dir.join("log"), clock.clone(), FileLogOptions::default())),
        store: DurableStore::local(&dir.join("objects")).unwrap(),
        clock,
    };
    Engine::open(parts, EngineOptions::default()).await.unwrap()
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(NOW);
        let engine = open(dir.path(), &clock).await;
        let eu = RegionName::try_from("eu").unwrap();
        let new = NewCollection {
            tenant: DEFAULT_TENANT,
            name: "c".into(),
            vectors: vec![VectorField {
                id: 0,
                name: String::new(),
                dimension: DIM,
                metric: Metric::Euclid,
                hnsw_m: 8,
                hnsw_ef_construction: 50,
                graph_threshold: 500,
                layout: Default::default(),
                kind: Default::default(),
            }],
            payload_indexes: vec![PayloadIndexSpec::new("n", PayloadIndexKind::Integer)],
            regions: vec![eu.clone(), RegionName::try_from("us").unwrap()],
            default_region: eu,
            shards_per_region: 1,
            retention: vec![],
            metadata: Default::default(),
            client_options: Default::default(),
        };
        let schema = engine.create_collection(new, false).await.unwrap();
        Self { dir, clock, engine, schema }
    }

    async fn reopen(self) -> Self {
        let Self { dir, clock, engine, schema } = self;
        engine.shutdown().await;
        drop(engine);
        // The catalog's file is free once its last user is gone.
        let engine = loop {
            match RedbCatalog::open(&dir.path().join("catalog.redb")).await {
                Ok(catalog) => {
                    drop(catalog);
                    break open(dir.path(), &clock).await;
                }
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Self { dir, clock, engine, schema }
    }

    fn key(&self, region: &str) -> ShardKey {
        self.schema.shard(&RegionName::try_from(region).unwrap(), 0)
    }

    async fn shard(&self) -> Arc<Shard> {
        self.engine.shard(&self.key("eu")).await.unwrap()
    }
}

fn point(id: u64, marker: &str, created_at: i64) -> Point {
    let vector: Vec<f32> = (0..DIM).map(|d| ((id * 31 + d as u64 * 7) % 101) as f32).collect();
    Point {
        id: PointId::Num(id),
        vectors: vec![(0, vector.into())],
        payload: Bytes::from(format!(r#"{{"n":{id},"text":"{marker}"}}"#)),
        created_at,
        ingested_at: NOW,
        expires_at: None,
        version: 0,
    }
}

fn batch(ops: impl IntoIterator<Item = Op>) -> OpBatch {
    let ops = ops.into_iter().map(|op| ConditionalOp { op, if_version: None }).collect();
    OpBatch { ops, idempotency: None }
}

fn upserts(ids: std::ops::Range<u64>, marker: &str) -> OpBatch {
    batch(ids.map(|id| Op::Upsert(point(id, marker, NOW))))
}

/// Live points by id, from every run.
fn all(shard: &Shard) -> Vec<(u64, String)> {
    let snapshot = shard.snapshot();
    let mut found = Vec::new();
    for view in snapshot.runs.iter() {
        for ord in 0..u32::try_from(view.run.len()).unwrap() {
            if !view.dead.contains(ord) {
                let PointId::Num(id) = view.run.id(ord) else { panic!("no number") };
                let payload: serde_json::Value = serde_json::from_slice(view.run.payload(ord)).unwrap();
                assert_eq!(view.run.vector_value(0, ord).unwrap(), point(id, "", NOW).vectors[0].1);
                found.push((id, payload["text"].as_str().unwrap_or("").to_owned()));
            }
        }
    }
    found.sort();
    found
}

fn expected(ids: std::ops::Range<u64>, marker: &str) -> Vec<(u64, String)> {
    ids.map(|id| (id, marker.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_survive_reopening_before_and_after_a_flush() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(upserts(0..1000, "a"), true).await.unwrap();
    shard.write(batch((0..100).map(|id| Op::Delete(PointId::Num(id)))), true).await.unwrap();
    let want = expected(100..1000, "a");
    assert_eq!(all(&shard), want);
    drop(shard);

    let fixture = fixture.reopen().await;
    let shard = fixture.shard().await;
    assert_eq!(all(&shard), want);
    shard.flush().await.unwrap();
    assert_eq!(all(&shard), want);
    assert!(shard.snapshot().runs.iter().all(|r| matches!(r.source, RunSource::Segment(_))));
    drop(shard);

    let fixture = fixture.reopen().await;
    let shard = fixture.shard().await;
    assert_eq!(all(&shard), want);
    shard.write(batch([Op::Delete(PointId::Num(500))]), true).await.unwrap();
    drop(shard);
    let fixture = fixture.reopen().await;
    assert_eq!(all(&*fixture.shard().await).len(), 899);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_life_of_a_point_is_decided_in_log_order() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    let conditional = |op, if_version| OpBatch {
        ops: vec![ConditionalOp { op, if_version: Some(if_version) }],
        idempotency: None,
    };
    let outcome = |ack: engram_storage::shard::WriteAck| ack.outcomes.unwrap()[0];
    let first = outcome(shard.write(conditional(Op::Upsert(point(1, "a", NOW)), 0), true).await.unwrap());
    let OpOutcome::Applied { version, .. } = first else { panic!("{first:?}") };
    let again = outcome(shard.write(conditional(Op::Upsert(point(1, "b", NOW)), 0), true).await.unwrap());
    assert_eq!(again, OpOutcome::VersionMismatch { current: version });
    let change = Op::SetPayload {
        id: PointId::Num(1),
        change: PayloadChange::Merge(Bytes::from_static(br#"{"text":"c"}"#)),
        ingested_at: NOW,
        bytes_only: false,
    };
    let changed = outcome(shard.write(conditional(change, version), true).await.unwrap());
    assert!(matches!(changed, OpOutcome::Applied { version: v, .. } if v > version));
    assert_eq!(all(&shard), [(1, "c".to_owned())]);
    let absent = outcome(shard.write(batch([Op::Delete(PointId::Num(7))]), true).await.unwrap());
    assert_eq!(absent, OpOutcome::NotFound);
    drop(shard);
    let fixture = fixture.reopen().await;
    assert_eq!(all(&*fixture.shard().await), [(1, "c".to_owned())]);
}

/// T-14, T-16, T-18, T-19: deletes that land while segments are written or merged stay deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t19_deletes_beside_flush_and_compaction_stay_deleted() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    for round in 0..6u64 {
        shard.write(upserts(round * 300..round * 300 + 300, "a"), true).await.unwrap();
        let (flushing, writing) = (shard.clone(), shard.clone());
        let deletes = batch((round * 300..round * 300 + 150).map(|id| Op::Delete(PointId::Num(id))));
        let overwrite = upserts(round * 300 + 150..round * 300 + 200, "b");
        let (flushed, written, overwritten) = tokio::join!(
            async move {
                if round % 2 == 0 { flushing.flush().await } else { flushing.compact().await.map(drop) }
            },
            writing.write(deletes, true),
            writing.write(overwrite, true),
        );
        flushed.unwrap();
        written.unwrap();
        overwritten.unwrap();
    }
    let mut want = Vec::new();
    for round in 0..6u64 {
        want.extend(expected(round * 300 + 150..round * 300 + 200, "b"));
        want.extend(expected(round * 300 + 200..round * 300 + 300, "a"));
    }
    assert_eq!(all(&shard), want);
    shard.compact().await.unwrap();
    assert_eq!(all(&shard), want);
    let stats = shard.stats().await.unwrap();
    assert_eq!((stats.points, stats.pending_vectors), (900, 0), "{stats:?}");
    assert!(stats.indexed_vectors >= 500, "{stats:?}");
    drop(shard);
    let fixture = fixture.reopen().await;
    assert_eq!(all(&*fixture.shard().await), want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_asked_for_by_hand_starts_the_builds() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(upserts(0..600, "a"), true).await.unwrap();
    shard.flush().await.unwrap();
    // Builds begin when nobody wrote for a while.
    fixture.clock.advance(10_000);
    let built = until_some("all vectors to be in a graph", Duration::from_secs(60), || async {
        Ok((shard.stats().await?.indexed_vectors >= 600).then_some(()))
    });
    built.await.unwrap();
}

/// While clients go on writing, the file of the log that holds what was purged goes all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_beside_writes_leaves_no_log_file_behind() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    let old = batch((0..50).map(|id| Op::Upsert(point(id, "old", NOW - 100 * DAY))));
    let purged = shard.write(old, true).await.unwrap().offset;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (writer, stopped) = (shard.clone(), stop.clone());
    let writing = tokio::spawn(async move {
        let mut id = 1_000;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            writer.write(upserts(id..id + 20, "new"), false).await.unwrap();
            id += 20;
        }
        id
    });
    while shard.tail() < purged + 20 {
        tokio::task::yield_now().await;
    }
    let report = shard.erase(NOW - 50 * DAY, NOW).await.unwrap();
    let folder = fixture.dir.path().join("log").join(fixture.key("eu").path()).join("log");
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let firsts: Vec<u64> =
        names.filter_map(|name| name.strip_suffix(".log").map(|n| n.parse().unwrap())).collect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = writing.await.unwrap();
    assert_eq!(report.points_erased, 50);
    assert!(!firsts.is_empty() && firsts.iter().all(|first| *first > purged), "{firsts:?} hold {purged}");
    shard
        .wait_applied(shard.tail(), std::time::Instant::now() + std::time::Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(all(&shard), expected(1_000..written, "new"));
}

/// The dead rows of a manifest are those of its checkpoint: a condition decided after it is decided again by a replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_decides_conditions_as_they_were_decided() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    let ack = shard.write(upserts(1..2, "a"), true).await.unwrap();
    shard.flush().await.unwrap();
    let if_version = Some(ack.offset);
    let update = OpBatch {
        ops: vec![ConditionalOp { op: Op::Upsert(point(1, "b", NOW)), if_version }],
        idempotency: None,
    };
    // Compaction publishes a manifest while the condition's outcome is only in the log.
    shard.write(upserts(2..600, "a"), true).await.unwrap();
    shard.write(update, true).await.unwrap();
    drop(shard);
    let fixture = fixture.reopen().await;
    assert_eq!(all(&*fixture.shard().await)[0], (1, "b".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_write_changes_nothing_also_after_flush_and_restart() {
    use engram_storage::op::Idempotency;
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    let write = |marker: &str, content: u8| {
        let mut batch = upserts(1..2, marker);
        batch.idempotency = Some(Idempotency { key: [1; 16], content: [content; 8], at: NOW });
        batch
    };
    let first = shard.write(write("a", 1), true).await.unwrap();
    shard.write(upserts(1..2, "later"), true).await.unwrap();
    shard.flush().await.unwrap();
    drop(shard);
    let fixture = fixture.reopen().await;
    let shard = fixture.shard().await;
    let repeat = shard.write(write("a", 1), true).await.unwrap();
    assert_eq!((repeat.repeated, repeat.offset), (true, first.offset));
    assert_eq!(all(&shard), [(1, "later".to_owned())]);
    let other = shard.write(write("x", 2), true).await;
    assert!(matches!(other, Err(engram_storage::StorageError::IdempotencyMismatch)), "{other:?}");
}

fn files_with(dir: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else if std::fs::read(entry.path()).unwrap().windows(needle.len()).any(|w| w == needle) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_by_region_and_age_leaves_no_bytes_and_keeps_the_rest() {
    let fixture = Fixture::new().await;
    let canary = "canary-5f0c1d2e3a4b59687766554433221100";
    let kept = "kept-00112233445566778899aabbccddeeff";
    let points = |marker: &str, from: u64, age: i64| {
        batch((from..from + 40).map(|id| Op::Upsert(point(id, marker, NOW - age))).collect::<Vec<_>>())
    };
    for region in ["eu", "us"] {
        let shard = fixture.engine.shard(&fixture.key(region)).await.unwrap();
        let old = if region == "eu" { canary } else { kept };
        shard.write(points(old, 0, 100 * DAY), true).await.unwrap();
        shard.flush().await.unwrap();
        shard.write(points(kept, 100, DAY), true).await.unwrap();
        shard.write(points(old, 200, 100 * DAY), true).await.unwrap();
    }
    assert!(!files_with(fixture.dir.path(), canary.as_bytes()).is_empty(), "the control finds nothing");
    let request = PurgeRequest {
        tenant: DEFAULT_TENANT,
        collection: None,
        region: Some(RegionName::try_from("eu").unwrap()),
        created_before: Some(fixture.clock.now_ms() - 90 * DAY),
    };
    let plan = fixture.engine.plan_purge(&request).await.unwrap();
    assert_eq!(plan.points, 80);
    let receipt = fixture.engine.purge(&request).await.unwrap();
    assert_eq!((receipt.points_before, receipt.points_erased, receipt.points_after), (120, 80, 40));
    assert_eq!(receipt.state, "complete");
    assert_eq!(files_with(fixture.dir.path(), canary.as_bytes()), Vec::<String>::new());
    assert!(!files_with(fixture.dir.path(), kept.as_bytes()).is_empty());
    assert_eq!(all(&*fixture.shard().await).len(), 40);
    let us = fixture.engine.shard(&fixture.key("us")).await.unwrap();
    assert_eq!(all(&us).len(), 120);
    drop(us);
    let fixture = fixture.reopen().await;
    assert_eq!(all(&*fixture.shard().await).len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_shards_are_dropped_collections_leave_no_files() {
    let fixture = Fixture::new().await;
    fixture.shard().await.write(upserts(0..10, "gone-gone-gone"), true).await.unwrap();
    fixture.shard().await.flush().await.unwrap();
    assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    assert!(!fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    assert_eq!(files_with(fixture.dir.path(), b"gone-gone-gone"), Vec::<String>::new());
    let again = fixture.engine.shard(&fixture.key("eu")).await;
    assert!(again.is_err());
}
