//! The k best of a stream, in the total order (distance, position).

use std::collections::BinaryHeap;

/// Distance and position packed so that the order of integers is the order of results.
///
/// The upper half holds the distance with its bits turned so that unsigned order is numeric order (for negative
/// distances too), the lower half the position: equal distances go to the smaller position. One integer comparison
/// replaces two, and even a NaN out of damaged bytes has a place and cannot break a heap.
pub type Key = u64;

/// Packs a distance and a position.
#[inline]
pub fn key(distance: f32, position: u32) -> Key {
    let bits = distance.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
    (u64::from(ordered) << 32) | u64::from(position)
}

/// Distance of a key.
#[inline]
pub fn key_distance(key: Key) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & 0x7FFF_FFFF } else { !ordered })
}

/// Position of a key.
#[inline]
pub fn key_position(key: Key) -> u32 {
    key as u32
}

/// Keeps the `k` smallest keys that were pushed.
#[derive(Debug, Default)]
pub struct TopK {
    k: usize,
    heap: BinaryHeap<Key>,
}

impl TopK {
    /// A collector of at most `k` keys. Takes no memory until keys come, so a huge `k` costs nothing (T-37).
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Empties it and sets `k`, keeping its memory.
    pub fn reset(&mut self, k: usize) {
        self.heap.clear();
        self.k = k;
    }

    /// Number of keys held.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// A key must be smaller than this to get in.
    #[inline]
    pub fn bound(&self) -> Key {
        match self.heap.peek() {
            _ if self.heap.len() < self.k => Key::MAX,
            Some(&worst) => worst,
            None => 0,
        }
    }

    /// Offers a key.
    #[inline]
    pub fn push(&mut self, key: Key) {
        if self.heap.len() < self.k {
            self.heap.push(key);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && key < *worst
        {
            *worst = key;
        }
    }

    /// The keys held, best first; leaves the collector empty and its memory in place.
    pub fn take_sorted(&mut self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.heap.drain().collect();
        keys.sort_unstable();
        keys
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_the_smallest_in_order(values in prop::collection::vec(-3i32..3, 0..60), k in 0usize..20) {
            let mut top = TopK::new(k);
            let mut all = Vec::new();
            for (position, &v) in values.iter().enumerate() {
                let key = key(v as f32 / 2.0, position as u32);
                if key < top.bound() {
                    top.push(key);
                }
                all.push((v, position));
            }
            all.sort_unstable();
            all.truncate(k);
            let got: Vec<_> = top.take_sorted().iter().map(|&x| ((key_distance(x) * 2.0) as i32, key_position(x) as usize)).collect();
            prop_assert_eq!(got, all);
        }

        #[test]
        fn keys_order_as_floats(a in any::<f32>(), b in any::<f32>()) {
            prop_assert_eq!(a.total_cmp(&b), key(a, 7).cmp(&key(b, 7)));
            prop_assert_eq!(key_distance(key(a, 9)).to_bits(), a.to_bits());
        }
    }

    #[test]
    fn regress_t37_huge_k_takes_no_memory() {
        let mut top = TopK::new(usize::MAX);
        top.push(key(1.0, 1));
        assert_eq!(top.take_sorted().len(), 1);
    }
}
