//! Manifests: publication, fencing, damage and the collection of garbage.

use std::collections::{BTreeMap, BTreeSet};

use engram_storage::StorageError;
use engram_storage::manifest::{DedupeEntry, GcOptions, Manifest, ManifestStore, SegmentEntry, SegmentId};
use engram_storage::object::{DurableStore, ObjectRef};
use proptest::prelude::*;
use roaring::RoaringBitmap;

const SHARD: &str = "r/eu/t/1/c/0/s/0";

fn open() -> (tempfile::TempDir, DurableStore, ManifestStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = DurableStore::local(dir.path()).unwrap();
    let manifests = ManifestStore::new(store.clone(), SHARD);
    (dir, store, manifests)
}

/// A segment with one Parquet file and one blob.
async fn segment(store: &DurableStore) -> SegmentEntry {
    let id = SegmentId::new(1);
    let parquet = ObjectRef::of(format!("{SHARD}/seg/{id}.parquet"), b"p");
    let rows = ObjectRef::of(format!("{SHARD}/idx/{id}.rows"), b"r");
    store.put(&parquet.path, "p".into()).await.unwrap();
    store.put(&rows.path, "r".into()).await.unwrap();
    SegmentEntry {
        id,
        rows: 10,
        parquet,
        blobs: BTreeMap::from([("rows".to_owned(), rows)]),
        deletes: RoaringBitmap::from_iter([1, 9]),
        schema_revision: 0,
        min_created_at: 1,
        max_created_at: 2,
        min_expires_at: None,
    }
}

#[tokio::test]
async fn manifest_round_trip() {
    let (_dir, store, manifests) = open();
    assert_eq!(manifests.load_latest().await.unwrap(), None);
    let mut next = Manifest::empty(3, "node-1");
    next.segments.push(segment(&store).await);
    next.dedupe.push(DedupeEntry { key: [7; 16], content: [8; 8], at: -5, offset: u64::MAX, too_large: 3 });
    next.checkpoint = 41;
    manifests.publish(&mut next).await.unwrap();
    assert_eq!(next.version, 1);
    assert_eq!(manifests.load_latest().await.unwrap(), Some(next.clone()));
    assert_eq!((next.segments[0].bytes(), next.segments[0].live()), (2, 8));
    next.checkpoint = 50;
    manifests.publish(&mut next).await.unwrap();
    assert_eq!((next.version, manifests.load_latest().await.unwrap().unwrap().checkpoint), (2, 50));
}

