//! `tests/many-collections` and `tests/overload`: what thousands of collections cost, what happens when too many
//! clients want too much of a server with little memory, and (`limits load`) that a long load takes no more memory than
//! a short one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod load;
mod many;
mod overload;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Limits of one server.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes many small collections, restarts, and measures the start, memory and open files.
    Many {
        /// How many.
        #[arg(long, default_value_t = 5_000)]
        collections: u64,
        /// Points in each.
        #[arg(long, default_value_t = 20)]
        points: u64,
    },
    /// Loads many times the memtable limit and measures the largest use of memory.
    Load {
        /// How many times.
        #[arg(long, default_value_t = 20)]
        times: u64,
        /// Memtable limit, MiB.
        #[arg(long, default_value_t = 16)]
        mib: u64,
    },
    /// Sends more than a small server can hold, from many clients.
    Overload {
        /// How many clients at once.
        #[arg(long, default_value_t = 500)]
        clients: u64,
        /// Memory of the server, MiB.
        #[arg(long, default_value_t = 512)]
        mib: u64,
        /// How long, seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Many { collections, points } => many::run(collections, points).await,
        Command::Load { times, mib } => load::run(times, mib).await,
        Command::Overload { clients, mib, seconds } => overload::run(clients, mib, seconds).await,
    }
}
