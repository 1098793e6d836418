//! The walk: greedy descent through the upper layers, then a best-first beam on layer 0.
//!
//! Algorithms 2 and 5 of Malkov & Yashunin (arXiv 1603.09320), with two changes. The mask decides only what enters the
//! *results*; everything is walked through, so deleted and filtered vectors still connect the others. And a hop has two
//! passes: first the unvisited neighbours are collected while their vectors are being fetched, then they are compared,
//! since the walk is bound by the latency of memory.

use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap};

use super::graph::{Graph, LinkRows};
use crate::{
    Mask,
    vector::{
        VectorSet,
        kernel::{Kernel, prefetch},
        set::Rows,
        topk::{Key, TopK, key, key_position},
    },
};

/// Neighbours whose vectors are on their way while another is compared.
const AHEAD: usize = 4;
/// Cache lines fetched ahead per vector.
const LINES: usize = 16;

/// One query against one set.
pub(super) struct Query<'a> {
    set: &'a VectorSet,
    rows: Rows<'a>,
    kernel: Kernel,
    vector: &'a [f32],
}

impl<'a> Query<'a> {
    /// `vector` has the dimension of `set` and is admitted.
    pub fn new(set: &'a VectorSet, vector: &'a [f32]) -> Self {
        Self { set, rows: set.rows(), kernel: Kernel::new(set.metric()), vector }
    }

    #[inline]
    fn key(&self, position: u32) -> Key {
        key(self.kernel.distance(self.vector, self.rows.get(position as usize)), position)
    }

    #[inline]
    fn prefetch(&self, position: u32) {
        prefetch(self.rows.get(position as usize), LINES);
    }
}

/// Memory of a walk, kept by the thread for its next one.
#[derive(Default)]
struct Scratch {
    visited: Visited,
    candidates: BinaryHeap<Reverse<Key>>,
    results: TopK,
    batch: Vec<u32>,
}

/// A set of positions that is emptied by undoing what was done: a walk sees thousands of positions, not all.
#[derive(Default)]
struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    fn prepare(&mut self, count: usize) {
        for word in self.touched.drain(..) {
            self.words[word as usize] = 0;
        }
        let words = count.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// True the first time.
    #[inline]
    fn insert(&mut self, position: u32) -> bool {
        let (word, bit) = (position / 64, 1u64 << (position % 64));
        let Some(slot) = self.words.get_mut(word as usize) else { return false };
        if *slot & bit != 0 {
            return false;
        }
        if *slot == 0 {
            self.touched.push(word);
        }
        *slot |= bit;
        true
    }
}

thread_local! {
    /// Taken for the time of a walk. A walk that panics drops it, and the next one starts with a new one.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// The `ef` nearest the walk finds, best first, without a mask.
pub(super) fn nearest(graph: &Graph, query: &Query<'_>, ef: usize) -> Vec<Key> {
    walk(graph, query, ef, Mask::All, usize::MAX).unwrap_or_default()
}

/// The `ef` nearest *allowed* positions the walk finds, best first.
///
/// `None` where it would take more than `budget` distance computations: then another way is cheaper.
pub(super) fn walk(
    graph: &Graph,
    query: &Query<'_>,
    ef: usize,
    mask: Mask<'_>,
    budget: usize,
) -> Option<Vec<Key>> {
    if graph.origin.count == 0 {
        return Some(Vec::new());
    }
    let mut scratch = SCRATCH.take().unwrap_or_default();
    scratch.visited.prepare(graph.origin.count as usize);
    scratch.candidates.clear();
    scratch.results.reset(ef);
    let start = descend(graph, query);
    let done = match mask {
        Mask::All => beam(&mut scratch, graph.base.rows(), query, start, budget, |_| true),
        mask => beam(&mut scratch, graph.base.rows(), query, start, budget, |position| {
            mask.allows(query.set.ordinal(position as usize))
        }),
    };
    let found = done.then(|| scratch.results.take_sorted());
    SCRATCH.set(Some(scratch));
    found
}

/// The nearest position a greedy walk down to layer 1 ends at.
fn descend(graph: &Graph, query: &Query<'_>) -> Key {
    let mut best = query.key(graph.entry);
    for layer in graph.upper.iter().rev() {
        let (nodes, links) = (layer.nodes.as_slice(), layer.links.rows());
        while let Ok(row) = nodes.binary_search(&key_position(best)) {
            let neighbors = links.get(row);
            for &neighbor in neighbors {
                query.prefetch(neighbor);
            }
            let nearest = neighbors.iter().map(|&n| query.key(n)).min().unwrap_or(Key::MAX);
            if nearest >= best {
                break;
            }
            best = nearest;
        }
    }
    best
}

/// Best-first search on layer 0 into `scratch.results`; false when the budget is spent.
#[inline]
fn beam(
    scratch: &mut Scratch,
    links: LinkRows<'_>,
    query: &Query<'_>,
    start: Key,
    budget: usize,
    allows: impl Fn(u32) -> bool,
) -> bool {
    let Scratch { visited, candidates, results, batch } = scratch;
    let mut computed = 0;
    visited.insert(key_position(start));
    candidates.push(Reverse(start));
    if allows(key_position(start)) {
        results.push(start);
    }
    while let Some(Reverse(nearest)) = candidates.pop() {
        // Until the results are full their bound is infinite, so masked-out vectors cannot end the walk early (T-31).
        if nearest > results.bound() {
            break;
        }
        batch.clear();
        for &neighbor in links.get(key_position(nearest) as usize) {
            if visited.insert(neighbor) {
                if batch.len() < AHEAD {
                    query.prefetch(neighbor);
                }
                batch.push(neighbor);
            }
        }
        computed += batch.len();
        if computed > budget {
            return false;
        }
        for (i, &neighbor) in batch.iter().enumerate() {
            if let Some(&later) = batch.get(i + AHEAD) {
                query.prefetch(later);
            }
            let key = query.key(neighbor);
            if key < results.bound() {
                candidates.push(Reverse(key));
                if allows(neighbor) {
                    results.push(key);
                }
            }
        }
    }
    true
}
