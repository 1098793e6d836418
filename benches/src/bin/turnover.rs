//! A graph over months of changes: see `engram_benches::turnover`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::turnover::run(&engram_benches::turnover::Args::parse())
}
