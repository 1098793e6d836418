//! Appends to the file log against plain writes with the same sync.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use engram_storage::log::file::{FileLogOptions, FileLogProvider};
use engram_storage::log::{Log, LogProvider};
use engram_storage::op::ConditionalOp;
use engram_storage::schema::DEFAULT_TENANT;
use engram_storage::{CollectionId, Op, OpBatch, Point, PointId, RegionName, ShardKey, SystemClock};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Args, Pair};
use crate::noise::Noise;
use crate::report::Report;
use crate::samples::in_turns;
use crate::serving::temporary;

/// Points of one record, and their components: a batch as `engram load` sends it.
const POINTS: u64 = 1_000;
const DIMENSION: usize = 384;
/// Appends of one round.
const LARGE: usize = 8;
const SMALL: usize = 40;
const SMALL_BYTES: usize = 200;

pub(super) fn run(args: &Args, report: &mut Report) -> Result<()> {
    report.section("log append, durable (fdatasync), storage::log::file");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut noise = Noise::new(8);
    let large = points(&mut noise);
    let bytes = large.len() as f64;
    let median = one(args, report, &runtime, ("log_1000_points", "1,000 x 384 points", large, LARGE))?;
    let (rows, mb) = (POINTS as f64 / median, bytes / median / 1e6);
    let text = format!("{rows:.0} rows/s, {mb:.0} MB/s before compression");
    report.add("log_rate", "  one append at a time", text, json!({ "rows_per_s": rows, "mb_per_s": mb }));
    let small = Bytes::from((0..SMALL_BYTES).map(|_| noise.next_u64() as u8).collect::<Vec<_>>());
    one(args, report, &runtime, ("log_small", "200 bytes", small, SMALL))?;
    Ok(())
}

/// The median seconds of one append.
fn one(
    args: &Args,
    report: &mut Report,
    runtime: &Runtime,
    (key, label, body, appends): (&str, &str, Bytes, usize),
) -> Result<f64> {
    let home = temporary(args.dir.as_deref())?;
    let log = runtime.block_on(open(home.path()))?;
    let mut plain = File::create(home.path().join("plain"))?;
    let mut tail = 0;
    let mut ours = || {
        for _ in 0..appends {
            tail = runtime.block_on(log.append(tail, vec![body.clone()]))?;
        }
        Ok(())
    };
    let mut other = || {
        for _ in 0..appends {
            plain.write_all(&body)?;
            plain.sync_data()?;
        }
        Ok(())
    };
    let [a, b] = in_turns(args.rounds, [&mut ours, &mut other])?;
    Pair { key, label, other: "write and fdatasync of the same bytes", each: appends }.add(report, &a, &b);
    Ok(a.median() / appends as f64)
}

async fn open(root: &Path) -> Result<Arc<dyn Log>> {
    let options = FileLogOptions::default();
    let provider = FileLogProvider::new(root.join("log"), Arc::new(SystemClock), options);
    let region = RegionName::try_from("eu").map_err(|e| anyhow!(e))?;
    let collection = CollectionId(uuid::Uuid::from_u128(1));
    let shard = ShardKey { tenant: DEFAULT_TENANT, collection, region, bucket: 0 };
    Ok(provider.open(&shard, 1).await?.0)
}

/// One record of points.
fn points(noise: &mut Noise) -> Bytes {
    let mut op = |id: u64| {
        let point = Point {
            id: PointId::Num(id),
            vectors: vec![(0, noise.vector(DIMENSION).into())],
            payload: Bytes::from(format!("{{\"title\":\"item {id}\",\"lang\":\"en\"}}")),
            created_at: 1,
            ingested_at: 2,
            expires_at: None,
            version: 0,
        };
        ConditionalOp { op: Op::Upsert(point), if_version: None }
    };
    OpBatch { ops: (0..POINTS).map(&mut op).collect(), idempotency: None }.encode()
}
