//! Figures of a shard.

use super::Shard;
use super::state::{Place, ShardState};
use crate::error::Result;
use crate::log::Offset;
use crate::manifest::SegmentEntry;
use crate::schema::{CollectionSchema, VectorField};

/// Smaller memtables stay: scanning them costs less than a file. Larger ones are flushed once their shard is quiet.
pub(crate) const WORTH_FLUSHING_BYTES: u64 = 4 << 20;

/// Figures of one segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentStats {
    /// Identity.
    pub id: String,
    /// Rows, dead ones included.
    pub rows: u64,
    /// Dead rows.
    pub deleted: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Vector fields that have a graph.
    pub graphs: Vec<String>,
}

/// Figures of a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardStats {
    /// Live points.
    pub points: u64,
    /// Rows that are not in segments.
    pub memtable_rows: u64,
    /// Their heap bytes.
    pub memtable_bytes: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Largest applied offset.
    pub applied: Offset,
    /// All records up to it are in segments.
    pub checkpoint: Offset,
    /// Epoch of the owner.
    pub epoch: u64,
    /// Version of the manifest.
    pub manifest_version: u64,
    /// Segments.
    pub segments: Vec<SegmentStats>,
    /// `idle`, `flushing`, `compacting`, `indexing`, `erasing` or `poisoned`.
    pub state: &'static str,
    /// Live vectors that a graph covers.
    pub indexed_vectors: u64,
    /// Vectors that will get a graph: those of segments, and of a memtable that is flushed once it is quiet.
    pub pending_vectors: u64,
}

impl Shard {
    /// Live points that a search sees at `now`: those created before `created_before` and expired ones are hidden. Costs
    /// what a search spends on the same question: nothing where no point is due.
    pub fn points_shown(&self, created_before: Option<i64>, now: i64) -> u64 {
        let view = self.view.load_full();
        let shown = view.runs.iter().map(|run| {
            let rows = run.run.len() as u64;
            let gone = match run.run.hidden(created_before, now) {
                Some(hidden) => hidden.union_len(&run.dead),
                None => run.dead.len(),
            };
            rows.saturating_sub(gone)
        });
        shown.sum()
    }

    /// Figures of now.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn stats(&self) -> Result<ShardStats> {
        let log_bytes = self.log.extent().await?.bytes;
        let poisoned = self.poisoned().is_some();
        let activity = *self.activity.lock();
        let schema = self.schema.load_full();
        let state = self.state.lock();
        let (memtable_rows, memtable_bytes) = state.unflushed();
        let mut stats = ShardStats {
            points: state.points(),
            memtable_rows,
            memtable_bytes,
            log_bytes,
            applied: state.applied,
            checkpoint: state.manifest.checkpoint,
            epoch: self.epoch,
            manifest_version: state.manifest.version,
            state: if poisoned { "poisoned" } else { activity },
            ..ShardStats::default()
        };
        for run in &state.runs {
            let Place::Segment(id) = &run.place else { continue };
            let entry = state.manifest.segments.iter().find(|s| s.id == *id);
            let mut segment = SegmentStats {
                id: id.to_string(),
                rows: run.run.len() as u64,
                deleted: run.dead.len(),
                bytes: entry.map_or(0, SegmentEntry::bytes),
                graphs: Vec::new(),
            };
            for field in &schema.vectors {
                let vectors = run.run.vector_set(field.id).map_or(0, |set| set.len());
                if run.run.has_graph(field.id) {
                    segment.graphs.push(field.name.clone());
                    stats.indexed_vectors += vectors as u64;
                } else if vectors >= field.graph_threshold {
                    stats.pending_vectors += vectors as u64;
                }
            }
            stats.segments.push(segment);
        }
        if memtable_bytes >= WORTH_FLUSHING_BYTES {
            stats.pending_vectors += memtable_vectors(&state, &schema);
        }
        Ok(stats)
    }
}

/// Vectors of the memtable, of fields with enough of them for a graph.
fn memtable_vectors(state: &ShardState, schema: &CollectionSchema) -> u64 {
    let of = |field: &VectorField| -> usize {
        let memory = state.runs.iter().filter(|run| !matches!(run.place, Place::Segment(_)));
        memory.map(|run| run.run.vector_set(field.id).map_or(0, |set| set.len())).sum()
    };
    let counts = schema.vectors.iter().map(|field| (of(field), field.graph_threshold));
    counts.filter(|(vectors, least)| vectors >= least).map(|(vectors, _)| vectors as u64).sum()
}
