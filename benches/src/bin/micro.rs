//! Parts alone: see `engram_benches::micro`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    engram_benches::micro::run(&engram_benches::micro::Args::parse())
}
