//! Parts alone, each in turns with something to compare it with: the ratios hold on a noisy machine, the times less so.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::report::{self, Report};
use crate::samples::Samples;

mod distance;
mod filter;
mod kernels;
mod log;
mod topk;

/// Measure distance kernels, top-k, the log and filter bitmaps.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; medians are taken over them.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Where the temporary logs are made; it should be on a disk.
    #[arg(long, env = "ENGRAM_BENCH_DIR")]
    dir: Option<PathBuf>,
    /// Also write the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the benchmarks.
///
/// # Errors
/// What failed.
pub fn run(args: &Args) -> Result<()> {
    let mut report = Report::new("micro");
    distance::run(args, &mut report)?;
    kernels::run(args, &mut report)?;
    topk::run(args, &mut report)?;
    filter::run(args, &mut report)?;
    log::run(args, &mut report)?;
    report::write(&report.finish(), args.out.as_deref())
}

/// Two things that were measured in turns, `each` operations a time.
struct Pair<'a> {
    key: &'a str,
    label: &'a str,
    /// Name of what ours is compared with.
    other: &'a str,
    each: usize,
}

impl Pair<'_> {
    /// Medians in nanoseconds and their ratio; below 1 where ours is faster.
    fn add(&self, report: &mut Report, ours: &Samples, other: &Samples) {
        let nanos = |samples: &Samples| samples.median() * 1e9 / self.each as f64;
        let (a, b) = (nanos(ours), nanos(other));
        let text = format!("{} against {} of {}: ratio {:.3}", time(a), time(b), self.other, a / b);
        let value = json!({ "ns": a, "other_ns": b, "other": self.other, "ratio": a / b });
        report.add(self.key, self.label, text, value);
    }
}

/// Nanoseconds in a unit for people.
fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.1} ns"),
        n if n < 1e6 => format!("{:.1} us", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_unit() {
        assert_eq!([time(12.34), time(12_340.0), time(12_340_000.0)], ["12.3 ns", "12.3 us", "12.34 ms"]);
    }
}
