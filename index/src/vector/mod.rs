//! Vector fields: metrics, stored vectors, the exact scan and the graph.

use std::sync::Arc;

use crate::{Mask, Result};

pub mod codes;
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
#[derive(Clone, Copy, Debug)]
pub struct SearchParams {
    /// Number of results wanted.
    pub k: usize,
    /// Size of the candidate list of a graph walk; raised to `k` where it is smaller.
    pub ef: usize,
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
    /// Bytes of the structure beside the vectors (empty for the exact scan), as [`hnsw::HnswIndex::open`] reads them.
    fn encode(&self) -> Vec<u8>;
    /// Heap bytes of the structure beside the vectors.
    fn memory_bytes(&self) -> usize;
}
