//! What a graph loses by deletes and inserts: merged step by step, beside one built from nothing over the same rows.
//!
//! Four fifths of the rows of a set are live. In each step a random part of them dies and as many of those that are not
//! live come in (from the last fifth, and what died before), and the graph of the step before is merged into the new
//! rows, as a compaction does it. Now and then a graph is built over the same rows for comparison.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, ensure};
use engram_index::Mask;
use engram_index::vector::exact::scan;
use engram_index::vector::graph::build::change::GONE;
use engram_index::vector::graph::merge::{Earlier, Origin};
use engram_index::vector::graph::search::{Effort, Walked};
use engram_index::vector::graph::{GraphIndex, GraphParams};
use engram_index::vector::{VectorSet, metric};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde_json::json;

use crate::data::{self, Data, K, metric_named};
use crate::machine;
use crate::noise::Noise;

/// Candidates of the searches that compare graphs at equal effort.
const CANDIDATES: usize = 24;
/// Recall that hops are compared at.
const TARGET: f32 = 0.95;
/// Recall that may be lost.
const MOST_LOST: f64 = 0.005;

/// Part of the rows of a set that is live.
const LIVE: (usize, usize) = (4, 5);

/// Turn over the rows of a graph and compare it with fresh builds; fails where it loses 0.5 % recall or a row.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `wordnet`, `fashion`, `wordnet-5k`, or a folder with *base.parquet and *queries.parquet.
    #[arg(long, default_value = "wordnet")]
    data: String,
    /// Distance of the vectors of a folder.
    #[arg(long, default_value = "cosine")]
    metric: String,
    /// Times that all rows are replaced.
    #[arg(long, default_value_t = 10.0)]
    turns: f64,
    /// Part of the rows that is replaced in a step.
    #[arg(long, default_value_t = 0.1)]
    part: f64,
    /// Times that a graph is built for comparison.
    #[arg(long, default_value_t = 5)]
    compare: usize,
    /// Most queries that are used.
    #[arg(long, default_value_t = 1_000)]
    queries: usize,
    /// Threads of builds.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Start of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The rows that are live, and the others.
struct Rows {
    live: Vec<u32>,
    spare: Vec<u32>,
    noise: Noise,
}

impl Rows {
    fn new(count: usize, seed: u64) -> Self {
        let mut rows = Self { live: (0..count as u32).collect(), spare: Vec::new(), noise: Noise::new(seed) };
        rows.take_out(count - count * LIVE.0 / LIVE.1);
        rows
    }

    /// Moves `count` random live rows to the spare ones.
    fn take_out(&mut self, count: usize) {
        for _ in 0..count {
            let at = (self.noise.next_u64() % self.live.len() as u64) as usize;
            self.spare.push(self.live.swap_remove(at));
        }
        self.live.sort_unstable();
    }

    /// Replaces `count` live rows by others. Returns the position now of each position before.
    fn step(&mut self, count: usize) -> Vec<u32> {
        let before = self.live.clone();
        let incoming: Vec<u32> = (0..count)
            .map(|_| {
                let at = (self.noise.next_u64() % self.spare.len() as u64) as usize;
                self.spare.swap_remove(at)
            })
            .collect();
        self.take_out(count);
        self.live.extend(incoming);
        self.live.sort_unstable();
        before.iter().map(|row| self.live.binary_search(row).map_or(GONE, |p| p as u32)).collect()
    }

    fn vectors(&self, base: &VectorSet) -> Result<Arc<VectorSet>> {
        let data: Vec<f32> = self.live.iter().flat_map(|&row| base.vector(row as usize)).copied().collect();
        Ok(Arc::new(VectorSet::new(base.metric(), base.dimension(), data.into(), None)?))
    }
}

/// What searches in a graph give.
#[derive(Clone, Copy, Debug)]
struct Quality {
    /// At [`CANDIDATES`].
    recall: f64,
    hops: f64,
    /// At the recall target.
    met: f64,
    target_hops: f64,
    unreachable: usize,
}

