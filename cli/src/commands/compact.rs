//! `engram compact`: fewer, larger segments.

use anyhow::Result;
use clap::Args;
use engram_proto::v1::CompactRequest;

use crate::client::{Connection, refused};
use crate::output::line;

/// Merge segments, drop deleted rows and build missing graphs now instead of in the background.
#[derive(Args)]
pub struct Compact {
    /// Collection to compact; all without it.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    collection: String,
}

impl Compact {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        let request = CompactRequest { collection: self.collection.clone() };
        let done = client.admin().compact(request).await.map_err(refused)?.into_inner();
        line(format!("{} segments before, {} after", done.segments_before, done.segments_after))
    }
}
