//! Options of every benchmark that starts a server.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::inside::{self, Settings};

/// What is measured, and where it goes.
#[derive(Debug, Args)]
pub struct AgainstServer {
    /// Distance of the vectors of a folder.
    #[arg(long, default_value = "cosine")]
    pub metric: String,
    /// Candidate list of searches; the server's default recall where absent.
    #[arg(long)]
    pub ef: Option<usize>,
    /// Most queries that are used.
    #[arg(long, default_value_t = 2_000)]
    pub queries: usize,
    /// Where temporary data directories are made; it should be on a disk.
    #[arg(long, env = "ENGRAM_BENCH_DIR")]
    pub dir: Option<PathBuf>,
    /// Also write the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A setting of the server that is not its default, such as `index.search_threads=1`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl AgainstServer {
    /// The settings, taken apart.
    ///
    /// # Errors
    /// Where one is not `KEY=VALUE`.
    pub fn settings(&self) -> Result<Settings> {
        inside::settings(&self.settings)
    }
}
