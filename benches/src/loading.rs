//! A set on its way into a server: the loader's command, and the wait until nothing is left to build.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engram_datasets::sets::Set;
use engram_proto::v1::CollectionStats;

use crate::data::metric_name;
use crate::process::{self, Server};
use crate::wire::Client;

/// Collection that is loaded.
pub(crate) const COLLECTION: &str = "bench";
/// All rows go to one region unless a rate of several is wanted: one shard, and so one graph.
const REGION: &str = "main";
/// No load and no build takes longer.
pub(crate) const WITHIN: Duration = Duration::from_secs(3_600);
/// A server that should build and takes less than [`STUCK_CPU`] seconds of processor time meanwhile has forgotten it.
const STUCK_AFTER: Duration = Duration::from_secs(60);
const STUCK_CPU: f64 = 2.0;
const POLL: Duration = Duration::from_millis(50);
/// So many looks in a row must find nothing left to do: a merge may begin after the last graph.
const CALM_LOOKS: usize = 6;

/// The loader's command; with the regions that the file names, or with one.
///
/// # Errors
/// Where there is no `engram` program.
pub(crate) fn command(set: &Set, home: &Path, server: &Server, one_region: bool) -> Result<Command> {
    let mut loader = process::command(&process::engram()?);
    loader.arg("load").arg(&set.base).args(["--collection", COLLECTION, "--create", "--no-wait"]);
    loader.args(["--metric", metric_name(set.metric), "--server", &server.url]);
    loader.arg("--resume-file").arg(home.join("resume"));
    if one_region {
        loader.args(["--region", REGION]);
    }
    Ok(loader)
}

/// Waits until nothing is left to do; the time since `start` at which that was first so.
///
/// # Errors
/// Where the server stops working before that.
pub(crate) async fn calm(
    client: &mut Client,
    server: &mut Server,
    start: Instant,
) -> Result<(f64, CollectionStats)> {
    let (mut looks, mut since) = (0, Duration::ZERO);
    let mut worked = (Instant::now(), server.peak.cpu);
    loop {
        let stats = client.stats(COLLECTION).await?;
        server.look();
        let now = start.elapsed();
        let idle = stats.shards.iter().all(|s| s.memtable_rows == 0 && s.state == "idle");
        if stats.pending_vectors > 0 || !idle {
            looks = 0;
        } else {
            if looks == 0 {
                since = now;
            }
            looks += 1;
        }
        if looks >= CALM_LOOKS {
            return Ok((since.as_secs_f64(), stats));
        }
        if server.peak.cpu >= worked.1 + STUCK_CPU {
            worked = (Instant::now(), server.peak.cpu);
        }
        ensure!(
            worked.0.elapsed() < STUCK_AFTER,
            "the server builds no graphs though some are due: {stats:?}"
        );
        ensure!(now < WITHIN, "the graphs are not done after {now:?}: {stats:?}");
        tokio::time::sleep(POLL).await;
    }
}
