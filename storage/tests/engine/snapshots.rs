//! Snapshots: what comes back, what is refused, and that purges reach them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engram_storage::catalog::Receipt;
use engram_storage::engine::{DefinitionCheck, Engine, PurgeRequest, RecoverTarget, SnapshotSource};
use engram_storage::op::Op;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionSchema, DEFAULT_TENANT, RegionName, TenantId};
use engram_storage::shard::Shard;
use engram_storage::snapshot::format::{ContainerReader, ContainerWriter, EntryKind};
use engram_storage::snapshot::{ShardSummary, SnapshotError, SnapshotHeader, SnapshotInfo, Upload};
use engram_storage::{ErrorKind, StorageError};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{DAY, Fixture, NOW, all, batch, expected, files_with, point, upserts};

const CANARY: &str = "canary-90f1b2a3948576675849302112fedcba";

fn anything() -> DefinitionCheck {
    Box::new(|_| Ok(()))
}

fn target(name: &str, replace: bool) -> RecoverTarget {
    RecoverTarget { tenant: DEFAULT_TENANT, name: name.into(), replace }
}

fn listed(name: &str) -> SnapshotSource {
    SnapshotSource::Listed { collection: "c".into(), snapshot: name.into() }
}

/// A client that sends these bytes in parts of `part`.
fn upload(bytes: &[u8], part: usize) -> SnapshotSource {
    let (parts, received) = tokio::sync::mpsc::channel(2);
    let bytes = Bytes::copy_from_slice(bytes);
    tokio::spawn(async move {
        for at in (0..bytes.len()).step_by(part) {
            let chunk = bytes.slice(at..bytes.len().min(at + part));
            if parts.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    });
    SnapshotSource::Upload(Upload::new(received))
}

async fn recover(
    engine: &Arc<Engine>,
    source: SnapshotSource,
    target: RecoverTarget,
) -> Result<Arc<CollectionSchema>, StorageError> {
    engine.recover_snapshot(source, target, anything()).await.map(|(schema, _)| schema)
}

async fn shard_of(engine: &Arc<Engine>, schema: &CollectionSchema, region: &str) -> Arc<Shard> {
    engine.shard(&schema.shard(&RegionName::try_from(region).unwrap(), 0)).await.unwrap()
}

impl Fixture {
    async fn snapshot(&self) -> SnapshotInfo {
        self.engine.create_snapshot(DEFAULT_TENANT, "c").await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let all = self.engine.snapshots(DEFAULT_TENANT, "c").await.unwrap();
        all.into_iter().map(|info| info.name).collect()
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join(format!("objects/snapshots/t/1/c/{}", self.schema.snapshot_home()))
    }

    fn bytes_of(&self, info: &SnapshotInfo) -> Vec<u8> {
        std::fs::read(self.folder().join(&info.name)).unwrap()
    }

    async fn purge(&self, region: Option<&str>, older_than: i64) -> Receipt {
        let request = PurgeRequest {
            tenant: DEFAULT_TENANT,
            collection: None,
            region: region.map(|r| RegionName::try_from(r).unwrap()),
            created_before: Some(NOW - older_than),
        };
        self.engine.purge(&request).await.unwrap()
    }

    /// Collections that have any file.
    fn on_disk(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut dirs = vec![self.dir.path().join("objects/r"), self.dir.path().join("log/r")];
        while let Some(dir) = dirs.pop() {
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                } else {
                    let path = entry.path().display().to_string();
                    found.extend(
                        path.split("/c/").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned),
                    );
                }
            }
        }
        found
    }
}

/// Segments with a graph, rows in the memtable, deleted and replaced rows in both, a second region.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(upserts(0..700, "a"), true).await.unwrap();
    shard.compact().await.unwrap();
    shard.write(batch((0..50).map(|id| Op::Delete(PointId::Num(id)))), true).await.unwrap();
    shard.write(upserts(50..60, "b"), true).await.unwrap();
    shard.write(upserts(700..720, "m"), true).await.unwrap();
    shard.write(batch([Op::Delete(PointId::Num(719))]), true).await.unwrap();
    let us = shard_of(&fixture.engine, &fixture.schema, "us").await;
    us.write(upserts(1_000..1_010, "u"), true).await.unwrap();
    fixture
}

