//! The Python part: `benches/python/clients` starts the other databases and drives clients of all of them in turns.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LEAST_RECALL, Run, clients};
use crate::data::metric_name;
use crate::loading::COLLECTION;
use crate::process::{self, Server};
use crate::samples::median;

/// Loading the others takes minutes.
const WITHIN: Duration = Duration::from_secs(3 * 3_600);
/// The interpreter of the environment that `benches/run` makes, or why there is none.
const PYTHON: &str = "ENGRAM_CLIENTS_PYTHON";
const NO_PYTHON: &str = "ENGRAM_CLIENTS_MISSING";

/// What is said of one database.
#[derive(Deserialize)]
struct Answer {
    name: String,
    missing: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    settings: String,
    load_s: Option<f64>,
    /// By number of clients.
    #[serde(default)]
    laps: BTreeMap<usize, Vec<Lap>>,
    /// Ids found, query by query.
    #[serde(default)]
    ids: Vec<Vec<u64>>,
}

#[derive(Deserialize)]
struct Lap {
    qps: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures what can be had; what cannot is named.
pub(super) fn run(run: &mut Run<'_>, server: &Server) -> Result<()> {
    run.report.section(
        "Python clients in turns: each a process with one connection, its messages made while the clock runs",
    );
    let Some(python) = std::env::var_os(PYTHON) else {
        let why = std::env::var(NO_PYTHON).unwrap_or_else(|_| format!("{PYTHON} names no interpreter"));
        run.report.add("python_missing", "not measured", &why, why.as_str());
        return Ok(());
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let mut command = process::command(Path::new(&python));
    command.args(["-m", "clients.run"]).arg(job(run, server)?.to_string());
    command.current_dir(package).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = process::run(command, run.home, WITHIN, &mut [])?.stdout;
    let answers: Vec<Answer> =
        serde_json::from_str(said.trim()).context("the Python part printed no figures")?;
    answers.iter().try_for_each(|answer| lines(run, answer))
}

fn job(run: &Run<'_>, server: &Server) -> Result<Value> {
    let set = &run.data.set;
    let proto =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the folder of the tree")?.join("proto");
    Ok(json!({
        "engram": server.url.trim_start_matches("http://"),
        "collection": COLLECTION,
        "settings": format!("{}; no payload, no vectors", run.effort()),
        "ef": run.args.common.ef,
        "proto": proto,
        "base": set.base,
        "queries": set.queries,
        "truth": set.truth,
        "metric": metric_name(set.metric),
        "most_queries": run.data.queries.len(),
        "databases": run.args.databases,
        "clients": run.args.python_clients,
        "rounds": run.rounds(),
        "seconds": run.args.seconds,
        "recall": LEAST_RECALL,
        "folder": run.home,
    }))
}

fn lines(run: &mut Run<'_>, answer: &Answer) -> Result<()> {
    let name = &answer.name;
    if let Some(why) = &answer.missing {
        run.report.add(&format!("python_{name}"), name, format!("missing: {why}"), json!({ "missing": why }));
        return Ok(());
    }
    let found: Vec<_> = answer.ids.iter().cloned().enumerate().collect();
    let recall = run.data.recall(&found)?;
    let below = if recall < LEAST_RECALL { format!(", BELOW {LEAST_RECALL}") } else { String::new() };
    let load = answer.load_s.map(|s| format!("; loaded in {s:.0} s")).unwrap_or_default();
    let text = format!("recall@10 {recall:.4}{below}; {}", answer.version);
    let value = json!({
        "version": answer.version, "settings": answer.settings, "recall": recall, "load_s": answer.load_s,
    });
    run.report.add(&format!("python_{name}"), name, text, value);
    run.report.note(&format!("  {}{load}", answer.settings));
    for (count, laps) in &answer.laps {
        let middle = |figure: fn(&Lap) -> f64| median(&laps.iter().map(figure).collect::<Vec<_>>());
        let (qps, p50, p99) = (middle(|l| l.qps), middle(|l| l.p50_us), middle(|l| l.p99_us));
        let text = format!("{qps:.0} QPS, p50 {p50:.0} us, p99 {p99:.0} us");
        let value = json!({ "qps": qps, "p50_us": p50, "p99_us": p99 });
        run.report.add(&format!("python_{name}_{count}"), &format!("  {}", clients(*count)), text, value);
    }
    Ok(())
}
