//! How alike two values of a vector field are.

use engram_index::Pace;
use engram_index::vector::kernel::Kernel;
use engram_index::vector::multi::max_sim_while;
use engram_index::vector::{Metric, SparseRow, VectorValue};

/// Bytes of a vector that are compared in a nanosecond, about.
pub(crate) const BYTES_A_NANOSECOND: usize = 12;

/// Compares admitted values of one field.
pub(crate) struct Likeness {
    metric: Metric,
    kernel: Kernel,
}

impl Likeness {
    /// For a field of this metric.
    pub fn new(metric: Metric) -> Self {
        Self { metric, kernel: Kernel::new(metric) }
    }

    /// The distance of `row` to `query`; `None` for sparse vectors that share no component, which no search finds.
    /// Ends without a meaning where `pace` says so.
    pub fn distance(&self, query: &VectorValue, row: &VectorValue, pace: &Pace<'_>) -> Option<f32> {
        if !pace.go_on(row.bytes() / BYTES_A_NANOSECOND) {
            return None;
        }
        match (query, row) {
            (VectorValue::Dense(query), VectorValue::Dense(row)) => Some(self.kernel.distance(query, row)),
            (VectorValue::Sparse(query), VectorValue::Sparse(row)) => {
                SparseRow::from(query).dot(row.into()).map(|product| -product)
            }
            (VectorValue::Multi(query), VectorValue::Multi(row)) => {
                Some(max_sim_while(self.metric, query, row, pace))
            }
            // One field has values of one kind.
            _ => None,
        }
    }

    /// Cosine similarity, inner product, or the negated distance (squared for `euclid`).
    /// See [`Likeness::distance`] for `pace`.
    pub fn of(&self, query: &VectorValue, row: &VectorValue, pace: &Pace<'_>) -> f32 {
        self.distance(query, row, pace).map_or(0.0, |distance| similarity(self.metric, distance))
    }
}

/// The similarity of a distance: cosine similarity, inner product, or the negated distance (squared for `euclid`).
pub(crate) fn similarity(metric: Metric, distance: f32) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => metric.score(distance),
        Metric::Euclid | Metric::Manhattan => -distance,
    }
}
