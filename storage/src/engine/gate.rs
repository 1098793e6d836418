//! Snapshots and purges of a tenant keep out of each other's way: a purge stops what is under way and waits for it, so
//! that no copy of what it erases is made beside it.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore, watch,
};

use crate::error::{Result, StorageError};
use crate::schema::TenantId;
use crate::snapshot::made_way;

/// Snapshots that are made, or recovered, at once on a node.
const AT_ONCE: usize = 8;
/// Of those, the ones of one tenant: a slow client takes no place from the others.
const OF_A_TENANT: usize = 2;

/// One gate a tenant.
pub(super) struct Gates {
    tenants: Mutex<HashMap<TenantId, Arc<Gate>>>,
    places: Arc<Semaphore>,
}

struct Gate {
    lock: Arc<RwLock<()>>,
    places: Arc<Semaphore>,
    /// Purges that run or wait to run.
    erasing: watch::Sender<u32>,
}

/// Work on a snapshot. While it is there, no purge of the tenant runs.
pub struct Passage {
    tenant: TenantId,
    stop: watch::Receiver<u32>,
    _open: OwnedRwLockReadGuard<()>,
    _places: [OwnedSemaphorePermit; 2],
}

/// A purge. While it is there, no snapshot of the tenant is made or recovered.
pub(super) struct Closure {
    gate: Arc<Gate>,
    _closed: Option<OwnedRwLockWriteGuard<()>>,
}

impl Default for Gates {
    fn default() -> Self {
        Self { tenants: Mutex::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Gates {
    fn of(&self, tenant: TenantId) -> Arc<Gate> {
        let new = || {
            let places = Arc::new(Semaphore::new(OF_A_TENANT));
            Arc::new(Gate { lock: Arc::default(), places, erasing: watch::Sender::new(0) })
        };
        self.tenants.lock().entry(tenant).or_insert_with(new).clone()
    }

    /// Begins work on a snapshot.
    ///
    /// # Errors
    /// `Unavailable` while a purge of the tenant runs, `Exhausted` while too many snapshots are in work.
    pub fn enter(&self, tenant: TenantId) -> Result<Passage> {
        let gate = self.of(tenant);
        let own = gate.places.clone().try_acquire_owned().map_err(|_| full(OF_A_TENANT, "yours"))?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| full(AT_ONCE, "this node"))?;
        let open = gate.lock.clone().try_read_owned().map_err(|_| made_way())?;
        let stop = gate.erasing.subscribe();
        let passage = Passage { tenant, stop, _open: open, _places: [own, place] };
        passage.check()?;
        Ok(passage)
    }

    /// Stops what is under way, for good: the node is shutting down.
    pub fn stop(&self) {
        self.tenants.lock().values().for_each(|gate| gate.erasing.send_modify(|count| *count += 1));
    }

    /// Begins a purge: stops what [`Gates::enter`] began and waits for its end.
    pub async fn close(&self, tenant: TenantId) -> Closure {
        let gate = self.of(tenant);
        gate.erasing.send_modify(|count| *count += 1);
        let mut closure = Closure { gate: gate.clone(), _closed: None };
        closure._closed = Some(gate.lock.clone().write_owned().await);
        closure
    }
}

fn full(most: usize, whose: &str) -> StorageError {
    StorageError::Exhausted(format!(
        "{most} snapshots of {whose} are being made or recovered, the most that may be at once; try again when one is done"
    ))
}

impl Passage {
    /// Whose work it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Fails once a purge wants to begin.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn check(&self) -> Result<()> {
        if *self.stop.borrow() > 0 { Err(made_way()) } else { Ok(()) }
    }

    /// Raised when a purge wants to begin.
    pub(super) fn stop(&self) -> watch::Receiver<u32> {
        self.stop.clone()
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        self.gate.erasing.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_purge_stops_snapshots_of_its_tenant_and_waits_for_them() {
        let gates = Arc::new(Gates::default());
        let (mine, other) = (gates.enter(TenantId(1)).unwrap(), gates.enter(TenantId(2)).unwrap());
        let closing = tokio::spawn({
            let gates = gates.clone();
            async move { gates.close(TenantId(1)).await }
        });
        mine.stop().wait_for(|erasing| *erasing > 0).await.unwrap();
        assert!(mine.check().is_err() && other.check().is_ok());
        assert!(gates.enter(TenantId(1)).is_err() && !closing.is_finished());
        drop(mine);
        let closed = closing.await.unwrap();
        assert!(gates.enter(TenantId(1)).is_err() && gates.enter(TenantId(2)).is_ok());
        drop(closed);
        assert!(gates.enter(TenantId(1)).is_ok());
    }

    #[tokio::test]
    async fn places_are_bounded() {
        let gates = Gates::default();
        let mut all = Vec::new();
        for tenant in 1.. {
            let tenant = TenantId(tenant);
            let before = all.len();
            while let Ok(passage) = gates.enter(tenant) {
                all.push(passage);
            }
            let refused = gates.enter(tenant).map(drop).unwrap_err();
            assert!(matches!(refused, StorageError::Exhausted(_)));
            assert!(all.len() - before <= OF_A_TENANT, "one tenant has {}", all.len() - before);
            if all.len() == before {
                break;
            }
        }
        assert_eq!(all.len(), AT_ONCE);
        drop(all);
        assert!(gates.enter(TenantId(2)).is_ok());
    }
}
