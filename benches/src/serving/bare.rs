//! The graph that `hnsw_rs` builds by itself, of the same vectors, in a process of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use engram_datasets::{sets::Set, truth};
use engram_index::vector::kernel::Kernel;
use engram_index::vector::{Metric, VectorSet};
use hnsw_rs::prelude::{DistCosine, DistDot, DistL1, DistL2, Distance, Hnsw};
use serde_json::json;

use super::Run;
use crate::data::metric_name;
use crate::machine::cores;
use crate::process;

/// The server's defaults.
pub(super) const M: usize = 16;
pub(super) const EF_CONSTRUCTION: usize = 128;
const LAYERS: usize = 16;
/// `hnsw_rs` can wait for itself for ever (see `index/src/vector/hnsw/guard.rs`).
const WITHIN: Duration = Duration::from_secs(1_800);

/// What a build took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Built {
    /// From the first vector to the last one.
    pub seconds: f64,
    /// Of all threads; for a bare build with the reading of the file, for the server with the load.
    pub cpu: f64,
}

/// Builds in child processes, with our distance kernel and perhaps with the library's own, before there is a server;
/// what the first took.
pub(super) fn measure(run: &mut Run<'_>) -> Result<Option<Built>> {
    run.report.section("bare hnsw_rs build of the same vectors (no server, no files, nothing durable)");
    let kernel = child(run, "kernel", "with Engram's distance kernel")?;
    if run.args.stock_distance {
        child(run, "stock", "with its own distance")?;
    }
    Ok(kernel)
}

fn child(run: &mut Run<'_>, distance: &str, label: &str) -> Result<Option<Built>> {
    let mut command = process::command(&std::env::current_exe()?);
    command.args(["serving", "--data", run.name, "--metric", metric_name(run.data.set.metric)]);
    command.args(["--only-bare-build", distance]);
    let key = format!("bare_{distance}");
    let ended = match process::run(command, run.home, WITHIN, &mut []) {
        Ok(ended) => ended,
        // The library may hang or panic; the other figures stand.
        Err(error) => {
            run.report.add(&key, label, format!("failed: {error:#}"), json!(null));
            return Ok(None);
        }
    };
    let seconds: f64 = ended.stdout.trim().parse().context("the bare build printed no seconds")?;
    let built = Built { seconds, cpu: ended.peak.cpu };
    let text = format!("{seconds:.2} s, {} threads; {:.1} s of processor time", cores(), built.cpu);
    let value = json!({ "seconds": seconds, "threads": cores(), "cpu_seconds": built.cpu });
    run.report.add(&key, label, text, value);
    run.memory(&format!("{key}_peak"), "  its peak memory (vectors included)", ended.peak);
    Ok(Some(built))
}

/// The child's part.
pub(super) fn only(set: &Set, distance: &str) -> Result<()> {
    let vectors = Arc::new(truth::vector_set(set.metric, set.dimension, set.base_vectors()?)?);
    let seconds = match (distance, set.metric) {
        ("kernel", Metric::Dot) => bail!("inner product needs the server's reduction to L2"),
        ("kernel", metric) => build(&vectors, Ours(Kernel::new(metric))),
        ("stock", Metric::Cosine) => build(&vectors, DistCosine),
        ("stock", Metric::Euclid) => build(&vectors, DistL2),
        ("stock", Metric::Manhattan) => build(&vectors, DistL1),
        ("stock", Metric::Dot) => build(&vectors, DistDot),
        _ => bail!("there is no distance {distance:?}"),
    }?;
    println!("{seconds}");
    Ok(())
}

fn build<D: Distance<f32> + Send + Sync>(vectors: &VectorSet, distance: D) -> Result<f64> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cores()).build()?;
    let items: Vec<(&[f32], usize)> = (0..vectors.len()).map(|row| (vectors.vector(row), row)).collect();
    pool.install(|| {
        let start = Instant::now();
        let hnsw = Hnsw::new(M, vectors.len(), LAYERS, EF_CONSTRUCTION, distance);
        hnsw.parallel_insert_slice(&items);
        let seconds = start.elapsed().as_secs_f64();
        std::hint::black_box(hnsw.get_nb_point());
        Ok(seconds)
    })
}

/// Our kernel as the library wants it: never negative.
struct Ours(Kernel);

impl Distance<f32> for Ours {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        self.0.distance(a, b).max(0.0)
    }
}
