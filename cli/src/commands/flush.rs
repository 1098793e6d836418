//! `engram flush`: memtables into segments.

use anyhow::Result;
use clap::Args;
use engram_proto::v1::FlushRequest;

use crate::client::{Connection, refused};
use crate::output::line;

/// Write what is in memory into segments now. Nothing is lost without it: every write is in the log.
#[derive(Args)]
pub struct Flush {
    /// Collection to flush; all without it.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    collection: String,
}

impl Flush {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        let request = FlushRequest { collection: self.collection.clone() };
        let shards = client.admin().flush(request).await.map_err(refused)?.into_inner().shards;
        line(format!("flushed {shards} shards"))
    }
}
