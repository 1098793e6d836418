//! Purges that were accepted and are not complete: who waits for whom, and who tries again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Engine;
use crate::catalog::Receipt;
use crate::error::{Result, StorageError};
use crate::schema::{CollectionId, CollectionSchema, TenantId};

/// Purges of one tenant that wait or run.
const MAX_PENDING: usize = 32;
/// Failed purges that one collection keeps from their end: it takes no more, others do.
const MAX_FAILED: usize = 256;
/// Failed purges of one tenant that no collection is known to keep from their end.
const MAX_FAILED_OTHERWISE: usize = 1024;
/// Unfinished purges that are hidden, and tenants whose purges run, at once when all are tried again.
const RETRIES_AT_ONCE: usize = 16;

/// Unfinished purges of each tenant, by id, which is by time.
#[derive(Default)]
pub(super) struct PurgeQueue {
    tenants: Mutex<HashMap<TenantId, TenantQueue>>,
    /// Something that failed purges may have failed at is gone.
    pub freed: Notify,
}

#[derive(Default)]
struct TenantQueue {
    erasing: Arc<tokio::sync::Mutex<()>>,
    purges: BTreeMap<String, Unfinished>,
}

#[derive(Default)]
struct Unfinished {
    attempt: Arc<tokio::sync::Mutex<()>>,
    standing: Standing,
    /// Collections in which it erases, everywhere, what the rules name.
    by_rules: BTreeSet<CollectionId>,
}

#[derive(Default)]
enum Standing {
    /// Waits for its first attempt, or is at it.
    #[default]
    Pending,
    /// An attempt failed, in these collections. It counts as failed while it is tried again too.
    Failed(BTreeSet<CollectionId>),
}

/// The locks of a purge.
pub(super) struct PurgePlace {
    /// One attempt of a purge at a time.
    pub attempt: Arc<tokio::sync::Mutex<()>>,
    /// One purge of a tenant rewrites files at a time. Taken after `attempt`.
    pub erasing: Arc<tokio::sync::Mutex<()>>,
}

impl Unfinished {
    fn of(receipt: &Receipt) -> Self {
        let everywhere = receipt.by_rules && receipt.region.is_empty();
        let collections = receipt.collection_ids.iter().copied().filter(|_| everywhere);
        let standing = match receipt.state.as_str() {
            // Where is known once it was tried again.
            Receipt::FAILED => Standing::Failed(BTreeSet::new()),
            _ => Standing::Pending,
        };
        Self { attempt: Arc::default(), standing, by_rules: collections.collect() }
    }

    fn is_pending(&self) -> bool {
        matches!(self.standing, Standing::Pending)
    }

    fn failed_in(&self, id: CollectionId) -> bool {
        matches!(&self.standing, Standing::Failed(collections) if collections.contains(&id))
    }

    fn failed_otherwise(&self) -> bool {
        matches!(&self.standing, Standing::Failed(collections) if collections.is_empty())
    }
}

impl PurgeQueue {
    /// # Errors
    /// `Exhausted` where so many purges of the tenant wait, or so many failed at one of these collections, that there
    /// may be no more.
    pub fn check_room(&self, tenant: TenantId, collections: &[Arc<CollectionSchema>]) -> Result<()> {
        let tenants = self.tenants.lock();
        let Some(queue) = tenants.get(&tenant) else { return Ok(()) };
        let count = |is: &dyn Fn(&Unfinished) -> bool| queue.purges.values().filter(|p| is(p)).count();
        let pending = count(&Unfinished::is_pending);
        if pending >= MAX_PENDING {
            return Err(StorageError::Exhausted(format!(
                "{pending} purges wait or run, at most {MAX_PENDING} may: wait until some are complete (their receipts \
                 say how they stand), then try again, with one purge for all collections where you can"
            )));
        }
        if let Some(schema) = collections.iter().find(|s| count(&|p| p.failed_in(s.id)) >= MAX_FAILED) {
            return Err(StorageError::Exhausted(format!(
                "{MAX_FAILED} purges failed at collection `{0}` and are tried again, more would fail too: mend what their \
                 receipts name, or delete collection `{0}`; purges of other collections, by name, are accepted",
                schema.name
            )));
        }
        let otherwise = count(&Unfinished::failed_otherwise);
        if otherwise >= MAX_FAILED_OTHERWISE {
            return Err(StorageError::Exhausted(format!(
                "{otherwise} purges failed and are tried again, more would fail too: mend what their receipts name (a \
                 full disk, a directory that takes no files), then try again"
            )));
        }
        Ok(())
    }

    /// Notes a purge that was accepted, now or by an earlier run of the server.
    pub fn note(&self, receipt: &Receipt) {
        let mut tenants = self.tenants.lock();
        let purges = &mut tenants.entry(TenantId(receipt.tenant)).or_default().purges;
        purges.entry(receipt.id.clone()).or_insert_with(|| Unfinished::of(receipt));
    }

