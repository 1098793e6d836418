//! A load of many times the memtable limit: memory must not grow with what is loaded. Mapped files are not counted, the
//! system takes their pages back.

use std::time::Instant;

use anyhow::{Result, ensure};
use engram_proto::v1::{CountRequest, Metric};
use engram_tests::corpus::{Corpus, bulk_batch};
use engram_tests::{ServerOptions, files, process, random};

const DIMENSION: u32 = 384;
const BATCH: u64 = 500;
/// Beside memtables and their flushes: the process itself, batches under way, one graph build and its merge.
const BESIDE_MIB: u64 = 192;
/// A memtable that fills, others that are being written, and the copies a flush makes.
const MEMTABLES: u64 = 6;

/// Loads `times` the limit of `mib` through one stream after the other; fails where the peak exceeds the bound.
pub async fn run(times: u64, mib: u64) -> Result<()> {
    let seed = random::seed("load");
    let bound = BESIDE_MIB + MEMTABLES * mib;
    let limit = mib << 20;
    let mut server = ServerOptions::default()
        .set("storage.memtable_bytes", limit)
        .set("storage.memtables_total_bytes", 2 * limit)
        .start()?;
    let client = server.client().await?;
    client.create_simple("c", DIMENSION, Metric::Cosine).await?;
    let mut corpus = Corpus::new(seed, DIMENSION as usize, &[]);
    let (begun, mut sent, mut count, mut peak) = (Instant::now(), 0, 0, 0);
    let mut token = None;
    while sent < times * limit {
        let docs = corpus.docs(count..count + BATCH);
        let payload: usize = docs.iter().map(|d| d.payload.to_string().len()).sum();
        sent += payload as u64 + BATCH * u64::from(DIMENSION) * 4;
        count += BATCH;
        let acks = client.bulk(vec![bulk_batch("c", 0, &docs)]).await?;
        token = acks.into_iter().next_back().and_then(|ack| ack.token);
        peak = peak.max(process::anonymous_bytes(server.pid())? >> 20);
    }
    // The last batch may be durable and not applied yet.
    let all = CountRequest { collection: "c".into(), token, ..Default::default() };
    ensure!(client.count_with(all).await? == count, "points are missing");
    let mapped = process::peak_resident_bytes(server.pid())? >> 20;
    let segments = files::bytes(server.data_dir(), |p| files::store_of(p) == "vec")? >> 20;
    ensure!(segments > 0, "nothing was flushed");
    println!(
        "{count} points, {} MiB or {times} x the memtable limit of {mib} MiB, in {:.1} s: \
         peak {peak} MiB ({mapped} MiB with mapped files), bound {bound} MiB",
        sent >> 20,
        begun.elapsed().as_secs_f64()
    );
    ensure!(peak <= bound, "peak {peak} MiB, the bound is {bound} MiB");
    server.stop()
}
