//! One client over gRPC beside the same search in this process: recall, latency, and what the way there costs.
//!
//! The data directory is doubled (its objects, which never change, by links), so that server and this process have the
//! same bytes open at the same time. Then an empty call, a search over gRPC on the same connection, and a search in this
//! process after an empty task on the same runtime take turns, so that each search meets threads that were just awake.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use engram_query::Database;
use serde_json::json;
use tokio::runtime::Handle;

use super::{Run, client_runtime};
use crate::inside::{self, request};
use crate::samples::Samples;
use crate::wire::{Ask, Client};

/// Searches of each kind before anything is measured.
const WARM_UP: usize = 300;
/// Searches of one batch call.
const BATCH: usize = 32;
/// Goals: what gRPC may add to a search beside an empty call, and the least share of the rate in process.
const GOAL_ADDED_MICROS: f64 = 30.0;
const GOAL_BATCH: f64 = 0.9;

/// Both ways to the same data.
struct Ways<'a> {
    client: Client,
    runtime: &'a Handle,
    database: &'a Arc<Database>,
}

/// Times of searches that took turns.
#[derive(Default)]
struct Turns {
    grpc: Samples,
    health: Samples,
    inside: Samples,
    /// The server's own part of a search over gRPC.
    took: Samples,
    /// The rest of it.
    around: Samples,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let copy = run.home.join("copy");
    double(&run.home.join("data"), &copy, false)?;
    let start = Instant::now();
    let mut server = run.server(run.home)?;
    let seconds = start.elapsed().as_secs_f64();
    run.report.add("restart_s", "restart of the server, until ready", format!("{seconds:.2} s"), seconds);
    let (runtime, node) = inside::node(&copy, &run.settings)?;
    let handle = runtime.handle().clone();
    client_runtime()?.block_on(async {
        let client = Client::connect(&server.url).await?;
        let mut ways = Ways { client, runtime: &handle, database: node.database() };
        single(run, &mut ways).await?;
        batches(run, &mut ways).await?;
        exact(run, &mut ways).await
    })?;
    server.look();
    runtime.block_on(node.shutdown());
    let peak = server.stop()?;
    run.memory("server_peak_searches", "server, peak memory of restart and searches", peak);
    std::fs::remove_dir_all(&copy).context("remove the copy")
}

async fn single(run: &mut Run<'_>, ways: &mut Ways<'_>) -> Result<()> {
    run.report.section("one client, one search at a time: gRPC, empty call and in-process in turns");
    let ask = run.ask(false);
    let warm_up: Vec<_> = run.data.queries.iter().cycle().take(WARM_UP).cloned().collect();
    turns(ways, &ask, &warm_up, &mut Turns::default()).await?;
    let (mut times, mut found) = (Turns::default(), Vec::new());
    for _ in 0..run.args.rounds.max(1) {
        found = turns(ways, &ask, &run.data.queries, &mut times).await?;
    }
    let recall = run.data.recall(&found)?;
    run.report.add("recall", "recall@10", format!("{recall:.4}"), recall);
    run.times("grpc_search", "search over gRPC", &times.grpc);
    run.times("grpc_health", "empty health call", &times.health);
    run.times("inside_search", "search in process (Database::search)", &times.inside);
    let added = times.grpc.micros(0.5) - times.inside.micros(0.5) - times.health.micros(0.5);
    let label = "added over in-process + empty call (p50s)";
    run.report.add("added_us", label, format!("{added:.0} us (goal <= {GOAL_ADDED_MICROS:.0} us)"), added);
    run.times("grpc_took", "  of a search over gRPC: the server says", &times.took);
    run.times("grpc_around", "  of a search over gRPC: the rest", &times.around);
    let added = times.around.micros(0.5) - times.health.micros(0.5);
    run.report.add("around_us", "  the rest less an empty call (p50s)", format!("{added:.0} us"), added);
    Ok(())
}

