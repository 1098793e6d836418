//! Flush: the memtable becomes a segment, the manifest moves the checkpoint, the log is trimmed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::Shard;
use super::state::{Place, RunState};
use crate::error::{ErrorKind, Result};
use crate::log::Offset;
use crate::manifest::{DedupeEntry, Manifest, SegmentId};
use crate::schema::CollectionSchema;
use crate::segment::run::Run;
use crate::segment::{Remap, Segment, SegmentWriter};

/// Time between a failed flush and the next attempt.
const RETRY: Duration = Duration::from_secs(1);

/// What a flush writes: the state of the shard at one offset.
struct Frozen {
    checkpoint: Offset,
    /// Memtable runs with their dead rows at the checkpoint.
    runs: Vec<(Run, Arc<RoaringBitmap>)>,
    /// Dead rows of every segment at the checkpoint: the ones of later records must not get into the manifest, since
    /// a replay decides conditions by the state at the checkpoint.
    dead: HashMap<SegmentId, Arc<RoaringBitmap>>,
    dedupe: Vec<DedupeEntry>,
}

impl Shard {
    /// Asks for a flush in the background; asking twice is one flush.
    pub(crate) fn want_flush(self: &Arc<Self>) {
        if !self.takes_no_flush() && !self.flush_wanted.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.clone().flush_until_done());
        }
    }

    /// Flushes; after a failure, such as a full disk, it tries again until it succeeds. `flush_wanted` is set.
    async fn flush_until_done(self: Arc<Self>) {
        loop {
            let permit = self.parts.flushing.acquire().await;
            self.flush_wanted.store(false, Ordering::Release);
            let result = self.flush().await;
            drop(permit);
            let Err(e) = result else { return };
            if self.takes_no_flush() {
                return;
            }
            self.parts.work.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(shard = %self.key, error = %e, "flush failed; it is tried again");
            if self.flush_wanted.swap(true, Ordering::AcqRel) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn takes_no_flush(&self) -> bool {
        self.is_closed() || self.poisoned().is_some()
    }

    /// Writes the memtable to a segment and trims the log.
    ///
    /// # Errors
    /// Those of the object store; nothing is lost, the rows stay in the memtable and the log.
    pub async fn flush(self: &Arc<Self>) -> Result<()> {
        let _publishing = self.publishing.lock().await;
        self.check_not_closed()?;
        let Some(frozen) = self.freeze()? else { return Ok(()) };
        self.set_activity("flushing");
        let start = Instant::now();
        let result = self.write_frozen(&frozen).await;
        match &result {
            Ok(()) => {
                self.parts.work.flushes.add(start);
                self.want_compaction();
            }
            Err(_) => self.thaw(),
        }
        self.set_activity("idle");
        *self.flush_failure.lock() = result.as_ref().err().map(ToString::to_string);
        self.parts.flushed.notify_waiters();
        result
    }

    fn freeze(&self) -> Result<Option<Frozen>> {
        let mut state = self.state.lock();
        if state.broken {
            return Err(self.refusal());
        }
        if state.applied == state.manifest.checkpoint {
            return Ok(None);
        }
        let mut frozen = Frozen {
            checkpoint: state.applied,
            runs: Vec::new(),
            dead: HashMap::new(),
            dedupe: state.dedupe.entries(state.applied),
        };
        for run in &mut state.runs {
            match &run.place {
                Place::Segment(id) => {
                    frozen.dead.insert(id.clone(), run.dead.clone());
                }
                Place::Memtable | Place::Frozen => {
                    run.place = Place::Frozen;
                    frozen.runs.push((run.run.clone(), run.dead.clone()));
                }
            }
        }
        Ok(Some(frozen))
    }

    /// After a failed flush the frozen runs are the memtable again.
    fn thaw(&self) {
        for run in &mut self.state.lock().runs {
            if run.place == Place::Frozen {
                run.place = Place::Memtable;
            }
        }
    }

    async fn write_frozen(&self, frozen: &Frozen) -> Result<()> {
        let schema = self.schema.load_full();
        let inputs =
            frozen.runs.iter().map(|(run, dead)| (run.clone(), RoaringBitmap::clone(dead))).collect();
        let written = self.segment_writer(&schema).write(&SegmentId::new(self.epoch), inputs).await?;
        let run = match &written.entry {
            Some(entry) => Some(Segment::open(&self.parts.store, entry, &schema).await?),
            None => None,
        };

        let mut next = self.state.lock().manifest.clone();
        next.checkpoint = frozen.checkpoint;
        next.dedupe = frozen.dedupe.clone();
        for entry in &mut next.segments {
            if let Some(dead) = frozen.dead.get(&entry.id) {
                entry.deletes = RoaringBitmap::clone(dead);
            }
        }
        let installed = written.entry.as_ref().map(|entry| entry.id.clone()).zip(run);
        next.segments.extend(written.entry);
        let next = self.publish_manifest(next).await?;

        self.install_flush(frozen, installed, &written.remap, next);
        self.log.trim(frozen.checkpoint).await?;
        Ok(())
    }

    /// Replaces the frozen runs by the segment. Rows that died while it was written are dead in it.
    fn install_flush(
        &self,
        frozen: &Frozen,
        written: Option<(SegmentId, Run)>,
        remap: &Remap,
        manifest: Manifest,
    ) {
        let mut state = self.state.lock();
        state.manifest = manifest;
        let mut dead = RoaringBitmap::new();
        let mut inputs = frozen.runs.iter().enumerate();
        let mut first_memory = None;
        let mut kept = Vec::with_capacity(state.runs.len());
        for run in std::mem::take(&mut state.runs) {
            if run.place != Place::Frozen {
                if run.place == Place::Memtable {
                    first_memory.get_or_insert(kept.len());
                }
                kept.push(run);
                continue;
            }
            if let Some((input, (_, then))) = inputs.next() {
                dead |= remap.translate(input, &(&*run.dead - &**then));
            }
        }
        if let Some((id, run)) = written {
            let at = first_memory.unwrap_or(kept.len());
            kept.insert(at, RunState { run, dead: Arc::new(dead), place: Place::Segment(id) });
        }
        state.runs = kept;
        self.publish_view(&state);
    }

    pub(super) fn segment_writer(&self, schema: &Arc<CollectionSchema>) -> SegmentWriter {
        SegmentWriter::new(self.parts.store.clone(), self.key.clone(), schema.clone())
    }

    /// Publishes `next` as the version after the current one. The caller holds `publishing`.
    pub(super) async fn publish_manifest(&self, mut next: Manifest) -> Result<Manifest> {
        next.epoch = self.epoch;
        next.writer.clone_from(&self.parts.writer);
        next.created_at = self.parts.clock.now_ms();
        let Err(e) = self.manifests.publish(&mut next).await else { return Ok(next) };
        if matches!(e.kind(), ErrorKind::Fenced | ErrorKind::Conflict) {
            self.poison.lock().get_or_insert_with(|| e.to_string());
            return Err(e);
        }
        // It may be there all the same, but whether it would survive a power cut nobody knows: nothing may be trimmed on
        // the strength of it. The next start reads what the disk really holds.
        if self.manifests.load_latest().await?.is_some_and(|there| there.version > next.version) {
            self.poison.lock().get_or_insert_with(|| e.to_string());
        }
        Err(e)
    }
}
