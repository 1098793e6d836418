//! What recall costs on this graph, measured when it is built.

use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::{
    GraphIndex, check,
    search::{Effort, Walked},
};
use crate::{
    Result,
    vector::{
        kernel::Kernel,
        topk::{TopK, key, key_distance},
    },
};

/// Neighbours that recall is counted over.
const K: usize = 10;
/// Slacks that are tried.
const SLACKS: [f32; 12] = [1.02, 1.04, 1.06, 1.08, 1.11, 1.14, 1.18, 1.23, 1.3, 1.4, 1.6, 2.0];
/// Vectors compared for all truths together, about: half a second of work at 384 dimensions.
const BUDGET: usize = 24_000_000;
/// Vectors that are compared with all those rows before the next ones are.
const BLOCK: usize = 64;
/// Rows that are searched for, at most and at least.
const SAMPLE: (usize, usize) = (256, 48);

/// For each of `rows` the distance of its `K`-th nearest other. Goes through the vectors once for all: they may be in a file
/// that does not fit in memory.
fn truths(index: &GraphIndex, rows: &[usize], cancel: &AtomicBool) -> Result<Vec<(usize, f32)>> {
    let (vectors, kernel) = (index.vectors.rows(), Kernel::new(index.vectors.metric()));
    let mut nearest: Vec<TopK> = rows.iter().map(|_| TopK::new(K)).collect();
    for start in (0..index.vectors.len()).step_by(BLOCK) {
        check(cancel)?;
        let block = start..(start + BLOCK).min(index.vectors.len());
        for (&row, nearest) in rows.iter().zip(&mut nearest) {
            let query = vectors.get(row);
            for p in block.clone().filter(|&p| p != row) {
                nearest.push(key(kernel.distance(query, vectors.get(p)), p as u32));
            }
        }
    }
    let kth = |mut nearest: TopK| nearest.take_sorted().last().map_or(0.0, |&k| key_distance(k));
    Ok(rows.iter().copied().zip(nearest.into_iter().map(kth)).collect())
}

/// What one slack gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// See [`super::walk::Bounds`].
    pub slack: f32,
    /// Part of the ten nearest that was found.
    pub recall: f32,
    /// Rows visited, on average.
    pub hops: f32,
}

/// Points by ascending slack; recall and hops do not descend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    points: Vec<Point>,
}

impl Calibration {
    /// Numbers of a point in a file.
    pub const FLOATS: usize = 3;

    /// Searches for rows of the set as if they were not there: each is left out of its own walk and of its own truth.
    ///
    /// # Errors
    /// Those of a search.
    pub fn measure(index: &GraphIndex, cancel: &AtomicBool) -> Result<Self> {
        let len = index.vectors.len();
        if len <= K {
            return Ok(Self::default());
        }
        let sample = (BUDGET / len).clamp(SAMPLE.1, SAMPLE.0).min(len);
        let rows: Vec<usize> = (0..sample).map(|i| i * len / sample).collect();
        let share = sample.div_ceil(rayon::current_num_threads().max(1));
        let truths: Vec<(usize, f32)> = rows
            .par_chunks(share)
            .map(|rows| truths(index, rows, cancel))
            .collect::<Result<Vec<_>>>()?
            .concat();
        let mut points: Vec<Point> = Vec::new();
        for slack in SLACKS {
            check(cancel)?;
            let outcomes: Vec<(usize, usize)> = truths
                .par_iter()
                .map(|&(p, bound)| {
                    let query = index.vectors.vector(p);
                    let Walked { found, work, .. } = index.walk(query, K, Effort::Slack(slack), Some(p));
                    (found.iter().filter(|n| n.distance <= bound).count(), work.hops)
                })
                .collect();
            let all = (sample * K) as f32;
            let recall = outcomes.iter().map(|o| o.0).sum::<usize>() as f32 / all;
            let hops = outcomes.iter().map(|o| o.1).sum::<usize>() as f32 / sample as f32;
            let least = points.last().map_or(0.0, |p| p.recall);
            points.push(Point { slack, recall: recall.max(least), hops });
            // Beyond this a scan is the better way, and measuring it would take longer than building the graph.
            if recall > 0.999 || hops > (len as f32 / 50.0).max(500.0) {
                break;
            }
        }
        Ok(Self { points })
    }

    /// The slack that is expected to reach `recall`, with the recall expected of it.
    pub fn slack_for(&self, recall: f32) -> Point {
        let Some(last) = self.points.last() else { return Point { slack: 1.3, recall: 0.0, hops: 100.0 } };
        let Some(upper) = self.points.iter().position(|p| p.recall >= recall) else { return *last };
        let b = self.points[upper];
        let Some(&a) = upper.checked_sub(1).and_then(|i| self.points.get(i)) else { return b };
        let part = if b.recall > a.recall { (recall - a.recall) / (b.recall - a.recall) } else { 1.0 };
        let mix = |x: f32, y: f32| x + part * (y - x);
        Point { slack: mix(a.slack, b.slack), recall, hops: mix(a.hops, b.hops) }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// True when nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// As it is written.
    pub fn to_floats(&self) -> Vec<f32> {
        self.points.iter().flat_map(|p| [p.slack, p.recall, p.hops]).collect()
    }

    /// As it was written; numbers that are none are left out.
    pub fn from_floats(floats: &[f32]) -> Self {
        let (points, _) = floats.as_chunks::<{ Self::FLOATS }>();
        let points = points.iter().filter(|p| p.iter().all(|x| x.is_finite()));
        Self { points: points.map(|&[slack, recall, hops]| Point { slack, recall, hops }).collect() }
    }
}