/// One pass over the queries; what the searches over gRPC found. Each step takes another query for the search in this
/// process: the second of two equal ones would find its vectors in the processor's cache.
async fn turns(
    ways: &mut Ways<'_>,
    ask: &Ask,
    queries: &[Vec<f32>],
    turns: &mut Turns,
) -> Result<Vec<(usize, Vec<u64>)>> {
    let mut found = Vec::new();
    for (number, query) in queries.iter().enumerate() {
        let other = &queries[(number + queries.len() / 2) % queries.len()];
        let (wire, local) = (ask.wire(query), request(ask, other));
        turns.health.push(ways.client.health().await?);
        let (ids, time, took) = ways.client.search(wire).await?;
        turns.grpc.push(time);
        turns.took.push(took);
        turns.around.push(time.saturating_sub(took));
        found.push((number, ids));
        ways.runtime.spawn(async {}).await?;
        turns.inside.push(inside::timed(ways.runtime, ways.database, local).await?.0);
    }
    Ok(found)
}

async fn batches(run: &mut Run<'_>, ways: &mut Ways<'_>) -> Result<()> {
    run.report.section("batches and exact mode");
    let ask = run.ask(false);
    let (mut grpc, mut local, mut took) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..run.args.rounds.max(1) {
        for chunk in run.data.queries.chunks_exact(BATCH.min(run.data.queries.len())) {
            let call: Vec<_> = chunk.iter().map(|query| ask.wire(query)).collect();
            let start = Instant::now();
            let (_, inside) = ways.client.batch_search(call).await?;
            grpc.push(start.elapsed());
            took.push(inside);
            let call = chunk.iter().map(|query| request(&ask, query)).collect();
            local.push(inside::batch(ways.runtime, ways.database, call).await?.0);
        }
    }
    // By the median call: on a machine that is not quiet one that had to wait for a core would outweigh all others.
    let searches = BATCH.min(run.data.queries.len()) as f64;
    let (over, within) = (searches / grpc.median(), searches / local.median());
    let share = over / within;
    let text = format!(
        "{over:.0} searches/s, {BATCH} a call; in process {within:.0}: {share:.2} of it (goal >= {GOAL_BATCH})"
    );
    run.report.add(
        "batch",
        "batch search over gRPC",
        text,
        json!({ "grpc_qps": over, "inside_qps": within, "share": share }),
    );
    run.times("batch_took", "  of a batch over gRPC: the server says", &took);
    Ok(())
}

async fn exact(run: &mut Run<'_>, ways: &mut Ways<'_>) -> Result<()> {
    let ask = run.ask(true);
    let few = &run.data.queries[..run.data.queries.len().min(5)];
    turns(ways, &ask, few, &mut Turns::default()).await?;
    let (mut grpc, mut found) = (Samples::default(), Vec::new());
    for (number, query) in run.data.queries.iter().enumerate() {
        let (ids, time, _) = ways.client.search(ask.wire(query)).await?;
        grpc.push(time);
        found.push((number, ids));
    }
    let recall = run.data.recall(&found)?;
    let text = if recall == 1.0 { "1.0000".to_owned() } else { format!("{recall:.6}: MUST BE 1") };
    run.times("exact_search", "exact search over gRPC", &grpc);
    run.report.add("exact_recall", "exact search, recall@10", text, recall);
    Ok(())
}

/// Doubles a data directory: links for the files below `objects`, which never change, copies of all others.
fn double(from: &Path, to: &Path, by_link: bool) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (name, path, kind) = entry.map(|e| (e.file_name(), e.path(), e.file_type()))?;
        let target = to.join(&name);
        if kind?.is_dir() {
            double(&path, &target, by_link || name == "objects")?;
        } else if by_link {
            std::fs::hard_link(&path, &target).with_context(|| format!("link {}", target.display()))?;
        } else {
            std::fs::copy(&path, &target).with_context(|| format!("copy to {}", target.display()))?;
        }
    }
    Ok(())
}
