//! Walks, and that over the fast layout: visit the nearest candidate, estimate all its neighbours, go on.

use super::{
    compact,
    pool::{Candidate, Pool},
    rows::Rows,
    space::Prepared,
};
use crate::vector::{
    codes::simd::{BLOCK, Factors, Simd},
    kernel::prefetch,
    topk::{Key, key},
};

/// Rows that are fetched while one is compared.
const DEPTH: usize = 3;

/// What a walk knows of each slot: the best estimate seen so far, or that it has been visited.
///
/// A mark holds the number of the walk in its upper half, so that nothing is cleared between walks, and the upper half of
/// the estimate in its lower one: differences below a hundredth are noise.
#[derive(Debug, Default)]
pub struct Marks {
    marks: Vec<u32>,
    /// Slots there are; the memory may be longer, from a larger graph.
    count: usize,
    walk: u32,
}

impl Marks {
    /// Forgets everything and makes room for `count` slots.
    pub fn prepare(&mut self, count: usize) {
        self.walk += 1;
        if self.walk > u32::from(u16::MAX) {
            self.marks.fill(0);
            self.walk = 1;
        }
        if self.marks.len() < count {
            self.marks.resize(count, 0);
        }
        self.count = count;
    }

    /// Marks a slot as visited.
    #[inline(always)]
    pub fn visit(&mut self, slot: u32) {
        if let Some(mark) = self.marks.get_mut(slot as usize) {
            *mark = self.walk << 16;
        }
    }

    /// Marks a slot as visited; false where it was before, and past the end.
    #[inline(always)]
    pub fn visit_new(&mut self, slot: u32) -> bool {
        let Some(mark) = self.marks[..self.count].get_mut(slot as usize) else { return false };
        std::mem::replace(mark, self.walk << 16) != self.walk << 16
    }

    /// Whether it has been visited; true past the end.
    #[inline(always)]
    pub fn visited(&self, slot: u32) -> bool {
        self.marks[..self.count].get(slot as usize).is_none_or(|&m| m == self.walk << 16)
    }

    /// Whether an estimate is better than all before it for a slot that has not been visited.
    #[inline(always)]
    fn improves(&mut self, slot: u32, estimate: f32) -> bool {
        let Some(mark) = self.marks.get_mut(slot as usize) else { return false };
        // Never 0, which says visited; negative estimates are all alike.
        let new = self.walk << 16 | (estimate.max(f32::MIN_POSITIVE).to_bits() >> 16);
        // Written in any case: whether it is better is a coin toss that no branch should wait for.
        let better = (*mark >> 16 != self.walk) | (new < *mark);
        *mark = if better { new } else { *mark };
        better
    }
}

/// Memory of walks, kept from one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The query.
    pub prepared: Prepared,
    pub(super) pool: Pool,
    /// Slots that are not visited (again). The caller prepares it.
    pub marks: Marks,
    /// Visited slots with their distance by 8-bit codes, in the order of the visits.
    pub found: Vec<Key>,
    /// What the walk did.
    pub work: Counts,
    pub(super) top: Top,
}

impl Scratch {
    /// Empties all but the query and the marks.
    pub(super) fn begin(&mut self, k: usize) {
        self.pool.clear();
        self.top.reset(k);
        self.found.clear();
        self.work = Counts::default();
    }
}

