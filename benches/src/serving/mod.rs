//! From a file to answers: load, graphs, memory, recall and latency, each beside what it should be compared with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use tempfile::TempDir;

use crate::data::{self, Data, metric_named};
use crate::machine::cores;
use crate::process::{self, Server};
use crate::report::{Report, mib};
use crate::samples::Samples;
use crate::wire::Ask;

mod bare;
mod inside;
mod load;
mod over_grpc;

/// Collection that is loaded.
pub(crate) const COLLECTION: &str = "bench";

/// Measure a real server on a real set, in one run.
#[derive(Debug, Parser)]
#[command(name = "serving")]
pub struct Args {
    /// `wordnet`, `fashion`, `wordnet-5k`, or a folder with *base.parquet, *queries.parquet and *truth.parquet.
    #[arg(long, default_value = "wordnet")]
    set: String,
    /// Distance of the vectors of a folder.
    #[arg(long, default_value = "cosine")]
    metric: String,
    /// Candidate list of searches; the server's default where absent.
    #[arg(long)]
    ef: Option<usize>,
    /// Most queries that are used.
    #[arg(long, default_value_t = 2_000)]
    queries: usize,
    /// Passes over the queries.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the temporary data directory is made; it should be on a disk.
    #[arg(long, env = "ENGRAM_BENCH_DIR")]
    dir: Option<PathBuf>,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave out the bare build with hnsw_rs, which takes as long as the server's.
    #[arg(long)]
    skip_bare_build: bool,
    /// Do nothing but such a build, and print its seconds; for the child process of a run.
    #[arg(long, hide = true, value_name = "kernel|stock")]
    only_bare_build: Option<String>,
}

/// What a phase of the run needs.
pub(crate) struct Run<'a> {
    pub args: &'a Args,
    pub data: &'a Data,
    pub home: &'a Path,
    pub report: Report,
}

impl Run<'_> {
    /// A search in this collection.
    pub fn ask(&self, exact: bool) -> Ask {
        Ask { collection: COLLECTION.to_owned(), k: data::K, ef: self.args.ef, exact }
    }

    /// One line of times.
    pub fn times(&mut self, key: &str, label: &str, samples: &Samples) {
        self.report.add(key, label, samples.text(), samples.json());
    }
}

/// Runs the benchmark.
///
/// # Errors
/// What failed.
pub fn run(args: &Args) -> Result<()> {
    let set = data::find(&args.set, metric_named(&args.metric)?)?;
    if let Some(distance) = &args.only_bare_build {
        return bare::only(&set, distance);
    }
    let data = Data::load(set, args.queries)?;
    let mut report = Report::new("serving");
    let server = process::engram()?;
    report.add("server", "server", server.display().to_string(), server.display().to_string());
    report.add("set", "data", data.describe(), data.describe());
    let ef = args.ef.map_or_else(|| "default (100)".to_owned(), |ef| ef.to_string());
    let settings = format!(
        "ef {ef}, M {}, ef_construction {}, {} build threads",
        bare::M,
        bare::EF_CONSTRUCTION,
        cores()
    );
    report.add("settings", "settings", &settings, json!(settings));
    let home = temporary(args.dir.as_deref())?;
    let mut run = Run { args, data: &data, home: home.path(), report };
    let mut server = Server::start(home.path(), &[])?;
    let indexed = load::run(&mut run, &mut server)?;
    if args.skip_bare_build {
        run.report.note("bare build left out");
    } else {
        bare::compare(&mut run, indexed)?;
    }
    let client = over_grpc::run(&mut run, &mut server)?;
    let peak = server.stop()?;
    memory(&mut run.report, "server_peak_all", "server, peak memory of the whole run", peak);
    inside::run(&mut run, &client)?;
    run.report.finish(args.json.as_deref())
}

/// A line about memory.
fn memory(report: &mut Report, key: &str, label: &str, peak: process::Peak) {
    let text = format!("{} resident, {} of it not file cache", mib(peak.resident), mib(peak.anonymous));
    let value = json!({ "resident_bytes": peak.resident, "anonymous_bytes": peak.anonymous });
    report.add(key, label, text, value);
}

/// A folder that goes with the run: `/tmp` may be memory, so `/var/tmp` unless told otherwise.
pub(crate) fn temporary(folder: Option<&Path>) -> Result<TempDir> {
    let folder = folder.unwrap_or(Path::new("/var/tmp"));
    tempfile::Builder::new()
        .prefix("engram-bench-")
        .tempdir_in(folder)
        .with_context(|| format!("cannot make a folder in {}", folder.display()))
}

/// A runtime of one thread: a client that shares no thread with the server.
pub(crate) fn client_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the client's runtime")
}
