//! Erasure over collections and regions, with a receipt for each run.

use std::sync::Arc;

use uuid::Uuid;

use super::Engine;
use super::purge_steps::Failures;
use crate::catalog::Receipt;
use crate::error::Result;
use crate::schema::{CollectionId, CollectionSchema, RegionName, ShardKey, TenantId};

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
pub(super) struct Target {
    pub key: ShardKey,
    pub created_before: i64,
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
    /// `NotFound`, `Exhausted` where too many purges of the tenant wait or failed, and those of the catalog.
    pub async fn accept_purge(&self, request: &PurgeRequest) -> Result<Receipt> {
        // With it held no recovery brings in a collection that this would miss.
        let _defining = self.defining.lock().await;
        let collections = self.purge_collections(request)?;
        self.purges.check_room(request.tenant, &collections)?;
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
        let receipt = self.catalog.put_receipt(receipt).await?;
        self.purges.note(&receipt);
        Ok(receipt)
    }

    /// Erases what an accepted purge names and completes its receipt: when it returns, no live file holds the bytes. The
    /// points are hidden at once; their files wait for other purges of the tenant. A complete one is answered as it is,
    /// one that failed goes on where it stopped.
    ///
    /// # Errors
    /// Those of the shards; the receipt then says `failed` with the reason, and [`Engine::retry_failed_purges`] and the
    /// next start try again.
    pub async fn run_purge(&self, accepted: Receipt) -> Result<Receipt> {
        let (tenant, id) = (TenantId(accepted.tenant), accepted.id.clone());
        let place = self.purges.place(tenant, &id);
        let _attempt = place.attempt.lock().await;
        // Meanwhile another attempt may have completed it, or hidden points whose place holds later ones now.
        let mut receipt = self.catalog.receipt(tenant, &id).await?.unwrap_or(accepted);
        if !receipt.is_final() {
            begin(&mut receipt);
            let mut failures = self.hide_all(&mut receipt).await;
            // Where the points are hidden they are erased all the same: one broken shard keeps no other from it.
            self.note_failure(&mut receipt, &failures).await;
            if !(failures.any() && self.is_stopped()) {
                let _erasing = place.erasing.lock().await;
                let _closed = self.gates.close(tenant).await;
                self.erase_all(&mut receipt, &mut failures).await;
                self.note_failure(&mut receipt, &failures).await;
            }
            failures.into_result()?;
            receipt = self.note_completion(receipt).await?;
        }
        self.purges.done(tenant, &id);
        Ok(receipt)
    }

    /// Hides what an accepted purge names, unless an attempt that is under way does. A failure is noted in its receipt.
    pub(super) async fn hide_purge(&self, tenant: TenantId, id: &str) -> Result<()> {
        let place = self.purges.place(tenant, id);
        let Ok(_attempt) = place.attempt.try_lock() else { return Ok(()) };
        match self.catalog.receipt(tenant, id).await? {
            Some(mut receipt) if !receipt.is_final() => {
                let failures = self.hide_all(&mut receipt).await;
                self.note_failure(&mut receipt, &failures).await;
                failures.into_result()
            }
            _ => {
                self.purges.done(tenant, id);
                Ok(())
            }
        }
    }

    async fn note_completion(&self, mut receipt: Receipt) -> Result<Receipt> {
        receipt.state = Receipt::COMPLETE.into();
        receipt.error.clear();
        receipt.hidden_shards.clear();
        receipt.erased_at_ms = self.clock().now_ms();
        self.catalog.put_receipt(receipt).await
    }

    /// Stores how far an attempt came that failed somewhere.
    async fn note_failure(&self, receipt: &mut Receipt, failures: &Failures) {
        let Some(first) = &failures.first else { return };
        if !self.is_stopped() {
            receipt.state = Receipt::FAILED.into();
            receipt.error = first.to_string();
            self.purges.note_failure(receipt, failures.collections.clone());
        }
        if let Err(unstored) = self.catalog.put_receipt(receipt.clone()).await {
            // It stays as it was, unfinished: the next attempt finds it all the same.
            tracing::error!(receipt = receipt.id, error = %unstored, "how far a purge came could not be stored");
        }
    }

    /// [`Engine::accept_purge`] and [`Engine::run_purge`] in one.
    ///
    /// # Errors
    /// Those of both.
    pub async fn purge(&self, request: &PurgeRequest) -> Result<Receipt> {
        let receipt = self.accept_purge(request).await?;
        self.run_purge(receipt).await
    }

    fn purge_collections(&self, request: &PurgeRequest) -> Result<Vec<Arc<CollectionSchema>>> {
        match &request.collection {
            Some(name) => Ok(vec![self.collection(request.tenant, name)?]),
            None => Ok(self.collections(request.tenant)),
        }
    }
}

/// Shards of the request's regions with their age limits: the request's, or that of the retention rules.
pub(super) fn targets(schemas: &[Arc<CollectionSchema>], request: &PurgeRequest, now: i64) -> Vec<Target> {
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
