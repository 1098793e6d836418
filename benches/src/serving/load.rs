//! From Parquet to graphs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engram_proto::v1::CollectionStats;
use serde_json::json;

use super::{COLLECTION, Run, client_runtime, memory};
use crate::data::metric_name;
use crate::process::{self, Server, folder_bytes};
use crate::report::mib;
use crate::wire::Client;

const POLL: Duration = Duration::from_millis(50);
const WITHIN: Duration = Duration::from_secs(3_600);
/// So many looks in a row must find nothing left to do: a merge may begin after the last graph.
const CALM_LOOKS: usize = 6;

/// Loads the set and waits for the graphs; the seconds from the start of the load until every vector was in one.
pub(super) fn run(run: &mut Run<'_>, server: &mut Server) -> Result<f64> {
    run.report.section("load");
    let mut loader = process::command(&process::engram()?);
    loader.arg("load").arg(&run.data.set.base).args(["--collection", COLLECTION, "--create", "--no-wait"]);
    loader.args(["--metric", metric_name(run.data.set.metric), "--server", &server.url]);
    loader.arg("--resume-file").arg(run.home.join("resume"));
    let (pid, start) = (server.pid(), Instant::now());
    let ended = process::run(loader, run.home, WITHIN, &mut [(pid, &mut server.peak)])?;
    let rows = run.data.base.len() as f64;
    let wall = ended.wall.as_secs_f64();
    let text = format!("{wall:.2} s, {:.0} rows/s (process from start to end)", rows / wall);
    run.report.add(
        "load",
        "acknowledged and durable",
        text,
        json!({ "seconds": wall, "rows_per_s": rows / wall }),
    );
    let said = ended.stdout.trim();
    run.report.add("load_said", "the loader says", said, said);
    memory(&mut run.report, "loader_peak", "loader, peak memory", ended.peak);
    memory(&mut run.report, "server_peak_load", "server, peak memory of the load", server.peak);
    let indexed = client_runtime()?.block_on(graphs(run, server, start))?;
    memory(&mut run.report, "server_peak_graphs", "server, peak memory with graph builds", server.peak);
    let disk = folder_bytes(&run.home.join("data"));
    run.report.add("disk_bytes", "data directory", mib(disk), disk);
    Ok(indexed)
}

async fn graphs(run: &mut Run<'_>, server: &mut Server, start: Instant) -> Result<f64> {
    let mut client = Client::connect(&server.url).await?;
    let rows = run.data.base.len() as u64;
    // As `engram load --wait-indexed` does.
    client.flush(COLLECTION).await?;
    let found = client.count(COLLECTION).await?;
    ensure!(found == rows, "the collection has {found} points, the file {rows}");
    let mut seconds = start.elapsed().as_secs_f64();
    run.report.add("searchable_s", "searchable by scan after", format!("{seconds:.2} s"), seconds);
    let mut stats = calm(&mut client, server, &mut seconds, start).await?;
    if stats.indexed_vectors < rows {
        let text = format!("{seconds:.2} s: {} of {rows} in graphs, compacting", stats.indexed_vectors);
        run.report.add("pending_done_s", "nothing pending after", text, seconds);
        client.compact(COLLECTION).await?;
        stats = calm(&mut client, server, &mut seconds, start).await?;
    }
    let segments: usize = stats.shards.iter().map(|s| s.segments.len()).sum();
    let text = format!("{seconds:.2} s: {} of {rows} vectors, {segments} segments", stats.indexed_vectors);
    let value = json!({ "seconds": seconds, "vectors": stats.indexed_vectors, "segments": segments });
    run.report.add("indexed", "searchable by graph after", text, value);
    Ok(seconds)
}

/// Waits until nothing is left to do; `seconds` becomes the time since `start` at which that was first so.
async fn calm(
    client: &mut Client,
    server: &mut Server,
    seconds: &mut f64,
    start: Instant,
) -> Result<CollectionStats> {
    let mut looks = 0;
    loop {
        let stats = client.stats(COLLECTION).await?;
        server.look();
        let now = start.elapsed();
        let done = stats.pending_vectors == 0
            && stats.shards.iter().all(|s| s.memtable_rows == 0 && s.state == "idle");
        if !done {
            looks = 0;
        } else if looks == 0 {
            *seconds = now.as_secs_f64();
            looks = 1;
        } else {
            looks += 1;
        }
        if looks >= CALM_LOOKS {
            return Ok(stats);
        }
        ensure!(now < WITHIN, "the graphs are not done after {now:?}: {stats:?}");
        tokio::time::sleep(POLL).await;
    }
}
