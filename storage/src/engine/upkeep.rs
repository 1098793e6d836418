//! Background work of a node: memory pressure, idle shards, last uses of keys, leftovers of an earlier run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Engine;
use crate::schema::CollectionSchema;
use crate::shard::{Shard, WORTH_FLUSHING_BYTES};

/// Time between two looks at idle shards.
const TICK: Duration = Duration::from_secs(2);
/// A memtable of some size whose shard was quiet for this long is flushed, so that it gets a graph.
const QUIET_MS: i64 = 4_000;

impl Engine {
    /// Ends what an earlier run of the server left unfinished.
    pub(super) async fn finish_leftovers(self: Arc<Self>, dropped: Vec<CollectionSchema>) {
        let _resuming = self.resuming.lock().await;
        // First: removing files may take long, and what purges name must not be seen meanwhile.
        self.hide_unfinished().await;
        for schema in dropped {
            if let Err(e) = self.remove_files(&schema).await {
                tracing::warn!(collection = %schema.id, error = %e, "files of a dropped collection remain; the next start tries again");
            }
        }
        self.finish_purges().await;
    }

    /// Failed purges need not wait for the next run of the retention job where what they failed at is gone.
    async fn retry_freed(self: Arc<Self>) {
        if let Err(e) = self.retry_failed_purges().await {
            tracing::error!(error = %e, "failed purges could not be tried again");
        }
    }

    /// Runs until the engine is shut down.
    pub(super) async fn upkeep(self: Arc<Self>) {
        while !self.is_stopped() {
            tokio::select! {
                () = self.stop.notified() => return,
                () = self.purges.freed.notified() => drop(tokio::spawn(self.clone().retry_freed())),
                () = self.parts.grown.notified() => self.relieve_memory(),
                () = tokio::time::sleep(TICK) => {
                    self.relieve_memory();
                    self.flush_quiet();
                    self.open_shards().iter().for_each(Shard::mend);
                    self.close_idle(self.options.max_open_shards);
                    self.store_key_uses(false).await;
                }
            }
        }
    }

    /// Flushes the largest memtables while all together are too large.
    fn relieve_memory(&self) {
        let mut over =
            self.parts.unflushed.load(Ordering::Relaxed).saturating_sub(self.options.unflushed_bytes);
        if over == 0 {
            return;
        }
        let mut shards = self.open_shards();
        shards.retain(|shard| shard.poisoned().is_none());
        shards.sort_by_key(|shard| std::cmp::Reverse(shard.unflushed_bytes()));
        for shard in shards {
            if over == 0 {
                return;
            }
            over = over.saturating_sub(shard.unflushed_bytes());
            shard.want_flush();
        }
    }

    fn flush_quiet(&self) {
        let now = self.clock().now_ms();
        for shard in self.open_shards() {
            if shard.unflushed_bytes() >= WORTH_FLUSHING_BYTES && now - shard.last_written() >= QUIET_MS {
                shard.want_flush();
            }
        }
    }
}
