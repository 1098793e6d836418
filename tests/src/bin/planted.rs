//! `planted serve --data-dir DIR --ready-file FILE`: the server with a planted defect. It acknowledges writes before
//! they are synced. The tests that watch the real server have to catch this one.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use engram_node::{ConfigSources, Node, NodeConfig, init_logging};
use engram_storage::log::file::SyncFault;
use serde_json::json;

/// A server that acknowledges before the sync.
#[derive(Parser)]
enum Arguments {
    /// As `engram serve`.
    Serve {
        /// Folder of all files.
        #[arg(long)]
        data_dir: PathBuf,
        /// Written when the server is ready.
        #[arg(long)]
        ready_file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments::Serve { data_dir, ready_file } = Arguments::parse();
    let sources = ConfigSources::from_process(None).flag("data_dir", data_dir.display());
    let config = NodeConfig::load(&sources)?;
    init_logging(&config.log_level, config.log_format)?;
    let fault = SyncFault::default();
    fault.sync_late();
    let node = Node::testing(config, fault).await?;
    let ready = json!({ "grpc": node.grpc_addr().to_string(), "http": node.http_addr().to_string() });
    let staged = ready_file.with_extension("staged");
    std::fs::write(&staged, format!("{ready}\n"))?;
    std::fs::rename(staged, ready_file)?;
    // Ends with a signal or with its parent.
    std::future::pending().await
}
