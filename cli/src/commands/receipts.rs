//! `engram receipts`: proofs of erasure.

use anyhow::Result;
use clap::Args;
use engram_proto::v1;
use serde_json::{Value, json};

use crate::client::{Connection, refused};
use crate::output::{self, bytes, line, number, table, time};

/// List the receipts of purges, or show one.
///
/// Each receipt carries the hash of the one before it: a receipt that was removed or changed breaks the chain.
#[derive(Args)]
pub struct Receipts {
    /// Show this receipt with all its files.
    id: Option<String>,
    /// Number of receipts to list, the newest first.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Receipts {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        if let Some(id) = &self.id {
            let request = v1::GetReceiptRequest { id: id.clone() };
            let receipt = client.retention().get_receipt(request).await.map_err(refused)?.into_inner();
            return if self.json { output::json(&value(&receipt)) } else { show(&receipt) };
        }
        let request = v1::ListReceiptsRequest { limit: self.limit };
        let all = client.retention().list_receipts(request).await.map_err(refused)?.into_inner().receipts;
        if self.json {
            return output::json(&all.iter().map(value).collect());
        }
        let mut shown = table(["id", "state", "collection", "region", "erased", "accepted", "done"]);
        for receipt in &all {
            shown.add_row([
                receipt.id.clone(),
                receipt.state.clone(),
                every(&receipt.collection),
                every(&receipt.region),
                number(receipt.points_erased),
                moment(receipt.accepted_at_ms),
                moment(receipt.erased_at_ms),
            ]);
        }
        line(shown)
    }
}

fn every(name: &str) -> String {
    if name.is_empty() { "(all)".to_owned() } else { name.to_owned() }
}

fn moment(ms: i64) -> String {
    if ms == 0 { "-".to_owned() } else { time(ms) }
}

/// Prints a receipt as lines.
pub fn show(receipt: &v1::Receipt) -> Result<()> {
    let mut shown = table(["", ""]);
    let mut row = |name: &str, value: String| {
        shown.add_row([name.to_owned(), value]);
    };
    row("receipt", receipt.id.clone());
    row("state", receipt.state.clone());
    if !receipt.error.is_empty() {
        row("error", receipt.error.clone());
    }
    row("collection", every(&receipt.collection));
    row("region", every(&receipt.region));
    if receipt.cutoff_ms != 0 {
        row("created before", moment(receipt.cutoff_ms));
    }
    row("points erased", number(receipt.points_erased));
    row(
        "points before, after",
        format!("{}, {}", number(receipt.points_before), number(receipt.points_after)),
    );
    row("files removed", files(&receipt.removed));
    row("files written", files(&receipt.created));
    row("log removed", bytes(receipt.log_bytes_removed));
    row("accepted", moment(receipt.accepted_at_ms));
    row("invisible", moment(receipt.invisible_at_ms));
    row("erased", moment(receipt.erased_at_ms));
    row("hash", receipt.hash.clone());
    row("hash before", receipt.previous_hash.clone());
    line(shown)
}

fn files(changes: &[v1::FileChange]) -> String {
    let sum = changes.iter().map(|c| c.bytes).sum();
    format!("{} ({})", changes.len(), bytes(sum))
}

/// A receipt as JSON.
pub fn value(receipt: &v1::Receipt) -> Value {
    let file = |c: &v1::FileChange| json!({"path": c.path, "bytes": c.bytes, "blake3": c.blake3});
    let moment = |ms: i64| if ms == 0 { Value::Null } else { json!(time(ms)) };
    json!({
        "id": receipt.id,
        "state": receipt.state,
        "error": receipt.error,
        "collection": receipt.collection,
        "region": receipt.region,
        "cutoff": moment(receipt.cutoff_ms),
        "shards": receipt.shards,
        "points_before": receipt.points_before,
        "points_erased": receipt.points_erased,
        "points_after": receipt.points_after,
        "removed": receipt.removed.iter().map(file).collect::<Vec<_>>(),
        "created": receipt.created.iter().map(file).collect::<Vec<_>>(),
        "log_bytes_removed": receipt.log_bytes_removed,
        "accepted_at": moment(receipt.accepted_at_ms),
        "invisible_at": moment(receipt.invisible_at_ms),
        "erased_at": moment(receipt.erased_at_ms),
        "server_version": receipt.server_version,
        "previous_hash": receipt.previous_hash,
        "hash": receipt.hash,
    })
}
