//! Which of the near vectors become neighbours.
//!
//! A candidate is left out where a neighbour chosen before is `alpha` times nearer to it than the vector itself is: the walk
//! gets there over that one (the rule of DiskANN, NeurIPS 2019, algorithm 2, on squared distances). Places that stay
//! free are filled with the nearest of those left out, since a row has room for a fixed number.

use crate::vector::{
    codes::{
        int8::{Codes, Meta, Query},
        simd::Simd,
    },
    topk::{Key, key_distance, key_position},
};

/// Memory of pruning, kept from one vector to the next.
#[derive(Debug, Default)]
pub struct Pruner {
    queries: Vec<Query>,
    left_out: Vec<Key>,
    /// What was chosen last, nearest first within each part: first the diverse ones, then the fill.
    pub chosen: Vec<Key>,
}

/// How to choose.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Most neighbours.
    pub degree: usize,
    /// See the module; on squared distances.
    pub alpha: f32,
    /// Whether free places are filled.
    pub fill: bool,
}

impl Pruner {
    /// Chooses among `candidates`, sorted and without repeats and the vector itself.
    #[inline(always)]
    pub fn choose<S: Simd>(&mut self, simd: S, codes: &Codes, candidates: &[Key], rule: Rule) {
        self.chosen.clear();
        self.left_out.clear();
        self.queries.resize_with(rule.degree.max(self.queries.len()), Query::default);
        for &candidate in candidates {
            if self.chosen.len() == rule.degree {
                break;
            }
            let (p, distance) = (key_position(candidate), key_distance(candidate));
            let (code, meta) = (codes.code(p), codes.meta(p));
            if is_covered(simd, &self.queries[..self.chosen.len()], (code, meta), rule.alpha, distance) {
                self.left_out.push(candidate);
                continue;
            }
            self.queries[self.chosen.len()].set(code, meta);
            self.chosen.push(candidate);
        }
        if rule.fill {
            let room = rule.degree - self.chosen.len();
            self.chosen.extend(self.left_out.iter().take(room));
        }
    }
}

/// Whether one of `chosen` is `alpha` times nearer to a candidate than `distance`.
#[inline(always)]
fn is_covered<S: Simd>(
    simd: S,
    chosen: &[Query],
    (code, meta): (&[u8], Meta),
    alpha: f32,
    distance: f32,
) -> bool {
    let (fours, rest) = chosen.as_chunks::<4>();
    for four in fours {
        let distances = Query::distance_by4(simd, four, code, meta);
        if distances.iter().any(|d| alpha * d <= distance) {
            return true;
        }
    }
    for query in rest {
        if alpha * query.distance(simd, code, meta) <= distance {
            return true;
        }
    }
    false
}
