//! How many points of one shard have each value of a field.

use std::collections::HashMap;
use std::sync::Arc;

use engram_index::payload::{FieldIndex, IndexedValue, PayloadIndexKind, Scalar, Values};
use engram_storage::shard::{RunView, ShardSnapshot};
use roaring::RoaringBitmap;

use super::compute::{Work, check_deadline};
use super::keys::{payload, scalars};
use super::read::{PROJECT_WORK, ROWS_PER_DEADLINE_CHECK};
use super::rows::{Rows, Visibility};
use super::search::FILTER_WORK;
use crate::error::Result;
use crate::limits::{MAX_FACET_BYTES, MAX_FACET_VALUES, at_most};
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
        let mut counts = Counts::default();
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
        Ok(counts.by_value.into_iter().collect())
    }

    /// Rows with values that the index does not hold are read with all their values, the others are counted by it.
    fn by_index(
        &self,
        (index, values): (&FieldIndex, Values<'_>),
        view: &RunView,
        rows: RoaringBitmap,
        counts: &mut Counts,
    ) -> Result<()> {
        let others = index.others() & &rows;
        self.by_payload(view, &others, counts)?;
        let rows = rows - others;
        for rank in 0..values.len() {
            if rank.is_multiple_of(ROWS_PER_DEADLINE_CHECK) {
                check_deadline(self.request.scope.deadline)?;
            }
            let count = values.rows(rank).count_in(&rows);
            if count > 0
                && let Some(IndexedValue::Scalar(value)) = values.value(rank)
            {
                counts.add(value, count)?;
            }
        }
        Ok(())
    }

    fn by_payload(&self, view: &RunView, rows: &RoaringBitmap, counts: &mut Counts) -> Result<()> {
        for (i, ordinal) in rows.iter().enumerate() {
            if i.is_multiple_of(ROWS_PER_DEADLINE_CHECK) {
                check_deadline(self.request.scope.deadline)?;
            }
            for value in scalars(&payload(view, ordinal)?, &self.request.path) {
                counts.add(value, 1)?;
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

/// Points by value.
#[derive(Default)]
struct Counts {
    by_value: HashMap<Scalar, u64>,
    /// Of all values.
    bytes: usize,
}

impl Counts {
    fn add(&mut self, value: Scalar, count: u64) -> Result<()> {
        if let Some(there) = self.by_value.get_mut(&value) {
            *there += count;
            return Ok(());
        }
        self.bytes += if let Scalar::Keyword(text) = &value { text.len() } else { 0 };
        self.by_value.insert(value, count);
        let advice = "narrow the facet with a filter, or take a field with fewer values";
        at_most(
            "the number of different values of the field",
            self.by_value.len(),
            MAX_FACET_VALUES,
            advice,
        )?;
        let advice = "narrow the facet with a filter, or take a field with shorter values";
        at_most(
            "the length of the different values of the field in bytes",
            self.bytes,
            MAX_FACET_BYTES,
            advice,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded_by_their_length() {
        let mut counts = Counts::default();
        let text = |i: usize| Scalar::Keyword(format!("{i:02}{}", "x".repeat((1 << 20) - 2)));
        for i in 0..64 {
            counts.add(text(i), 1).unwrap();
            counts.add(text(i), 1).unwrap();
        }
        assert!(counts.add(text(64), 1).unwrap_err().to_string().contains("shorter values"));
    }
}
