//! The values of one field of a run, compared with examples.

use engram_index::Pace;
use engram_index::vector::kernel::Kernel;
use engram_index::vector::{MultiSet, SparseIndex, VectorSet, VectorValue};
use engram_storage::point::FieldId;
use engram_storage::segment::run::Run;

use crate::stages::likeness::{BYTES_A_NANOSECOND, similarity};
use crate::stages::rank_by::Preference;

/// The values of a field, of whichever kind it is.
pub(super) enum Compared<'a> {
    Dense(&'a VectorSet, Kernel),
    Sparse(&'a SparseIndex),
    Multi(&'a MultiSet),
}

impl<'a> Compared<'a> {
    /// The values of `field`; `None` where no row has one.
    pub fn of(run: &'a Run, field: FieldId) -> Option<Self> {
        if let Some(set) = run.vector_set(field) {
            return Some(Self::Dense(set, Kernel::new(set.metric())));
        }
        if let Some(index) = run.sparse_index(field) {
            return Some(Self::Sparse(index));
        }
        run.multi_set(field).map(|set| Self::Multi(set))
    }

    /// Components of all values.
    pub fn components(&self) -> usize {
        match self {
            Self::Dense(set, _) => set.len().saturating_mul(set.dimension()),
            Self::Sparse(index) => index.components(),
            Self::Multi(set) => set.vectors().saturating_mul(set.dimension()),
        }
    }

    /// Whether a row has a value.
    pub fn has(&self, ordinal: u32) -> bool {
        match self {
            Self::Dense(set, _) => set.position(ordinal).is_some(),
            Self::Sparse(index) => index.ordinals().position(ordinal).is_some(),
            Self::Multi(set) => set.ordinals().position(ordinal).is_some(),
        }
    }

    /// How well a row fits the examples, which are values of this field; `None` where it has no value. Ends without a
    /// meaning where `pace` says so.
    pub fn score(&self, ordinal: u32, preference: &Preference, pace: &Pace<'_>) -> Option<f32> {
        match self {
            Self::Dense(set, kernel) => {
                let vector = set.rows().get(set.position(ordinal)?);
                let like = |example: &VectorValue| {
                    let in_time =
                        example.as_dense().filter(|_| pace.go_on(4 * set.dimension() / BYTES_A_NANOSECOND));
                    in_time.map_or(0.0, |e| similarity(set.metric(), kernel.distance(e, vector)))
                };
                Some(preference.score(like))
            }
            Self::Sparse(index) => {
                let row = index.vector(ordinal)?;
                let like = |example: &VectorValue| match example {
                    // Without a common component it is neither like nor unlike.
                    VectorValue::Sparse(example) if pace.go_on(example.indices.len()) => {
                        row.dot(example.into()).unwrap_or(0.0)
                    }
                    _ => 0.0,
                };
                Some(preference.score(like))
            }
            Self::Multi(set) => {
                let position = set.ordinals().position(ordinal)?;
                let like = |example: &VectorValue| match example {
                    VectorValue::Multi(example) => {
                        similarity(set.metric(), set.distance(example, position, pace))
                    }
                    VectorValue::Dense(_) | VectorValue::Sparse(_) => 0.0,
                };
                Some(preference.score(like))
            }
        }
    }
}