fn want() -> Vec<(u64, String)> {
    let mut want = expected(50..60, "b");
    want.extend(expected(60..700, "a"));
    want.extend(expected(700..719, "m"));
    want
}

async fn assert_whole(engine: &Arc<Engine>, schema: &CollectionSchema) {
    assert_eq!(all(&*shard_of(engine, schema, "eu").await), want());
    assert_eq!(all(&*shard_of(engine, schema, "us").await), expected(1_000..1_010, "u"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_comes_back_as_it_was_also_after_a_restart() {
    let fixture = filled().await;
    let before = fixture.shard().await.tail();
    let info = fixture.snapshot().await;
    assert_eq!((info.points, info.collection), (want().len() as u64 + 10, fixture.schema.id));
    let bytes = fixture.bytes_of(&info);
    assert_eq!(bytes.len() as u64, info.bytes);
    assert_eq!(blake3::hash(&bytes[..bytes.len() - 40]).to_hex().to_string(), info.blake3);
    // What comes later is not in it.
    fixture.shard().await.write(upserts(0..100, "later"), true).await.unwrap();
    let graphs = fixture.engine.work().graphs.count();
    let by_name = recover(&fixture.engine, listed(&info.name), target("r", false)).await.unwrap();
    let uploaded = recover(&fixture.engine, upload(&bytes, 1_000), target("u", false)).await.unwrap();
    assert_eq!((by_name.name.as_str(), by_name.vectors.clone()), ("r", fixture.schema.vectors.clone()));
    for schema in [&by_name, &uploaded] {
        assert_ne!(schema.id, fixture.schema.id);
        assert_whole(&fixture.engine, schema).await;
        let shard = shard_of(&fixture.engine, schema, "eu").await;
        let has_graph = shard.snapshot().runs.iter().any(|view| view.run.has_graph(0));
        assert!(has_graph, "the graph is taken over");
    }
    assert_eq!(fixture.engine.work().graphs.count(), graphs, "and not built anew");
    assert_eq!(all(&*fixture.shard().await).len(), want().len() + 50);
    // Versions go on: one that a client remembers never comes again for another value.
    let shard = shard_of(&fixture.engine, &by_name, "eu").await;
    let ack = shard.write(upserts(60..61, "new"), true).await.unwrap();
    assert_eq!(ack.offset, before + 1);
    drop(shard);

    let fixture = fixture.reopen().await;
    assert_whole(&fixture.engine, &fixture.engine.collection(DEFAULT_TENANT, "u").unwrap()).await;
    let by_name = fixture.engine.collection(DEFAULT_TENANT, "r").unwrap();
    let found = all(&*shard_of(&fixture.engine, &by_name, "eu").await);
    assert!(found.contains(&(60, "new".into())) && found.len() == want().len());
    assert_eq!(fixture.names().await, [info.name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_is_replaced_in_one_step_and_keeps_its_aliases_and_snapshots() {
    let fixture = filled().await;
    fixture.engine.set_alias(DEFAULT_TENANT, "alias", "c").await.unwrap();
    let info = fixture.snapshot().await;
    fixture.shard().await.write(upserts(0..900, "later"), true).await.unwrap();
    let refused = recover(&fixture.engine, listed(&info.name), target("c", false)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let refused = recover(&fixture.engine, listed(&info.name), target("alias", true)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    for _ in 0..2 {
        let old = fixture.engine.collection(DEFAULT_TENANT, "c").unwrap();
        let new = recover(&fixture.engine, listed(&info.name), target("c", true)).await.unwrap();
        assert_whole(&fixture.engine, &new).await;
        assert_eq!(fixture.engine.collection(DEFAULT_TENANT, "alias").unwrap().id, new.id);
        assert_eq!(fixture.on_disk(), BTreeSet::from([new.id.to_string()]), "nothing is left of {}", old.id);
        assert_eq!(fixture.names().await, std::slice::from_ref(&info.name));
    }
    let folder = fixture.folder();
    let fixture = fixture.reopen().await;
    let new = fixture.engine.collection(DEFAULT_TENANT, "alias").unwrap();
    assert_whole(&fixture.engine, &new).await;
    assert!(folder.join(&info.name).is_file());
    assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    assert!(!folder.exists(), "snapshots go with their collection");
    assert_eq!(fixture.on_disk(), BTreeSet::new());
}

/// T-41: what cannot come back whole is refused with a reason, and nothing of it is visible or left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t41_damaged_and_cut_snapshots_are_refused_and_leave_nothing() {
    let fixture = Fixture::new().await;
    fixture.shard().await.write(upserts(0..5, "a"), true).await.unwrap();
    let us = shard_of(&fixture.engine, &fixture.schema, "us").await;
    us.write(upserts(10..12, "b"), true).await.unwrap();
    let info = fixture.snapshot().await;
    let whole = fixture.bytes_of(&info);
    let seed = rand::rng().random();
    println!("ENGRAM_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let refused = async |bytes: &[u8], what: String| {
        let e = recover(&fixture.engine, upload(bytes, 4_096), target("r", false)).await.expect_err(&what);
        assert!(matches!(e, StorageError::Snapshot(_)), "{what}: {e}");
        assert_eq!(e.kind(), ErrorKind::Invalid, "{what}: {e}");
        assert!(fixture.engine.collection(DEFAULT_TENANT, "r").is_err(), "{what}");
        assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]), "{what}");
    };
    // The head, the seams at its end and around the trailer, and anywhere.
    let header = 16 + u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    let mut places: Vec<usize> =
        (0..17).chain([header - 1, header, header + 31, header + 32, header + 33]).collect();
    places.extend([whole.len() - 41, whole.len() - 40, whole.len() - 32, whole.len() - 1]);
    places.extend((0..60).map(|_| rng.random_range(0..whole.len())));
    for &at in &places {
        let mut bad = whole.clone();
        bad[at] ^= 1 << rng.random_range(0..8);
        refused(&bad, format!("a changed bit of byte {at}")).await;
    }
    for at in places.into_iter().step_by(3) {
        refused(&whole[..at], format!("a cut at {at}")).await;
    }
    refused(&[], "nothing".into()).await;
    refused(&[&whole[..], b"x"].concat(), "one byte more".into()).await;
    refused(b"PK\x03\x04 not a snapshot at all", "another file".into()).await;
    // A damaged one of the listing.
    let path = fixture.folder().join(&info.name);
    let mut bad = whole.clone();
    let middle = whole.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let e = recover(&fixture.engine, listed(&info.name), target("r", false)).await.unwrap_err();
    assert!(matches!(e, StorageError::Snapshot(SnapshotError::Damaged(_))), "{e}");
    std::fs::write(&path, &whole).unwrap();
    recover(&fixture.engine, listed(&info.name), target("r", false)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_is_not_allowed_today_is_refused() {
    let fixture = filled().await;
    let info = fixture.snapshot().await;
    let check: DefinitionCheck = Box::new(|schema| {
        assert_eq!((schema.name.as_str(), schema.tenant), ("r", DEFAULT_TENANT));
        Err(StorageError::Invalid("too much".into()))
    });
    let refused = fixture.engine.recover_snapshot(listed(&info.name), target("r", false), check).await;
    assert!(refused.unwrap_err().to_string().contains("too much"));
    assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]));
}

/// CVE-2024-2221, CVE-2024-3584, CVE-2024-3078 and CVE-2024-3829 of another server: names and links that lead elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_links_lead_nowhere() {
    let fixture = Fixture::new().await;
    fixture.shard().await.write(upserts(0..5, "a"), true).await.unwrap();
    let info = fixture.snapshot().await;
    let outside = fixture.dir.path().join("outside.snapshot");
    std::fs::write(&outside, fixture.bytes_of(&info)).unwrap();
    // A link under a name that the server could have given.
    let linked = info.name.replace(&info.name[info.name.len() - 25..info.name.len() - 9], "0123456789abcdef");
    assert_ne!(linked, info.name);
    std::os::unix::fs::symlink(&outside, fixture.folder().join(&linked)).unwrap();
    std::fs::create_dir(fixture.folder().join("directory.snapshot")).unwrap();
    std::fs::write(fixture.folder().join("stray"), b"x").unwrap();
    assert_eq!(fixture.names().await, std::slice::from_ref(&info.name));
    let up = format!("../{}/{}", fixture.schema.id, info.name);
    for bad in [
        "../../../../../outside.snapshot",
        outside.to_str().unwrap(),
        "%2e%2e%2f%2e%2e%2foutside.snapshot",
        "..",
        ".",
        "",
        "stray",
        "directory.snapshot",
        &linked,
        &up,
        &format!("./{}", info.name),
        &format!("{}\0", info.name),
        &format!("{}/", info.name),
    ] {
        let opened = fixture.engine.open_snapshot(DEFAULT_TENANT, "c", bad).await.map(drop);
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::NotFound, "{bad:?}");
        let recovered = recover(&fixture.engine, listed(bad), target("r", false)).await;
        assert_eq!(recovered.unwrap_err().kind(), ErrorKind::NotFound, "{bad:?}");
        if bad != linked {
            assert!(!fixture.engine.delete_snapshot(DEFAULT_TENANT, "c", bad).await.unwrap(), "{bad:?}");
        }
    }
    // Removing the link leaves what it points at.
    fixture.engine.delete_snapshot(DEFAULT_TENANT, "c", &linked).await.unwrap();
    assert!(outside.is_file());
    assert!(fixture.engine.delete_snapshot(DEFAULT_TENANT, "c", &info.name).await.unwrap());
    assert_eq!(fixture.names().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenant_sees_none_and_may_bring_its_own_copy() {
    let fixture = filled().await;
    let info = fixture.snapshot().await;
    let other = TenantId(2);
    assert_eq!(fixture.engine.snapshots(other, "c").await.unwrap_err().kind(), ErrorKind::NotFound);
    let into = || RecoverTarget { tenant: other, name: "r".into(), replace: true };
    let refused = recover(&fixture.engine, listed(&info.name), into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let own = recover(&fixture.engine, upload(&fixture.bytes_of(&info), 1 << 20), into()).await.unwrap();
    assert_eq!(own.tenant, other);
    assert_whole(&fixture.engine, &own).await;
    assert!(fixture.engine.snapshots(other, "r").await.unwrap().is_empty());
}

/// Each snapshot beside writes, flushes and compactions is a prefix of what one writer wrote, with all that was
/// acknowledged before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_beside_writes_and_compactions_are_of_one_moment() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (writer, stopped, count) = (shard.clone(), stop.clone(), written.clone());
    let writing = tokio::spawn(async move {
        let mut id = 0;
        while !stopped.load(Ordering::Relaxed) {
            writer.write(upserts(id..id + 10, "a"), true).await.unwrap();
            id += 10;
            count.store(id, Ordering::SeqCst);
            if id % 200 == 0 {
                writer.compact().await.unwrap();
            }
        }
    });
    for round in 0..6 {
        while written.load(Ordering::SeqCst) < (round + 1) * 150 {
            tokio::task::yield_now().await;
        }
        let before = written.load(Ordering::SeqCst);
        let info = fixture.snapshot().await;
        assert!(info.points >= before && info.points % 10 == 0, "{} of {before}", info.points);
        let name = format!("r{round}");
        let schema = recover(&fixture.engine, listed(&info.name), target(&name, false)).await.unwrap();
        let found = all(&*shard_of(&fixture.engine, &schema, "eu").await);
        assert_eq!(found, expected(0..info.points, "a"));
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_reaches_snapshots_and_what_was_downloaded_before_does_not_come_back() {
    let fixture = Fixture::new().await;
    let old = batch((0..20).map(|id| Op::Upsert(point(id, CANARY, NOW - 100 * DAY))));
    fixture.shard().await.write(old, true).await.unwrap();
    let us = shard_of(&fixture.engine, &fixture.schema, "us").await;
    us.write(upserts(100..110, "kept"), true).await.unwrap();
    let info = fixture.snapshot().await;
    let bytes = fixture.bytes_of(&info);
    let control = files_with(fixture.dir.path(), CANARY.as_bytes());
    assert!(control.iter().any(|path| path.ends_with(".snapshot")), "the control finds it in {control:?}");

    // A purge that erases nothing of it leaves it, and it still comes back.
    let receipt = fixture.purge(Some("us"), 90 * DAY).await;
    assert_eq!(receipt.kept_snapshots, std::slice::from_ref(&info.name));
    recover(&fixture.engine, listed(&info.name), target("kept", false)).await.unwrap();
    recover(&fixture.engine, upload(&bytes, 1 << 16), target("uploaded", false)).await.unwrap();
    for name in ["kept", "uploaded"] {
        assert!(fixture.engine.drop_collection(DEFAULT_TENANT, name).await.unwrap());
    }

    let receipt = fixture.purge(Some("eu"), 90 * DAY).await;
    assert_eq!((receipt.state.as_str(), receipt.points_erased), ("complete", 20));
    assert_eq!(receipt.kept_snapshots, Vec::<String>::new());
    let removed: Vec<_> = receipt.removed.iter().filter(|f| f.path.ends_with(&info.name)).collect();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].blake3, blake3::hash(&bytes).to_hex().to_string());
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
    assert_eq!(fixture.names().await, Vec::<String>::new());
    for (name, replace) in [("r", false), ("c", true)] {
        let e = recover(&fixture.engine, upload(&bytes, 1 << 16), target(name, replace)).await.unwrap_err();
        assert!(matches!(&e, StorageError::Snapshot(SnapshotError::Purged(id)) if *id == receipt.id), "{e}");
    }
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
    // The next one has seen the purge.
    let info = fixture.snapshot().await;
    recover(&fixture.engine, listed(&info.name), target("c", true)).await.unwrap();
}

/// A point that was deleted by its id is erased by the next purge, whatever that asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_delete_and_a_purge_erased_is_in_no_snapshot() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(batch([Op::Upsert(point(1, CANARY, NOW))]), true).await.unwrap();
    shard.write(upserts(2..9, "kept"), true).await.unwrap();
    let info = fixture.snapshot().await;
    let bytes = fixture.bytes_of(&info);
    shard.write(batch([Op::Delete(PointId::Num(1))]), true).await.unwrap();
    let second = fixture.snapshot().await;
    let receipt = fixture.purge(None, 365 * DAY).await;
    assert_eq!(receipt.points_erased, 0);
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
    assert!(fixture.names().await.is_empty(), "both held its bytes: {second:?}");
    let e = recover(&fixture.engine, upload(&bytes, 1 << 16), target("r", false)).await.unwrap_err();
    assert!(matches!(e, StorageError::Snapshot(SnapshotError::Purged(_))), "{e}");
}

/// A purge of a collection that was recovered concerns the snapshot that it came from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_of_what_was_recovered_counts_for_its_snapshot() {
    let fixture = Fixture::new().await;
    let old = batch((0..20).map(|id| Op::Upsert(point(id, CANARY, NOW - 100 * DAY))));
    fixture.shard().await.write(old, true).await.unwrap();
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
    // A collection that was dropped may come back; what was purged of it may not.
    let back = recover(&fixture.engine, upload(&bytes, 1 << 16), target("c", false)).await.unwrap();
    assert_eq!(back.lineage.origins, [fixture.schema.id]);
    assert_eq!(fixture.purge(None, 90 * DAY).await.points_erased, 20);
    let e = recover(&fixture.engine, upload(&bytes, 1 << 16), target("c", true)).await.unwrap_err();
    assert!(matches!(e, StorageError::Snapshot(SnapshotError::Purged(_))), "{e}");
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
}

/// A client that sends half a snapshot and then nothing holds up no purge, and nothing of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_does_not_wait_for_a_slow_client() {
    let fixture = Fixture::new().await;
    let old = batch((0..200).map(|id| Op::Upsert(point(id, CANARY, NOW - 100 * DAY))));
    fixture.shard().await.write(old, true).await.unwrap();
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    let (parts, received) = tokio::sync::mpsc::channel(1);
    let source = SnapshotSource::Upload(Upload::new(received));
    let engine = fixture.engine.clone();
    let recovering = tokio::spawn(async move { recover(&engine, source, target("r", false)).await });
    for part in bytes[..bytes.len() - 100].chunks(64) {
        parts.send(Ok(Bytes::copy_from_slice(part))).await.unwrap();
    }
    assert_eq!(fixture.on_disk().len(), 2, "part of it is on the disk");
    let receipt = tokio::time::timeout(Duration::from_secs(60), fixture.purge(None, 90 * DAY)).await.unwrap();
    assert_eq!(receipt.state, "complete");
    let e = recovering.await.unwrap().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
    assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]));
    drop(parts);
}

