//! The walk over the compact layout: visit the nearest candidate, compare with the codes of all its neighbours, go on.

use super::{
    rows::{Block, Row, Rows},
    walk::{End, Marks, Route, Scratch},
};
use crate::vector::{
    codes::simd::{BLOCK, Simd},
    kernel::prefetch,
    topk::key,
};

/// Rows compared by one call of a kernel.
const FOUR: usize = 4;

/// Neighbours of a row that a walk meets for the first time.
struct Batch {
    slots: [u32; BLOCK],
    count: usize,
}

impl Batch {
    /// Picks them and asks for their bytes: they come while the next ones are picked.
    #[inline(always)]
    fn new(rows: &Rows, marks: &mut Marks, block: &Block<'_>) -> Self {
        let lines = rows.shape().compared_bytes().div_ceil(64);
        let mut batch = Self { slots: [0; BLOCK], count: 0 };
        for i in 0..BLOCK {
            let slot = block.slot(i);
            if marks.visit_new(slot) {
                prefetch(rows.raw(slot), lines);
                batch.slots[batch.count] = slot;
                batch.count += 1;
            }
        }
        batch
    }

    /// Four slots; the last one again where there are fewer.
    #[inline(always)]
    fn four(&self, first: usize) -> [u32; FOUR] {
        let at = |i: usize| self.slots[(first + i).min(self.count - 1)];
        [at(0), at(1), at(2), at(3)]
    }
}

/// See [`super::walk::walk`], which has visited the entry. Each row is compared once and no distance is an estimate, so the limit
/// holds from the comparison on and not only from the visit.
#[inline(always)]
pub fn walk<S: Simd>(simd: S, route: Route<'_>, scratch: &mut Scratch, admits: impl Fn(u32) -> bool) -> End {
    let Route { rows, entry, bounds } = route;
    let mut walk = Walk { rows, slack: bounds.slack, limit: f32::INFINITY, scratch, admits };
    if !walk.compare(simd, &Batch { slots: [entry; BLOCK], count: 1 }) {
        return End::Damaged;
    }
    while let Some(candidate) = walk.scratch.pool.nearest(simd).filter(|c| c.distance < walk.limit) {
        if walk.scratch.work.hops >= bounds.hops {
            return End::Spent;
        }
        walk.scratch.work.hops += 1;
        walk.scratch.pool.take(simd, candidate);
        walk.scratch.pool.tidy(simd, walk.limit);
        for b in 0..rows.shape().degree / BLOCK {
            let batch = Batch::new(rows, &mut walk.scratch.marks, &rows.row(candidate.slot).block(b));
            if !walk.compare(simd, &batch) {
                return End::Damaged;
            }
        }
    }
    End::Done
}

/// A walk that is under way.
struct Walk<'a, A> {
    rows: &'a Rows,
    slack: f32,
    /// What is this far or farther is of no interest.
    limit: f32,
    scratch: &'a mut Scratch,
    admits: A,
}

impl<A: Fn(u32) -> bool> Walk<'_, A> {
    /// Compares the query with a batch: adds what is nearer than the limit to the candidates and, where it is admitted, to
    /// what was found. False where a row is damaged.
    #[inline(always)]
    fn compare<S: Simd>(&mut self, simd: S, batch: &Batch) -> bool {
        let rows = self.rows;
        let Scratch { prepared, pool, found, work, top, .. } = &mut *self.scratch;
        let mut distances = [f32::INFINITY; BLOCK];
        let mut near = 0u32;
        // Its neighbours are read next, unless a nearer one comes.
        let mut best = pool.nearest(simd).map_or(f32::INFINITY, |c| c.distance);
        for first in (0..batch.count).step_by(FOUR) {
            // Not `map`: that of arrays is a call of its own.
            let slots = batch.four(first);
            let [a, b, c, d] = slots;
            if !(rows.is_sound(a) && rows.is_sound(b) && rows.is_sound(c) && rows.is_sound(d)) {
                return false;
            }
            let four = [rows.row(a), rows.row(b), rows.row(c), rows.row(d)];
            let compared = Row::distance4(simd, &prepared.query, four);
            for i in 0..FOUR.min(batch.count - first) {
                distances[first + i] = compared[i];
                if compared[i] >= self.limit {
                    continue;
                }
                near |= 1 << (first + i);
                if compared[i] < best {
                    best = compared[i];
                    prefetch(rows.raw_slots(slots[i]), usize::MAX);
                }
                if (self.admits)(slots[i]) {
                    found.push(key(compared[i], slots[i]));
                    self.limit = self.slack * top.offer(compared[i]);
                } else {
                    distances[first + i] *= self.slack;
                }
            }
        }
        work.compared += batch.count;
        work.inserted += near.count_ones() as usize;
        pool.add(simd, near, &distances, bytemuck::cast_slice(&batch.slots));
        true
    }
}
