//! The two steps of a purge: first everything becomes invisible, then the files are rewritten.

use std::sync::Arc;

use super::Engine;
use super::purge::{PurgeRequest, Target, targets};
use crate::catalog::Receipt;
use crate::error::{Result, StorageError};
use crate::schema::{CollectionSchema, RegionName, ShardKey, TenantId};
use crate::shard::{EraseReport, Shard};

impl Engine {
    /// Makes the points invisible in every shard, and stores where that is done: once done it is never done again, since
    /// it would take what was written after the purge. One shard's failure does not keep the others from it.
    pub(super) async fn hide_all(&self, receipt: &mut Receipt) -> Result<()> {
        let now = self.clock().now_ms();
        let (mut failure, hidden_before) = (None, receipt.hidden_shards.len());
        for target in targets(&self.purged_collections(receipt), &request_of(receipt)?, now) {
            if let Err(e) = self.hide(&target, now, receipt).await {
                failure = failure.or(Some(e));
            }
        }
        if let Some(e) = failure {
            return Err(e);
        }
        if receipt.invisible_at_ms == 0 {
            receipt.invisible_at_ms = self.clock().now_ms();
        }
        if receipt.hidden_shards.len() > hidden_before {
            self.catalog.put_receipt(receipt.clone()).await?;
        }
        Ok(())
    }

    async fn hide(&self, target: &Target, now: i64, receipt: &mut Receipt) -> Result<()> {
        let name = target.key.to_string();
        if receipt.hidden_shards.contains(&name) {
            return Ok(());
        }
        if let Some(shard) = self.purged_shard(&target.key).await? {
            let (before, erased) = shard.delete_older(target.created_before, now).await?;
            receipt.points_before += before;
            receipt.points_erased += erased;
        }
        // Also one that does not exist yet: whatever comes into it is later.
        receipt.hidden_shards.insert(name);
        Ok(())
    }

    /// Rewrites the files of every shard in which the points are hidden, and removes snapshots that hold them. The caller
    /// has closed the tenant's gate.
    pub(super) async fn erase_all(&self, receipt: &mut Receipt) -> Result<()> {
        let schemas = self.purged_collections(receipt);
        let mut failure = None;
        for key in schemas.iter().flat_map(|schema| schema.shards()) {
            // One of a region that was added since holds nothing that was there when the purge was accepted.
            if !receipt.hidden_shards.contains(&key.to_string()) {
                continue;
            }
            match self.scrub(&key).await {
                Ok(None) => {}
                Ok(Some(report)) => count(receipt, report),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        if let Some(e) = failure {
            return Err(e);
        }
        for schema in &schemas {
            self.purge_snapshots(schema, receipt).await?;
        }
        // What could not be removed of a dropped collection, or of a recovery that failed, may hold anything.
        for dropped in self.catalog.dropped().await?.iter().filter(|c| c.tenant.0 == receipt.tenant) {
            self.remove_files(dropped).await?;
        }
        Ok(())
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
