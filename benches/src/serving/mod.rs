//! From a file to answers: load, graphs, memory, recall and latency, each beside what it should be compared with.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::against_server::AgainstServer;
use crate::data::{self, Data, metric_named};
use crate::inside::Settings;
use crate::loading::COLLECTION;
use crate::machine::cores;
use crate::process::{self, Server};
use crate::report::{self, Report, mib};
use crate::samples::Samples;
use crate::wire::Ask;

mod bare;
mod latency;
mod load;
mod rates;

/// Measure a real server on real sets, each in one run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `wordnet`, `fashion`, `both`, `wordnet-5k`, or a folder with *base.parquet, *queries.parquet and *truth.parquet.
    #[arg(long, default_value = "both")]
    data: String,
    #[command(flatten)]
    common: AgainstServer,
    /// Passes over the queries, and loads whose rate is taken.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leave out the bare build with hnsw_rs, which takes about as long as the server's.
    #[arg(long)]
    skip_bare_build: bool,
    /// Build also with the distance of hnsw_rs itself, which takes several times as long.
    #[arg(long)]
    stock_distance: bool,
    /// Leave out the loads whose rate alone is taken.
    #[arg(long)]
    skip_rates: bool,
    /// Do nothing but such a build, and print its seconds; for the child process of a run.
    #[arg(long, hide = true, value_name = "kernel|stock")]
    only_bare_build: Option<String>,
}

impl Args {
    fn sets(&self) -> Vec<&str> {
        if self.data == "both" { vec!["wordnet", "fashion"] } else { vec![&self.data] }
    }
}

/// What a phase of the run needs.
struct Run<'a> {
    args: &'a Args,
    /// Name or folder of the set, as the command line takes it.
    name: &'a str,
    data: &'a Data,
    settings: Settings,
    home: &'a Path,
    report: Report,
}

impl Run<'_> {
    /// A search in this collection.
    fn ask(&self, exact: bool) -> Ask {
        Ask { collection: COLLECTION.to_owned(), k: data::K, ef: self.args.common.ef, exact }
    }

    /// One line of times.
    fn times(&mut self, key: &str, label: &str, samples: &Samples) {
        self.report.add(key, label, samples.text(), samples.json());
    }

    /// A line about memory.
    fn memory(&mut self, key: &str, label: &str, peak: process::Peak) {
        let text = format!("{} resident, {} of it not file cache", mib(peak.resident), mib(peak.anonymous));
        let value = json!({ "resident_bytes": peak.resident, "anonymous_bytes": peak.anonymous });
        self.report.add(key, label, text, value);
    }

    /// A server over `home/data`.
    fn server(&self, home: &Path) -> Result<Server> {
        Server::start(home, &self.settings)
    }
}

/// Runs the benchmark for each set that can be had.
///
/// # Errors
/// What failed, or that no set could be had.
pub fn run(args: &Args) -> Result<()> {
    let metric = metric_named(&args.common.metric)?;
    if let Some(distance) = &args.only_bare_build {
        return bare::only(&data::find(&args.data, metric)?, distance);
    }
    let mut all = Map::new();
    let mut measured = 0;
    for name in args.sets() {
        match data::find(name, metric) {
            Ok(set) => {
                all.insert(name.to_owned(), one(args, name, &Data::load(set, args.common.queries)?)?);
                measured += 1;
            }
            Err(why) => {
                println!("serving, {name}\n  not measured: {why:#}\n");
                all.insert(name.to_owned(), json!({ "not_measured": format!("{why:#}") }));
            }
        }
        // After each set: a later one that fails must not take the figures of this one along.
        report::write(&Value::Object(all.clone()), args.common.out.as_deref())?;
    }
    ensure!(measured > 0, "no data set could be had");
    Ok(())
}

fn one(args: &Args, name: &str, data: &Data) -> Result<Value> {
    let mut report = Report::new(&format!("serving, {name}"));
    report.add("data", "data", data.describe(), data.describe());
    let ef = args.common.ef.map_or_else(|| "default".to_owned(), |ef| ef.to_string());
    let mut settings = format!("ef {ef}, M {}, ef_construction {}", bare::M, bare::EF_CONSTRUCTION);
    settings.push_str(&format!(", {} build threads", cores()));
    args.common.settings.iter().for_each(|s| settings.push_str(&format!(", {s}")));
    report.add("settings", "settings", &settings, settings.as_str());
    let home = temporary(args.common.dir.as_deref())?;
    let mut run = Run { args, name, data, settings: args.common.settings()?, home: home.path(), report };
    let bare = if args.skip_bare_build { None } else { bare::measure(&mut run)? };
    let mut server = run.server(home.path())?;
    let indexed = load::run(&mut run, &mut server)?;
    if let (Some(bare), Some(indexed)) = (bare, indexed) {
        let (time, cpu) = (indexed.seconds / bare.seconds, indexed.cpu / bare.cpu);
        let text = format!("{time:.2} in time, {cpu:.2} in processor time");
        let value = json!({ "time": time, "cpu": cpu });
        run.report.add("indexed_over_bare", "file to graphs / bare build with the kernel", text, value);
    }
    let peak = server.stop()?;
    run.memory("server_peak_graphs", "server, peak memory until it was stopped", peak);
    latency::run(&mut run)?;
    if !args.skip_rates {
        rates::run(&mut run)?;
    }
    Ok(run.report.finish())
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
