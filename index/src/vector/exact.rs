//! The exact scan: compares a query with every allowed vector.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::{
    Mask, Result,
    vector::{
        Neighbor, SearchParams, VectorIndex, VectorSet,
        kernel::{Kernel, prefetch},
        metric::check_dimension,
        set::Rows,
        topk::{Key, TopK, key, key_distance, key_position},
    },
};

/// Rows that are gathered and prefetched before they are compared, where the allowed rows do not lie side by side.
const GATHER: usize = 16;
/// Cache lines fetched ahead per gathered row; the processor follows on its own from there.
const LINES: usize = 8;

/// Searches by comparing with every allowed vector. The truth every other index is measured by.
#[derive(Clone, Debug)]
pub struct ExactIndex {
    vectors: Arc<VectorSet>,
}

impl ExactIndex {
    /// An index that needs no structure beside the vectors.
    pub fn new(vectors: Arc<VectorSet>) -> Self {
        Self { vectors }
    }
}

impl VectorIndex for ExactIndex {
    fn vectors(&self) -> &Arc<VectorSet> {
        &self.vectors
    }

    fn search(&self, query: &[f32], params: &SearchParams, mask: Mask<'_>) -> Result<Vec<Neighbor>> {
        scan(&self.vectors, query, params.k, mask)
    }

    fn expected_recall(&self, _: &SearchParams) -> Option<f32> {
        Some(1.0)
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn encode_to(&self, _: &mut dyn std::io::Write) -> std::io::Result<()> {
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

/// The `k` nearest allowed vectors of `set`, nearest first, by comparing with all of them.
///
/// # Errors
/// [`crate::IndexError::InvalidVector`] where the dimension does not fit.
pub fn scan(set: &VectorSet, query: &[f32], k: usize, mask: Mask<'_>) -> Result<Vec<Neighbor>> {
    check_dimension(set.dimension(), query)?;
    let mut scan = Scan {
        rows: set.rows(),
        kernel: Kernel::new(set.metric()),
        query,
        best: TopK::new(k),
        gathered: [0; GATHER],
        waiting: 0,
    };
    if k > 0 {
        match mask {
            Mask::All => (0..set.len()).for_each(|position| scan.compare(position)),
            Mask::Allow(allowed) => scan.allowed(set, allowed),
            Mask::Deny(denied) => scan.not_denied(set, denied),
        }
        scan.flush();
    }
    Ok(neighbors(set, &scan.best.take_sorted()))
}

/// Turns keys over positions into results over ordinals. Positions ascend with ordinals, so the order stays.
pub(super) fn neighbors(set: &VectorSet, keys: &[Key]) -> Vec<Neighbor> {
    let neighbor =
        |&k: &Key| Neighbor { ordinal: set.ordinal(key_position(k) as usize), distance: key_distance(k) };
    keys.iter().map(neighbor).collect()
}

struct Scan<'a> {
    rows: Rows<'a>,
    kernel: Kernel,
    query: &'a [f32],
    best: TopK,
    gathered: [usize; GATHER],
    waiting: usize,
}

impl Scan<'_> {
    #[inline]
    fn compare(&mut self, position: usize) {
        let distance = self.kernel.distance(self.query, self.rows.get(position));
        // A set has at most u32::MAX vectors, see `VectorSet::new`.
        let key = key(distance, position as u32);
        if key < self.best.bound() {
            self.best.push(key);
        }
    }

    /// Compares later, together with others, so that the memory of many rows is on its way at once.
    #[inline]
    fn gather(&mut self, position: usize) {
        prefetch(self.rows.get(position), LINES);
        self.gathered[self.waiting] = position;
        self.waiting += 1;
        if self.waiting == GATHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        for i in 0..self.waiting {
            self.compare(self.gathered[i]);
        }
        self.waiting = 0;
    }

    /// Walks the smaller of the bitmap and the set, so that one match in a large set costs one look-up.
    fn allowed(&mut self, set: &VectorSet, allowed: &RoaringBitmap) {
        match set.ordinals() {
            None => {
                let len = set.len();
                for position in allowed.iter().map(|o| o as usize).take_while(|&p| p < len) {
                    self.gather(position);
                }
            }
            Some(ordinals) if allowed.len() < ordinals.len() as u64 / 8 => {
                for position in allowed.iter().filter_map(|o| set.position(o)) {
                    self.gather(position);
                }
            }
            Some(ordinals) => {
                for (position, &ordinal) in ordinals.iter().enumerate() {
                    if allowed.contains(ordinal) {
                        self.gather(position);
                    }
                }
            }
        }
    }

    fn not_denied(&mut self, set: &VectorSet, denied: &RoaringBitmap) {
        let mut next_denied = denied.iter().peekable();
        for position in 0..set.len() {
            let ordinal = set.ordinal(position);
            while next_denied.peek().is_some_and(|&d| d < ordinal) {
                next_denied.next();
            }
            if next_denied.peek() != Some(&ordinal) {
                self.gather(position);
            }
        }
    }
}
