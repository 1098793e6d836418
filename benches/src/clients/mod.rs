//! Many clients of one real server on the machine that it runs on: a load generator in Rust over gRPC and over REST, then
//! clients in Python beside those of other databases, and how long a server needs to answer its first search.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::against_server::AgainstServer;
use crate::data::{self, Data, metric_named};
use crate::inside::Settings;
use crate::loading::{self, COLLECTION};
use crate::process::{self, Server};
use crate::report::{self, Report};
use crate::samples::{Samples, median};
use crate::serving::{client_runtime, temporary};
use crate::wire::{Ask, Client};

mod generator;
mod grpc;
mod opening;
mod python;
mod rest;

use generator::Front;

/// A run whose answers are worse does not count.
const LEAST_RECALL: f64 = 0.97;
/// Before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// Goals: microseconds of one client, searches per second of eight.
const GOAL_MICROS: f64 = 300.0;
const GOAL_RATE: f64 = 10_000.0;

/// Measure a real server under 1, 8 and 64 clients, and Python clients of it and of other databases in the same run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `wordnet`, `fashion`, `wordnet-5k`, or a folder with *base.parquet, *queries.parquet and *truth.parquet.
    #[arg(long, default_value = "wordnet")]
    data: String,
    #[command(flatten)]
    common: AgainstServer,
    /// Numbers of clients of the load generator.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    clients: Vec<usize>,
    /// Numbers of Python clients, each a process of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    python_clients: Vec<usize>,
    /// Laps of each number of clients, in turns; medians count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a lap.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Leave out the Python clients and the other databases.
    #[arg(long)]
    skip_python: bool,
    /// Databases of the Python clients.
    #[arg(long, value_delimiter = ',', default_values_t = ["engram", "pgvector", "chroma"].map(String::from))]
    databases: Vec<String>,
    /// Do nothing but open a data directory and search once, and print the times; for the child process of a run.
    #[arg(long, hide = true, value_name = "DIR")]
    only_open: Option<PathBuf>,
}

/// What a phase of the run needs.
struct Run<'a> {
    args: &'a Args,
    data: &'a Data,
    settings: Settings,
    home: &'a Path,
    report: Report,
}

impl Run<'_> {
    fn ask(&self) -> Ask {
        Ask { collection: COLLECTION.to_owned(), k: data::K, ef: self.args.common.ef, exact: false }
    }

    /// How far searches look.
    fn effort(&self) -> String {
        self.args.common.ef.map_or_else(|| "the server's default recall".to_owned(), |ef| format!("ef {ef}"))
    }

    fn lap(&self) -> Duration {
        Duration::from_secs_f64(self.args.seconds.clamp(0.1, 3_600.0))
    }

    fn rounds(&self) -> usize {
        self.args.rounds.max(1)
    }
}

/// Runs the benchmark.
///
/// # Errors
/// What failed; not, that another database cannot be had.
pub fn run(args: &Args) -> Result<()> {
    let set = data::find(&args.data, metric_named(&args.common.metric)?)?;
    if let Some(folder) = &args.only_open {
        return opening::only(folder, &set, &args.common.settings()?, args.common.ef);
    }
    let data = Data::load(set, args.common.queries)?;
    let mut report = Report::new(&format!("clients, {}", args.data));
    report.add("data", "data", data.describe(), data.describe());
    let home = temporary(args.common.dir.as_deref())?;
    let settings = args.common.settings()?;
    let mut run = Run { args, data: &data, settings, home: home.path(), report };
    let text: Vec<_> = std::iter::once(run.effort()).chain(args.common.settings.iter().cloned()).collect();
    let text = text.join(", ");
    run.report.add("settings", "settings", &text, text.as_str());
    let mut server = loaded(&mut run)?;
    generated(&mut run, &mut server)?;
    if !args.skip_python {
        python::run(&mut run, &server)?;
    }
    server.stop()?;
    opening::run(&mut run)?;
    report::write(&run.report.finish(), args.common.out.as_deref())
}

/// A server with the set in it, with nothing left to build.
fn loaded(run: &mut Run<'_>) -> Result<Server> {
    let mut server = Server::start(run.home, &run.settings)?;
    let start = Instant::now();
    let loader = loading::command(&run.data.set, run.home, &server, true)?;
    process::run(loader, run.home, loading::WITHIN, &mut [])?;
    let (seconds, indexed) = client_runtime()?.block_on(async {
        let mut client = Client::connect(&server.url).await?;
        client.flush(COLLECTION).await?;
        let (seconds, stats) = loading::calm(&mut client, &mut server, start).await?;
        anyhow::Ok((seconds, stats.indexed_vectors))
    })?;
    let text = format!("{seconds:.1} s, {indexed} of {} vectors in graphs", run.data.base.len());
    let value = json!({ "seconds": seconds, "vectors": indexed });
    run.report.add("indexed", "file to graphs", text, value);
    Ok(server)
}

/// Laps of one number of clients.
#[derive(Default)]
struct Laps {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    recall: Vec<f64>,
    /// Microseconds of processor time per search.
    server_cpu: Vec<f64>,
    generator_cpu: Vec<f64>,
}