#[tokio::test]
async fn manifest_publishers_are_fenced() {
    let (_dir, _store, manifests) = open();
    let mut old = Manifest::empty(1, "old");
    manifests.publish(&mut old).await.unwrap();
    let mut same = old.clone();
    let mut newer = Manifest { epoch: 2, writer: "new".to_owned(), ..old.clone() };
    manifests.publish(&mut newer).await.unwrap();
    let e = manifests.publish(&mut old).await.unwrap_err();
    assert!(matches!(e, StorageError::Fenced(_)), "{e}");
    assert_eq!(old.version, 1);
    // However far the newer owner got, and though the number is free again.
    for _ in 0..5 {
        manifests.publish(&mut newer).await.unwrap();
    }
    manifests.gc(&GcOptions::default()).await.unwrap();
    assert!(matches!(manifests.publish(&mut old).await, Err(StorageError::Fenced(_))));
    same.epoch = 2;
    assert!(matches!(manifests.publish(&mut same).await, Err(StorageError::Conflict(_))));
    same.epoch = 3;
    assert!(matches!(manifests.publish(&mut same).await, Err(StorageError::Conflict(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn manifest_of_many_publishers_one_wins_each_round() {
    let (_dir, _store, manifests) = open();
    let mut base = Manifest::empty(1, "all");
    for round in 1..=20 {
        let tasks: Vec<_> = (0..8u64)
            .map(|n| {
                let (manifests, mut mine) = (manifests.clone(), base.clone());
                mine.checkpoint = n;
                tokio::spawn(async move { manifests.publish(&mut mine).await.map(|()| mine) })
            })
            .collect();
        let mut won = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(manifest) => won.push(manifest),
                Err(e) => assert!(matches!(e, StorageError::Conflict(_)), "{e}"),
            }
        }
        assert_eq!(won.len(), 1);
        base = manifests.load_latest().await.unwrap().unwrap();
        assert_eq!((&base, base.version), (&won[0], round));
    }
}

#[tokio::test]
async fn manifest_that_is_damaged_is_never_passed_over() {
    let (dir, store, manifests) = open();
    let mut next = Manifest::empty(1, "node");
    manifests.publish(&mut next).await.unwrap();
    next.segments.push(segment(&store).await);
    manifests.publish(&mut next).await.unwrap();
    let path = manifests.path(2);
    let good = store.get(&path).await.unwrap();
    let refused =
        |e: StorageError| assert!(matches!(&e, StorageError::Corrupt { path: p, .. } if *p == path), "{e}");
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        refused(Manifest::decode(&path, &bad).unwrap_err());
        refused(Manifest::decode(&path, &good[..at]).unwrap_err());
    }
    let longer = [&good[..], b" "].concat();
    let zeros = vec![0; good.len()];
    let first = store.get(&manifests.path(1)).await.unwrap().to_vec();
    for bad in [longer, zeros, first, Vec::new()] {
        std::fs::write(dir.path().join(&path), bad).unwrap();
        refused(manifests.load_latest().await.unwrap_err());
        let before = store.list(SHARD).await.unwrap();
        refused(manifests.gc(&GcOptions::default()).await.unwrap_err());
        assert_eq!(store.list(SHARD).await.unwrap(), before);
    }
}

#[tokio::test]
async fn manifest_purge_leaves_only_the_newest() {
    let (dir, store, manifests) = open();
    let mut next = Manifest::empty(1, "node");
    next.segments.push(segment(&store).await);
    manifests.publish(&mut next).await.unwrap();
    let old = next.segments.remove(0);
    next.segments.push(segment(&store).await);
    manifests.publish(&mut next).await.unwrap();
    assert_eq!(manifests.gc(&GcOptions::default()).await.unwrap(), []);
    let staging = dir.path().join(format!("{SHARD}/seg/dead.parquet#1"));
    std::fs::write(&staging, "x").unwrap();
    let removed = manifests.gc(&GcOptions { purge: true, ..GcOptions::default() }).await.unwrap();
    let paths: BTreeSet<_> = removed.iter().map(|f| f.path.clone()).collect();
    let expected: BTreeSet<_> = old.objects().map(|o| o.path.clone()).chain([manifests.path(1)]).collect();
    assert_eq!(paths, expected);
    let digest = blake3::hash(b"p").to_hex().to_string();
    assert!(removed.iter().any(|f| f.path == old.parquet.path && f.bytes == 1 && f.blake3 == digest));
    assert!(!staging.exists());
    assert_eq!(manifests.delete_shard().await.unwrap().len(), 3);
    assert!(!dir.path().join(SHARD).exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Invariant I-13: whatever is published, half-written and collected, nothing a kept manifest needs goes.
    #[test]
    fn manifest_gc_never_removes_what_is_referred_to(
        steps in prop::collection::vec((0..4u8, any::<usize>(), 1..4usize, any::<bool>()), 1..20)
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (_dir, store, manifests) = open();
            let mut next = Manifest::empty(1, "node");
            let mut history: Vec<Manifest> = Vec::new();
            let mut unpublished = Vec::new();
            for (step, pick, keep, purge) in steps {
                match step {
                    0 => unpublished.push(segment(&store).await),
                    1 => {
                        next.segments.append(&mut unpublished);
                        manifests.publish(&mut next).await.unwrap();
                        history.push(next.clone());
                    }
                    2 if !next.segments.is_empty() => {
                        next.segments.remove(pick % next.segments.len());
                        manifests.publish(&mut next).await.unwrap();
                        history.push(next.clone());
                    }
                    _ => {
                        let ids = unpublished.iter().map(|s| s.id.clone()).collect();
                        manifests.gc(&GcOptions { keep, purge, unpublished: ids }).await.unwrap();
                        let kept = history.iter().rev().take(if purge { 1 } else { keep });
                        let mut needed: BTreeSet<String> =
                            kept.clone().flat_map(|m| m.objects().map(str::to_owned)).collect();
                        needed.extend(unpublished.iter().flat_map(|s| s.objects().map(|o| o.path.clone())));
                        let there = store.list(SHARD).await.unwrap().into_iter().map(|o| o.path);
                        let (manifest_files, objects): (BTreeSet<_>, BTreeSet<_>) =
                            there.partition(|p| p.ends_with(".manifest"));
                        assert_eq!(objects, needed);
                        history.drain(..history.len().saturating_sub(if purge { 1 } else { keep }));
                        assert_eq!(manifest_files.len(), history.len());
                    }
                }
            }
        });
    }
}
