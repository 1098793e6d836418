//! Opening a shard: the newest manifest, its segments, and the tail of the log.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::dedupe::Dedupe;
use super::state::{Place, RunState, ShardState};
use super::{Shard, ShardParts};
use crate::error::{Result, StorageError};
use crate::log::{Epoch, LogProvider, Offset};
use crate::manifest::{Manifest, ManifestStore};
use crate::op::OpBatch;
use crate::schema::{CollectionSchema, ShardKey};
use crate::segment::Segment;

/// Bytes of log bodies that are applied at once in a replay.
const REPLAY_GROUP_BYTES: usize = 8 << 20;

impl Shard {
    /// Opens the shard and replays its log from the checkpoint. Writes nothing but the fencing epoch (and that only
    /// with the first append), so a crash here is harmless.
    ///
    /// # Errors
    /// `Corrupt` where a segment, the manifest or the log is damaged, `Fenced` where a newer owner was here.
    pub async fn open(
        key: ShardKey,
        schema: Arc<CollectionSchema>,
        epoch: Epoch,
        logs: &dyn LogProvider,
        parts: Arc<ShardParts>,
    ) -> Result<Arc<Self>> {
        let manifests = ManifestStore::new(parts.store.clone(), key.path());
        let manifest = manifests.load_latest().await?;
        let manifest = manifest.unwrap_or_else(|| Manifest::empty(epoch, &parts.writer));
        if manifest.epoch > epoch {
            let newer = manifest.epoch;
            return Err(StorageError::Fenced(format!("shard {key} belongs to epoch {newer} now")));
        }
        let runs = open_segments(&parts, &manifest, &schema).await?;
        let (log, report) = logs.open(&key, epoch).await?;
        if let Some((path, at, bytes)) = report.cut {
            tracing::warn!(shard = %key, path, at, bytes, "a torn tail of the log was cut: it was never acknowledged");
        }
        let extent = log.extent().await?;
        check_extent(&key, extent.first, extent.tail, manifest.checkpoint)?;

        let applied = manifest.checkpoint;
        let tail = extent.tail.max(applied);
        let state =
            ShardState { runs, applied, dedupe: Dedupe::restore(&manifest.dedupe), manifest, broken: false };
        let view = state.snapshot(&key, &schema);
        let now = parts.clock.now_ms();
        let shard = Arc::new(Self {
            key,
            epoch,
            log,
            manifests,
            schema: ArcSwap::new(schema),
            view: ArcSwap::from_pointee(view),
            state: Mutex::new(state),
            queue: Mutex::default(),
            room: Semaphore::new(parts.options.queue_bytes as usize),
            applied: watch::Sender::new(applied),
            durable: AtomicU64::new(tail),
            unflushed: AtomicU64::new(0),
            publishing: tokio::sync::Mutex::default(),
            rewriting: tokio::sync::Mutex::default(),
            cancel_builds: AtomicBool::new(false),
            flush_wanted: AtomicBool::new(false),
            flush_failure: Mutex::new(None),
            compact_wanted: AtomicBool::new(false),
            activity: Mutex::new("idle"),
            poison: Mutex::new(None),
            pins: Mutex::default(),
            closed: OnceLock::new(),
            settled: Notify::new(),
            last_used: AtomicI64::new(now),
            last_written: AtomicI64::new(now),
            parts,
        });
        shard.replay(tail).await?;
        Ok(shard)
    }

    async fn replay(self: &Arc<Self>, tail: Offset) -> Result<()> {
        let from = self.state.lock().applied + 1;
        if from > tail {
            return Ok(());
        }
        let mut records = self.log.read(from);
        let mut group: Vec<(Offset, OpBatch)> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = records.next().await {
            let (offset, record) = next?;
            bytes += record.body.len();
            group.push((offset, OpBatch::decode(record.body)?));
            if bytes >= REPLAY_GROUP_BYTES {
                self.replay_group(std::mem::take(&mut group)).await?;
                bytes = 0;
            }
        }
        drop(records);
        self.replay_group(group).await?;
        let applied = self.state.lock().applied;
        if applied != tail {
            let why = format!("the log ends at offset {tail}, but only {applied} could be read");
            return Err(StorageError::corrupt(self.key.path(), why));
        }
        if self.unflushed.load(Ordering::Relaxed) >= self.parts.options.memtable_bytes {
            self.want_flush();
        }
        self.want_compaction();
        Ok(())
    }

    async fn replay_group(self: &Arc<Self>, group: Vec<(Offset, OpBatch)>) -> Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        let shard = self.clone();
        let applied = tokio::task::spawn_blocking(move || shard.apply_batches(group).map(drop));
        applied.await.map_err(|e| StorageError::Internal(e.to_string()))?
    }
}

async fn open_segments(
    parts: &ShardParts,
    manifest: &Manifest,
    schema: &CollectionSchema,
) -> Result<Vec<RunState>> {
    let mut runs = Vec::with_capacity(manifest.segments.len());
    for entry in &manifest.segments {
        let run = Segment::open(&parts.store, entry, schema).await?;
        let dead = Arc::new(entry.deletes.clone());
        runs.push(RunState { run, dead, place: Place::Segment(entry.id.clone()) });
    }
    Ok(runs)
}

/// The log must reach back to the checkpoint, and must not end before it.
fn check_extent(key: &ShardKey, first: Offset, tail: Offset, checkpoint: Offset) -> Result<()> {
    if first > checkpoint + 1 {
        let why = format!(
            "the log begins at offset {first}, but the segments end at {checkpoint}: records are missing"
        );
        return Err(StorageError::corrupt(key.path(), why));
    }
    if tail < checkpoint {
        let why = format!(
            "the log ends at offset {tail}, before the checkpoint {checkpoint}: its files are missing"
        );
        return Err(StorageError::corrupt(key.path(), why));
    }
    Ok(())
}
