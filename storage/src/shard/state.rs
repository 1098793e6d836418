//! What the shard's writer owns: the runs, the manifest and the table of repeated writes.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::dedupe::Dedupe;
use super::{RunSource, RunView, ShardSnapshot};
use crate::log::Offset;
use crate::manifest::{Manifest, SegmentId};
use crate::point::PointId;
use crate::schema::{CollectionSchema, ShardKey};
use crate::segment::run::Run;

/// Where a run stands on its way from memory to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Takes part in coalescing.
    Memtable,
    /// Being written to a segment; only its dead rows may grow.
    Frozen,
    /// The segment with this id.
    Segment(SegmentId),
}

/// A run with its dead rows.
pub(super) struct RunState {
    /// Rows.
    pub run: Run,
    /// Dead rows as of the applied offset.
    pub dead: Arc<RoaringBitmap>,
    /// Memory or disk.
    pub place: Place,
}

impl RunState {
    /// Rows that are not dead.
    pub fn live(&self) -> u64 {
        (self.run.len() as u64).saturating_sub(self.dead.len())
    }

    /// Marks `ordinal` dead.
    pub fn kill(&mut self, ordinal: u32) {
        Arc::make_mut(&mut self.dead).insert(ordinal);
    }
}

/// A live row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Position in [`ShardState::runs`].
    pub run: usize,
    /// Row of that run.
    pub ordinal: u32,
}

/// What the shard's writer owns.
pub(super) struct ShardState {
    /// Segments, then frozen runs, then memtable batches, oldest first.
    pub runs: Vec<RunState>,
    /// All records up to this one are in `runs`.
    pub applied: Offset,
    /// Newest manifest; its deletes are those of its checkpoint, not of `applied`.
    pub manifest: Manifest,
    /// Repeated writes.
    pub dedupe: Dedupe,
    /// A record could not be applied: what follows it must not be applied or flushed either, since a later checkpoint
    /// would pass over it. The log keeps all of them.
    pub broken: bool,
}

impl ShardState {
    /// The live row of `id`.
    pub fn find(&self, id: &PointId) -> Option<Location> {
        // Newest first: recent points are the ones that are written again.
        for (run, state) in self.runs.iter().enumerate().rev() {
            if let Some(ordinal) = state.run.find(id)
                && !state.dead.contains(ordinal)
            {
                return Some(Location { run, ordinal });
            }
        }
        None
    }

    /// Live points.
    pub fn points(&self) -> u64 {
        self.runs.iter().map(RunState::live).sum()
    }

    /// Rows and heap bytes that are not in segments.
    pub fn unflushed(&self) -> (u64, u64) {
        let memory = self.runs.iter().filter(|r| !matches!(r.place, Place::Segment(_)));
        memory.fold((0, 0), |(rows, bytes), r| (rows + r.run.len() as u64, bytes + r.run.heap_bytes() as u64))
    }

    /// The run of segment `id`.
    pub fn segment_mut(&mut self, id: &SegmentId) -> Option<&mut RunState> {
        self.runs.iter_mut().find(|r| matches!(&r.place, Place::Segment(s) if s == id))
    }

    /// An immutable view of now.
    pub fn snapshot(&self, key: &ShardKey, schema: &Arc<CollectionSchema>) -> ShardSnapshot {
        let view = |r: &RunState| RunView {
            run: r.run.clone(),
            dead: r.dead.clone(),
            source: match &r.place {
                Place::Segment(id) => RunSource::Segment(id.to_string()),
                Place::Memtable | Place::Frozen => RunSource::Memtable,
            },
        };
        ShardSnapshot {
            key: key.clone(),
            schema: schema.clone(),
            applied: self.applied,
            runs: Arc::new(self.runs.iter().map(view).collect()),
        }
    }
}
