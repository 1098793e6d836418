//! Purges that fail: they stay unfinished, go on where they stopped, and are complete once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engram_storage::StorageError;
use engram_storage::catalog::{Receipt, verify_chain};
use engram_storage::engine::{NewCollection, PurgeRequest};
use engram_storage::op::Op;
use engram_storage::schema::{CollectionSchema, DEFAULT_TENANT, RegionName};
use engram_storage::snapshot::SnapshotError;

use super::snapshots::{CANARY, recover, shard_of, target, upload};
use super::{DAY, Fixture, NOW, all, batch, files_with, point, until_some, upserts};

const OLD: i64 = NOW - 100 * DAY;

/// A directory that takes no files until it is given back.
struct Blocked {
    dir: PathBuf,
    aside: PathBuf,
}

impl Blocked {
    fn new(dir: PathBuf) -> Self {
        let aside = dir.with_extension("aside");
        std::fs::rename(&dir, &aside).unwrap();
        std::fs::write(&dir, b"no directory").unwrap();
        Self { dir, aside }
    }

    fn give_back(self) {
        std::fs::remove_file(&self.dir).unwrap();
        std::fs::rename(&self.aside, &self.dir).unwrap();
    }
}

fn request(collection: Option<&str>) -> PurgeRequest {
    PurgeRequest {
        tenant: DEFAULT_TENANT,
        collection: collection.map(str::to_owned),
        region: None,
        created_before: Some(NOW - 90 * DAY),
    }
}

impl Fixture {
    fn objects_of(&self, region: &str) -> PathBuf {
        self.dir.path().join("objects").join(self.key(region).path())
    }

    /// 20 points that are due and 80 others in one segment of `eu`.
    async fn planted() -> Self {
        let fixture = Self::new().await;
        let shard = fixture.shard().await;
        shard.write(batch((0..20).map(|id| Op::Upsert(point(id, CANARY, OLD)))), true).await.unwrap();
        shard.write(upserts(100..180, "kept"), true).await.unwrap();
        shard.flush().await.unwrap();
        fixture
    }

    /// A purge that could hide the points, but not write the segment anew.
    async fn failed(&self) -> (Receipt, Blocked) {
        let blocked = Blocked::new(self.objects_of("eu").join("seg"));
        self.engine.purge(&request(None)).await.unwrap_err();
        let receipt = self.only_receipt().await;
        assert_eq!((receipt.state.as_str(), receipt.points_erased), ("failed", 20));
        assert!(!receipt.error.is_empty() && receipt.hash.is_empty() && receipt.erased_at_ms == 0);
        assert!(!files_with(self.dir.path(), CANARY.as_bytes()).is_empty(), "the control finds nothing");
        (receipt, blocked)
    }

    async fn only_receipt(&self) -> Receipt {
        let receipts = self.engine.receipts(DEFAULT_TENANT, 10).await.unwrap();
        verify_chain(&receipts).unwrap();
        let [receipt] = receipts.try_into().unwrap();
        receipt
    }

    /// Another collection like `c`, with 20 points that are due.
    async fn another(&self, name: &str) -> Arc<CollectionSchema> {
        let new = NewCollection {
            tenant: DEFAULT_TENANT,
            name: name.into(),
            vectors: self.schema.vectors.clone(),
            payload_indexes: vec![],
            regions: self.schema.regions.clone(),
            default_region: self.schema.default_region.clone(),
            shards_per_region: 1,
            retention: vec![],
            metadata: Default::default(),
            client_options: Default::default(),
        };
        let schema = self.engine.create_collection(new, false).await.unwrap();
        let shard = shard_of(&self.engine, &schema, "eu").await;
        shard.write(batch((0..20).map(|id| Op::Upsert(point(id, CANARY, OLD)))), true).await.unwrap();
        schema
    }

    /// A point that came after the purge and is older than its limit.
    async fn write_late(&self, region: &str) {
        let shard = shard_of(&self.engine, &self.schema, region).await;
        shard.write(batch([Op::Upsert(point(500, "late", OLD))]), true).await.unwrap();
    }
}

