//! Erasure over collections and regions, with a receipt for each run.

use std::sync::Arc;

use uuid::Uuid;

use super::Engine;
use crate::catalog::Receipt;
use crate::error::{Result, StorageError};
use crate::schema::{CollectionId, CollectionSchema, RegionName, ShardKey, TenantId};
use crate::shard::{EraseReport, Shard};

/// What to erase.
#[derive(Clone, Debug, PartialEq)]
pub struct PurgeRequest {
    /// Whose points.
    pub tenant: TenantId,
    /// One collection, or all.
    pub collection: Option<String>,
    /// One region, or all.
    pub region: Option<RegionName>,
    /// Points created before this time go; without it those that a retention rule or their expiry names.
    pub created_before: Option<i64>,
}

/// What a purge would reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgePlan {
    /// Collections visited.
    pub collections: u64,
    /// Shards visited.
    pub shards: u64,
    /// Points that would go.
    pub points: u64,
    /// Segments that would be rewritten or dropped.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A shard a purge visits, with its own age limit.
struct Target {
    key: ShardKey,
    created_before: i64,
}

impl Engine {
    /// Counts what a purge would reach; changes nothing.
    ///
    /// # Errors
    /// `NotFound`, and those of opening a shard.
    pub async fn plan_purge(&self, request: &PurgeRequest) -> Result<PurgePlan> {
        let now = self.clock().now_ms();
        let schemas = self.purge_collections(request)?;
        let mut plan = PurgePlan { collections: schemas.len() as u64, ..PurgePlan::default() };
        for target in targets(&schemas, request, now) {
            if let Some(shard) = self.existing_shard(&target.key).await? {
                let part = shard.plan_erase(target.created_before, now);
                plan.shards += 1;
                plan.points += part.points;
                plan.segments += part.segments;
                plan.bytes += part.bytes;
            }
        }
        Ok(plan)
    }

    /// Records the intent, durably. [`Engine::run_purge`] does the work; an interrupted one is resumed at start.
    ///
    /// # Errors
    /// `NotFound`, and those of the catalog.
    pub async fn accept_purge(&self, request: &PurgeRequest) -> Result<Receipt> {
        // With it held no recovery brings in a collection that this would miss.
        let _defining = self.defining.lock().await;
        let collections = self.purge_collections(request)?;
        let now = self.clock().now_ms();
        // Keys see receipts by the name of the collection: an alias would show them to those of another.
        let named = request.collection.is_some().then(|| collections.first()).flatten();
        let receipt = Receipt {
            id: Uuid::now_v7().to_string(),
            tenant: request.tenant.0,
            collection: named.map(|schema| schema.name.clone()).unwrap_or_default(),
            collection_ids: collections.iter().map(|schema| schema.id).collect(),
            lineage: lineage(&collections),
            region: request.region.as_ref().map(ToString::to_string).unwrap_or_default(),
            cutoff_ms: request.created_before.unwrap_or(0),
            by_rules: request.created_before.is_none(),
            state: Receipt::RUNNING.into(),
            accepted_at_ms: now,
            server_version: self.options.server_version.clone(),
            ..Receipt::default()
        };
        self.catalog.put_receipt(receipt).await
    }

    /// Erases what an accepted purge names and completes its receipt: when it returns, no live file holds the bytes. A
    /// complete one is answered as it is, one that failed goes on where it stopped.
    ///
    /// # Errors
    /// Those of the shards; the receipt then says `failed` with the reason, and [`Engine::retry_failed_purges`] and the
    /// next start try again.
    pub async fn run_purge(&self, accepted: Receipt) -> Result<Receipt> {
        let _purging = self.purging.lock().await;
        // Meanwhile another attempt may have completed it, or hidden points whose place holds later ones now.
        let mut receipt = self.as_stored(accepted).await?;
        if receipt.is_final() {
            return Ok(receipt);
        }
        let _closed = self.gates.close(TenantId(receipt.tenant)).await;
        begin(&mut receipt);
        match self.erase_all(&mut receipt).await {
            Ok(()) => {
                receipt.state = Receipt::COMPLETE.into();
                receipt.error.clear();
                receipt.hidden_shards.clear();
                receipt.erased_at_ms = self.clock().now_ms();
                self.catalog.put_receipt(receipt).await
            }
            Err(e) => {
                if !self.is_stopped() {
                    receipt.state = Receipt::FAILED.into();
                    receipt.error = e.to_string();
                }
                let id = receipt.id.clone();
                if let Err(unstored) = self.catalog.put_receipt(receipt).await {
                    // It stays as it was, unfinished: the next attempt finds it all the same.
                    tracing::error!(receipt = id, error = %unstored, "how far a purge came could not be stored");
                }
                Err(e)
            }
        }
    }

    async fn as_stored(&self, receipt: Receipt) -> Result<Receipt> {
        let all = self.catalog.receipts(TenantId(receipt.tenant), usize::MAX).await?;
        Ok(all.into_iter().find(|stored| stored.id == receipt.id).unwrap_or(receipt))
    }

    /// [`Engine::accept_purge`] and [`Engine::run_purge`] in one.
    ///
    /// # Errors
    /// Those of both.
    pub async fn purge(&self, request: &PurgeRequest) -> Result<Receipt> {
        let receipt = self.accept_purge(request).await?;
        self.run_purge(receipt).await
    }

