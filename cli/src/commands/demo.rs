//! `engram demo`: a tour with real data.

use anyhow::Result;
use clap::Args;

use crate::demo::tour;

/// A tour of about half a minute: starts a server of its own, loads 5,000 real embeddings, searches them, kills the
/// server, purges a region by age and shows that the bytes are gone. Cleans up after itself.
#[derive(Args)]
pub struct Demo {
    /// Keep the server's files instead of removing them.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// Runs the tour; any step that fails fails the command.
    pub async fn run(&self) -> Result<()> {
        tour::run(self.keep).await
    }
}
