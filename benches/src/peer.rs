//! An index in the hands of `benches/peers`: commands as JSON lines on stdin, answers on stdout.
//!
//! `{"cmd":"build"}` -> `{"build_s", "mem_mb", "mapped_mb"}`; `{"cmd":"search","ef":N,"repeat":R}` ->
//! `{"ef", "recall", "qps", "distances", "hops", "bytes"}`; `{"cmd":"exit"}`. The same for every library.

use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use engram_datasets::sets::Set;
use engram_index::vector::engine::graph_params;
use engram_index::vector::graph::search::Effort;
use engram_index::vector::graph::{GraphIndex, Layout};
use engram_index::vector::hnsw::HnswParams;
use engram_index::vector::{Metric, VectorSet, metric};
use hnsw_rs::prelude::{DistL2, Distance, Hnsw};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::data::{Data, K, metric_named};
use crate::process::anonymous_now;

/// Links per vector of the layered graph; ours has twice as many in its one layer.
const M: usize = 16;
const EF_CONSTRUCTION: usize = 200;
const LAYERS: usize = 16;

/// What the command line takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which index.
    #[arg(long)]
    engine: Engine,
    /// Parquet file of the rows.
    #[arg(long)]
    base: PathBuf,
    /// Parquet file of the queries.
    #[arg(long)]
    queries: PathBuf,
    /// Parquet file of the true neighbours.
    #[arg(long)]
    truth: PathBuf,
    /// cosine or euclid.
    #[arg(long)]
    metric: String,
    /// Threads of a build.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Rows of the table.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    EngramFast,
    EngramCompact,
    #[value(name = "hnsw_rs")]
    HnswRs,
}

#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
enum Command {
    Build,
    Search {
        ef: usize,
        #[serde(default = "once")]
        repeat: usize,
    },
    Exit,
}

fn once() -> usize {
    1
}

/// What the searches of one sweep found and did.
#[derive(Default)]
struct Found {
    /// Positions per query.
    positions: Vec<Vec<u32>>,
    hops: usize,
    distances: usize,
    bytes: usize,
}

trait Peer {
    /// Searches for one query, one thread.
    fn search(&self, query: &[f32], ef: usize, found: &mut Found);
}

/// Answers commands until the input ends.
///
/// # Errors
/// Where the files cannot be read or a build fails.
pub fn run(args: &Args) -> Result<()> {
    let metric = metric_named(&args.metric)?;
    let mut set = Set {
        name: "folder",
        metric,
        dimension: 0,
        base: args.base.clone(),
        queries: args.queries.clone(),
        truth: args.truth.clone(),
    };
    let info = engram_datasets::readers::open(&set.base, &Default::default())?.info().clone();
    set.dimension = info.vectors.first().and_then(|v| v.dimension).context("the base has no vectors")?;
    let data = Data::load(set, usize::MAX)?;
    let queries = admitted(&data)?;
    let mut peer: Option<Box<dyn Peer>> = None;
    let mut warm = HashSet::new();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Command::Exit => break,
            Command::Build => {
                let (built, answer) = build(args, &data)?;
                peer = Some(built);
                answer
            }
            Command::Search { ef, repeat } => {
                let peer = peer.as_deref().context("a search before the build")?;
                if warm.insert(ef) {
                    sweep(peer, &queries, ef, 1);
                }
                search(peer, &data, &queries, ef, repeat)?
            }
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn admitted(data: &Data) -> Result<Vec<Vec<f32>>> {
    let mut queries = data.queries.clone();
    for query in &mut queries {
        metric::admit(data.set.metric, data.set.dimension, query)?;
    }
    Ok(queries)
}

fn build(args: &Args, data: &Data) -> Result<(Box<dyn Peer>, Value)> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
    let before = anonymous_now();
    let start = Instant::now();
    let peer: Box<dyn Peer> = match args.engine {
        Engine::EngramFast | Engine::EngramCompact => {
            let layout =
                if matches!(args.engine, Engine::EngramFast) { Layout::Fast } else { Layout::Compact };
            let params = graph_params(HnswParams { m: M, ef_construction: EF_CONSTRUCTION }, layout);
            Box::new(GraphIndex::build(data.base.clone(), &params, &pool, &AtomicBool::new(false))?)
        }
        Engine::HnswRs => match data.set.metric {
            // Vectors are of length one, so both rank alike. Its inner product ends the process where one minus the product of
            // such vectors is rounded to below zero.
            Metric::Cosine | Metric::Euclid => Box::new(layered(&data.base, &pool, DistL2)),
            other => bail!("benches/peers compares cosine and euclid, not {other:?}"),
        },
    };
    let build_s = start.elapsed().as_secs_f64();
    let held = anonymous_now().saturating_sub(before);
    let raw = size_of_val(data.base.data().as_slice());
    // Our index leaves the vectors where they are: in a server, a mapped file. hnsw_rs keeps copies, counted in `mem_mb`.
    let mapped = if matches!(args.engine, Engine::HnswRs) { 0 } else { raw };
    let mb = |bytes: u64| bytes as f64 / 1e6;
    Ok((peer, json!({ "build_s": build_s, "mem_mb": mb(held), "mapped_mb": mb(mapped as u64) })))
}

