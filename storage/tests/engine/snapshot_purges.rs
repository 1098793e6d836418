//! Purges and snapshots: what was erased is in none, and comes back from none.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use engram_storage::engine::SnapshotSource;
use engram_storage::op::Op;
use engram_storage::point::PointId;
use engram_storage::schema::DEFAULT_TENANT;
use engram_storage::snapshot::{SnapshotError, Upload};
use engram_storage::{ErrorKind, StorageError};

use super::snapshots::{CANARY, listed, recover, shard_of, target, upload};
use super::{DAY, Fixture, NOW, batch, files_with, point, upserts};

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