/// The load generator's part: numbers of clients of both fronts take turns.
fn generated(run: &mut Run<'_>, server: &mut Server) -> Result<()> {
    run.report.section("load generator in Rust: one thread, one connection per client, closed loop");
    let mut all = Vec::new();
    for front in [Front::Grpc, Front::Rest] {
        let address = match front {
            Front::Grpc => server.url.trim_start_matches("http://"),
            Front::Rest => &server.http,
        };
        let address = address.parse().context("the server's address")?;
        let prepared = Rc::new(generator::Prepared::new(front, address, &run.ask(), &run.data.queries)?);
        let laps = |count: &usize| (front, *count, prepared.clone(), Laps::default());
        all.extend(run.args.clients.iter().map(laps));
    }
    generator::on_one_thread(async {
        let mut clients = Vec::new();
        for (_, count, prepared, _) in &all {
            let mut connected = generator::Clients::connect(*count, prepared.clone()).await?;
            connected.lap(WARM_UP).await?;
            clients.push(connected);
        }
        for _ in 0..run.rounds() {
            for (clients, (.., laps)) in clients.iter_mut().zip(&mut all) {
                lap(run, server, clients, laps).await?;
            }
        }
        Ok(())
    })?;
    all.iter().for_each(|(front, count, _, laps)| line(&mut run.report, *front, *count, laps));
    cost(run, &all.iter().map(|(front, count, _, laps)| (*front, *count, laps)).collect::<Vec<_>>());
    let recall = all.iter().flat_map(|(.., laps)| &laps.recall).copied().fold(f64::INFINITY, f64::min);
    let note = if recall < LEAST_RECALL {
        format!(": BELOW {LEAST_RECALL}, so no rate counts")
    } else {
        String::new()
    };
    run.report.add("recall", "recall@10, the worst lap", format!("{recall:.4}{note}"), recall);
    Ok(())
}

/// What a search over REST costs more than over gRPC.
fn cost(run: &mut Run<'_>, all: &[(Front, usize, &Laps)]) {
    for count in &run.args.clients {
        let of = |front| all.iter().find(|(f, c, _)| (*f, *c) == (front, *count)).map(|(.., laps)| *laps);
        let (Some(grpc), Some(rest)) = (of(Front::Grpc), of(Front::Rest)) else { continue };
        let added = median(&rest.p50) - median(&grpc.p50);
        let share = median(&rest.rates) / median(&grpc.rates);
        let text = format!("{added:+.0} us of p50, {share:.2} of its QPS");
        let value = json!({ "added_p50_us": added, "share_of_qps": share });
        run.report.add(
            &format!("rest_cost_{count}"),
            &format!("REST beside gRPC, {}", clients(*count)),
            text,
            value,
        );
    }
}

async fn lap(
    run: &Run<'_>,
    server: &mut Server,
    clients: &mut generator::Clients,
    laps: &mut Laps,
) -> Result<()> {
    let cpu = |pid: u32| process::cpu_seconds(pid).unwrap_or(f64::NAN);
    let (server, this) = (server.pid(), std::process::id());
    let before = (cpu(server), cpu(this));
    let lap = clients.lap(run.lap()).await?;
    ensure!(!lap.times.is_empty(), "a lap of {:?} was too short for one search", run.lap());
    let each = |seconds: f64| seconds * 1e6 / lap.times.len() as f64;
    // The decoding of answers after the clock is a few milliseconds of these.
    laps.server_cpu.push(each(cpu(server) - before.0));
    laps.generator_cpu.push(each(cpu(this) - before.1));
    laps.rates.push(lap.per_second);
    laps.p50.push(lap.times.micros(0.5));
    laps.p99.push(lap.times.micros(0.99));
    laps.recall.push(run.data.recall(&lap.found)?);
    Ok(())
}

fn line(report: &mut Report, front: Front, count: usize, laps: &Laps) {
    let (rate, p50, p99) = (median(&laps.rates), median(&laps.p50), median(&laps.p99));
    let (server, generator) = (median(&laps.server_cpu), median(&laps.generator_cpu));
    let goal = match count {
        _ if front == Front::Rest => String::new(),
        1 => format!(" (goal: p50 <= {GOAL_MICROS:.0} us)"),
        8 => format!(" (goal: >= {GOAL_RATE:.0} QPS)"),
        _ => String::new(),
    };
    let text = format!("{rate:.0} QPS, p50 {p50:.0} us, p99 {p99:.0} us{goal}");
    let value = json!({
        "qps": rate, "p50_us": p50, "p99_us": p99, "recall": median(&laps.recall), "laps_qps": laps.rates,
        "server_cpu_us": server, "generator_cpu_us": generator,
    });
    // The figures of gRPC kept the names they had before there was another front.
    let key = if front == Front::Grpc { format!("rust_{count}") } else { format!("rust_rest_{count}") };
    report.add(&key, &format!("{}, {}", front.name(), clients(count)), text, value);
    let text = format!("server {server:.0} us, generator {generator:.0} us");
    report.add(&format!("{key}_cpu"), "  processor time of one search", text, json!([server, generator]));
}

/// `1 client`, `8 clients`.
fn clients(count: usize) -> String {
    if count == 1 { "1 client".to_owned() } else { format!("{count} clients") }
}

/// Milliseconds of several tries: `median 12.3 ms, best 11.0 ms, of 5`.
fn tries(samples: &Samples) -> String {
    let ms = |share: f64| samples.quantile(share) * 1e3;
    format!("median {:.1} ms, best {:.1} ms, of {}", ms(0.5), ms(0.0), samples.len())
}
