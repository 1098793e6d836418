//! The retention job: erases what retention rules and `expires_at` say, also in collections that nobody uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engram_query::Database;
use engram_query::database::PurgeScope;
use engram_query::request::Principal;
use engram_storage::schema::{CollectionSchema, TenantId};
use futures::{StreamExt, stream};

use super::Jobs;

/// Tenants whose collections are looked at beside one another: a large purge of one holds up few others.
const TENANTS_AT_ONCE: usize = 4;

impl Jobs {
    /// Runs every `interval` until the node stops; never for an interval of zero.
    pub(crate) fn start_retention(&self, database: &Arc<Database>, interval: Duration) {
        if interval.is_zero() {
            return;
        }
        let (mut jobs, database) = (self.clone(), database.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = jobs.stop.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(interval) => {}
                }
                jobs.enforce(&database).await;
            }
        });
    }

    /// One run over all collections. A failure of one does not keep the others from theirs.
    async fn enforce(&self, database: &Database) {
        let engine = database.engine();
        let mut tenants: BTreeMap<TenantId, Vec<Arc<CollectionSchema>>> = BTreeMap::new();
        for schema in engine.all_collections() {
            tenants.entry(schema.tenant).or_default().push(schema);
        }
        let run = |schemas| self.enforce_all(database, schemas);
        stream::iter(tenants.into_values()).for_each_concurrent(TENANTS_AT_ONCE, run).await;
        // After the rules: a purge that is tried again for hours holds up those of no tenant.
        if let Err(e) = engine.retry_failed_purges().await {
            tracing::error!(error = %e, "failed purges could not be tried again");
        }
        self.metrics.retention_runs.inc();
    }

    async fn enforce_all(&self, database: &Database, schemas: Vec<Arc<CollectionSchema>>) {
        for schema in schemas {
            if *self.stop.borrow() {
                return;
            }
            if let Err(e) = self.enforce_one(database, &schema).await {
                tracing::error!(collection = %schema.id, error = %e, "retention failed; the next run tries again");
            }
        }
    }

    async fn enforce_one(&self, database: &Database, schema: &CollectionSchema) -> engram_query::Result<()> {
        // Its next attempt does it, and until then the rules hide the points: another would fail where that failed.
        if database.engine().is_enforcing(schema) {
            return Ok(());
        }
        let principal = Principal::root(schema.tenant);
        let scope = PurgeScope { collection: Some(schema.name.clone()), ..PurgeScope::default() };
        // Without this look every run would add a receipt of nothing for every collection.
        if database.plan_purge(principal, scope.clone()).await?.points == 0 {
            return Ok(());
        }
        let receipt = database.purge(principal, scope).await?;
        self.metrics.points_erased.inc_by(receipt.points_erased);
        tracing::info!(collection = %schema.id, erased = receipt.points_erased, receipt = %receipt.id, "retention");
        Ok(())
    }
}