/// What a walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows visited.
    pub hops: usize,
    /// Candidates that entered the pool.
    pub inserted: usize,
    /// Codes compared that are not those of visited rows.
    pub compared: usize,
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
pub(super) struct Top {
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
    pub(super) fn offer(&mut self, distance: f32) -> f32 {
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
    /// It did not begin: the query is so far from all rows that codes tell nothing.
    Astray,
}

/// Walks from `entry`. Fills `scratch.found` with the rows it visited whose slot `admits` lets through.
///
/// The rule that ends it is that of "Distance adaptive beam search" (arXiv 2505.15636): visit candidates while they are
/// nearer than `slack` times the `k`-th nearest so far. Hard queries get more visits than easy ones.
///
/// Rows that are not admitted are ways to others and nothing else. They are taken for `slack` times as far: visited later,
/// and only while nearer than the `k`-th nearest itself. Without that, a walk to one row in ten visits three times as many,
/// and one whose nearest rows are all refused goes through all of them first.
#[inline(always)]
pub fn walk<S: Simd>(
    simd: S,
    rows: &Rows,
    entry: u32,
    bounds: Bounds,
    scratch: &mut Scratch,
    admits: impl Fn(u32) -> bool,
) -> End {
    if rows.shape().is_compact() {
        return compact::walk(simd, rows, entry, bounds, scratch, admits);
    }
    scratch.begin(bounds.k);
    let Scratch { prepared, pool, marks, found, work, top } = scratch;
    let (scale, bias) = (prepared.table.scale(), prepared.table.bias());
    let blocks = rows.shape().degree / BLOCK;
    let mut estimates = [0.0f32; BLOCK];
    let mut limit = f32::INFINITY;
    let mut coming = Coming::default();
    marks.visit(entry);
    coming.push(entry);
    while let Some(slot) = coming.pop() {
        let full = limit < f32::INFINITY;
        // Most often the next row is known before this one is read; then its bytes come meanwhile.
        if !full && let Some(next) = next_unvisited(simd, pool, marks) {
            prefetch(rows.raw(next.slot), 64);
        }
        if !rows.is_sound(slot) {
            return End::Damaged;
        }
        let row = rows.row(slot);
        let base = row.distance(simd, &prepared.query);
        work.hops += 1;
        if admits(slot) {
            found.push(key(base, slot));
            limit = bounds.slack * top.offer(base);
        }
        for b in 0..blocks {
            let block = row.block(b);
            let sums = simd.table_sums(block.codes, prepared.table.entries());
            let factors = Factors { add: block.add, mul: block.mul, base, scale, bias, bound: limit };
            let near = simd.estimates(&sums, &factors, &mut estimates);
            let (mut rest, mut near) = (near, near);
            while rest != 0 {
                let i = rest.trailing_zeros();
                rest &= rest - 1;
                let (slot, estimate) = (block.slot(i as usize), &mut estimates[i as usize]);
                let better = marks.improves(slot, *estimate);
                near &= !(u32::from(!better) << i);
                if !admits(slot) {
                    *estimate = estimate.max(0.0) * bounds.slack;
                }
            }
            work.inserted += near.count_ones() as usize;
            pool.add(simd, near, &estimates, block.slots);
        }
        // Far from the query the next row is better than the second next: only near it do both get visited.
        let wanted = if full { DEPTH } else { 1 };
        while coming.len() < wanted {
            let Some(next) = next_unvisited(simd, pool, marks).filter(|c| c.distance < limit) else { break };
            pool.take(simd, next);
            marks.visit(next.slot);
            if full {
                prefetch(rows.raw(next.slot), 64);
            }
            coming.push(next.slot);
        }
        if work.hops >= bounds.hops && coming.len() > 0 {
            return End::Spent;
        }
        pool.tidy(simd, limit);
    }
    End::Done
}

/// Rows that are on their way from memory, first come first served.
#[derive(Debug, Default)]
struct Coming {
    slots: [u32; DEPTH],
    first: usize,
    end: usize,
}

impl Coming {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.first
    }

    #[inline(always)]
    fn push(&mut self, slot: u32) {
        self.slots[self.end % DEPTH] = slot;
        self.end += 1;
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<u32> {
        if self.first == self.end {
            return None;
        }
        self.first += 1;
        Some(self.slots[(self.first - 1) % DEPTH])
    }
}

/// The nearest candidate that has not been visited; those that have been are dropped.
#[inline(always)]
fn next_unvisited<S: Simd>(simd: S, pool: &mut Pool, marks: &Marks) -> Option<Candidate> {
    loop {
        let candidate = pool.nearest(simd)?;
        if !marks.visited(candidate.slot) {
            return Some(candidate);
        }
        pool.take(simd, candidate);
    }
}
