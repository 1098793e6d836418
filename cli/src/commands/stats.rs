//! `engram stats`: what a server holds and does.

use anyhow::Result;
use clap::Args;
use engram_proto::v1;
use serde_json::{Value, json};

use crate::client::{Connection, refused};
use crate::output::{self, bytes, line, number, table};

/// Show points, segments, memory and the state of each shard.
#[derive(Args)]
pub struct Stats {
    /// Collection to show; all without it.
    #[arg(long, short, default_value = "", hide_default_value = true)]
    collection: String,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Stats {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        let request = v1::StatsRequest { collection: self.collection.clone() };
        let stats = client.admin().stats(request).await.map_err(refused)?.into_inner();
        if self.json {
            return output::json(&value(&stats));
        }
        line(format!(
            "engram {}, up {} s, {} resident, {} open files",
            stats.version,
            stats.uptime_s,
            bytes(stats.resident_bytes),
            stats.open_files
        ))?;
        for collection in &stats.collections {
            line(format!(
                "\n{}: {} points, {} vectors in graphs, {} waiting for one",
                collection.name,
                number(collection.points),
                number(collection.indexed_vectors),
                number(collection.pending_vectors)
            ))?;
            let mut shown = table(["shard", "points", "memtable", "log", "segments", "state"]);
            for shard in &collection.shards {
                let size = shard.segments.iter().map(|s| s.bytes).sum();
                shown.add_row([
                    format!("{}/{}", shard.region, shard.bucket),
                    number(shard.points),
                    format!("{} ({})", number(shard.memtable_rows), bytes(shard.memtable_bytes)),
                    bytes(shard.log_bytes),
                    format!("{} ({})", shard.segments.len(), bytes(size)),
                    shard.state.clone(),
                ]);
            }
            line(shown)?;
        }
        Ok(())
    }
}

fn value(stats: &v1::StatsResponse) -> Value {
    json!({
        "version": stats.version,
        "uptime_s": stats.uptime_s,
        "resident_bytes": stats.resident_bytes,
        "open_files": stats.open_files,
        "collections": stats.collections.iter().map(collection).collect::<Vec<_>>(),
    })
}

fn collection(collection: &v1::CollectionStats) -> Value {
    json!({
        "name": collection.name,
        "points": collection.points,
        "indexed_vectors": collection.indexed_vectors,
        "pending_vectors": collection.pending_vectors,
        "shards": collection.shards.iter().map(shard).collect::<Vec<_>>(),
    })
}

fn shard(shard: &v1::ShardStats) -> Value {
    let segment = |s: &v1::SegmentStats| json!({"id": s.id, "rows": s.rows, "deleted": s.deleted, "bytes": s.bytes, "graphs": s.graphs});
    json!({
        "region": shard.region,
        "bucket": shard.bucket,
        "points": shard.points,
        "memtable_rows": shard.memtable_rows,
        "memtable_bytes": shard.memtable_bytes,
        "log_bytes": shard.log_bytes,
        "applied_offset": shard.applied_offset,
        "checkpoint_offset": shard.checkpoint_offset,
        "epoch": shard.epoch,
        "manifest_version": shard.manifest_version,
        "state": shard.state,
        "segments": shard.segments.iter().map(segment).collect::<Vec<_>>(),
    })
}
