//! Shards: see `engram_benches::shards`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::shards::run(&engram_benches::shards::Args::parse())
}