/// What a kill leaves of a recovery is removed at the next start: its collection counts as dropped until it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_recovery_is_swept_at_the_next_start() {
    let fixture = filled().await;
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    let (parts, received) = tokio::sync::mpsc::channel(1);
    let engine = fixture.engine.clone();
    let recovering = tokio::spawn(async move {
        recover(&engine, SnapshotSource::Upload(Upload::new(received)), target("r", false)).await
    });
    for part in bytes[..bytes.len() - 100].chunks(1 << 12) {
        parts.send(Ok(Bytes::copy_from_slice(part))).await.unwrap();
    }
    // The data directory as it is now, as a kill would leave it.
    let copy = tempfile::tempdir().unwrap();
    copy_tree(fixture.dir.path(), copy.path());
    parts.send(Err(StorageError::Unavailable("the client went away".into()))).await.unwrap();
    assert_eq!(recovering.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fixture.on_disk().len(), 1);

    let engine = crate::open(copy.path(), &fixture.clock).await;
    let after = Fixture { dir: copy, clock: fixture.clock.clone(), engine, schema: fixture.schema.clone() };
    let swept = crate::until_some("the leftovers to go", Duration::from_secs(30), || async {
        Ok((after.on_disk() == BTreeSet::from([after.schema.id.to_string()])).then_some(()))
    });
    swept.await.unwrap();
    assert!(after.engine.collection(DEFAULT_TENANT, "r").is_err());
    assert_whole(&after.engine, &after.schema).await;
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

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
        ("an object without its last byte", Box::new(|parts| drop(parts.objects[0].pop()))),
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

