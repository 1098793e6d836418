//! One shard or eight: the same answers, through the coordinator that a cluster uses.
//!
//! Loads the set twice into one node in this process, as one shard and as two regions of four shards each, and compares
//! the answers of exact searches: ids, their order and the bits of the scores. Part of the rows are flushed to segments,
//! the rest stay in memtables, so that merging sees both.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use engram_node::Node;
use engram_query::Database;
use engram_query::request::{NewPoint, ReadOptions, WriteOptions};
use engram_storage::PointId;
use engram_storage::engine::NewCollection;
use engram_storage::schema::{DEFAULT_TENANT, RegionName, VectorField};
use serde_json::json;
use tokio::runtime::Handle;

use crate::data::{self, Data, metric_named};
use crate::inside::{self, Hits, OWNER, request};
use crate::report::{self, Report};
use crate::serving::temporary;
use crate::wire::Ask;

const ONE: &str = "one-shard";
const MANY: &str = "many-shards";
const REGIONS: [&str; 2] = ["eu", "us"];
const SHARDS_PER_REGION: u32 = 4;
/// Rows of one write.
const ROWS: usize = 1_000;
/// Searches of one batch call.
const BATCH: usize = 32;

/// Compare the answers of one shard with those of 2 regions x 4 shards; fails where one differs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `wordnet`, `fashion`, `wordnet-5k`, or a folder with *base.parquet and *queries.parquet.
    #[arg(long, default_value = "wordnet")]
    data: String,
    /// Distance of the vectors of a folder.
    #[arg(long, default_value = "cosine")]
    metric: String,
    /// Most queries that are used.
    #[arg(long, default_value_t = 2_000)]
    queries: usize,
    /// Results of a search.
    #[arg(long, default_value_t = data::K)]
    k: usize,
    /// Where the temporary data directory is made.
    #[arg(long, env = "ENGRAM_BENCH_DIR")]
    dir: Option<PathBuf>,
    /// Also write the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the comparison.
///
/// # Errors
/// What failed, and where an answer differs.
pub fn run(args: &Args) -> Result<()> {
    let data = Data::load(data::find(&args.data, metric_named(&args.metric)?)?, args.queries)?;
    let mut report = Report::new("shards");
    report.add("data", "data", data.describe(), data.describe());
    let home = temporary(args.dir.as_deref())?;
    // No graphs: nothing here walks one, and building them would take minutes.
    let settings = vec![("index.graph_threshold".to_owned(), u32::MAX.to_string())];
    let (runtime, node) = inside::node(&home.path().join("data"), &settings)?;
    let compared = runtime.block_on(compare(args, &data, &node, &mut report));
    runtime.block_on(node.shutdown());
    let different = compared?;
    report::write(&report.finish(), args.out.as_deref())?;
    ensure!(different == 0, "{different} answers differ");
    Ok(())
}

/// The number of answers that differ.
async fn compare(args: &Args, data: &Data, node: &Node, report: &mut Report) -> Result<usize> {
    let database = node.database();
    load(data, database, ONE, &REGIONS[..1], 1).await?;
    load(data, database, MANY, &REGIONS, SHARDS_PER_REGION).await?;
    shape(data, node, report)?;
    let (one, many) = (answers(args, data, database, ONE).await?, answers(args, data, database, MANY).await?);
    let pairs: Vec<_> = one.iter().zip(&many).enumerate().collect();
    ensure!(pairs.len() == data.queries.len(), "there are {} answers", pairs.len());
    let different: Vec<usize> =
        pairs.iter().filter(|(_, (a, b))| !same(a, b)).map(|(number, _)| *number).collect();
    let equal = pairs.len() - different.len();
    let text =
        format!("{equal} equal, {} different, of {} queries, k {}", different.len(), pairs.len(), args.k);
    let value = json!({ "equal": equal, "different": different.len(), "k": args.k });
    report.add("answers", "ids, order and score bits", text, value);
    if let Some(first) = different.first() {
        report.note(&format!("query {first}: one shard {:?}", one[*first]));
        report.note(&format!("query {first}: many shards {:?}", many[*first]));
    }
    let found: Vec<_> = many.iter().map(|hits| hits.iter().map(|hit| hit.0).collect()).enumerate().collect();
    if args.k >= data::K {
        let recall = data.recall(&found)?;
        report.add("recall", "recall@10 of the many shards", format!("{recall:.4}"), recall);
    }
    Ok(different.len())
}

