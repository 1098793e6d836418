//! Walks: what they know and remember, when they end. How they go on depends on the layout: [`fast`], [`compact`].

use super::{compact, fast, pool::Pool, rows::Rows, space::Prepared};
use crate::vector::{codes::simd::Simd, topk::Key};

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
    pub(super) fn improves(&mut self, slot: u32, estimate: f32) -> bool {
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
    fn begin(&mut self, k: usize) {
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

/// Where a walk goes.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Through these.
    pub rows: &'a Rows,
    /// From this slot.
    pub entry: u32,
    /// So far.
    pub bounds: Bounds,
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

/// Walks a route, on marks that are prepared. Fills `scratch.found` with the rows it visited whose slot `admits` lets through.
///
/// The rule that ends it is that of "Distance adaptive beam search" (arXiv 2505.15636): visit candidates while they are
/// nearer than `slack` times the `k`-th nearest so far. Hard queries get more visits than easy ones.
///
/// Rows that are not admitted are ways to others and nothing else. They are taken for `slack` times as far: visited later,
/// and only while nearer than the `k`-th nearest itself. Without that, a walk to one row in ten visits three times as many,
/// and one whose nearest rows are all refused goes through all of them first.
#[inline(always)]
pub fn walk<S: Simd>(simd: S, route: Route<'_>, scratch: &mut Scratch, admits: impl Fn(u32) -> bool) -> End {
    scratch.begin(route.bounds.k);
    scratch.marks.visit(route.entry);
    if route.rows.shape().is_compact() {
        compact::walk(simd, route, scratch, admits)
    } else {
        fast::walk(simd, route, scratch, admits)
    }
}
