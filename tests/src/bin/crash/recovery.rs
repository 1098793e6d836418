//! How long a start takes for each GB of log.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engram_proto::v1::Metric;
use engram_tests::corpus::{Corpus, bulk_batch};
use engram_tests::{ServerOptions, files};

const DIMENSION: u32 = 384;
const BATCH: u64 = 2_000;

/// Fills one log of `mib` without a flush, kills the server and times the restart until all points are counted.
pub async fn measure(mib: u64, seed: u64) -> Result<()> {
    let mut server = ServerOptions { ready_within: Duration::from_secs(300), ..ServerOptions::default() }
        .set("storage.memtable_bytes", 2u64 << 30)
        .set("storage.memtables_total_bytes", 3u64 << 30)
        .start()?;
    let client = server.client().await?;
    client.create_simple("long", DIMENSION, Metric::Euclid).await?;
    let mut corpus = Corpus::new(seed, DIMENSION as usize, &[]);
    let log_bytes =
        |server: &engram_tests::Server| files::bytes(server.data_dir(), |p| files::store_of(p) == "log");
    let mut count = 0;
    while log_bytes(&server)? < mib << 20 {
        let docs = corpus.docs(count..count + BATCH);
        client.bulk(vec![bulk_batch("long", 0, &docs)]).await?;
        count += BATCH;
        ensure!(count < 10_000_000, "the log does not grow: is it flushed meanwhile?");
    }
    let bytes = log_bytes(&server)?;
    server.kill9();
    let start = Instant::now();
    server.start_again()?;
    let client = server.client().await?;
    ensure!(client.count("long").await? == count, "points are missing after the restart");
    let took = start.elapsed().as_secs_f64();
    let gb = bytes as f64 / 1e9;
    println!(
        "recovery of {:.2} GB of log ({count} points x {DIMENSION}): {took:.2} s, {:.1} s per GB",
        gb,
        took / gb
    );
    Ok(())
}