fn same(a: &Hits, b: &Hits) -> bool {
    let bits = |hits: &Hits| hits.iter().map(|(id, score)| (*id, score.to_bits())).collect::<Vec<_>>();
    bits(a) == bits(b)
}

/// Says over how many shards the rows lie, after checking that each has some.
fn shape(data: &Data, node: &Node, report: &mut Report) -> Result<()> {
    let shards = node.engine().open_shards();
    let wanted = 1 + REGIONS.len() * SHARDS_PER_REGION as usize;
    ensure!(shards.len() == wanted, "{} shards are open, not {wanted}", shards.len());
    let text = format!(
        "1 shard; {} regions x {SHARDS_PER_REGION} shards; {} points each",
        REGIONS.len(),
        data.base.len()
    );
    report.add("shards", "collections", &text, text.as_str());
    Ok(())
}

fn collection(data: &Data, name: &str, regions: &[&str], shards: u32) -> Result<NewCollection> {
    let region = |name: &&str| RegionName::try_from(*name).map_err(|e| anyhow!(e));
    let field = VectorField {
        id: 0,
        name: String::new(),
        dimension: data.set.dimension,
        metric: data.set.metric,
        hnsw_m: 16,
        hnsw_ef_construction: 128,
        graph_threshold: u32::MAX as usize,
        layout: Default::default(),
        kind: Default::default(),
    };
    Ok(NewCollection {
        tenant: DEFAULT_TENANT,
        name: name.to_owned(),
        vectors: vec![field],
        payload_indexes: Vec::new(),
        regions: regions.iter().map(region).collect::<Result<_>>()?,
        default_region: region(&regions[0])?,
        shards_per_region: shards,
        retention: Vec::new(),
        metadata: Default::default(),
        client_options: Default::default(),
    })
}

async fn load(
    data: &Data,
    database: &Arc<Database>,
    name: &str,
    regions: &[&str],
    shards: u32,
) -> Result<()> {
    let new = collection(data, name, regions, shards)?;
    database.create_collection(OWNER, new, false).await?;
    let rows: Vec<usize> = (0..data.base.len()).collect();
    let options = || WriteOptions { wait: true, ..WriteOptions::default() };
    let flush_before = rows.chunks(ROWS).len() * 7 / 8;
    for (number, chunk) in rows.chunks(ROWS).enumerate() {
        // Most rows go to segments, the last ones stay in memtables.
        if number == flush_before {
            flush(database).await?;
        }
        let points = chunk.iter().map(|row| point(data, *row, regions)).collect();
        let answer = database.upsert(OWNER, name, points, options()).await?;
        ensure!(answer.rejected.is_empty(), "points were refused: {:?}", answer.rejected);
    }
    let found = database.count(OWNER, name, None, &ReadOptions::default()).await?;
    ensure!(found == rows.len() as u64, "{name} has {found} points, not {}", rows.len());
    Ok(())
}

async fn flush(database: &Arc<Database>) -> Result<()> {
    for shard in database.engine().open_shards() {
        shard.flush().await?;
    }
    Ok(())
}

/// The regions take turns; the bucket comes from the hash of the id.
fn point(data: &Data, row: usize, regions: &[&str]) -> NewPoint {
    NewPoint {
        id: Some(PointId::Num(data.ids[row])),
        vectors: vec![(String::new(), data.base.vector(row).to_vec().into())],
        region: Some(regions[row % regions.len()].to_owned()),
        ..NewPoint::default()
    }
}

async fn answers(args: &Args, data: &Data, database: &Arc<Database>, name: &str) -> Result<Vec<Hits>> {
    let ask = Ask { collection: name.to_owned(), k: args.k, ef: None, exact: true };
    let mut all = Vec::with_capacity(data.queries.len());
    for chunk in data.queries.chunks(BATCH) {
        let requests = chunk.iter().map(|query| request(&ask, query)).collect();
        all.extend(inside::batch(&Handle::current(), database, requests).await?.1);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_same_by_id_order_and_score() {
        let hits = vec![(1, 0.5), (2, 0.25)];
        assert!(same(&hits, &hits.clone()));
        assert!(!same(&hits, &vec![(2, 0.25), (1, 0.5)]));
        assert!(!same(&hits, &vec![(1, 0.5)]));
        assert!(!same(&hits, &vec![(1, 0.5), (2, f32::from_bits(0.25f32.to_bits() + 1))]));
    }
}
