//! The walk over the fast layout: visit the nearest candidate, estimate all its neighbours, go on.

use super::{
    pool::Pool,
    rows::Rows,
    space::Prepared,
};
use crate::vector::{
    codes::simd::{BLOCK, Factors, Simd},
    kernel::prefetch,
    topk::{Key, key},
};

/// A set of slots that is emptied by undoing what was done.
#[derive(Debug, Default)]
pub struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    /// Empties it and makes room for `count` slots.
    pub fn prepare(&mut self, count: usize) {
        for word in self.touched.drain(..) {
            self.words[word as usize] = 0;
        }
        if self.words.len() < count.div_ceil(64) {
            self.words.resize(count.div_ceil(64), 0);
        }
    }

    /// True the first time; false past the end.
    #[inline(always)]
    pub fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot / 64, 1u64 << (slot % 64));
        let Some(value) = self.words.get_mut(word as usize) else { return false };
        if *value & bit != 0 {
            return false;
        }
        if *value == 0 {
            self.touched.push(word);
        }
        *value |= bit;
        true
    }

    /// Whether it was inserted; true past the end.
    #[inline(always)]
    pub fn contains(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_none_or(|w| w >> (slot % 64) & 1 == 1)
    }
}

/// Memory of walks, kept from one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The query.
    pub prepared: Prepared,
    pool: Pool,
    /// Slots that are not visited (again). The caller prepares it.
    pub visited: Visited,
    /// Visited slots with their distance by 8-bit codes, in the order of the visits.
    pub found: Vec<Key>,
    /// What the walk did.
    pub work: Counts,
    top: Top,
}

/// What a walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows visited.
    pub hops: usize,
    /// Candidates that entered the pool.
    pub inserted: usize,
    /// Vectors compared whole in the end.
    pub rescored: usize,
}

/// When a walk ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Results wanted.
    pub k: usize,
    /// Candidates this many times as far as the `k`-th nearest visited are not visited; on squared distances.
    pub slack: f32,
    /// Most rows visited.
    pub hops: usize,
}

/// The distances of the `k` nearest visited, ascending.
#[derive(Debug, Default)]
struct Top {
    distances: Vec<f32>,
    k: usize,
}

impl Top {
    fn reset(&mut self, k: usize) {
        self.distances.clear();
        self.k = k;
    }

    /// Takes a distance; returns the `k`-th.
    #[inline(always)]
    fn offer(&mut self, distance: f32) -> f32 {
        let full = self.distances.len() == self.k;
        match self.distances.last() {
            Some(&last) if full && distance >= last => return last,
            _ if full => self.distances.truncate(self.k - 1),
            _ => {}
        }
        let mut at = self.distances.len();
        while at > 0 && self.distances[at - 1] > distance {
            at -= 1;
        }
        self.distances.insert(at, distance);
        if self.distances.len() == self.k { self.distances[self.k - 1] } else { f32::INFINITY }
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No candidate is near enough any more.
    Done,
    /// It has made as many hops as it may.
    Spent,
    /// It met a damaged row.
    Damaged,
}

/// Walks from `entry`. Fills `scratch.found` with the rows it visited whose position `admits` lets through; the others are
/// walked through all the same.
///
/// The rule that ends it is that of "Distance adaptive beam search" (arXiv 2505.15636): visit candidates while they are
/// nearer than `slack` times the `k`-th nearest so far. Hard queries get more visits than easy ones.
#[inline(always)]
pub fn walk<S: Simd>(
    simd: S,
    rows: &Rows,
    entry: u32,
    bounds: Bounds,
    scratch: &mut Scratch,
    admits: impl Fn(u32) -> bool,
) -> End {
    let Scratch { prepared, pool, visited, found, work, top } = scratch;
    pool.clear();
    top.reset(bounds.k);
    found.clear();
    *work = Counts::default();
    let (scale, bias) = (prepared.table.scale(), prepared.table.bias());
    let blocks = rows.shape().degree / BLOCK;
    let mut estimates = [0.0f32; BLOCK];
    let (mut slot, mut limit) = (entry, f32::INFINITY);
    loop {
        visited.insert(slot);
        // Most often the next row is known before this one is read; then its bytes come meanwhile.
        let mut next = pool.nearest(simd);
        while let Some(candidate) = next.filter(|c| visited.contains(c.slot)) {
            pool.take(candidate);
            next = pool.nearest(simd);
        }
        if let Some(next) = next {
            prefetch(rows.raw(next.slot), 64);
        }
        if !rows.is_sound(slot) {
            return End::Damaged;
        }
        let row = rows.row(slot);
        let base = prepared.query.distance(simd, row.code(), row.meta());
        work.hops += 1;
        if admits(row.position()) {
            found.push(key(base, slot));
            limit = bounds.slack * top.offer(base);
        }
        for b in 0..blocks {
            let block = row.block(b);
            let sums = simd.table_sums(block.codes, prepared.table.entries());
            let factors = Factors { add: block.add, mul: block.mul, base, scale, bias, bound: limit };
            let near = simd.estimates(&sums, &factors, &mut estimates);
            work.inserted += near.count_ones() as usize;
            let nearest = pool.add(simd, near, &estimates, block.slots);
            if let Some(new) = nearest.filter(|n| next.is_none_or(|old| n.distance < old.distance))
                && !visited.contains(new.slot)
            {
                next = Some(new);
            }
        }
        match next {
            Some(candidate) if candidate.distance < limit => {
                if work.hops >= bounds.hops {
                    return End::Spent;
                }
                pool.take(candidate);
                slot = candidate.slot;
            }
            _ => return End::Done,
        }
        pool.tidy(limit);
    }
}