/// Runs the benchmark.
///
/// # Errors
/// Where the data is not to be had, or the merged graph is worse than it may be.
pub fn run(args: &Args) -> Result<()> {
    let data = Data::load(data::find(&args.data, metric_named(&args.metric)?)?, args.queries)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
    let mut rows = Rows::new(data.base.len(), args.seed);
    let count = (rows.live.len() as f64 * args.part) as usize;
    ensure!(count > 0 && count <= rows.live.len().min(rows.spare.len()), "a step of {} rows", count);
    let steps = (args.turns / args.part).round() as usize;
    let each = steps.div_ceil(args.compare.max(1));
    println!("{}", data.describe());
    println!(
        "{} rows live, {steps} steps of {count}, seed {}; {}",
        rows.live.len(),
        args.seed,
        machine::describe()
    );
    println!("load {:.1}; merged / built anew", machine::load_average());
    println!("turns  recall@{K} ef {CANDIDATES}  hops         hops at {TARGET}  unreachable  seconds");
    let (mut graph, _) = build(rows.vectors(&data.base)?, &pool)?;
    let (mut merge_s, mut merges, mut figures) = (0.0, 0, Vec::new());
    let mut compared = Compared::default();
    for step in 1..=steps {
        let numbering = rows.step(count);
        let vectors = rows.vectors(&data.base)?;
        let start = Instant::now();
        let earlier = Earlier { graph: &graph, numbering: &numbering };
        let params = GraphParams::default();
        let (next, origin) = GraphIndex::merge(vectors, earlier, &params, &pool, &AtomicBool::new(false))?;
        let seconds = start.elapsed().as_secs_f64();
        (graph, merge_s) = (next, merge_s + seconds);
        merges += usize::from(origin == Origin::Merged);
        if step % each != 0 && step != steps {
            continue;
        }
        let (fresh, fresh_s) = build(Arc::clone(engram_index::vector::VectorIndex::vectors(&graph)), &pool)?;
        let (merged, anew) = (quality(&graph, &data, &pool)?, quality(&fresh, &data, &pool)?);
        println!(
            "{:5.1}  {:.4} / {:.4}    {:5.1} / {:5.1}  {:5.1} / {:5.1}    {} / {}        {seconds:.1} / {fresh_s:.1}",
            step as f64 * args.part,
            merged.recall,
            anew.recall,
            merged.hops,
            anew.hops,
            merged.target_hops,
            anew.target_hops,
            merged.unreachable,
            anew.unreachable,
        );
        compared.take(merged, anew, seconds / fresh_s);
        figures.push(json!({
            "turns": step as f64 * args.part, "seconds": [seconds, fresh_s],
            "recall": [merged.recall, anew.recall], "hops": [merged.hops, anew.hops],
            "met": [merged.met, anew.met], "target_hops": [merged.target_hops, anew.target_hops],
            "unreachable": [merged.unreachable, anew.unreachable],
        }));
    }
    let mean = merge_s / steps.max(1) as f64;
    println!(
        "{merges} of {steps} steps merged, {mean:.1} s each; beside a build of the same rows {:.2} x",
        compared.mean(compared.ratios)
    );
    println!(
        "recall lost {:.4} on average, {:.4} at worst; unreachable {}; load {:.1}",
        compared.mean(compared.lost_sum),
        compared.lost,
        compared.unreachable,
        machine::load_average()
    );
    if let Some(path) = &args.out {
        let report = json!({ "data": data.describe(), "machine": machine::json(), "merge_s": mean, "points": figures });
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    ensure!(
        compared.lost < MOST_LOST && compared.unreachable == 0,
        "a merged graph lost {:.4} of the recall or {} rows; less than {MOST_LOST} and none at most",
        compared.lost,
        compared.unreachable
    );
    Ok(())
}

/// All comparisons together.
#[derive(Debug, Default)]
struct Compared {
    count: usize,
    lost_sum: f64,
    ratios: f64,
    lost: f64,
    unreachable: usize,
}

impl Compared {
    fn mean(&self, sum: f64) -> f64 {
        sum / self.count.max(1) as f64
    }

    fn take(&mut self, merged: Quality, anew: Quality, ratio: f64) {
        self.count += 1;
        self.ratios += ratio;
        self.lost_sum += anew.recall - merged.recall;
        self.lost = self.lost.max(anew.recall - merged.recall);
        self.unreachable = self.unreachable.max(merged.unreachable);
    }
}

fn build(vectors: Arc<VectorSet>, pool: &ThreadPool) -> Result<(GraphIndex, f64)> {
    let start = Instant::now();
    let graph = GraphIndex::build(vectors, &GraphParams::default(), pool, &AtomicBool::new(false))?;
    Ok((graph, start.elapsed().as_secs_f64()))
}

fn quality(graph: &GraphIndex, data: &Data, pool: &ThreadPool) -> Result<Quality> {
    let vectors = engram_index::vector::VectorIndex::vectors(graph);
    let one = |query: &Vec<f32>| -> Result<[f64; 4]> {
        let mut query = query.clone();
        metric::admit(data.set.metric, data.set.dimension, &mut query)?;
        let truth = scan(vectors, &query, K, Mask::All)?;
        let bound = truth.last().map_or(0.0, |n| n.distance);
        let walk = |effort| {
            let Walked { found, work, .. } = graph.walk(&query, K, effort, None);
            let hits = found.iter().filter(|n| n.distance <= bound).count();
            (hits as f64 / K as f64, work.hops as f64)
        };
        let (by_ef, by_target) = (walk(Effort::Candidates(CANDIDATES)), walk(Effort::Recall(TARGET)));
        Ok([by_ef.0, by_ef.1, by_target.0, by_target.1])
    };
    let all: Vec<[f64; 4]> = pool.install(|| data.queries.par_iter().map(one).collect::<Result<Vec<_>>>())?;
    let mean = |i: usize| all.iter().map(|x| x[i]).sum::<f64>() / all.len().max(1) as f64;
    let unreachable = graph.unreachable();
    Ok(Quality { recall: mean(0), hops: mean(1), met: mean(2), target_hops: mean(3), unreachable })
}
