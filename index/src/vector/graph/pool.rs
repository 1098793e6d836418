//! Candidates of a walk.

use crate::vector::codes::simd::{BLOCK, Simd};

/// Candidates whose least distance is kept: one register.
const CHUNK: usize = 16;
/// Room that a block may fill, and a register more.
const ROOM: usize = BLOCK + CHUNK;
/// Candidates held before those that have become useless are looked for.
const TIDY: usize = 256;

/// Candidates in no order, a slot perhaps more than once, with the least distance of each sixteen.
///
/// A walk visits few of the candidates it sees: keeping them sorted would cost more than finding the nearest.
#[derive(Debug, Default)]
pub struct Pool {
    /// Infinite in places that are not used.
    distances: Vec<f32>,
    slots: Vec<u32>,
    least: Vec<f32>,
    /// Places up to which candidates were added.
    len: usize,
    tidy: usize,
}

/// A candidate and its place in the pool, which holds until the pool is tidied.
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
        self.distances[..self.len].fill(f32::INFINITY);
        self.least[..self.len.div_ceil(CHUNK)].fill(f32::INFINITY);
        self.len = 0;
        self.tidy = TIDY;
        self.reserve();
    }

    #[inline(always)]
    fn reserve(&mut self) {
        if self.distances.len() < self.len + ROOM {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let wanted = (2 * (self.len + ROOM)).next_multiple_of(CHUNK);
        self.distances.resize(wanted, f32::INFINITY);
        self.slots.resize(wanted, 0);
        self.least.resize(wanted / CHUNK, f32::INFINITY);
    }

    /// Adds the estimates whose bit is set in `chosen`, with their slots as they lie in a block.
    #[inline(always)]
    pub fn add<S: Simd>(&mut self, simd: S, chosen: u32, estimates: &[f32; BLOCK], slots: &[u8]) {
        if chosen == 0 {
            return;
        }
        self.reserve();
        let start = self.len;
        let (distances, out) = (&mut self.distances[start..], &mut self.slots[start..]);
        self.len += simd.pick(chosen, estimates, slots, distances, out);
        let touched = start / CHUNK..self.len.div_ceil(CHUNK);
        let (chunks, _) = self.distances.as_chunks::<CHUNK>();
        for (chunk, least) in chunks[touched.clone()].iter().zip(&mut self.least[touched]) {
            *least = simd.least16(chunk);
        }
    }

    /// The nearest.
    #[inline(always)]
    pub fn nearest<S: Simd>(&self, simd: S) -> Option<Candidate> {
        let (chunk, distance) = simd.least(&self.least[..self.len.div_ceil(CHUNK)]);
        if distance == f32::INFINITY {
            return None;
        }
        let (lane, _) = simd.least(&self.distances[chunk * CHUNK..(chunk + 1) * CHUNK]);
        let at = chunk * CHUNK + lane;
        Some(Candidate { at, distance, slot: self.slots[at] })
    }

    /// Takes a candidate out.
    #[inline(always)]
    pub fn take<S: Simd>(&mut self, simd: S, candidate: Candidate) {
        let (chunk, lane) = (candidate.at / CHUNK, candidate.at % CHUNK);
        let (chunks, _) = self.distances.as_chunks_mut::<CHUNK>();
        self.least[chunk] = simd.remove16(&mut chunks[chunk], lane);
    }

    /// Drops candidates at `limit` or farther, now and then.
    #[inline(always)]
    pub fn tidy<S: Simd>(&mut self, simd: S, limit: f32) {
        if self.len >= self.tidy && limit < f32::INFINITY {
            self.drop_far(simd, limit);
        }
    }

    fn drop_far<S: Simd>(&mut self, simd: S, limit: f32) {
        let used = self.len.next_multiple_of(CHUNK);
        self.len = simd.keep_below(limit, &mut self.distances[..used], &mut self.slots[..used]);
        let (chunks, _) = self.distances[..used].as_chunks::<CHUNK>();
        for (chunk, least) in chunks.iter().zip(&mut self.least) {
            *least = simd.least16(chunk);
        }
        self.tidy = TIDY.max(2 * self.len);
    }
}
