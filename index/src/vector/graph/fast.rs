//! The walk over the fast layout: visit the nearest candidate, estimate all its neighbours, go on.

use super::{
    pool::{Candidate, Pool},
    walk::{End, Marks, Route, Scratch},
};
use crate::vector::{
    codes::simd::{BLOCK, Factors, Simd},
    kernel::prefetch,
    topk::key,
};

/// Rows that are fetched while one is compared.
const DEPTH: usize = 3;

/// See [`super::walk::walk`], which has visited the entry.
#[inline(always)]
pub fn walk<S: Simd>(simd: S, route: Route<'_>, scratch: &mut Scratch, admits: impl Fn(u32) -> bool) -> End {
    let Route { rows, entry, bounds } = route;
    let Scratch { prepared, pool, marks, found, work, top } = scratch;
    let (scale, bias) = (prepared.table.scale(), prepared.table.bias());
    let blocks = rows.shape().degree / BLOCK;
    let mut estimates = [0.0f32; BLOCK];
    let mut limit = f32::INFINITY;
    let mut coming = Coming::default();
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
