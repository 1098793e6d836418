//! Candidates of a walk.

use crate::vector::codes::simd::{BLOCK, Simd};

/// Room that a block may fill, and a register more.
const ROOM: usize = BLOCK + 16;
/// Candidates held before those that have become useless are looked for.
const TIDY: usize = 96;

/// Candidates in no order, a slot perhaps more than once. A walk takes few of those it sees, so finding the nearest by
/// looking at all (a few registers full) is cheaper than keeping them sorted.
#[derive(Debug, Default)]
pub struct Pool {
    distances: Vec<f32>,
    slots: Vec<u32>,
    len: usize,
    tidy: usize,
}

/// A candidate and its place in the pool, which holds until one is taken out.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    at: usize,
    /// Estimated distance.
    pub distance: f32,
    /// Its row.
    pub slot: u32,
}

impl Pool {
    /// Empties it.
    pub fn clear(&mut self) {
        self.len = 0;
        self.tidy = TIDY;
        self.reserve();
    }

    fn reserve(&mut self) {
        let wanted = self.len + ROOM;
        if self.distances.len() < wanted {
            self.distances.resize(2 * wanted, 0.0);
            self.slots.resize(2 * wanted, 0);
        }
    }

    /// Adds the estimates whose bit is set in `chosen`, with their slots as they lie in a block. Returns the nearest.
    #[inline(always)]
    pub fn add<S: Simd>(
        &mut self,
        simd: S,
        chosen: u32,
        estimates: &[f32; BLOCK],
        slots: &[u8],
    ) -> Option<Candidate> {
        self.reserve();
        let start = self.len;
        let (distances, out) = (&mut self.distances[start..], &mut self.slots[start..]);
        self.len += simd.pick(chosen, estimates, slots, distances, out);
        self.least(simd, start)
    }

    /// The nearest.
    #[inline(always)]
    pub fn nearest<S: Simd>(&self, simd: S) -> Option<Candidate> {
        self.least(simd, 0)
    }

    #[inline(always)]
    fn least<S: Simd>(&self, simd: S, start: usize) -> Option<Candidate> {
        if start == self.len {
            return None;
        }
        let (at, distance) = simd.least(&self.distances[start..self.len]);
        Some(Candidate { at: start + at, distance, slot: self.slots[start + at] })
    }

    /// Takes a candidate out.
    #[inline(always)]
    pub fn take(&mut self, candidate: Candidate) {
        self.len -= 1;
        self.distances[candidate.at] = self.distances[self.len];
        self.slots[candidate.at] = self.slots[self.len];
    }

    /// Drops candidates at `limit` or farther, now and then.
    #[inline(always)]
    pub fn tidy(&mut self, limit: f32) {
        if self.len < self.tidy {
            return;
        }
        let mut kept = 0;
        for i in 0..self.len {
            self.distances[kept] = self.distances[i];
            self.slots[kept] = self.slots[i];
            kept += usize::from(self.distances[i] < limit);
        }
        self.len = kept;
        self.tidy = TIDY.max(2 * kept);
    }
}