/// Where a child process works, and what it does.
const CHILD_DIR: &str = "ENGRAM_SNAPSHOT_CHILD_DIR";
const CHILD_WORK: &str = "ENGRAM_SNAPSHOT_CHILD_WORK";
/// Largest file of a child process, bytes.
const CHILD_LIMIT: &str = "ENGRAM_SNAPSHOT_CHILD_LIMIT";

/// No test of its own: what the process does that the tests below start and kill.
#[test]
fn child() {
    let (Ok(dir), Ok(work)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_WORK)) else { return };
    if let Ok(limit) = std::env::var(CHILD_LIMIT) {
        let limit = libc::rlimit { rlim_cur: limit.parse().unwrap(), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: system calls on plain values; ignored, the signal becomes an error of the write.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = crate::open(Path::new(&dir), &engram_storage::ManualClock::new(NOW)).await;
        let listed_now = engine.snapshots(DEFAULT_TENANT, "c").await.unwrap();
        println!("READY");
        match work.as_str() {
            "create" => loop {
                let made = engine.create_snapshot(DEFAULT_TENANT, "c").await.unwrap();
                println!("MADE {}", made.name);
            },
            "recover" => {
                for round in 0.. {
                    let name = &listed_now[round % listed_now.len()].name;
                    recover(&engine, listed(name), target("c", true)).await.unwrap();
                    println!("RECOVERED");
                }
            }
            "full" => {
                let e = engine.create_snapshot(DEFAULT_TENANT, "c").await.unwrap_err();
                println!("CREATE {:?} {e}", e.kind());
                let bytes = std::fs::read(Path::new(&dir).join("given.snapshot")).unwrap();
                let e = recover(&engine, upload(&bytes, 1 << 16), target("r", false)).await.unwrap_err();
                println!("RECOVER {:?} {e}", e.kind());
                assert!(engine.collection(DEFAULT_TENANT, "r").is_err());
            }
            other => panic!("{other}"),
        }
    });
}

