//! `tests/crash --kills N [--seed S]`: kills a loaded server with SIGKILL at random moments, again and again, and
//! compares what it holds after each restart with a journal kept outside. Exits non-zero on any loss.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod check;
mod load;
mod phase;
mod recovery;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use engram_tests::{Server, ServerOptions, files, random, report};
use rand::Rng;

use load::Load;
use phase::{Phase, Watch};

/// Kill -9 at random moments of a mixed load, checked against a journal outside the server.
#[derive(Parser)]
struct Arguments {
    /// How often to kill.
    #[arg(long, default_value_t = 300)]
    kills: u64,
    /// Repeats a run; drawn where absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Size of the log whose recovery is timed at the end, MiB; 0 leaves it out.
    #[arg(long, default_value_t = 200)]
    recovery_mib: u64,
}

/// Longest time from the start of the process until every shard answers.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Tally {
    kills: u64,
    keys: u64,
    happened: u64,
    vanished: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| random::seed("crash"));
    let mut server = options().start()?;
    let outcome = run(&arguments, seed, &mut server).await;
    if outcome.is_err() {
        server.keep_files();
    }
    outcome?;
    drop(server);
    if arguments.recovery_mib > 0 {
        recovery::measure(arguments.recovery_mib, seed).await?;
    }
    Ok(())
}

/// Small limits, so that flushes and compactions happen all the time.
fn options() -> ServerOptions {
    ServerOptions { ready_within: RECOVERY_LIMIT, ..ServerOptions::default() }
        .set("storage.memtable_bytes", 1 << 20)
        .set("index.graph_threshold", 64)
        .set("logging.level", "info")
}

async fn run(arguments: &Arguments, seed: u64, server: &mut Server) -> Result<()> {
    let mut rng = random::generator(seed, 0);
    let load = Load::prepare(&server.client().await?, seed).await?;
    let mut tallies: BTreeMap<Phase, Tally> = BTreeMap::new();
    let mut recoveries: Vec<f64> = Vec::new();
    let mut log_bytes = 0u64;
    let start = Instant::now();
    for kill in 0..arguments.kills {
        let target = Phase::ALL[usize::try_from(kill).unwrap() % Phase::ALL.len()];
        let watch = Watch::new(target);
        let tasks = load.start(server, &watch, kill).await?;
        let phase = watch.await_target(&mut rng).await;
        server.kill9();
        tasks.finish().await?;
        log_bytes += files::bytes(server.data_dir(), |p| files::store_of(p) == "log")?;
        let mut phase = phase;
        let begun = Instant::now();
        if rng.random_bool(0.2) {
            server.spawn()?;
            // The kill comes at any moment of a recovery; nothing is waited for.
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..120_000))).await;
            server.kill9();
            phase = Phase::Recovery;
        }
        let begun = if phase == Phase::Recovery { Instant::now() } else { begun };
        server.start_again().with_context(|| format!("restart after kill {kill} ({phase})"))?;
        let client = server.client().await?;
        load.touch_all(&client).await.context("first read after the restart")?;
        let took = begun.elapsed();
        recoveries.push(took.as_secs_f64());
        if took > RECOVERY_LIMIT {
            bail!("kill {kill}: recovery took {took:?}, the limit is {RECOVERY_LIMIT:?}");
        }
        let verdict = check::after_restart(&client, &load).await?;
        if !verdict.violations.is_empty() {
            let shown: Vec<&String> = verdict.violations.iter().take(20).collect();
            bail!(
                "kill {kill} (phase {phase}, seed {seed}): {} violations: {shown:#?}",
                verdict.violations.len()
            );
        }
        let tally = tallies.entry(phase).or_default();
        tally.kills += 1;
        tally.keys += verdict.keys;
        tally.happened += verdict.happened;
        tally.vanished += verdict.vanished;
        if kill % 10 == 9 {
            println!("{} of {} kills, {:.0} s", kill + 1, arguments.kills, start.elapsed().as_secs_f64());
        }
    }
    print_summary(&load, &tallies, &mut recoveries, log_bytes);
    Ok(())
}

fn print_summary(load: &Load, tallies: &BTreeMap<Phase, Tally>, recoveries: &mut [f64], log_bytes: u64) {
    let rows: Vec<Vec<String>> = tallies
        .iter()
        .map(|(phase, t)| {
            let figures = [t.kills, t.keys, t.happened, t.vanished, 0];
            std::iter::once(phase.to_string()).chain(figures.iter().map(ToString::to_string)).collect()
        })
        .collect();
    report::table(&["phase", "kills", "keys checked", "unanswered done", "unanswered gone", "lost"], &rows);
    let (acked, deletes) = load.acknowledged();
    println!("acknowledged writes {acked}, of them deletes {deletes}; lost 0, resurrected 0");
    recoveries.sort_by(f64::total_cmp);
    let q = |share| report::quantile(recoveries, share) * 1e3;
    println!(
        "from start to answers of every shard: p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms; {:.1} MiB of log in all",
        q(0.5),
        q(0.99),
        q(1.0),
        log_bytes as f64 / f64::from(1 << 20)
    );
}
