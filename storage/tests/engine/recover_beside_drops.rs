//! Recoveries beside drops: what was dropped meanwhile does not come back.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use engram_storage::engine::{DefinitionCheck, RecoverTarget, SnapshotSource};
use engram_storage::schema::{CollectionSchema, DEFAULT_TENANT};
use engram_storage::snapshot::Upload;
use engram_storage::{ErrorKind, StorageError};
use tokio::task::JoinHandle;

use super::Fixture;
use super::snapshots::{filled, listed, recover, target, upload};

type Recovering = JoinHandle<Result<Arc<CollectionSchema>, StorageError>>;

/// A recovery that stands still, with its snapshot open, until something is sent.
async fn paused(
    fixture: &Fixture,
    source: SnapshotSource,
    target: RecoverTarget,
) -> (Recovering, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let (arrived, mut arrival) = tokio::sync::mpsc::unbounded_channel();
    let check: DefinitionCheck = Box::new(move |_| {
        arrived.send(()).unwrap();
        wait.recv().unwrap();
        Ok(())
    });
    let engine = fixture.engine.clone();
    let work = async move { engine.recover_snapshot(source, target, check).await.map(|(schema, _)| schema) };
    let recovering = tokio::spawn(work);
    arrival.recv().await.unwrap();
    (recovering, go)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tenant_that_is_dropped_takes_its_recoveries_with_it() {
    let fixture = filled().await;
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    let acme = fixture.engine.create_tenant("acme").await.unwrap().id;
    let (parts, received) = tokio::sync::mpsc::channel(1);
    let (source, engine) = (SnapshotSource::Upload(Upload::new(received)), fixture.engine.clone());
    let target = RecoverTarget { tenant: acme, ..target("r", false) };
    let recovering = tokio::spawn(async move { recover(&engine, source, target).await });
    for part in bytes[..bytes.len() - 100].chunks(1 << 12) {
        parts.send(Ok(Bytes::copy_from_slice(part))).await.unwrap();
    }
    assert_eq!(fixture.on_disk().len(), 2, "part of it is on the disk");
    assert!(fixture.engine.drop_tenant("acme").await.unwrap());
    assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]));
    recovering.await.unwrap().unwrap_err();
    assert!(fixture.engine.collections(acme).is_empty());
    let fixture = fixture.reopen().await;
    assert!(fixture.engine.collections(acme).is_empty());
    let again = RecoverTarget { tenant: acme, ..super::snapshots::target("r", false) };
    let e = recover(&fixture.engine, upload(&bytes, 1 << 16), again).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_collection_that_is_dropped_does_not_come_back_from_its_own_snapshot() {
    for (name, replace) in [("copy", false), ("c", true)] {
        let fixture = filled().await;
        let info = fixture.snapshot().await;
        let (recovering, go) = paused(&fixture, listed(&info.name), target(name, replace)).await;
        assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
        go.send(()).unwrap();
        let e = recovering.await.unwrap().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
        assert!(fixture.engine.collections(DEFAULT_TENANT).is_empty());
        assert_eq!(fixture.on_disk(), BTreeSet::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_recovery_replaces_what_was_there_when_it_began_and_nothing_else() {
    let fixture = filled().await;
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    let source = || upload(&bytes, 1 << 16);
    let (recovering, go) = paused(&fixture, source(), target("c", true)).await;
    assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    go.send(()).unwrap();
    let e = recovering.await.unwrap().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(fixture.engine.collections(DEFAULT_TENANT).is_empty());

    // One that came meanwhile holds writes that nobody asked to have replaced.
    let (recovering, go) = paused(&fixture, source(), target("c", true)).await;
    let there = recover(&fixture.engine, source(), target("c", false)).await.unwrap();
    go.send(()).unwrap();
    let e = recovering.await.unwrap().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert_eq!(fixture.engine.collection(DEFAULT_TENANT, "c").unwrap().id, there.id);
    assert_eq!(fixture.on_disk(), BTreeSet::from([there.id.to_string()]));
}
