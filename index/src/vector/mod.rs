//! Vector fields: metrics, stored vectors, the exact scan and the graph.

use std::sync::Arc;

use crate::{Mask, Result};

pub mod codes;
pub mod engine;
pub mod exact;
pub mod graph;
pub mod hnsw;
pub mod kernel;
pub mod metric;
pub mod set;
pub mod topk;

pub use metric::Metric;
pub use set::VectorSet;

/// Largest dimension of a vector field.
pub const MAX_DIMENSION: usize = 16_384;

/// One result: smaller distance is closer, ties go to the smaller ordinal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// Row number inside the searched run.
    pub ordinal: u32,
    /// Exact distance under the field's metric (see [`Metric::distance`]).
    pub distance: f32,
}

/// What one search asks of an index.
#[derive(Clone, Copy, Debug, Default)]
pub struct SearchParams {
    /// Number of results wanted.
    pub k: usize,
    /// Size of the candidate list of a graph walk; raised to `k` where it is smaller. 0: as the index thinks best.
    pub ef: usize,
    /// Share of the true neighbours that is wanted, instead of `ef`.
    pub recall: Option<f32>,
    /// Compare with every allowed vector.
    pub exact: bool,
}

/// A searchable index over the vectors of one field in one run of rows.
///
/// Contract: results are sorted by (distance, ordinal), distances are exact, and fewer than `k` come back only
/// when fewer than `k` vectors are allowed by the mask.
pub trait VectorIndex: Send + Sync {
    /// The vectors that are searched.
    fn vectors(&self) -> &Arc<VectorSet>;
    /// The `k` nearest allowed vectors. `query` has passed [`metric::admit`].
    ///
    /// # Errors
    /// [`crate::IndexError::InvalidVector`] where the dimension does not fit.
    fn search(&self, query: &[f32], params: &SearchParams, mask: Mask<'_>) -> Result<Vec<Neighbor>>;
    /// Share of the `k` nearest that a search without a mask is expected to find; `None` where nothing is known.
    fn expected_recall(&self, params: &SearchParams) -> Option<f32> {
        let _ = params;
        None
    }
    /// Number of bytes that [`VectorIndex::encode_to`] writes.
    fn encoded_len(&self) -> usize;
    /// Writes the structure beside the vectors (nothing for the exact scan), as the `open` of its type reads it.
    ///
    /// # Errors
    /// Those of `out`.
    fn encode_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()>;
    /// Heap bytes of the structure beside the vectors.
    fn memory_bytes(&self) -> usize;
    /// Whether a search has met damaged bytes. It has answered by the exact scan then, and so do all after it: build the
    /// structure again.
    fn damaged(&self) -> bool {
        false
    }
    /// Whether it was repaired around vectors that are gone, or made from one that was. Its links and what it learned of
    /// the data still tell of them: an erasure has to build it again.
    fn repaired(&self) -> bool {
        false
    }
    /// The graph that a build over a later state of the same rows can go on from.
    fn as_graph(&self) -> Option<&graph::GraphIndex> {
        None
    }
}