    /// Notes where an attempt failed.
    pub fn note_failure(&self, receipt: &Receipt, collections: BTreeSet<CollectionId>) {
        let mut tenants = self.tenants.lock();
        let purges = &mut tenants.entry(TenantId(receipt.tenant)).or_default().purges;
        let purge = purges.entry(receipt.id.clone()).or_insert_with(|| Unfinished::of(receipt));
        purge.standing = Standing::Failed(collections);
    }

    /// Notes that the files of a dropped collection are gone.
    pub fn note_removed(&self, schema: &CollectionSchema) {
        let tenants = self.tenants.lock();
        let Some(queue) = tenants.get(&schema.tenant) else { return };
        if queue.purges.values().any(|p| p.failed_in(schema.id) || p.failed_otherwise()) {
            self.freed.notify_one();
        }
    }

    /// Whether an unfinished purge erases what the rules name in all of this collection.
    fn enforces(&self, schema: &CollectionSchema) -> bool {
        let tenants = self.tenants.lock();
        let Some(queue) = tenants.get(&schema.tenant) else { return false };
        queue.purges.values().any(|purge| purge.by_rules.contains(&schema.id))
    }

    /// The locks of a purge, which counts as unfinished from here on.
    pub fn place(&self, tenant: TenantId, id: &str) -> PurgePlace {
        let mut tenants = self.tenants.lock();
        let queue = tenants.entry(tenant).or_default();
        let attempt = queue.purges.entry(id.to_owned()).or_default().attempt.clone();
        PurgePlace { attempt, erasing: queue.erasing.clone() }
    }

    /// Forgets a purge that is complete.
    pub fn done(&self, tenant: TenantId, id: &str) {
        let mut tenants = self.tenants.lock();
        let Some(queue) = tenants.get_mut(&tenant) else { return };
        queue.purges.remove(id);
        if queue.purges.is_empty() {
            tenants.remove(&tenant);
        }
    }

    /// Unfinished purges of each tenant, oldest first.
    fn unfinished(&self) -> Vec<(TenantId, Vec<String>)> {
        let tenants = self.tenants.lock();
        tenants.iter().map(|(tenant, queue)| (*tenant, queue.purges.keys().cloned().collect())).collect()
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
                    self.purges.note(receipt);
                }
                true
            })
            .await?;
        }
        Ok(())
    }

    /// Whether a purge that is not complete erases already what the rules name in all regions of this collection: its
    /// next attempt does what another purge would.
    pub fn is_enforcing(&self, schema: &CollectionSchema) -> bool {
        self.purges.enforces(schema)
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
        self.hide_unfinished().await;
        futures::stream::iter(self.purges.unfinished())
            .for_each_concurrent(RETRIES_AT_ONCE, |(tenant, ids)| async move {
                for id in ids {
                    self.finish_purge(tenant, &id).await;
                }
            })
            .await;
    }

    /// Hides what unfinished purges name.
    pub(super) async fn hide_unfinished(&self) {
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
    use crate::catalog::conformance::{receipt, schema};

    #[test]
    fn pending_purges_of_a_tenant_are_bounded() {
        let queue = PurgeQueue::default();
        let (mine, other) = (TenantId(1), TenantId(2));
        for n in 0..MAX_PENDING {
            queue.check_room(mine, &[]).unwrap();
            queue.place(mine, &n.to_string());
        }
        let refused = queue.check_room(mine, &[]).unwrap_err().to_string();
        assert!(refused.contains("wait until some are complete"), "{refused}");
        queue.check_room(other, &[]).unwrap();
        queue.place(mine, "0");
        queue.done(mine, "0");
        queue.check_room(mine, &[]).unwrap();
    }

    #[test]
    fn a_broken_collection_keeps_no_other_from_its_purges() {
        let queue = PurgeQueue::default();
        let [broken, sound] = ["broken", "sound"].map(|name| {
            let id = CollectionId(uuid::Uuid::now_v7());
            Arc::new(CollectionSchema { id, name: name.into(), ..schema(1, name) })
        });
        let tenant = broken.tenant;
        for n in 0..MAX_FAILED as u32 {
            queue.check_room(tenant, std::slice::from_ref(&broken)).unwrap();
            let receipt = receipt(tenant.0, n, Receipt::RUNNING);
            queue.note(&receipt);
            queue.note_failure(&receipt, BTreeSet::from([broken.id]));
        }
        let refused = queue.check_room(tenant, std::slice::from_ref(&broken)).unwrap_err();
        assert!(
            matches!(&refused, StorageError::Exhausted(why) if why.contains("delete collection `broken`")),
            "{refused}"
        );
        queue.check_room(tenant, std::slice::from_ref(&sound)).unwrap();
        queue.check_room(tenant, &[sound, broken.clone()]).unwrap_err();
        // One that is complete makes room for one.
        queue.done(tenant, &receipt(tenant.0, 0, Receipt::RUNNING).id);
        queue.check_room(tenant, &[broken]).unwrap();
    }
}
