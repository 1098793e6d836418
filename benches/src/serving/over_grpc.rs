//! One client over gRPC: recall, latency, and what the way there and back costs.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::{Run, client_runtime};
use crate::process::Server;
use crate::samples::Samples;
use crate::wire::{Ask, Client};

/// Searches before anything is measured.
pub(super) const WARM_UP: usize = 300;
/// Searches of one batch call.
pub(super) const BATCH: usize = 32;

/// What later phases compare with.
#[derive(Debug, Default)]
pub(super) struct OverGrpc {
    pub health: Samples,
    pub search: Samples,
    pub batch_qps: f64,
}

pub(super) fn run(run: &mut Run<'_>, server: &mut Server) -> Result<OverGrpc> {
    client_runtime()?.block_on(measure(run, server))
}

async fn measure(run: &mut Run<'_>, server: &mut Server) -> Result<OverGrpc> {
    let mut client = Client::connect(&server.url).await?;
    run.report.section("one gRPC client, server in its own process");
    let mut over = graphs(run, &mut client).await?;
    server.look();
    over.batch_qps = batches(run, &mut client).await?;
    let text = format!("{:.0} searches/s, {BATCH} a call", over.batch_qps);
    run.report.add("batch_qps", "batch search", text, over.batch_qps);
    exact(run, &mut client).await?;
    server.look();
    Ok(over)
}

async fn graphs(run: &mut Run<'_>, client: &mut Client) -> Result<OverGrpc> {
    let ask = run.ask(false);
    let queries = &run.data.queries;
    for query in queries.iter().cycle().take(WARM_UP) {
        client.health().await?;
        client.search(ask.wire(query)).await?;
    }
    let (mut over, mut inside, mut around) = (OverGrpc::default(), Samples::default(), Samples::default());
    let mut found = Vec::new();
    for round in 0..run.args.rounds {
        for (number, query) in queries.iter().enumerate() {
            let request = ask.wire(query);
            // In turns, so that noise of the machine meets both.
            over.health.push(client.health().await?);
            let (ids, time, in_server) = client.search(request).await?;
            over.search.push(time);
            inside.push(in_server);
            around.push(time.saturating_sub(in_server));
            if round == 0 {
                found.push((number, ids));
            }
        }
    }
    let recall = run.data.recall(&found)?;
    run.report.add("recall", "recall@10, default settings", format!("{recall:.4}"), recall);
    run.times("grpc_search", "search", &over.search);
    run.times("grpc_health", "empty health call, in turns with it", &over.health);
    run.times("grpc_took", "  of a search: inside, as the server says", &inside);
    run.times("grpc_around", "  of a search: the rest", &around);
    let added = around.micros(0.5) - over.health.micros(0.5);
    run.report.add(
        "added_by_took_us",
        "  the rest less an empty call (p50s)",
        format!("{added:.0} us"),
        added,
    );
    Ok(over)
}

async fn batches(run: &Run<'_>, client: &mut Client) -> Result<f64> {
    let ask = run.ask(false);
    let calls: Vec<Vec<_>> =
        run.data.queries.chunks(BATCH).map(|chunk| chunk.iter().map(|q| ask.wire(q)).collect()).collect();
    let mut rates = Vec::new();
    for _ in 0..run.args.rounds.max(1) {
        let prepared = calls.clone();
        let start = Instant::now();
        for call in prepared {
            client.batch_search(call).await?;
        }
        rates.push(run.data.queries.len() as f64 / start.elapsed().as_secs_f64());
    }
    Ok(middle(rates))
}

async fn exact(run: &mut Run<'_>, client: &mut Client) -> Result<()> {
    let ask: Ask = run.ask(true);
    let (mut times, mut found) = (Samples::default(), Vec::new());
    for query in run.data.queries.iter().take(5) {
        client.search(ask.wire(query)).await?;
    }
    for (number, query) in run.data.queries.iter().enumerate() {
        let (ids, time, _) = client.search(ask.wire(query)).await?;
        times.push(time);
        found.push((number, ids));
    }
    let recall = run.data.recall(&found)?;
    let text = if recall == 1.0 { "1.0000".to_owned() } else { format!("{recall:.6}: MUST BE 1") };
    run.report.add("exact_recall", "exact mode, recall@10", text, json!(recall));
    run.times("exact_search", "exact mode, search", &times);
    Ok(())
}

/// The median of a few figures.
pub(super) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
