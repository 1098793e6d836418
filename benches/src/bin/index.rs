//! Our rows of `benches/peers`: see `engram_benches::peer`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::peer::run(&engram_benches::peer::Args::parse())
}
