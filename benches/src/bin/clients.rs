//! Clients: see `engram_benches::clients`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::clients::run(&engram_benches::clients::Args::parse())
}
