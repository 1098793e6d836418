//! Serving: see `engram_benches::serving`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::serving::run(&engram_benches::serving::Args::parse())
}
