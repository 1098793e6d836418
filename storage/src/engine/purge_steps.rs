//! The two steps of a purge: first everything becomes invisible, then the files are rewritten.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::purge::{PurgeRequest, Target, targets};
use crate::catalog::Receipt;
use crate::error::{Result, StorageError};
use crate::schema::{CollectionId, CollectionSchema, RegionName, ShardKey, TenantId};
use crate::shard::{EraseReport, Shard};

/// What went wrong in an attempt, which goes on with the rest.
#[derive(Default)]
pub(super) struct Failures {
    pub first: Option<StorageError>,
    /// Where; empty for what no collection is to blame for.
    pub collections: BTreeSet<CollectionId>,
}

impl Failures {
    pub fn any(&self) -> bool {
        self.first.is_some()
    }

    pub fn into_result(self) -> Result<()> {
        self.first.map_or(Ok(()), Err)
    }

    fn note(&mut self, collection: Option<CollectionId>, e: StorageError) {
        self.collections.extend(collection);
        self.first.get_or_insert(e);
    }
}

impl Engine {
    /// Makes the points invisible in every shard, and stores where that is done: once done it is never done again, since
    /// it would take what was written after the purge. One shard's failure does not keep the others from it.
    pub(super) async fn hide_all(&self, receipt: &mut Receipt) -> Failures {
        let now = self.clock().now_ms();
        let (mut failures, hidden_before) = (Failures::default(), receipt.hidden_shards.len());
        let request = match request_of(receipt) {
            Ok(request) => request,
            Err(e) => {
                failures.note(None, e);
                return failures;
            }
        };
        let (schemas, mut hiding) = (self.purged_collections(receipt), BTreeSet::new());
        for target in targets(&schemas, &request, now) {
            match self.hide(&target, now, receipt).await {
                Ok(0) => {}
                Ok(_) => drop(hiding.insert(target.key.collection)),
                Err(e) => failures.note(Some(target.key.collection), e),
            }
        }
        // Nor does a download show them any more; others are refused from the receipt on.
        for schema in schemas.iter().filter(|schema| hiding.contains(&schema.id)) {
            if let Err(e) = self.end_downloads(schema, &[]).await {
                failures.note(Some(schema.id), e);
            }
        }
        // What failed is stored with the failure.
        if failures.any() {
            return failures;
        }
        if receipt.invisible_at_ms == 0 {
            receipt.invisible_at_ms = self.clock().now_ms();
        }
        if receipt.hidden_shards.len() > hidden_before
            && let Err(e) = self.catalog.put_receipt(receipt.clone()).await
        {
            failures.note(None, e);
        }
        failures
    }

    /// Gives back how many points it hid.
    async fn hide(&self, target: &Target, now: i64, receipt: &mut Receipt) -> Result<u64> {
        let name = target.key.to_string();
        if receipt.hidden_shards.contains(&name) {
            return Ok(0);
        }
        let mut hidden = 0;
        if let Some(shard) = self.purged_shard(&target.key).await? {
            let (before, erased) = shard.delete_older(target.created_before, now).await?;
            receipt.points_before += before;
            receipt.points_erased += erased;
            hidden = erased;
        }
        // Also one that does not exist yet: whatever comes into it is later.
        receipt.hidden_shards.insert(name);
        Ok(hidden)
    }

    /// Rewrites the files of every shard in which the points are hidden, and removes snapshots that hold them, but for
    /// those of collections with a failed shard, which cannot tell. The caller has closed the tenant's gate.
    pub(super) async fn erase_all(&self, receipt: &mut Receipt, failures: &mut Failures) {
        let schemas = self.purged_collections(receipt);
        for key in schemas.iter().flat_map(|schema| schema.shards()) {
            // One of a region that was added since holds nothing that was there when the purge was accepted.
            if !receipt.hidden_shards.contains(&key.to_string()) {
                continue;
            }
            match self.scrub(&key).await {
                Ok(None) => {}
                Ok(Some(report)) => count(receipt, report),
                Err(e) => failures.note(Some(key.collection), e),
            }
        }
        for schema in &schemas {
            if !failures.collections.contains(&schema.id)
                && let Err(e) = self.purge_snapshots(schema, receipt).await
            {
                failures.note(Some(schema.id), e);
            }
        }
        // What could not be removed of a dropped collection, or of a recovery that failed, may hold anything.
        let dropped = match self.catalog.dropped().await {
            Ok(dropped) => dropped,
            Err(e) => return failures.note(None, e),
        };
        for dropped in dropped.iter().filter(|c| c.tenant.0 == receipt.tenant) {
            if let Err(e) = self.remove_files(dropped).await {
                failures.note(None, e);
            }
        }
    }

    /// Rewrites one shard. Purges of all tenants take turns, shard by shard, so that a large one holds up no small one.
    async fn scrub(&self, key: &ShardKey) -> Result<Option<EraseReport>> {
        let _turn = self.scrubbing.acquire().await;
        let Some(shard) = self.purged_shard(key).await? else { return Ok(None) };
        match shard.scrub().await {
            Ok(report) => Ok(Some(report)),
            Err(_) if self.collection_by_id(key.collection).is_none() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The collections of a receipt that are still there: one that was dropped meanwhile has no bytes left.
    fn purged_collections(&self, receipt: &Receipt) -> Vec<Arc<CollectionSchema>> {
        receipt.collection_ids.iter().filter_map(|id| self.collection_by_id(*id)).collect()
    }

    /// A shard with anything in it, of a collection that was not dropped meanwhile.
    async fn purged_shard(&self, key: &ShardKey) -> Result<Option<Arc<Shard>>> {
        match self.existing_shard(key).await {
            Err(_) if self.collection_by_id(key.collection).is_none() => Ok(None),
            found => found,
        }
    }
}

fn count(receipt: &mut Receipt, report: EraseReport) {
    receipt.shards += 1;
    receipt.points_after += report.points_after;
    receipt.created.extend(report.created);
    receipt.removed.extend(report.removed);
    receipt.log_bytes_removed += report.log_bytes_removed;
}

fn request_of(receipt: &Receipt) -> Result<PurgeRequest> {
    let region = match receipt.region.as_str() {
        "" => None,
        name => Some(RegionName::try_from(name).map_err(StorageError::Internal)?),
    };
    Ok(PurgeRequest {
        tenant: TenantId(receipt.tenant),
        collection: (!receipt.collection.is_empty()).then(|| receipt.collection.clone()),
        region,
        created_before: (!receipt.by_rules).then_some(receipt.cutoff_ms),
    })
}
