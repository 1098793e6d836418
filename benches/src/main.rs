//! The benchmarks in one program, since each would be as large as the server: `benches/run NAME` builds it and runs one.

use clap::Parser;
use engram_benches::{clients, filtered, micro, peer, serving, shards, turnover};

/// Benchmarks of Engram; benches/README.md says what they show.
#[derive(Parser)]
#[command(name = "bench", bin_name = "benches/run")]
enum Bench {
    /// A real server under many clients, over gRPC and REST, beside pgvector and Chroma.
    Clients(clients::Args),
    /// Recall and latency under filters of every selectivity.
    Filtered(filtered::Args),
    /// One of our indexes, driven by benches/peers.
    #[command(hide = true)]
    Index(peer::Args),
    /// Kernels, top-k, filters and log appends, each against something plain.
    Micro(micro::Args),
    /// Load, graphs, memory, recall and latency of a real server.
    Serving(serving::Args),
    /// Whether 2 regions x 4 shards answer as one shard does.
    Shards(shards::Args),
    /// A graph that is merged step by step, beside fresh builds.
    Turnover(turnover::Args),
}

fn main() -> anyhow::Result<()> {
    match Bench::parse() {
        Bench::Clients(args) => clients::run(&args),
        Bench::Filtered(args) => filtered::run(&args),
        Bench::Index(args) => peer::run(&args),
        Bench::Micro(args) => micro::run(&args),
        Bench::Serving(args) => serving::run(&args),
        Bench::Shards(args) => shards::run(&args),
        Bench::Turnover(args) => turnover::run(&args),
    }
}
