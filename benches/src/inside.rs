//! A node in this process: what a search costs without the way there.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use engram_node::{ConfigSources, Node, NodeConfig};
use engram_query::Database;
use engram_query::request::{Principal, QueryVector, ReadOptions, SearchAnswer, SearchRequest, Selection};
use engram_storage::PointId;
use engram_storage::schema::DEFAULT_TENANT;
use tokio::runtime::{Handle, Runtime};

use crate::wire::Ask;

/// Who searches.
pub const OWNER: Principal = Principal::root(DEFAULT_TENANT);

/// Settings of a server that are not its defaults.
pub type Settings = Vec<(String, String)>;

/// Settings out of `KEY=VALUE`, as the command line has them.
///
/// # Errors
/// Where one has no `=`.
pub fn settings(texts: &[String]) -> Result<Settings> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').with_context(|| format!("{text:?} is not KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

/// Ids with their scores, closest first.
pub type Hits = Vec<(u64, f32)>;

/// A search as the database takes it, as the gRPC front would make it.
pub fn request(ask: &Ask, query: &[f32]) -> SearchRequest {
    SearchRequest {
        collection: ask.collection.clone(),
        query: QueryVector::Vector(query.to_vec().into()),
        field: String::new(),
        filter: None,
        k: ask.k,
        offset: 0,
        ef: ask.ef,
        recall: None,
        exact: ask.exact,
        score_threshold: None,
        selection: Selection::default(),
        read: ReadOptions::default(),
        allow_partial: false,
    }
}

/// A node over a data directory, with the runtime that serves it, wired as `engram serve` does.
///
/// # Errors
/// Where the directory cannot be opened.
pub fn node(data_dir: &Path, settings: &Settings) -> Result<(Runtime, Node)> {
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

/// One search on a worker of the runtime, as a request has it; its time and the hits.
///
/// # Errors
/// What the database says.
pub async fn timed(
    runtime: &Handle,
    database: &Arc<Database>,
    request: SearchRequest,
) -> Result<(Duration, Hits)> {
    let database = database.clone();
    let work = async move {
        let start = Instant::now();
        let answer = database.search(OWNER, request).await;
        (start.elapsed(), answer)
    };
    let (time, answer) = runtime.spawn(work).await?;
    Ok((time, hits(answer.map_err(|e| anyhow!("{e}"))?)?))
}

/// Many searches in one call on a worker of the runtime.
///
/// # Errors
/// What the database says.
pub async fn batch(
    runtime: &Handle,
    database: &Arc<Database>,
    requests: Vec<SearchRequest>,
) -> Result<(Duration, Vec<Hits>)> {
    let database = database.clone();
    let work = async move {
        let start = Instant::now();
        let answers = database.batch_search(OWNER, requests).await;
        (start.elapsed(), answers)
    };
    let (time, answers) = runtime.spawn(work).await?;
    let answers = answers.map_err(|e| anyhow!("{e}"))?;
    Ok((time, answers.into_iter().map(hits).collect::<Result<_>>()?))
}

fn hits(answer: SearchAnswer) -> Result<Hits> {
    let number = |id: PointId| match id {
        PointId::Num(number) => Some(number),
        PointId::Uuid(_) => None,
    };
    let hits = answer.hits.into_iter().map(|hit| Some((number(hit.point.id)?, hit.score)));
    hits.collect::<Option<_>>().context("an answer has no number as id")
}
