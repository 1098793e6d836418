//! Exact search of a sparse index, a block of rows at a time.

use super::SparseRow;
use super::index::{Postings, SparseIndex};
use crate::Mask;
use crate::vector::{
    Neighbor,
    topk::{TopK, key, key_distance, key_position},
};

/// Rows whose scores are added up at a time: their scores stay in the second-level cache.
const BLOCK: usize = 1 << 15;
/// Allowed rows are compared one by one where so many postings would be read for each of them.
const POSTINGS_PER_ROW: u64 = 64;

/// Postings of one index of the query that were not added up yet.
struct Cursor<'a> {
    rest: Postings<'a>,
    value: f32,
}

/// Scores of a block of rows, and which of them have one.
struct Scores {
    sums: Vec<f32>,
    touched: Vec<u64>,
}

impl SparseIndex {
    /// The `k` allowed rows with the largest inner product among those that share an index with the admitted `query`;
    /// distances are negated products, ties go to the smaller ordinal.
    pub fn search(&self, query: SparseRow<'_>, k: usize, mask: Mask<'_>) -> Vec<Neighbor> {
        let mut best = TopK::new(k);
        if k > 0 {
            let terms = query.indices.iter().zip(query.values);
            let cursor =
                |(index, value): (&u32, &f32)| Some(Cursor { rest: self.postings(*index)?, value: *value });
            let cursors: Vec<Cursor<'_>> = terms.filter_map(cursor).collect();
            let postings: u64 = cursors.iter().map(|c| c.rest.places.len() as u64).sum();
            match mask {
                Mask::Allow(allowed) if allowed.len() < postings / POSTINGS_PER_ROW => {
                    let rows = allowed.iter().filter_map(|ordinal| self.ordinals.position(ordinal));
                    for position in rows {
                        if let Some(sum) = self.row(position).dot(query) {
                            // A run has fewer rows than ordinals.
                            best.push(key(-sum + 0.0, position as u32));
                        }
                    }
                }
                mask => self.add_up(cursors, mask, &mut best),
            }
        }
        let neighbor = |k: &u64| Neighbor {
            ordinal: self.ordinals.ordinal(key_position(*k) as usize),
            distance: key_distance(*k),
        };
        best.take_sorted().iter().map(neighbor).collect()
    }

    /// Adds up the postings of all indices. Blocks without any are passed over.
    fn add_up(&self, mut cursors: Vec<Cursor<'_>>, mask: Mask<'_>, best: &mut TopK) {
        let mut scores = Scores { sums: vec![0.0; BLOCK], touched: vec![0; BLOCK / 64] };
        while let Some(first) = cursors.iter().filter_map(|c| c.rest.places.first()).min().copied() {
            // In the order of indices, so that a sum has the same bits wherever its row lies.
            for cursor in &mut cursors {
                scores.add(cursor, first);
            }
            scores.take(|place, sum| {
                let position = first + place;
                let key = key(-sum + 0.0, position);
                if key < best.bound() && mask.allows(self.ordinals.ordinal(position as usize)) {
                    best.push(key);
                }
            });
            cursors.retain(|cursor| !cursor.rest.places.is_empty());
        }
    }
}

impl Scores {
    /// Adds the postings of a cursor that lie in the block that begins at `first`.
    fn add(&mut self, cursor: &mut Cursor<'_>, first: u32) {
        let Postings { places, weights } = cursor.rest;
        let mut done = 0;
        for (place, weight) in places.iter().zip(weights) {
            let at = (place - first) as usize;
            if at >= BLOCK {
                break;
            }
            self.sums[at] += cursor.value * weight;
            self.touched[at / 64] |= 1 << (at % 64);
            done += 1;
        }
        cursor.rest = Postings { places: &places[done..], weights: &weights[done..] };
    }

    /// Hands out the scores in the order of places, and forgets them.
    fn take(&mut self, mut look: impl FnMut(u32, f32)) {
        for (word, touched) in self.touched.iter_mut().enumerate() {
            let mut bits = std::mem::take(touched);
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                look(at as u32, std::mem::take(&mut self.sums[at]));
            }
        }
    }
}
