//! Searches under filters: see `engram_benches::filtered`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::filtered::run(&engram_benches::filtered::Args::parse())
}
