//! One shard: log, memtable, segments.
//!
//! ```text
//!  write -> queue -> [commit: one append and one sync a group] -> [apply: rows, dead rows, new snapshot] -> ack
//!                                                                     |
//!            segments <- publish manifest <- [flush | compact | index | erase]
//! ```
//! Tasks exist only while there is work: an idle shard costs its memtable and nothing else. Three locks order the
//! work: `state` (short, never across an await) for rows in memory, `publishing` for changes of the manifest and
//! `rewriting` for compaction, index builds and erasure.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio::sync::{Notify, Semaphore, watch};

use crate::clock::Clock;
use crate::error::{Result, StorageError};
use crate::log::{Log, Offset};
use crate::manifest::{ManifestStore, SegmentId};
use crate::object::DurableStore;
use crate::schema::{CollectionSchema, ShardKey};
use crate::segment::run::Run;

pub(crate) mod erase;

mod apply;
mod commit;
mod compact;
mod dedupe;
mod flush;
mod memtable;
mod open;
mod payload_change;
mod pin;
mod state;
mod stats;
mod work;

pub use erase::ErasePlan;
pub(crate) use stats::WORTH_FLUSHING_BYTES;
pub use stats::{SegmentStats, ShardStats};
pub use work::{Tally, Work};

pub(crate) use pin::PinnedShard;

use commit::Queue;
use state::ShardState;

/// Sizes and limits of a shard.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// A memtable of this many heap bytes is flushed.
    pub memtable_bytes: u64,
    /// Writes wait while a shard holds more unflushed bytes than this.
    pub unflushed_limit_bytes: u64,
    /// Bytes of writes in the queue of one shard.
    pub queue_bytes: u32,
    /// Longest wait of a write for room.
    pub write_timeout: Duration,
    /// Bytes of one group commit.
    pub group_bytes: usize,
    /// Policy of compaction.
    pub compaction: crate::compaction::CompactionOptions,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            memtable_bytes: 64 << 20,
            unflushed_limit_bytes: 192 << 20,
            queue_bytes: 32 << 20,
            write_timeout: Duration::from_secs(30),
            group_bytes: 8 << 20,
            compaction: crate::compaction::CompactionOptions::default(),
        }
    }
}

/// What all shards of a node share.
pub struct ShardParts {
    /// Segments and manifests.
    pub store: DurableStore,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Sizes and limits.
    pub options: ShardOptions,
    /// Graph builds run here.
    pub builders: Arc<rayon::ThreadPool>,
    /// So many flushes run at once on the node. They do not wait for rewrites, which may build graphs for minutes.
    pub flushing: Semaphore,
    /// So many compactions and index builds run at once on the node.
    pub rewriting: Semaphore,
    /// Unflushed bytes of all shards.
    pub unflushed: AtomicU64,
    /// Writes of all shards wait while `unflushed` is above this.
    pub unflushed_limit: u64,
    /// Told when `unflushed` grew.
    pub grown: Notify,
    /// Told when a flush ended, well or not.
    pub flushed: Notify,
    /// What was done since the start.
    pub work: Work,
    /// Name of this node, in manifests.
    pub writer: String,
}

/// One shard, opened by this process.
pub struct Shard {
    key: ShardKey,
    epoch: u64,
    log: Arc<dyn Log>,
    parts: Arc<ShardParts>,
    manifests: ManifestStore,
    schema: ArcSwap<CollectionSchema>,
    view: ArcSwap<ShardSnapshot>,
    state: Mutex<ShardState>,
    queue: Mutex<Queue>,
    room: Semaphore,
    applied: watch::Sender<Offset>,
    durable: AtomicU64,
    unflushed: AtomicU64,
    publishing: tokio::sync::Mutex<()>,
    rewriting: tokio::sync::Mutex<()>,
    cancel_builds: AtomicBool,
    flush_wanted: AtomicBool,
    flush_failure: Mutex<Option<String>>,
    compact_wanted: AtomicBool,
    activity: Mutex<&'static str>,
    poison: Mutex<Option<String>>,
    pins: Mutex<BTreeMap<SegmentId, usize>>,
    closed: OnceLock<Closed>,
    settled: Notify,
    last_used: AtomicI64,
    last_written: AtomicI64,
}

/// Why a shard takes no more writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its collection was dropped.
    Dropped,
    /// The server is shutting down.
    Stopping,
}

impl Shard {
    /// Which shard this is.
    pub fn key(&self) -> &ShardKey {
        &self.key
    }

    /// What a search sees now: immutable, taken without a lock.
    pub fn snapshot(&self) -> Arc<ShardSnapshot> {
        self.touch();
        self.view.load_full()
    }

    /// Largest offset that is durable.
    pub fn tail(&self) -> Offset {
        self.durable.load(Ordering::Acquire)
    }

