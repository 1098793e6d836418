//! How fast rows become durable: the load alone, a few times over, each into a new server that is killed afterwards.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::Run;
use crate::loading;
use crate::process;
use crate::samples::Samples;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    run.report.section("engram load alone, each time into a new server (wall time of the process)");
    rate(run, true, "load_rate_one_region", "one region")?;
    if run.data.regions > 1 {
        let label = format!("the {} regions of the file", run.data.regions);
        rate(run, false, "load_rate_own_regions", &label)?;
    }
    Ok(())
}

fn rate(run: &mut Run<'_>, one_region: bool, key: &str, label: &str) -> Result<()> {
    let mut walls = Samples::default();
    for _ in 0..run.args.rounds.max(1) {
        walls.push(once(run, one_region)?);
    }
    let rows = run.data.base.len() as f64;
    let (median, best) = (rows / walls.median(), rows / walls.quantile(0.0));
    let text = format!("median {median:.0} rows/s, best {best:.0}, of {} loads", walls.len());
    let value = json!({ "rows_per_s": median, "best_rows_per_s": best, "loads": walls.len() });
    run.report.add(key, label, text, value);
    Ok(())
}

fn once(run: &Run<'_>, one_region: bool) -> Result<Duration> {
    let home = super::temporary(run.args.common.dir.as_deref())?;
    // Killed when it goes: the graphs that it would build do not disturb the next load.
    let server = run.server(home.path())?;
    let loader = loading::command(&run.data.set, home.path(), &server, one_region)?;
    Ok(process::run(loader, home.path(), loading::WITHIN, &mut [])?.wall)
}