fn sweep(peer: &dyn Peer, queries: &[Vec<f32>], ef: usize, repeat: usize) -> Found {
    let mut found = Found::default();
    for _ in 0..repeat {
        found = Found { positions: Vec::with_capacity(queries.len()), ..Found::default() };
        queries.iter().for_each(|query| peer.search(query, ef, &mut found));
    }
    found
}

fn search(peer: &dyn Peer, data: &Data, queries: &[Vec<f32>], ef: usize, repeat: usize) -> Result<Value> {
    let start = Instant::now();
    let found = sweep(peer, queries, ef, repeat);
    let took = start.elapsed().as_secs_f64();
    let ids = |positions: &Vec<u32>| positions.iter().map(|&p| data.ids[p as usize]).collect();
    let answers: Vec<(usize, Vec<u64>)> =
        found.positions.iter().enumerate().map(|(query, positions)| (query, ids(positions))).collect();
    let each = |sum: usize| (sum > 0).then(|| sum as f64 / queries.len() as f64);
    Ok(json!({
        "ef": ef,
        "recall": data.recall(&answers)?,
        "qps": (queries.len() * repeat) as f64 / took,
        "distances": each(found.distances),
        "hops": each(found.hops),
        "bytes": each(found.bytes),
    }))
}

impl Peer for GraphIndex {
    /// `ef` is the slack in thousandths: how much farther than the tenth nearest so far a candidate may be.
    fn search(&self, query: &[f32], ef: usize, found: &mut Found) {
        let walked = self.walk(query, K, Effort::Slack(1.0 + ef as f32 / 1000.0), None);
        let (hops, shape) = (walked.work.hops, self.shape());
        found.hops += hops;
        // Fast: a hop compares its own code and estimates all neighbours. Compact: it reads links, and compares the codes
        // of those that are new. Then the nearest are compared whole.
        let (each, read) = if shape.is_compact() {
            (walked.work.compared, hops * 4 * shape.degree + walked.work.compared * shape.compared_bytes())
        } else {
            (hops * (1 + shape.degree), hops * shape.row())
        };
        found.distances += each + walked.work.rescored;
        found.bytes += read + walked.work.rescored * 4 * query.len();
        found.positions.push(walked.found.iter().map(|n| n.ordinal).collect());
    }
}

struct Layered<D: Distance<f32> + Send + Sync>(Hnsw<'static, f32, D>);

fn layered<D>(vectors: &Arc<VectorSet>, pool: &rayon::ThreadPool, distance: D) -> Layered<D>
where
    D: Distance<f32> + Send + Sync + 'static,
{
    let graph = Hnsw::new(M, vectors.len(), LAYERS, EF_CONSTRUCTION, distance);
    let rows: Vec<Vec<f32>> = (0..vectors.len()).map(|p| vectors.vector(p).to_vec()).collect();
    let rows: Vec<(&Vec<f32>, usize)> = rows.iter().enumerate().map(|(p, row)| (row, p)).collect();
    pool.install(|| graph.parallel_insert(&rows));
    Layered(graph)
}

impl<D: Distance<f32> + Send + Sync> Peer for Layered<D> {
    fn search(&self, query: &[f32], ef: usize, found: &mut Found) {
        let nearest = self.0.search(query, K, ef.max(K));
        found.positions.push(nearest.iter().map(|n| n.d_id as u32).collect());
    }
}
