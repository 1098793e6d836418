//! Purges that were accepted and are not complete: who waits for whom, and who tries again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;

use super::Engine;
use crate::error::{Result, StorageError};
use crate::schema::TenantId;

/// Purges of one tenant that are not complete.
const MAX_UNFINISHED: usize = 32;
/// Unfinished purges that are hidden, and tenants whose purges run, at once when all are tried again.
const RETRIES_AT_ONCE: usize = 16;

/// Unfinished purges of each tenant, by id, which is by time.
#[derive(Default)]
pub(super) struct PurgeQueue {
    tenants: Mutex<HashMap<TenantId, TenantQueue>>,
}

#[derive(Default)]
struct TenantQueue {
    erasing: Arc<tokio::sync::Mutex<()>>,
    attempts: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
}

/// The locks of a purge.
pub(super) struct PurgePlace {
    /// One attempt of a purge at a time.
    pub attempt: Arc<tokio::sync::Mutex<()>>,
    /// One purge of a tenant rewrites files at a time. Taken after `attempt`.
    pub erasing: Arc<tokio::sync::Mutex<()>>,
}

impl PurgeQueue {
    /// # Errors
    /// `Exhausted` where the tenant has as many unfinished purges as it may have.
    pub fn check_room(&self, tenant: TenantId) -> Result<()> {
        let waiting = self.tenants.lock().get(&tenant).map_or(0, |queue| queue.attempts.len());
        if waiting < MAX_UNFINISHED {
            return Ok(());
        }
        Err(StorageError::Exhausted(format!(
            "{waiting} purges are not complete, at most {MAX_UNFINISHED} may be: wait until some are (their receipts say \
             how they stand, and why one failed), then try again, with one purge for all collections where you can"
        )))
    }

    /// The locks of a purge, which counts as unfinished from here on.
    pub fn place(&self, tenant: TenantId, id: &str) -> PurgePlace {
        let mut tenants = self.tenants.lock();
        let queue = tenants.entry(tenant).or_default();
        let attempt = queue.attempts.entry(id.to_owned()).or_default().clone();
        PurgePlace { attempt, erasing: queue.erasing.clone() }
    }

    /// Forgets a purge that is complete.
    pub fn done(&self, tenant: TenantId, id: &str) {
        let mut tenants = self.tenants.lock();
        let Some(queue) = tenants.get_mut(&tenant) else { return };
        queue.attempts.remove(id);
        if queue.attempts.is_empty() {
            tenants.remove(&tenant);
        }
    }

    /// Unfinished purges of each tenant, oldest first.
    fn unfinished(&self) -> Vec<(TenantId, Vec<String>)> {
        let tenants = self.tenants.lock();
        tenants.iter().map(|(tenant, queue)| (*tenant, queue.attempts.keys().cloned().collect())).collect()
    }
}

impl Engine {
    /// Finds the purges that an earlier run of the server left unfinished.
    pub(super) async fn load_unfinished_purges(&self) -> Result<()> {
        let mut tenants: Vec<TenantId> = self.all_collections().iter().map(|s| s.tenant).collect();
        tenants.extend(self.tenants().iter().map(|tenant| tenant.id));
        tenants.sort_unstable();
        tenants.dedup();
        for tenant in tenants {
            self.each_page_of_receipts(tenant, usize::MAX, |page| {
                for receipt in page.iter().filter(|receipt| !receipt.is_final()) {
                    self.purges.place(tenant, &receipt.id);
                }
                true
            })
            .await?;
        }
        Ok(())
    }

    /// Tries unfinished purges again: the bytes they name may still be there. Those that run are passed by.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn retry_failed_purges(&self) -> Result<()> {
        let _resuming = self.resuming.lock().await;
        self.finish_purges().await;
        Ok(())
    }

    /// First hides what any of them names, then lets those of a tenant run one after the other, oldest first. The caller
    /// holds `resuming`: one pass at a time.
    pub(super) async fn finish_purges(&self) {
        let unfinished = self.purges.unfinished();
        let each = |(tenant, ids): &(TenantId, Vec<String>)| {
            let tenant = *tenant;
            ids.clone().into_iter().map(move |id| (tenant, id)).collect::<Vec<_>>()
        };
        let all: Vec<(TenantId, String)> = unfinished.iter().flat_map(each).collect();
        futures::stream::iter(all)
            .for_each_concurrent(RETRIES_AT_ONCE, |(tenant, id)| async move {
                if let Err(e) = self.hide_purge(tenant, &id).await {
                    tracing::error!(receipt = id, error = %e, "what a purge names could not be hidden");
                }
            })
            .await;
        futures::stream::iter(unfinished)
            .for_each_concurrent(RETRIES_AT_ONCE, |(tenant, ids)| async move {
                for id in ids {
                    self.finish_purge(tenant, &id).await;
                }
            })
            .await;
    }

    async fn finish_purge(&self, tenant: TenantId, id: &str) {
        // Whoever accepted it is at it.
        if self.purges.place(tenant, id).attempt.try_lock().is_err() {
            return;
        }
        let done = match self.catalog.receipt(tenant, id).await {
            Ok(Some(receipt)) if !receipt.is_final() => {
                tracing::info!(receipt = id, "resuming a purge that was not finished");
                self.run_purge(receipt).await.map(drop)
            }
            Ok(_) => {
                self.purges.done(tenant, id);
                Ok(())
            }
            Err(e) => Err(e),
        };
        if let Err(e) = done {
            tracing::error!(receipt = id, error = %e, "a purge failed again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_purges_of_a_tenant_are_bounded() {
        let queue = PurgeQueue::default();
        let (mine, other) = (TenantId(1), TenantId(2));
        for n in 0..MAX_UNFINISHED {
            queue.check_room(mine).unwrap();
            queue.place(mine, &n.to_string());
        }
        assert!(matches!(queue.check_room(mine), Err(StorageError::Exhausted(_))));
        queue.check_room(other).unwrap();
        queue.place(mine, "0");
        queue.done(mine, "0");
        queue.check_room(mine).unwrap();
    }
}