    /// Purges that were accepted and are not complete.
    pub(super) async fn unfinished_purges(&self) -> Result<Vec<Receipt>> {
        let mut tenants: Vec<TenantId> = self.all_collections().iter().map(|s| s.tenant).collect();
        tenants.extend(self.tenants().iter().map(|tenant| tenant.id));
        tenants.sort_unstable();
        tenants.dedup();
        let mut unfinished = Vec::new();
        for tenant in tenants {
            let receipts = self.catalog.receipts(tenant, usize::MAX).await?;
            unfinished.extend(receipts.into_iter().filter(|r| !r.is_final()));
        }
        Ok(unfinished)
    }

    /// Tries unfinished purges again: the bytes they name may still be there.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn retry_failed_purges(&self) -> Result<()> {
        let _resuming = self.resuming.lock().await;
        let unfinished = self.unfinished_purges().await?;
        self.finish_purges(unfinished).await;
        Ok(())
    }

    /// Oldest first. The caller holds `resuming`: one pass at a time.
    pub(super) async fn finish_purges(&self, receipts: Vec<Receipt>) {
        for receipt in receipts.into_iter().rev() {
            let id = receipt.id.clone();
            tracing::info!(receipt = id, "resuming a purge that was not finished");
            if let Err(e) = self.run_purge(receipt).await {
                tracing::error!(receipt = id, error = %e, "a purge failed again");
            }
        }
    }

    /// First everything becomes invisible, then the files are rewritten.
    async fn erase_all(&self, receipt: &mut Receipt) -> Result<()> {
        // A collection that was dropped meanwhile has no bytes left.
        let ids = receipt.collection_ids.iter();
        let schemas: Vec<_> = ids.filter_map(|id| self.collection_by_id(*id)).collect();
        let mut failure = None;
        for shard in self.hide_all(&schemas, receipt).await? {
            match shard.scrub().await {
                Ok(report) => count(receipt, report),
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

    /// Makes the points invisible in every shard, and stores where that is done: once done it is never done again, since
    /// it would take what was written after the purge. One shard's failure does not keep the others from it.
    async fn hide_all(
        &self,
        schemas: &[Arc<CollectionSchema>],
        receipt: &mut Receipt,
    ) -> Result<Vec<Arc<Shard>>> {
        let now = self.clock().now_ms();
        let (mut shards, mut failure, hidden_before) = (Vec::new(), None, receipt.hidden_shards.len());
        for target in targets(schemas, &request_of(receipt)?, now) {
            match self.hide(&target, now, receipt).await {
                Ok(shard) => shards.extend(shard),
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        if let Some(e) = failure {
            return Err(e);
        }
        receipt.shards = shards.len() as u64;
        if receipt.invisible_at_ms == 0 {
            receipt.invisible_at_ms = self.clock().now_ms();
        }
        if receipt.hidden_shards.len() > hidden_before {
            self.catalog.put_receipt(receipt.clone()).await?;
        }
        Ok(shards)
    }

    async fn hide(&self, target: &Target, now: i64, receipt: &mut Receipt) -> Result<Option<Arc<Shard>>> {
        let name = target.key.to_string();
        let shard = self.existing_shard(&target.key).await?;
        if !receipt.hidden_shards.contains(&name) {
            if let Some(shard) = &shard {
                let (before, erased) = shard.delete_older(target.created_before, now).await?;
                receipt.points_before += before;
                receipt.points_erased += erased;
            }
            // Also one that does not exist yet: whatever comes into it is later.
            receipt.hidden_shards.insert(name);
        }
        Ok(shard)
    }

    fn purge_collections(&self, request: &PurgeRequest) -> Result<Vec<Arc<CollectionSchema>>> {
        match &request.collection {
            Some(name) => Ok(vec![self.collection(request.tenant, name)?]),
            None => Ok(self.collections(request.tenant)),
        }
    }
}

/// Shards of the request's regions with their age limits: the request's, or that of the retention rules.
fn targets(schemas: &[Arc<CollectionSchema>], request: &PurgeRequest, now: i64) -> Vec<Target> {
    let mut targets = Vec::new();
    for schema in schemas {
        for key in schema.shards() {
            if request.region.as_ref().is_some_and(|region| *region != key.region) {
                continue;
            }
            let by_rule = || schema.retention_cutoff(&key.region, now);
            let created_before = request.created_before.or_else(by_rule).unwrap_or(i64::MIN);
            targets.push(Target { key, created_before });
        }
    }
    targets
}

/// What these collections were recovered from.
fn lineage(schemas: &[Arc<CollectionSchema>]) -> Vec<CollectionId> {
    let mut origins: Vec<_> =
        schemas.iter().flat_map(|schema| schema.lineage.origins.iter().copied()).collect();
    origins.sort_unstable();
    origins.dedup();
    origins
}

/// Prepares a receipt for an attempt: what was erased and removed by earlier ones stays counted, what is there after it
/// is counted anew. State and error stay until it ends, so that a failure can be seen until it is mended.
fn begin(receipt: &mut Receipt) {
    receipt.points_after = 0;
    receipt.shards = 0;
    receipt.kept_snapshots.clear();
}

fn count(receipt: &mut Receipt, report: EraseReport) {
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