fn assert_complete(receipt: &Receipt, failed: &Receipt, (shards, after): (u64, u64), dir: &Path) {
    assert_eq!((receipt.state.as_str(), receipt.error.as_str()), ("complete", ""));
    assert_eq!(receipt.id, failed.id);
    let counts = (receipt.shards, receipt.points_before, receipt.points_erased, receipt.points_after);
    assert_eq!(counts, (shards, 100, 20, after), "late points are there after it");
    assert_eq!(receipt.hash, receipt.computed_hash().unwrap());
    assert!(!receipt.removed.is_empty() && receipt.hidden_shards.is_empty());
    assert_eq!(receipt.invisible_at_ms, failed.invisible_at_ms);
    assert!(receipt.invisible_at_ms < receipt.erased_at_ms);
    assert_eq!(files_with(dir, CANARY.as_bytes()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_purge_is_completed_once_by_a_retry_and_takes_nothing_later() {
    let fixture = Fixture::planted().await;
    let (failed, blocked) = fixture.failed().await;
    fixture.write_late("eu").await;
    // Nothing was ever written to this shard before.
    fixture.write_late("us").await;
    fixture.clock.advance(1_000);
    fixture.engine.retry_failed_purges().await.unwrap();
    let again = fixture.only_receipt().await;
    assert_eq!((again.state.as_str(), again.points_erased, again.points_before), ("failed", 20, 100));
    assert!(!again.error.is_empty());

    blocked.give_back();
    fixture.engine.retry_failed_purges().await.unwrap();
    let receipt = fixture.only_receipt().await;
    assert_complete(&receipt, &failed, (2, 82), fixture.dir.path());
    for region in ["eu", "us"] {
        let shard = shard_of(&fixture.engine, &fixture.schema, region).await;
        assert!(all(&shard).contains(&(500, "late".to_owned())));
    }

    // Nothing is left to do, neither for the job nor for whoever accepted it.
    fixture.clock.advance(1_000);
    fixture.engine.retry_failed_purges().await.unwrap();
    assert_eq!(fixture.engine.run_purge(failed).await.unwrap(), receipt);
    assert_eq!(fixture.only_receipt().await, receipt);
    let next = fixture.engine.purge(&request(None)).await.unwrap();
    assert_eq!((next.previous_hash, next.points_erased), (receipt.hash, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_purge_is_completed_by_the_next_start() {
    let fixture = Fixture::planted().await;
    let (failed, blocked) = fixture.failed().await;
    fixture.write_late("eu").await;
    blocked.give_back();
    fixture.clock.advance(1_000);
    let fixture = fixture.reopen().await;
    let complete = until_some("the purge to be complete", Duration::from_secs(60), || async {
        let receipt = fixture.only_receipt().await;
        Ok((receipt.state == "complete").then_some(receipt))
    });
    let receipt = complete.await.unwrap();
    assert_complete(&receipt, &failed, (1, 81), fixture.dir.path());
    assert_eq!(all(&*fixture.shard().await).len(), 81);
}

/// One shard that cannot be reached keeps no other from its erasure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_reaches_the_shards_that_the_first_attempt_did_not() {
    let fixture = Fixture::planted().await;
    let us = shard_of(&fixture.engine, &fixture.schema, "us").await;
    us.write(batch((0..5).map(|id| Op::Upsert(point(id, CANARY, OLD)))), true).await.unwrap();
    us.flush().await.unwrap();
    drop(us);
    let fixture = fixture.reopen().await;
    let manifests: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(fixture.objects_of("eu").join("manifest"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    manifests.iter().for_each(|(path, _)| std::fs::write(path, b"damaged").unwrap());
    fixture.engine.purge(&request(None)).await.unwrap_err();
    let failed = fixture.only_receipt().await;
    assert_eq!((failed.state.as_str(), failed.points_erased, failed.invisible_at_ms), ("failed", 5, 0));
    fixture.write_late("us").await;
    manifests.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    fixture.engine.retry_failed_purges().await.unwrap();
    let receipt = fixture.only_receipt().await;
    let counts = (receipt.shards, receipt.points_before, receipt.points_erased, receipt.points_after);
    assert_eq!((receipt.state.as_str(), counts), ("complete", (2, 105, 25, 81)));
    assert_eq!(all(&*shard_of(&fixture.engine, &fixture.schema, "us").await), [(500, "late".to_owned())]);
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
}

/// A snapshot that was made before the bytes were gone may hold them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_has_not_seen_a_purge_that_failed() {
    let fixture = Fixture::planted().await;
    let (failed, blocked) = fixture.failed().await;
    blocked.give_back();
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    for complete in [false, true] {
        if complete {
            fixture.engine.retry_failed_purges().await.unwrap();
            assert_eq!(fixture.names().await, Vec::<String>::new());
        }
        let e = recover(&fixture.engine, upload(&bytes, 1 << 16), target("r", false)).await.unwrap_err();
        assert!(matches!(&e, StorageError::Snapshot(SnapshotError::Purged(id)) if *id == failed.id), "{e}");
    }
    assert_eq!(files_with(fixture.dir.path(), CANARY.as_bytes()), Vec::<String>::new());
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    recover(&fixture.engine, upload(&bytes, 1 << 16), target("r", false)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_names_the_collection_and_not_its_alias() {
    let fixture = Fixture::planted().await;
    fixture.engine.set_alias(DEFAULT_TENANT, "alias", "c").await.unwrap();
    let receipt = fixture.engine.purge(&request(Some("alias"))).await.unwrap();
    assert_eq!((receipt.collection.as_str(), receipt.points_erased), ("c", 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_purges_of_one_collection_keep_no_other_from_its_erasure() {
    let fixture = Fixture::planted().await;
    fixture.another("d").await;
    let blocked = Blocked::new(fixture.objects_of("eu").join("seg"));
    for n in 0..40 {
        let e = fixture.engine.purge(&request(Some("c"))).await.unwrap_err();
        assert_ne!(e.kind(), engram_storage::ErrorKind::Exhausted, "purge {n}: {e}");
    }
    let receipt = fixture.engine.purge(&request(Some("d"))).await.unwrap();
    assert_eq!((receipt.state.as_str(), receipt.points_erased), ("complete", 20));

    // Also after a restart, which tries all of them again.
    let fixture = fixture.reopen().await;
    fixture.engine.purge(&request(Some("d"))).await.unwrap();
    let failed = fixture.engine.receipts(DEFAULT_TENANT, 100).await.unwrap();
    assert_eq!(failed.iter().filter(|receipt| !receipt.is_complete()).count(), 40);

    // What they failed at is gone with the collection.
    blocked.give_back();
    assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    let complete = until_some("the failed purges to be complete", Duration::from_secs(60), || async {
        let receipts = fixture.engine.receipts(DEFAULT_TENANT, 100).await?;
        Ok(receipts.iter().all(Receipt::is_complete).then_some(receipts.len()))
    });
    assert_eq!(complete.await.unwrap(), 42);
}

/// What the retention job asks before it accepts another purge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_purge_by_rules_enforces_them_until_it_is_complete() {
    let fixture = Fixture::planted().await;
    let other = fixture.another("d").await;
    let blocked = Blocked::new(fixture.objects_of("eu").join("seg"));
    fixture.engine.purge(&request(Some("c"))).await.unwrap_err();
    let by_rules = PurgeRequest { created_before: None, ..request(Some("c")) };
    let eu = RegionName::try_from("eu").unwrap();
    fixture.engine.purge(&PurgeRequest { region: Some(eu), ..by_rules.clone() }).await.unwrap_err();
    assert!(!fixture.engine.is_enforcing(&fixture.schema), "neither is by rules in all regions");
    fixture.engine.purge(&by_rules).await.unwrap_err();
    assert!(fixture.engine.is_enforcing(&fixture.schema));
    assert!(!fixture.engine.is_enforcing(&other));
    blocked.give_back();
    fixture.engine.retry_failed_purges().await.unwrap();
    assert!(!fixture.engine.is_enforcing(&fixture.schema));
}

/// A broken collection keeps the snapshots of no other, and what is hidden is not downloaded either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_that_fails_elsewhere_removes_snapshots_and_ends_downloads() {
    let fixture = Fixture::planted().await;
    let engine = &fixture.engine;
    fixture.another("d").await;
    let kept = fixture.snapshot().await.name;
    let removed = engine.create_snapshot(DEFAULT_TENANT, "d").await.unwrap().name;
    let (_, download) = engine.open_snapshot(DEFAULT_TENANT, "c", &kept).await.unwrap();
    assert_eq!(download.next(64).await.unwrap().len(), 64);
    let blocked = Blocked::new(fixture.objects_of("eu").join("seg"));
    engine.purge(&request(None)).await.unwrap_err();
    let failed = fixture.only_receipt().await;
    assert_eq!((failed.state.as_str(), failed.points_erased), ("failed", 40));
    assert_eq!(engine.snapshots(DEFAULT_TENANT, "d").await.unwrap().len(), 0);
    assert!(failed.removed.iter().any(|file| file.path.ends_with(&removed)));

    // The snapshot of the broken one is there, and nobody gets at it.
    assert_eq!(fixture.names().await, std::slice::from_ref(&kept));
    let e = download.next(64).await.unwrap_err();
    assert_eq!(e.kind(), engram_storage::ErrorKind::NotFound, "{e}");
    let Err(e) = engine.open_snapshot(DEFAULT_TENANT, "c", &kept).await else { panic!("it is shown") };
    assert!(matches!(&e, StorageError::Snapshot(SnapshotError::Purged(id)) if *id == failed.id), "{e}");
    blocked.give_back();
    engine.retry_failed_purges().await.unwrap();
    assert_eq!(fixture.only_receipt().await.state, "complete");
    assert_eq!(fixture.names().await, Vec::<String>::new());
    let later = fixture.snapshot().await.name;
    engine.open_snapshot(DEFAULT_TENANT, "c", &later).await.unwrap();
}
