//! How many points of one shard have each value of a field.

use std::collections::HashMap;
use std::sync::Arc;

use engram_index::Pace;
use engram_index::payload::{FieldIndex, IndexedValue, PayloadIndexKind, Scalar, Values};
use engram_storage::shard::{RunView, ShardSnapshot};
use roaring::RoaringBitmap;

use super::compute::{Work, after, check_deadline, spend};
use super::keys::{parse_work, payload, scalars};
use super::read::{PROJECT_WORK, VALUES_PER_DEADLINE_CHECK};
use super::rows::{Rows, Visibility};
use super::search::FILTER_WORK;
use crate::error::Result;
use crate::limits::{MAX_FACET_VALUES, at_most};
use crate::searcher::ShardFacetRequest;

/// A count of values.
pub(super) struct FacetJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub request: ShardFacetRequest,
}

impl FacetJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let rows: usize = self.snapshot.runs.iter().map(|view| view.run.len()).sum();
        let filter = if self.request.filter.is_some() { FILTER_WORK } else { 0 };
        Work(rows.saturating_mul(filter.saturating_add(PROJECT_WORK)))
    }

    /// Values and points that have them, exactly, in no order.
    pub fn run(&self) -> Result<Vec<(Scalar, u64)>> {
        let mut counts = HashMap::new();
        for view in self.snapshot.runs.iter() {
            check_deadline(self.request.scope.deadline)?;
            let rows = Rows::of(view, &self.shown, self.request.filter.as_deref())?.all(view.run.len());
            let index = view.run.payload_index(&self.request.path.to_string());
            let index = index.filter(|index| index.rows() as usize == view.run.len());
            match index.and_then(|index| Some((index, index.values().filter(|_| countable(index))?))) {
                Some((index, values)) => self.by_index((index, values), view, rows, &mut counts)?,
                None => self.by_payload(view, &rows, &mut counts)?,
            }
        }
        Ok(counts.into_iter().collect())
    }

    /// Rows with values that the index does not hold are read with all their values, the others are counted by it.
    fn by_index(
        &self,
        (index, values): (&FieldIndex, Values<'_>),
        view: &RunView,
        rows: RoaringBitmap,
        counts: &mut HashMap<Scalar, u64>,
    ) -> Result<()> {
        let others = index.others() & &rows;
        self.by_payload(view, &others, counts)?;
        let rows = rows - others;
        for rank in 0..values.len() {
            if rank.is_multiple_of(VALUES_PER_DEADLINE_CHECK) {
                check_deadline(self.request.scope.deadline)?;
            }
            let count = values.rows(rank).count_in(&rows);
            if count > 0
                && let Some(IndexedValue::Scalar(value)) = values.value(rank)
            {
                add(counts, value, count)?;
            }
        }
        Ok(())
    }

    fn by_payload(
        &self,
        view: &RunView,
        rows: &RoaringBitmap,
        counts: &mut HashMap<Scalar, u64>,
    ) -> Result<()> {
        let late = after(self.request.scope.deadline);
        let pace = Pace::new(&late);
        for ordinal in rows {
            spend(&pace, parse_work(view.run.payload(ordinal)))?;
            for value in scalars(&payload(view, ordinal)?, &self.request.path) {
                add(counts, value, 1)?;
            }
        }
        Ok(())
    }
}

/// Whether the values of an index are those that are counted.
fn countable(index: &FieldIndex) -> bool {
    use PayloadIndexKind as K;
    matches!(index.kind(), K::Keyword | K::Integer | K::Bool | K::Uuid)
}

fn add(counts: &mut HashMap<Scalar, u64>, value: Scalar, count: u64) -> Result<()> {
    *counts.entry(value).or_default() += count;
    let advice = "narrow the facet with a filter, or take a field with fewer values";
    at_most("the number of different values of the field", counts.len(), MAX_FACET_VALUES, advice)
}
