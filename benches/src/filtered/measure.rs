//! One selectivity and kind: what a filtered search finds and takes, beside what it is compared with.

use std::time::{Duration, Instant};

use anyhow::Result;
use engram_index::Mask;
use engram_index::vector::graph::GraphIndex;
use engram_index::vector::graph::search::Way;
use engram_index::vector::{Neighbor, SearchParams, VectorIndex};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use super::predicate::{Kind, Predicates};
use crate::data::K;
use crate::samples::Samples;

/// A search with defaults, and one that compares with all.
const USUAL: SearchParams = SearchParams { k: K, ef: 0, recall: None, exact: false };
const EXACT: SearchParams = SearchParams { exact: true, ..USUAL };

/// What is searched.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The graph.
    pub index: &'a GraphIndex,
    /// Admitted queries.
    pub queries: &'a [Vec<f32>],
    /// Their filters.
    pub predicates: &'a Predicates,
    /// Sweeps of each kind of search.
    pub rounds: usize,
}

/// Figures of one selectivity and kind.
#[derive(Debug)]
pub struct Cell {
    /// Rows that the filter lets through.
    pub allowed: usize,
    /// Share of the true neighbours found; of the `k`, or of all that are allowed.
    pub recall: f64,
    /// Of a search under the filter: for each query the median of its rounds.
    pub filtered: Samples,
    /// Of the same search without a filter.
    pub unfiltered: Samples,
    /// Of comparing with every allowed row.
    pub exact: Samples,
    /// Rows that walks visited, on average.
    pub hops: f64,
    /// Shares of the searches that ended as a walk, as a scan, as a walk that gave up for a scan, as the exact scan.
    pub ways: [f64; 4],
}

/// Ways in the order of [`Cell::ways`].
const WAYS: [Way; 4] = [Way::Walk, Way::Scan, Way::WalkThenScan, Way::Exact];

impl Bench<'_> {
    /// Measures one cell.
    ///
    /// # Errors
    /// Those of a search.
    pub fn cell(&self, kind: Kind, share: f64) -> Result<Cell> {
        let allowed = ((self.index.vectors().len() as f64 * share).round() as usize).max(1);
        let masks = self.predicates.masks(kind, allowed);
        let [mut filtered, mut unfiltered, mut exact] = [(); 3].map(|()| Times::new(self.queries.len()));
        for round in 0..=self.rounds {
            self.sweep(round, &mut unfiltered, |query, _| {
                Ok(self.index.search(query, &USUAL, Mask::All)?)
            })?;
            self.sweep(round, &mut filtered, |query, group| {
                Ok(self.index.search(query, &USUAL, Mask::Allow(&masks[group]))?)
            })?;
            self.sweep(round, &mut exact, |query, group| {
                Ok(self.index.search(query, &EXACT, Mask::Allow(&masks[group]))?)
            })?;
        }
        let mut cell = Cell {
            allowed,
            recall: 0.0,
            filtered: filtered.medians(),
            unfiltered: unfiltered.medians(),
            exact: exact.medians(),
            hops: 0.0,
            ways: [0.0; 4],
        };
        self.look(&masks, &mut cell)?;
        Ok(cell)
    }

    /// All queries once; round 0 warms up.
    fn sweep(
        &self,
        round: usize,
        times: &mut Times,
        search: impl Fn(&[f32], usize) -> Result<Vec<Neighbor>>,
    ) -> Result<()> {
        for (number, query) in self.queries.iter().enumerate() {
            let start = Instant::now();
            search(query, self.predicates.group(number))?;
            if round > 0 {
                times.0[number].push(start.elapsed());
            }
        }
        Ok(())
    }

    /// What the searches found and did; not timed.
    fn look(&self, masks: &[RoaringBitmap], cell: &mut Cell) -> Result<()> {
        let part = 1.0 / self.queries.len() as f64;
        for (number, query) in self.queries.iter().enumerate() {
            let mask = Mask::Allow(&masks[self.predicates.group(number)]);
            let truth = self.index.search(query, &EXACT, mask)?;
            let answer = self.index.answer(query, &USUAL, mask)?;
            let bound = truth.last().map_or(f32::MIN, |n| n.distance);
            let hits = answer.found.iter().filter(|n| n.distance <= bound).count();
            cell.recall += part * hits as f64 / truth.len().max(1) as f64;
            cell.hops += part * answer.work.hops as f64;
            for (share, way) in cell.ways.iter_mut().zip(WAYS) {
                *share += part * f64::from(u8::from(way == answer.way));
            }
        }
        Ok(())
    }
}

/// Times of each query.
struct Times(Vec<Samples>);

impl Times {
    fn new(queries: usize) -> Self {
        Self(vec![Samples::default(); queries])
    }

    /// A median drops the rounds in which another process had the core.
    fn medians(&self) -> Samples {
        let mut all = Samples::default();
        self.0.iter().for_each(|times| all.push(Duration::from_secs_f64(times.median())));
        all
    }
}

impl Cell {
    /// Whether the latency is at most twice that without a filter or that of the exact scan: median and mean.
    pub fn is_fast(&self) -> bool {
        let of = |latency: &dyn Fn(&Samples) -> f64| {
            latency(&self.filtered) <= (2.0 * latency(&self.unfiltered)).max(latency(&self.exact))
        };
        of(&Samples::median) && of(&mean)
    }

    /// Whether recall and latency are as they should be.
    pub fn holds(&self) -> bool {
        self.recall >= 0.95 && self.is_fast()
    }

    /// `recall 0.987, p50/mean 50/55 us, unfiltered 40/45, exact 90/91, holds; hops 12.3, walk 95 %, scan 5 %`.
    pub fn text(&self) -> String {
        let us = |s: &Samples| format!("{:.0}/{:.0}", 1e6 * s.median(), 1e6 * mean(s));
        let verdict = match (self.recall >= 0.95, self.is_fast()) {
            (true, true) => "holds",
            (false, true) => "RECALL MISSED",
            (true, false) => "LATENCY MISSED",
            (false, false) => "RECALL AND LATENCY MISSED",
        };
        let names = ["walk", "scan", "walk then scan", "exact"];
        let ways = names.iter().zip(self.ways).filter(|(_, share)| *share > 0.0);
        let ways: Vec<String> = ways.map(|(name, share)| format!("{name} {:.0} %", 100.0 * share)).collect();
        format!(
            "recall {:.4}, {} us (unfiltered {}, exact {}) {verdict}; hops {:.0}, {}",
            self.recall,
            us(&self.filtered),
            us(&self.unfiltered),
            us(&self.exact),
            self.hops,
            ways.join(", ")
        )
    }

    /// For the JSON report.
    pub fn json(&self) -> Value {
        let times = |s: &Samples| json!({ "p50_us": 1e6 * s.median(), "mean_us": 1e6 * mean(s) });
        let [walk, scan, both, exact] = self.ways;
        json!({
            "allowed": self.allowed,
            "recall": self.recall,
            "filtered": times(&self.filtered),
            "unfiltered": times(&self.unfiltered),
            "exact": times(&self.exact),
            "holds": self.holds(),
            "hops": self.hops,
            "ways": { "walk": walk, "scan": scan, "walk_then_scan": both, "exact": exact },
        })
    }
}

fn mean(samples: &Samples) -> f64 {
    samples.total() / samples.len().max(1) as f64
}
