//! Sparse vectors of one shard: searched, and counted for the weights of a query.

use std::sync::Arc;

use engram_index::Mask;
use engram_index::vector::{Neighbor, SparseVector};
use engram_storage::point::FieldId;
use engram_storage::shard::{RunView, ShardSnapshot};

use super::compute::{Work, check_deadline};
use super::rows::{Rows, Visibility};
use crate::error::Result;
use crate::searcher::{Frequencies, FrequencyRequest};

/// What reading one posting costs, in multiply-adds.
const POSTING_WORK: usize = 4;

/// Estimated work of a search of one run.
pub(super) fn work(view: &RunView, field: FieldId, query: &SparseVector) -> usize {
    let index = view.run.sparse_index(field);
    index.map_or(0, |index| index.postings_of(&query.indices).saturating_mul(POSTING_WORK))
}

/// The nearest rows of one run among those of the mask.
pub(super) fn search(
    view: &RunView,
    field: FieldId,
    query: &SparseVector,
    (k, mask): (usize, Mask<'_>),
) -> Vec<Neighbor> {
    view.run.sparse_index(field).map(|index| index.search(query.into(), k, mask)).unwrap_or_default()
}

/// Counts rows of one snapshot.
pub(super) struct FrequencyJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub request: FrequencyRequest,
}

impl FrequencyJob {
    /// Estimated work: no postings are read but where rows are gone.
    pub fn work(&self) -> Work {
        let of = |view: &RunView| {
            let index = view.run.sparse_index(self.request.field);
            index.map_or(0, |index| index.postings_of(&self.request.indices))
        };
        Work(self.snapshot.runs.iter().map(of).fold(0, usize::saturating_add))
    }

    /// Points that are alive and shown.
    pub fn run(&self) -> Result<Frequencies> {
        let indices = &self.request.indices;
        let mut all = Frequencies::default();
        for view in self.snapshot.runs.iter() {
            check_deadline(self.request.scope.deadline)?;
            let Some(index) = view.run.sparse_index(self.request.field) else { continue };
            let rows = Rows::of(view, &self.shown, None)?;
            let points = index.ordinals().allowed(rows.mask()) as u64;
            all.add(&Frequencies { points, with: index.frequencies(indices, rows.mask()) });
        }
        Ok(all)
    }
}
