//! The same data opened in this process: what a search costs without the way there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use engram_node::{ConfigSources, Node, NodeConfig};
use engram_query::Database;
use engram_query::request::{Principal, QueryVector, ReadOptions, SearchRequest, Selection};
use engram_storage::PointId;
use engram_storage::schema::DEFAULT_TENANT;
use tokio::runtime::{Handle, Runtime};

use super::over_grpc::{BATCH, OverGrpc, WARM_UP, middle};
use super::{Run, client_runtime};
use crate::samples::Samples;
use crate::wire::{Ask, Client};

/// Who searches.
pub(crate) const OWNER: Principal = Principal { tenant: DEFAULT_TENANT };

/// A search as the database takes it, as the gRPC front would make it.
pub(crate) fn request(ask: &Ask, query: &[f32]) -> SearchRequest {
    SearchRequest {
        collection: ask.collection.clone(),
        query: QueryVector::Vector(query.to_vec()),
        field: String::new(),
        filter: None,
        k: ask.k,
        offset: 0,
        ef: ask.ef,
        exact: ask.exact,
        score_threshold: None,
        selection: Selection::default(),
        read: ReadOptions::default(),
        allow_partial: false,
    }
}

/// A node in this process over a data directory, with the runtime that serves it, wired as `engram serve` does.
pub(crate) fn node(data_dir: &std::path::Path, settings: &[(&str, &str)]) -> Result<(Runtime, Node)> {
    let mut sources = ConfigSources::default()
        .flag("data_dir", data_dir.display())
        .flag("listen.grpc", "127.0.0.1:0")
        .flag("listen.http", "127.0.0.1:0");
    for (key, value) in settings {
        sources = sources.flag(key, value);
    }
    let config = NodeConfig::load(&sources)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let node = runtime.block_on(Node::start(config)).context("open the data directory")?;
    Ok((runtime, node))
}

/// One search on a worker of the runtime, as a request has it; its time and the ids.
pub(crate) async fn timed(
    runtime: &Handle,
    database: &Arc<Database>,
    request: SearchRequest,
) -> Result<(Duration, Vec<(u64, f32)>)> {
    let database = database.clone();
    let (time, answer) = runtime
        .spawn(async move {
            let start = Instant::now();
            let answer = database.search(OWNER, request).await;
            (start.elapsed(), answer)
        })
        .await?;
    let hits = answer.map_err(|e| anyhow!("{e}"))?.hits;
    let number = |id: PointId| match id {
        PointId::Num(number) => Some(number),
        PointId::Uuid(_) => None,
    };
    let hits = hits.into_iter().map(|h| Some((number(h.point.id)?, h.score))).collect::<Option<_>>();
    Ok((time, hits.context("an answer has no number as id")?))
}

pub(super) fn run(run: &mut Run<'_>, over: &OverGrpc) -> Result<()> {
    run.report.section("the same data directory opened in this process (Database::search)");
    let (runtime, node) = node(&run.home.join("data"), &[])?;
    let handle = runtime.handle().clone();
    let client = client_runtime()?;
    let alone = client.block_on(alone(run, &handle, node.database()))?;
    run.times("inside_search", "search", &alone);
    added(run, "added_us", "added by gRPC over it and an empty call", &over.search, &alone, &over.health);
    let rate = client.block_on(batches(run, &handle, node.database()))?;
    let text = format!("{rate:.0} searches/s, {BATCH} a call; over gRPC {:.2} of it", over.batch_qps / rate);
    run.report.add("inside_batch_qps", "batch search", text, rate);
    run.report.section("all three in turns: one client over gRPC to a server in this process");
    let url = format!("http://{}", node.grpc_addr());
    let [search, health, inside] = client.block_on(in_turns(run, &handle, node.database(), &url))?;
    run.times("turns_search", "search over gRPC", &search);
    run.times("turns_health", "empty health call", &health);
    run.times("turns_inside", "Database::search", &inside);
    added(run, "turns_added_us", "added by gRPC over it and an empty call", &search, &inside, &health);
    runtime.block_on(node.shutdown());
    Ok(())
}

fn added(run: &mut Run<'_>, key: &str, label: &str, search: &Samples, inside: &Samples, health: &Samples) {
    let micros = search.micros(0.5) - inside.micros(0.5) - health.micros(0.5);
    run.report.add(key, label, format!("{micros:.0} us (p50s; goal <= 60)"), micros);
}

async fn alone(run: &Run<'_>, runtime: &Handle, database: &Arc<Database>) -> Result<Samples> {
    let ask = run.ask(false);
    for query in run.data.queries.iter().cycle().take(WARM_UP) {
        timed(runtime, database, request(&ask, query)).await?;
    }
    let mut samples = Samples::default();
    for _ in 0..run.args.rounds {
        for query in &run.data.queries {
            samples.push(timed(runtime, database, request(&ask, query)).await?.0);
        }
    }
    Ok(samples)
}

async fn batches(run: &Run<'_>, runtime: &Handle, database: &Arc<Database>) -> Result<f64> {
    let ask = run.ask(false);
    let queries = &run.data.queries;
    let calls: Vec<Vec<_>> =
        queries.chunks(BATCH).map(|chunk| chunk.iter().map(|q| request(&ask, q)).collect()).collect();
    let mut rates = Vec::new();
    for _ in 0..run.args.rounds.max(1) {
        let (calls, database) = (calls.clone(), database.clone());
        let work = async move {
            let start = Instant::now();
            for call in calls {
                database.batch_search(OWNER, call).await.map_err(|e| anyhow!("{e}"))?;
            }
            anyhow::Ok(start.elapsed().as_secs_f64())
        };
        rates.push(queries.len() as f64 / runtime.spawn(work).await??);
    }
    Ok(middle(rates))
}

/// Each step takes another query for each of the searches: the second of two equal ones would find its vectors in the
/// processor's cache.
async fn in_turns(
    run: &Run<'_>,
    runtime: &Handle,
    database: &Arc<Database>,
    url: &str,
) -> Result<[Samples; 3]> {
    let ask = run.ask(false);
    let queries = &run.data.queries;
    let mut client = Client::connect(url).await?;
    for query in queries.iter().cycle().take(WARM_UP) {
        client.health().await?;
        client.search(ask.wire(query)).await?;
    }
    let mut samples: [Samples; 3] = Default::default();
    for _ in 0..run.args.rounds {
        for number in 0..queries.len() {
            let other = &queries[(number + queries.len() / 2) % queries.len()];
            samples[1].push(client.health().await?);
            samples[0].push(client.search(ask.wire(&queries[number])).await?.1);
            samples[2].push(timed(runtime, database, request(&ask, other)).await?.0);
        }
    }
    Ok(samples)
}
