//! Multi vectors of one shard: compared in pieces, over all threads where there are many.

use std::ops::Range;
use std::time::Instant;

use engram_index::vector::{MultiSet, MultiVector, Neighbor};
use engram_index::{Mask, Pace, Result as IndexResult};
use engram_storage::point::FieldId;
use engram_storage::shard::RunView;
use rayon::prelude::*;

use super::compute::{after, spend};
use crate::error::Result;

/// Multiply-adds between two looks at the clock: about ten milliseconds.
const PIECE_WORK: usize = 30_000_000;

/// Estimated work of a search of one run.
pub(super) fn work(view: &RunView, field: FieldId, query: &MultiVector) -> usize {
    let vectors = query.vectors().len();
    view.run
        .multi_set(field)
        .map_or(0, |set| set.vectors().saturating_mul(set.dimension()).saturating_mul(vectors))
}

/// A scan of one run.
pub(super) struct Scan<'a> {
    pub query: &'a MultiVector,
    pub k: usize,
    pub mask: Mask<'a>,
    pub deadline: Instant,
}

impl Scan<'_> {
    /// The nearest rows, ascending by (distance, ordinal).
    pub fn run(&self, view: &RunView, field: FieldId, on_pool: bool) -> Result<Vec<Neighbor>> {
        let Some(set) = view.run.multi_set(field) else { return Ok(Vec::new()) };
        let pieces = pieces(set.len(), work(view, field, self.query));
        let found: Vec<Vec<Neighbor>> = if on_pool && pieces.len() > 1 {
            pieces.into_par_iter().map(|piece| self.piece(set, piece)).collect::<Result<_>>()?
        } else {
            pieces.into_iter().map(|piece| self.piece(set, piece)).collect::<Result<_>>()?
        };
        let mut all = found.concat();
        all.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.ordinal.cmp(&b.ordinal)));
        all.truncate(self.k);
        Ok(all)
    }

    fn piece(&self, set: &MultiSet, piece: Range<usize>) -> Result<Vec<Neighbor>> {
        let late = after(self.deadline);
        let pace = Pace::new(&late);
        spend(&pace, usize::MAX)?;
        let found: IndexResult<_> = set.scan(self.query, self.k, self.mask, (piece, &pace));
        spend(&pace, 0)?;
        Ok(found?)
    }
}

/// Parts of `rows` rows that are together this much work.
fn pieces(rows: usize, work: usize) -> Vec<Range<usize>> {
    let count = work.div_ceil(PIECE_WORK).clamp(1, rows.max(1));
    let each = rows.div_ceil(count).max(1);
    (0..rows).step_by(each).map(|first| first..(first + each).min(rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_rows_once() {
        for (rows, work) in [(0, 0), (1, usize::MAX), (1000, 1), (1000, PIECE_WORK * 7), (3, PIECE_WORK * 7)]
        {
            let pieces = pieces(rows, work);
            let covered: Vec<usize> = pieces.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>(), "{rows} {work}");
            assert!(pieces.len() <= work.div_ceil(PIECE_WORK).max(1));
        }
    }
}