    /// Waits until the record at `offset` is applied.
    ///
    /// # Errors
    /// `DeadlineExceeded` at the deadline, `Unavailable` where the shard cannot get there any more.
    pub async fn wait_applied(&self, offset: Offset, deadline: Instant) -> Result<()> {
        let mut applied = self.applied.subscribe();
        if *applied.borrow() >= offset {
            return Ok(());
        }
        let arrived = tokio::time::timeout_at(deadline.into(), applied.wait_for(|now| *now >= offset)).await;
        match arrived {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StorageError::Unavailable(format!("shard {} is closing; try again", self.key))),
            Err(_) => Err(StorageError::DeadlineExceeded(format!(
                "the write of the consistency token is not visible yet in shard {}; try again",
                self.key
            ))),
        }
    }

    /// Replaces the definition that new rows are built with, unless it is an older one. True if it was replaced.
    pub fn set_schema(&self, schema: &Arc<CollectionSchema>) -> bool {
        if schema.revision <= self.schema.load().revision {
            return false;
        }
        let state = self.state.lock();
        if schema.revision <= self.schema.load().revision {
            return false;
        }
        self.schema.store(schema.clone());
        self.publish_view(&state);
        true
    }

    /// Refuses writes and background work from now on, and waits until what is under way has ended: afterwards the
    /// shard touches no file.
    pub(crate) async fn close(&self, why: Closed) {
        {
            // Writers look at it with the queue locked, so that none gets in after this.
            let _queue = self.queue.lock();
            let _ = self.closed.set(why);
        }
        self.cancel_builds.store(true, Ordering::Release);
        self.parts.flushed.notify_waiters();
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.queue.lock().is_idle() {
                break;
            }
            settled.await;
        }
        let _rewriting = self.rewriting.lock().await;
        let _publishing = self.publishing.lock().await;
    }

    fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// An error once the shard is closed.
    fn check_not_closed(&self) -> Result<()> {
        match self.closed.get() {
            None => Ok(()),
            Some(Closed::Dropped) => Err(StorageError::NotFound("the collection was deleted".into())),
            Some(Closed::Stopping) => {
                Err(StorageError::Unavailable("the server is shutting down; try again".into()))
            }
        }
    }

    /// Why the shard refuses writes, if it does.
    pub fn poisoned(&self) -> Option<String> {
        self.poison.lock().clone()
    }

    /// Milliseconds of the clock when the shard was last read or written.
    pub fn last_used(&self) -> i64 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Milliseconds of the clock when the shard was last written.
    pub fn last_written(&self) -> i64 {
        self.last_written.load(Ordering::Relaxed)
    }

    /// Heap bytes that are not in segments.
    pub fn unflushed_bytes(&self) -> u64 {
        self.unflushed.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        self.last_used.store(self.parts.clock.now_ms(), Ordering::Relaxed);
    }

    /// Publishes what `state` holds to searches, and its size to the limits.
    fn publish_view(&self, state: &ShardState) {
        self.view.store(Arc::new(state.snapshot(&self.key, &self.schema.load())));
        let (_, bytes) = state.unflushed();
        let before = self.unflushed.swap(bytes, Ordering::Relaxed);
        if bytes >= before {
            self.parts.unflushed.fetch_add(bytes - before, Ordering::Relaxed);
            self.parts.grown.notify_one();
        } else {
            self.parts.unflushed.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    fn set_activity(&self, activity: &'static str) {
        *self.activity.lock() = activity;
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.parts.unflushed.fetch_sub(self.unflushed.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Where a run of a snapshot comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSource {
    /// Rows after the checkpoint.
    Memtable,
    /// The segment with this id.
    Segment(String),
}

/// One run with its dead rows.
#[derive(Clone)]
pub struct RunView {
    /// The rows.
    pub run: Run,
    /// Ordinals that were deleted or replaced.
    pub dead: Arc<RoaringBitmap>,
    /// Memtable or segment.
    pub source: RunSource,
}

/// An immutable view of a shard: what one search sees.
#[derive(Clone)]
pub struct ShardSnapshot {
    /// The shard.
    pub key: ShardKey,
    /// Schema that its runs were read with.
    pub schema: Arc<CollectionSchema>,
    /// All records up to this offset are in it.
    pub applied: Offset,
    /// Segments and memtable batches; an id is alive in at most one of them.
    pub runs: Arc<Vec<RunView>>,
}

/// What a write to a shard was acknowledged with.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteAck {
    /// Offset of its record.
    pub offset: Offset,
    /// Aligned with the ops; `None` when the caller did not wait for them to be applied.
    pub outcomes: Option<Vec<crate::op::OpOutcome>>,
    /// An earlier write with the same idempotency key answered.
    pub repeated: bool,
    /// Points that stay as they are, since their payload would have passed a limit; those of the earlier write where that
    /// one answered. None are known when the caller did not wait.
    pub too_large: u64,
}

/// What became of a physical erasure of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EraseReport {
    /// Live points before.
    pub points_before: u64,
    /// Points that went.
    pub points_erased: u64,
    /// Live points after.
    pub points_after: u64,
    /// Files written in place of others.
    pub created: Vec<crate::catalog::FileChange>,
    /// Files removed.
    pub removed: Vec<crate::catalog::FileChange>,
    /// Bytes of log files removed.
    pub log_bytes_removed: u64,
}
