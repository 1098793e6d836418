//! How long it takes from nothing to the first answer: each time a new process over the same data directory, whose files
//! the system still has in memory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use engram_datasets::sets::Set;
use serde_json::{Value, json};

use super::{Run, tries};
use crate::data::{self, metric_name};
use crate::inside::{self, OWNER, Settings, request};
use crate::loading::COLLECTION;
use crate::process;
use crate::samples::Samples;
use crate::wire::Ask;

/// New processes; one that is not counted goes before them, so that the files are in memory.
const TRIES: usize = 7;
const WITHIN: Duration = Duration::from_secs(600);
/// From the opening of the segment to the first result.
const GOAL_MS: f64 = 50.0;

/// Times of child processes that open the data directory of a server that has stopped.
pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    run.report.section("opening: a new process each time, files in the page cache");
    let (mut starts, mut firsts, mut seconds) = (Samples::default(), Samples::default(), Samples::default());
    for number in 0..=TRIES {
        let times = child(run)?;
        if number > 0 {
            let time =
                |key: &str| times[key].as_f64().map(Duration::from_secs_f64).context("a time is missing");
            starts.push(time("start")?);
            firsts.push(time("first")?);
            seconds.push(time("second")?);
        }
    }
    let value = |samples: &Samples| json!({ "median_ms": samples.median() * 1e3, "best_ms": samples.quantile(0.0) * 1e3 });
    let report = &mut run.report;
    report.add("open_node", "the node, until it serves", tries(&starts), value(&starts));
    let text = format!("{} (goal < {GOAL_MS:.0} ms)", tries(&firsts));
    report.add("open_first", "then the first search, which opens the segment", text, value(&firsts));
    report.add("open_second", "the second search", tries(&seconds), value(&seconds));
    Ok(())
}

fn child(run: &Run<'_>) -> Result<Value> {
    let mut command = process::command(&std::env::current_exe()?);
    command.args(["clients", "--data", &run.args.data, "--metric", metric_name(run.data.set.metric)]);
    command.arg("--only-open").arg(run.home.join("data"));
    if let Some(ef) = run.args.common.ef {
        command.arg("--ef").arg(ef.to_string());
    }
    run.args.common.settings.iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    let ended = process::run(command, run.home, WITHIN, &mut [])?;
    serde_json::from_str(ended.stdout.trim()).context("the child printed no times")
}

/// The child's part.
pub(super) fn only(folder: &Path, set: &Set, settings: &Settings, ef: Option<usize>) -> Result<()> {
    let queries = set.query_vectors()?;
    let ask = Ask { collection: COLLECTION.to_owned(), k: data::K, ef, exact: false };
    let start = Instant::now();
    let (runtime, node) = inside::node(folder, settings)?;
    let mut times = vec![start.elapsed()];
    runtime.block_on(async {
        for query in queries.chunks_exact(set.dimension).take(2) {
            let request = request(&ask, query);
            let start = Instant::now();
            node.database().search(OWNER, request).await.map_err(|e| anyhow!("{e}"))?;
            times.push(start.elapsed());
        }
        node.shutdown().await;
        anyhow::Ok(())
    })?;
    let seconds = |number: usize| times.get(number).map(Duration::as_secs_f64);
    println!("{}", json!({ "start": seconds(0), "first": seconds(1), "second": seconds(2) }));
    Ok(())
}