fn start_child(dir: &Path, work: &str, limit: Option<u64>) -> std::process::Child {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "snapshots::child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD_DIR, dir).env(CHILD_WORK, work).stdout(std::process::Stdio::piped());
    if let Some(limit) = limit {
        command.env(CHILD_LIMIT, limit.to_string());
    }
    command.spawn().unwrap()
}

/// Lets the child work for a random time and kills it; the lines it told.
fn kill_at_random(mut child: std::process::Child, rng: &mut StdRng) -> Vec<String> {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("READY") {}
    let rounds = rng.random_range(0..3);
    let mut told: Vec<String> = (0..rounds).map(|_| lines.next().unwrap().unwrap()).collect();
    // Any moment of what it does now; nothing is waited for.
    std::thread::sleep(Duration::from_micros(rng.random_range(0..120_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(lines.map_while(Result::ok));
    told
}

impl Fixture {
    /// The directory, with nobody at work in it.
    async fn closed(self) -> (tempfile::TempDir, engram_storage::ManualClock, Arc<CollectionSchema>) {
        let Self { dir, clock, engine, schema } = self.reopen().await;
        engine.shutdown().await;
        let last = Arc::downgrade(&engine);
        drop(engine);
        while last.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        (dir, clock, schema)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_snapshots_are_made_leaves_whole_ones_only() {
    let seed = rand::rng().random();
    println!("ENGRAM_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (dir, clock, schema) = filled().await.closed().await;
    let mut made = BTreeSet::new();
    let mut fixture = None;
    for _ in 0..4 {
        let told = kill_at_random(start_child(dir.path(), "create", None), &mut rng);
        made.extend(told.iter().filter_map(|line| line.strip_prefix("MADE ")).map(str::to_owned));
    }
    let engine = crate::open(dir.path(), &clock).await;
    let fixture = fixture.insert(Fixture { dir, clock, engine, schema });
    let names: BTreeSet<String> = fixture.names().await.into_iter().collect();
    assert!(made.is_subset(&names), "{made:?} were told, {names:?} are there");
    let files: BTreeSet<String> = std::fs::read_dir(fixture.folder())
        .map(|dir| dir.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    assert_eq!(files, names, "nothing else is left");
    for (round, name) in names.iter().enumerate() {
        let schema =
            recover(&fixture.engine, listed(name), target(&format!("r{round}"), false)).await.unwrap();
        assert_whole(&fixture.engine, &schema).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_collection_is_replaced_leaves_either() {
    let seed = rand::rng().random();
    println!("ENGRAM_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let fixture = Fixture::new().await;
    fixture.shard().await.write(upserts(0..50, "a"), true).await.unwrap();
    fixture.snapshot().await;
    fixture.clock.advance(5_000);
    fixture.shard().await.write(upserts(0..80, "b"), true).await.unwrap();
    fixture.snapshot().await;
    let (mut dir, clock, _) = fixture.closed().await;
    for _ in 0..6 {
        kill_at_random(start_child(dir.path(), "recover", None), &mut rng);
        let engine = crate::open(dir.path(), &clock).await;
        let schema = engine.collection(DEFAULT_TENANT, "c").unwrap();
        let fixture = Fixture { dir, clock: clock.clone(), engine, schema };
        let found = all(&*fixture.shard().await);
        assert!(found == expected(0..50, "a") || found == expected(0..80, "b"), "{} points", found.len());
        let alone = BTreeSet::from([fixture.schema.id.to_string()]);
        let swept = crate::until_some("the leftovers to go", Duration::from_secs(30), || async {
            Ok((fixture.on_disk() == alone).then_some(()))
        });
        swept.await.unwrap();
        assert_eq!(fixture.names().await.len(), 2);
        (dir, _, _) = fixture.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let fixture = Fixture::new().await;
    let fat = |id| {
        let text: String = (0..40u64)
            .map(|n| format!("{:016x}", (id * 40 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        Op::Upsert(point(id, &text, NOW))
    };
    fixture.shard().await.write(batch((0..4_000).map(fat)), true).await.unwrap();
    let info = fixture.snapshot().await;
    std::fs::write(fixture.dir.path().join("given.snapshot"), fixture.bytes_of(&info)).unwrap();
    let limit = 1 << 20;
    assert!(info.bytes > 2 * limit, "{} bytes", info.bytes);
    let (dir, clock, schema) = fixture.closed().await;
    let out = start_child(dir.path(), "full", Some(limit)).wait_with_output().unwrap();
    let told = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{told}");
    for what in ["CREATE Exhausted", "RECOVER Exhausted"] {
        assert!(told.contains(what) && told.contains("the disk is full"), "{told}");
    }
    let engine = crate::open(dir.path(), &clock).await;
    let fixture = Fixture { dir, clock, engine, schema };
    assert_eq!(fixture.names().await, [info.name]);
    assert_eq!(std::fs::read_dir(fixture.folder()).unwrap().count(), 1);
    assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]));
}
