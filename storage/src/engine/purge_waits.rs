//! Checks of what purges wait for, with the locks themselves in hand.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Engine, EngineOptions, EngineParts, NewCollection, PurgeRequest};
use crate::catalog::Receipt;
use crate::catalog::redb::RedbCatalog;
use crate::error::ErrorKind;
use crate::log::file::{FileLogOptions, FileLogProvider};
use crate::object::DurableStore;
use crate::op::{ConditionalOp, Op, OpBatch};
use crate::point::{Point, PointId};
use crate::schema::{CollectionSchema, DEFAULT_TENANT, RegionName, TenantId};
use crate::shard::Shard;
use crate::{Clock, ManualClock};

const NOW: i64 = 1_800_000_000_000;
const OLD: i64 = NOW - 1_000_000;

async fn open(dir: &TempDir) -> Arc<Engine> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let path = dir.path().join("catalog.redb");
    // The file is free once the last user of an engine before this one is gone.
    let catalog = loop {
        match RedbCatalog::open(&path).await {
            Ok(catalog) => break catalog,
            Err(e) => assert_eq!(e.kind(), ErrorKind::Fenced, "{e}"),
        }
        tokio::task::yield_now().await;
    };
    let logs = FileLogProvider::new(dir.path().join("log"), clock.clone(), FileLogOptions::default());
    let store = DurableStore::local(&dir.path().join("objects")).unwrap();
    let parts = EngineParts { catalog, logs: Arc::new(logs), store, clock };
    Engine::open(parts, EngineOptions::default()).await.unwrap()
}

/// A collection with ten old points and ten new ones.
async fn planted(engine: &Engine, tenant: TenantId) -> Arc<Shard> {
    let eu = RegionName::try_from("eu").unwrap();
    let new = NewCollection {
        tenant,
        name: "c".into(),
        vectors: vec![],
        payload_indexes: vec![],
        regions: vec![eu.clone()],
        default_region: eu,
        shards_per_region: 1,
        retention: vec![],
        metadata: Default::default(),
        client_options: Default::default(),
    };
    let schema = engine.create_collection(new, false).await.unwrap();
    let shard = shard_of(engine, &schema).await;
    write(&shard, 0..10, OLD).await;
    write(&shard, 10..20, NOW).await;
    shard
}

async fn shard_of(engine: &Engine, schema: &CollectionSchema) -> Arc<Shard> {
    engine.shard(&schema.shard(&schema.default_region, 0)).await.unwrap()
}

async fn write(shard: &Arc<Shard>, ids: std::ops::Range<u64>, created_at: i64) {
    let op = |id| {
        Op::Upsert(Point {
            id: PointId::Num(id),
            vectors: vec![],
            payload: bytes::Bytes::from_static(b"{}"),
            created_at,
            ingested_at: NOW,
            expires_at: None,
            version: 0,
        })
    };
    let ops = ids.map(|id| ConditionalOp { op: op(id), if_version: None }).collect();
    shard.write(OpBatch { ops, idempotency: None }, true).await.unwrap();
}

fn request(tenant: TenantId) -> PurgeRequest {
    PurgeRequest { tenant, collection: None, region: None, created_before: Some(NOW) }
}

fn spawn(engine: &Arc<Engine>, receipt: Receipt) -> tokio::task::JoinHandle<Receipt> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.run_purge(receipt).await.unwrap() })
}

/// Until the stored receipt says that the points are hidden.
async fn hidden(engine: &Engine, receipt: &Receipt) -> Receipt {
    loop {
        let stored = engine.receipt(TenantId(receipt.tenant), &receipt.id).await.unwrap().unwrap();
        if !stored.hidden_shards.is_empty() {
            return stored;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_purge_has_hidden_its_points_and_holds_up_no_other_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir).await;
    let other = engine.create_tenant("other").await.unwrap().id;
    let (mine, theirs) = (planted(&engine, DEFAULT_TENANT).await, planted(&engine, other).await);
    // Another purge of the tenant is at its files.
    let at_work = engine.purges.place(DEFAULT_TENANT, "at work");
    let files = at_work.erasing.lock().await;
    let accepted = engine.accept_purge(&request(DEFAULT_TENANT)).await.unwrap();
    let waiting = spawn(&engine, accepted.clone());
    let stored = hidden(&engine, &accepted).await;
    assert_eq!((stored.state.as_str(), stored.points_erased, stored.erased_at_ms), ("running", 10, 0));
    assert_eq!((mine.points_shown(None, NOW), waiting.is_finished()), (10, false));
    // Later than the purge, however old it says it is.
    write(&mine, 30..31, OLD).await;

    let receipt = engine.purge(&request(other)).await.unwrap();
    assert_eq!((receipt.state.as_str(), receipt.points_erased), ("complete", 10));
    assert_eq!(theirs.points_shown(None, NOW), 10);
    assert!(!waiting.is_finished());
    drop(files);
    let receipt = waiting.await.unwrap();
    assert_eq!((receipt.state.as_str(), receipt.points_erased, receipt.points_after), ("complete", 10, 11));
    assert_eq!(mine.points_shown(None, NOW), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_that_are_not_complete_are_bounded_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir).await;
    let other = engine.create_tenant("other").await.unwrap().id;
    planted(&engine, DEFAULT_TENANT).await;
    planted(&engine, other).await;
    let mut last = None;
    let refused = loop {
        match engine.accept_purge(&request(DEFAULT_TENANT)).await {
            Ok(receipt) => last = Some(receipt),
            Err(e) => break e,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert!(refused.to_string().contains("wait until some are complete"), "{refused}");
    engine.accept_purge(&request(other)).await.unwrap();
    // One that is complete makes room for one.
    engine.run_purge(last.unwrap()).await.unwrap();
    engine.accept_purge(&request(DEFAULT_TENANT)).await.unwrap();
    assert_eq!(engine.accept_purge(&request(DEFAULT_TENANT)).await.unwrap_err().kind(), ErrorKind::Exhausted);
    engine.shutdown().await;
    drop(engine);

    // All are finished by the next start.
    let engine = open(&dir).await;
    loop {
        let receipts = engine.receipts(DEFAULT_TENANT, usize::MAX).await.unwrap();
        assert!(receipts.len() > 10, "all are there");
        if receipts.iter().all(Receipt::is_complete) {
            break;
        }
        tokio::task::yield_now().await;
    }
    engine.purge(&request(DEFAULT_TENANT)).await.unwrap();
}
