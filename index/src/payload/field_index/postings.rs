//! Which rows hold which key: lists of ordinals in key order, bitmaps for the keys of many rows.

use std::ops::Range;

use bytemuck::Pod;
use roaring::RoaringBitmap;

use super::codec::{Reader, Writer, corrupt};
use super::values::ValueRows;
use crate::column::Column;
use crate::error::Result;

/// Keys of more rows than this have a bitmap; fewer rows take less room as a list.
const DENSE_ROWS: usize = 1024;

/// The rows of each key. Keys are known here by their rank.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// Where the list of each key starts in `ordinals`, and one more for the end.
    starts: Column<u64>,
    ordinals: Column<u32>,
    /// Ascending by key. The lists of these keys are empty.
    dense: Vec<(u64, RoaringBitmap)>,
}

impl Postings {
    /// Postings of `pairs`, which are sorted and without repeats, and the distinct keys in order.
    pub fn from_pairs<K: PartialEq + Copy>(pairs: &[(K, u32)]) -> (Vec<K>, Self) {
        let (mut keys, mut starts, mut ordinals, mut dense) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(key, _)) = group.first() else { continue };
            starts.push(ordinals.len() as u64);
            if group.len() > DENSE_ROWS {
                let mut bitmap: RoaringBitmap = group.iter().map(|(_, o)| *o).collect();
                bitmap.optimize();
                dense.push((keys.len() as u64, bitmap));
            } else {
                ordinals.extend(group.iter().map(|(_, o)| *o));
            }
            keys.push(key);
        }
        starts.push(ordinals.len() as u64);
        (keys, Self { starts: starts.into(), ordinals: ordinals.into(), dense })
    }

    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    fn list(&self, keys: &Range<usize>) -> &[u32] {
        let bound = |i: usize| self.starts.get(i).map_or(0, |s| usize::try_from(*s).unwrap_or(usize::MAX));
        self.ordinals.get(bound(keys.start)..bound(keys.end)).unwrap_or(&[])
    }

    fn bitmaps(&self, keys: &Range<usize>) -> &[(u64, RoaringBitmap)] {
        let bound = |key: usize| self.dense.partition_point(|(k, _)| *k < key as u64);
        self.dense.get(bound(keys.start)..bound(keys.end)).unwrap_or(&[])
    }

    /// Rows of one key.
    pub fn rows_of(&self, key: usize) -> ValueRows<'_> {
        match self.bitmaps(&(key..key + 1)) {
            [(_, bitmap)] => ValueRows::Many(bitmap),
            _ => ValueRows::List(self.list(&(key..key + 1))),
        }
    }

    /// Number of (key, row) pairs of these keys.
    pub fn count(&self, spans: &[Range<usize>]) -> u64 {
        let one = |keys: &Range<usize>| {
            self.list(keys).len() as u64 + self.bitmaps(keys).iter().map(|(_, b)| b.len()).sum::<u64>()
        };
        spans.iter().filter(|s| !s.is_empty()).map(one).sum()
    }

    /// Rows that have any of these keys. `rows` is above every ordinal.
    pub fn collect(&self, spans: &[Range<usize>], rows: u32) -> RoaringBitmap {
        let spans = || spans.iter().filter(|s| !s.is_empty());
        let mut found: Vec<u32> = Vec::new();
        let total: usize = spans().map(|s| self.list(s).len()).sum();
        let mut out = if total > rows as usize / 32 {
            let mut bits = vec![0u8; rows as usize / 8 + 1];
            for &ordinal in spans().flat_map(|s| self.list(s)) {
                if let Some(byte) = bits.get_mut(ordinal as usize / 8) {
                    *byte |= 1 << (ordinal % 8);
                }
            }
            RoaringBitmap::from_lsb0_bytes(0, &bits)
        } else {
            found.reserve(total);
            found.extend(spans().flat_map(|s| self.list(s)));
            sorted_bitmap(found)
        };
        for (_, bitmap) in spans().flat_map(|s| self.bitmaps(s)) {
            out |= bitmap;
        }
        out
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.starts.heap_bytes()
            + self.ordinals.heap_bytes()
            + self.dense.iter().map(|(_, b)| bitmap_bytes(b)).sum::<usize>()
    }

    pub fn write(&self, out: &mut Writer) {
        out.column(&self.starts);
        out.column(&self.ordinals);
        out.number(self.dense.len() as u64);
        for (key, bitmap) in &self.dense {
            out.number(*key);
            out.bitmap(bitmap);
        }
    }

    pub fn read(input: &mut Reader, rows: u32) -> Result<Self> {
        let starts: Column<u64> = input.column()?;
        let ordinals: Column<u32> = input.column()?;
        let keys = starts.len().checked_sub(1).ok_or_else(|| corrupt("postings without an end"))?;
        let ends_fit = starts.first() == Some(&0) && starts.last() == Some(&(ordinals.len() as u64));
        if !ends_fit || !starts.windows(2).all(|w| w[0] <= w[1]) {
            return Err(corrupt("starts of postings are not in order"));
        }
        let mut dense: Vec<(u64, RoaringBitmap)> = Vec::new();
        for _ in 0..input.number()? {
            let key = input.number()?;
            if key >= keys as u64 || dense.last().is_some_and(|(last, _)| *last >= key) {
                return Err(corrupt("keys of bitmaps are not in order"));
            }
            dense.push((key, input.bitmap(rows)?));
        }
        let postings = Self { starts, ordinals, dense };
        let ascending = |list: &[u32]| {
            list.windows(2).all(|w| w[0] < w[1]) && list.last().is_none_or(|last| *last < rows)
        };
        if !(0..keys).all(|k| ascending(postings.list(&(k..k + 1)))) {
            return Err(corrupt("ordinals of a key are not in order"));
        }
        Ok(postings)
    }
}

/// Bitmap of ordinals in any order, repeats allowed.
pub(super) fn sorted_bitmap(mut ordinals: Vec<u32>) -> RoaringBitmap {
    ordinals.sort_unstable();
    ordinals.dedup();
    let mut out = RoaringBitmap::new();
    // Strictly ascending, as `append` asks: it takes all of them.
    let _ = out.append(ordinals);
    out
}

/// What `spans`, ascending and apart, leave of `0..len`.
pub(super) fn complement(spans: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    let mut out = Vec::with_capacity(spans.len() + 1);
    let mut at = 0;
    for span in spans {
        if at < span.start {
            out.push(at..span.start);
        }
        at = at.max(span.end);
    }
    if at < len {
        out.push(at..len);
    }
    out
}

/// About what a bitmap holds on the heap.
pub(super) fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    bitmap.serialized_size() + size_of::<RoaringBitmap>()
}

/// A column whose values rise strictly by `less`.
pub(super) fn rises<T: Pod>(column: &Column<T>, less: impl Fn(&T, &T) -> bool) -> bool {
    column.windows(2).all(|w| less(&w[0], &w[1]))
}
