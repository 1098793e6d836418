//! Snapshots: what comes back, what is refused, and that purges reach them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use engram_storage::catalog::Receipt;
use engram_storage::engine::{DefinitionCheck, Engine, PurgeRequest, RecoverTarget, SnapshotSource};
use engram_storage::op::Op;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionSchema, DEFAULT_TENANT, RegionName};
use engram_storage::shard::Shard;
use engram_storage::snapshot::{SnapshotError, SnapshotInfo, Upload};
use engram_storage::{ErrorKind, StorageError};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Fixture, NOW, all, batch, expected, upserts};

pub(crate) const CANARY: &str = "canary-90f1b2a3948576675849302112fedcba";

pub(crate) fn anything() -> DefinitionCheck {
    Box::new(|_| Ok(()))
}

pub(crate) fn target(name: &str, replace: bool) -> RecoverTarget {
    RecoverTarget { tenant: DEFAULT_TENANT, name: name.into(), replace }
}

pub(crate) fn listed(name: &str) -> SnapshotSource {
    SnapshotSource::Listed { collection: "c".into(), snapshot: name.into() }
}

/// A client that sends these bytes in parts of `part`.
pub(crate) fn upload(bytes: &[u8], part: usize) -> SnapshotSource {
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

pub(crate) async fn recover(
    engine: &Arc<Engine>,
    source: SnapshotSource,
    target: RecoverTarget,
) -> Result<Arc<CollectionSchema>, StorageError> {
    engine.recover_snapshot(source, target, anything()).await.map(|(schema, _)| schema)
}

pub(crate) async fn shard_of(engine: &Arc<Engine>, schema: &CollectionSchema, region: &str) -> Arc<Shard> {
    engine.shard(&schema.shard(&RegionName::try_from(region).unwrap(), 0)).await.unwrap()
}

impl Fixture {
    pub(crate) async fn snapshot(&self) -> SnapshotInfo {
        self.engine.create_snapshot(DEFAULT_TENANT, "c").await.unwrap()
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self.engine.snapshots(DEFAULT_TENANT, "c").await.unwrap();
        all.into_iter().map(|info| info.name).collect()
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join(format!("objects/snapshots/t/1/c/{}", self.schema.snapshot_home()))
    }

    pub(crate) fn bytes_of(&self, info: &SnapshotInfo) -> Vec<u8> {
        std::fs::read(self.folder().join(&info.name)).unwrap()
    }

    pub(crate) async fn purge(&self, region: Option<&str>, older_than: i64) -> Receipt {
        let request = PurgeRequest {
            tenant: DEFAULT_TENANT,
            collection: None,
            region: region.map(|r| RegionName::try_from(r).unwrap()),
            created_before: Some(NOW - older_than),
        };
        self.engine.purge(&request).await.unwrap()
    }

    /// Collections that have any file.
    pub(crate) fn on_disk(&self) -> BTreeSet<String> {
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
pub(crate) async fn filled() -> Fixture {
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

pub(crate) fn want() -> Vec<(u64, String)> {
    let mut want = expected(50..60, "b");
    want.extend(expected(60..700, "a"));
    want.extend(expected(700..719, "m"));
    want
}

pub(crate) async fn assert_whole(engine: &Arc<Engine>, schema: &CollectionSchema) {
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
    let other = fixture.engine.create_tenant("other").await.unwrap().id;
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
