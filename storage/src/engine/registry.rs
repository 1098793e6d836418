//! Open shards: opened when first used, closed when idle.

use std::sync::Arc;

use super::{Engine, ShardCell};
use crate::error::{Result, StorageError};
use crate::schema::ShardKey;
use crate::shard::{Closed, Shard};

impl Engine {
    /// The shard, opened if it is not; an empty one is made.
    ///
    /// # Errors
    /// `NotFound` for a collection that is gone, and those of opening.
    pub async fn shard(&self, key: &ShardKey) -> Result<Arc<Shard>> {
        let cell = self.cell(key);
        match cell.get_or_try_init(|| self.open_shard(key)).await {
            Ok(shard) => {
                self.refresh_schema(shard);
                Ok(shard.clone())
            }
            Err(e) => {
                self.forget_failed(key, &cell);
                Err(e)
            }
        }
    }

    /// A change of the collection does not reach shards that are being opened: they take it when they are used.
    pub(super) fn refresh_schema(&self, shard: &Arc<Shard>) {
        if let Some(schema) = self.collection_by_id(shard.key().collection)
            && shard.set_schema(&schema)
        {
            // A new payload index is built for the segments that are there.
            shard.want_compaction();
        }
    }

    /// The shard, unless nothing was ever written to it.
    ///
    /// # Errors
    /// Those of [`Engine::shard`].
    pub async fn existing_shard(&self, key: &ShardKey) -> Result<Option<Arc<Shard>>> {
        if self.shards.lock().get(key).is_some_and(|cell| cell.initialized()) {
            return self.shard(key).await.map(Some);
        }
        if self.logs.exists(key).await? { self.shard(key).await.map(Some) } else { Ok(None) }
    }

    /// Shards that are open now.
    pub fn open_shards(&self) -> Vec<Arc<Shard>> {
        self.shards.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// Closes the shard of a dropped collection and takes it out of the registry; one that is being opened is waited
    /// for. The collection's name is gone already, so no other opens it again.
    pub(super) async fn close_dropped(&self, key: &ShardKey) {
        let cell = self.shards.lock().get(key).cloned();
        let Some(cell) = cell else { return };
        let never = || async { Err(StorageError::NotFound("the collection was deleted".into())) };
        if let Ok(shard) = cell.get_or_try_init(never).await {
            shard.close(Closed::Dropped).await;
        }
        // Only now: whoever else removes the collection's files finds the shard and waits for it too.
        let mut shards = self.shards.lock();
        if shards.get(key).is_some_and(|now| Arc::ptr_eq(now, &cell)) {
            shards.remove(key);
        }
    }

    /// Closes shards that nobody uses, the longest idle first, until at most `keep` are open. What they hold in
    /// memory is in their logs.
    pub(super) fn close_idle(&self, keep: usize) {
        let mut shards = self.shards.lock();
        if shards.len() <= keep {
            return;
        }
        let mut idle: Vec<(i64, ShardKey)> = shards
            .iter()
            // Somebody who holds the cell is about to take the shard out of it.
            .filter(|(_, cell)| Arc::strong_count(cell) == 1)
            .filter_map(|(key, cell)| cell.get().map(|shard| (shard, key)))
            .filter(|(shard, _)| Arc::strong_count(shard) == 1)
            .map(|(shard, key)| (shard.last_used(), key.clone()))
            .collect();
        idle.sort();
        let surplus = shards.len() - keep;
        for (_, key) in idle.into_iter().take(surplus) {
            shards.remove(&key);
        }
    }

    fn cell(&self, key: &ShardKey) -> ShardCell {
        self.shards.lock().entry(key.clone()).or_default().clone()
    }

    /// A shard that could not be opened leaves nothing behind, so that the next use tries again.
    fn forget_failed(&self, key: &ShardKey, cell: &ShardCell) {
        let mut shards = self.shards.lock();
        if shards.get(key).is_some_and(|now| Arc::ptr_eq(now, cell) && now.get().is_none()) {
            shards.remove(key);
        }
    }

    async fn open_shard(&self, key: &ShardKey) -> Result<Arc<Shard>> {
        if self.is_stopped() {
            return Err(StorageError::Unavailable("the server is shutting down; try again".into()));
        }
        let gone = || StorageError::NotFound("the collection was deleted".into());
        let schema = self.collection_by_id(key.collection).ok_or_else(gone)?;
        Shard::open(key.clone(), schema, self.epoch, &*self.logs, self.parts.clone()).await
    }
}
