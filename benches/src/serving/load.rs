//! From Parquet to graphs.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use super::bare::Built;
use super::{Run, client_runtime};
use crate::loading::{COLLECTION, WITHIN, calm, command};
use crate::process::{self, Server, folder_bytes};
use crate::report::mib;
use crate::wire::Client;

/// Loads the set and waits until nothing is left to build; what it took from the start of the load, where all vectors
/// then have a graph.
pub(super) fn run(run: &mut Run<'_>, server: &mut Server) -> Result<Option<Built>> {
    run.report.section("engram load, one region, one shard");
    let loader = command(&run.data.set, run.home, server, true)?;
    let (pid, start) = (server.pid(), Instant::now());
    let ended = process::run(loader, run.home, WITHIN, &mut [(pid, &mut server.peak)])?;
    let rows = run.data.base.len() as f64;
    let wall = ended.wall.as_secs_f64();
    let text = format!("{wall:.2} s, {:.0} rows/s (process from start to end)", rows / wall);
    let value = json!({ "seconds": wall, "rows_per_s": rows / wall });
    run.report.add("load", "acknowledged and durable", text, value);
    let (theirs, ours) = (ended.peak.cpu, server.peak.cpu);
    let text = format!("server {ours:.2} s, loader {theirs:.2} s");
    let value = json!({ "server_s": ours, "loader_s": theirs });
    run.report.add("load_cpu", "  processor time", text, value);
    let said = ended.stdout.trim();
    run.report.add("load_said", "the loader says", said, said);
    run.memory("loader_peak", "loader, peak memory", ended.peak);
    run.memory("server_peak_load", "server, peak memory until the load ended", server.peak);
    let indexed = client_runtime()?.block_on(graphs(run, server, start))?;
    let disk = folder_bytes(&run.home.join("data"));
    run.report.add("disk_bytes", "data directory", mib(disk), disk);
    Ok(indexed)
}

async fn graphs(run: &mut Run<'_>, server: &mut Server, start: Instant) -> Result<Option<Built>> {
    let mut client = Client::connect(&server.url).await?;
    let rows = run.data.base.len() as u64;
    // As `engram load --wait-indexed` does.
    client.flush(COLLECTION).await?;
    let found = client.count(COLLECTION).await?;
    ensure!(found == rows, "the collection has {found} points, the file {rows}");
    let scanned = start.elapsed().as_secs_f64();
    run.report.add("searchable_s", "searchable by scan, in segments", format!("{scanned:.2} s"), scanned);
    let (seconds, stats) = calm(&mut client, server, start).await?;
    let segments: usize = stats.shards.iter().map(|s| s.segments.len()).sum();
    let graphs = stats.shards.iter().flat_map(|s| &s.segments).filter(|s| !s.graphs.is_empty()).count();
    let indexed = stats.indexed_vectors;
    let built = Built { seconds, cpu: server.peak.cpu };
    let mut text = format!("{seconds:.2} s: {indexed} of {rows} vectors, {graphs} graphs");
    if indexed < rows {
        text.push_str(&format!("; {} in segments below the graph threshold", rows - indexed));
    }
    let value = json!({
        "seconds": seconds, "vectors": indexed, "all": indexed == rows, "segments": segments, "graphs": graphs
    });
    run.report.add("indexed", "searchable by graph, nothing pending", text, value);
    let text = format!("{:.1} s of the server, load included", built.cpu);
    run.report.add("indexed_cpu_s", "  processor time", text, built.cpu);
    Ok((indexed == rows).then_some(built))
}
