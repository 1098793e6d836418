//! `engram purge`: erase points by region and age.

use anyhow::{Result, bail};
use clap::Args;
use engram_proto::v1;

use super::receipts;
use crate::client::{Connection, refused};
use crate::duration;
use crate::output::{self, bytes, line, number};

const EXAMPLES: &str = "\
Examples:
  engram purge --region eu --older-than 90d --dry-run     what would go
  engram purge --region eu --older-than 90d --wait        erase it, and return when no file holds it any more
  engram purge --rules --wait                             what the retention rules and expiry times say

Age counts from created_at. Purged points are hidden at once; their bytes go when the segments, indexes and logs that
hold them are written anew. The receipt says when that was done.";

/// Erase points by region and age, from every file.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Purge {
    /// Collection to purge; all without it.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    collection: String,
    /// Region to purge; all without it.
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// Erase points that are older than this, such as 90d or 12h.
    #[arg(long, value_name = "AGE", value_parser = duration::parse_seconds, required_unless_present = "rules")]
    older_than: Option<u64>,
    /// Erase what the collections' own retention rules and expiry times say.
    #[arg(long, conflicts_with = "older_than")]
    rules: bool,
    /// Only say what would be erased.
    #[arg(long)]
    dry_run: bool,
    /// Return when no live file holds the bytes any more.
    #[arg(long)]
    wait: bool,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
}

impl Purge {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        let request = v1::PurgeRequest {
            collection: self.collection.clone(),
            region: self.region.clone(),
            older_than_s: self.older_than.unwrap_or(0),
            wait: self.wait,
        };
        if self.dry_run {
            let plan = client.retention().dry_run(request).await.map_err(refused)?.into_inner();
            return line(format!(
                "would erase {} points from {} segments ({}) of {} shards in {} collections",
                number(plan.points),
                number(plan.segments),
                bytes(plan.bytes),
                number(plan.shards),
                number(plan.collections),
            ));
        }
        let receipt = client.retention().purge(request).await.map_err(refused)?.into_inner();
        if self.json {
            output::json(&receipts::value(&receipt))?;
        } else {
            receipts::show(&receipt)?;
        }
        if receipt.state == "failed" {
            bail!("the purge failed: {}", receipt.error);
        }
        Ok(())
    }
}
