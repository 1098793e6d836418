//! `engram serve`: the server.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use engram_node::{ConfigSources, Node, NodeConfig, RawConfig, init_logging};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

const EXAMPLES: &str = "\
Examples:
  engram serve                                            data in ./engram-data, ports 6334 (gRPC) and 6333 (HTTP)
  engram serve --data-dir /var/lib/engram --config /etc/engram.toml
  engram serve --set storage.memtable_bytes=33554432
  ENGRAM__AUTH__ROOT_KEY=... engram serve --set tls.cert=cert.pem --set tls.key=key.pem --grpc 0.0.0.0:6334

Settings come from the TOML file, then from variables ENGRAM__SECTION__KEY, then from flags; later ones win.
`engram config print` shows them all.";

/// Start the server. Ctrl-C or SIGTERM ends it in an orderly way.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Write this file when the server is ready: JSON with the addresses grpc and http, and the pid.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Print the settings that would be used, and end.
    #[arg(long)]
    print_config: bool,
}

/// Where the settings of a server come from.
#[derive(Args, Clone)]
pub struct Settings {
    /// TOML file with settings.
    #[arg(long, value_name = "FILE", env = "ENGRAM_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of all files.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the gRPC port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    grpc: Option<String>,
    /// Address of the HTTP port (health, metrics); port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<String>,
    /// Serve on a network without TLS and a key: anyone who reaches the port can read and delete everything.
    #[arg(long)]
    insecure: bool,
    /// Any setting, as in the TOML file; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no SECTION.KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl Settings {
    /// All sources in their order.
    pub fn sources(&self) -> ConfigSources {
        let mut sources = ConfigSources::from_process(self.config.clone());
        for (key, value) in &self.set {
            sources = sources.flag(key, value);
        }
        if let Some(folder) = &self.data_dir {
            sources = sources.flag("data_dir", folder.display());
        }
        if let Some(address) = &self.grpc {
            sources = sources.flag("listen.grpc", address);
        }
        if let Some(address) = &self.http {
            sources = sources.flag("listen.http", address);
        }
        if self.insecure {
            sources = sources.flag("insecure", true);
        }
        sources
    }
}

impl Serve {
    /// Runs the server until a signal.
    pub async fn run(&self) -> Result<()> {
        let sources = self.settings.sources();
        if self.print_config {
            return crate::output::line(RawConfig::load(&sources)?.to_toml()?);
        }
        let config = NodeConfig::load(&sources)?;
        init_logging(&config.log_level, config.log_format)?;
        // Listening for signals before the start: one that comes early must not be lost.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let node = Node::start(config).await?;
        let (grpc, http) = (node.grpc_addr(), node.http_addr());
        if let Some(path) = &self.ready_file {
            let ready =
                json!({ "grpc": grpc.to_string(), "http": http.to_string(), "pid": std::process::id() });
            write_ready(path, &ready).with_context(|| format!("cannot write {}", path.display()))?;
        }
        eprintln!("engram is ready: gRPC on {grpc}, HTTP on {http}");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("engram is stopping");
        node.shutdown().await;
        Ok(())
    }
}

/// Puts the file in place as a whole: who sees it can read all of it.
fn write_ready(path: &Path, ready: &serde_json::Value) -> Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut staged = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(staged, "{ready}")?;
    staged.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        write_ready(&path, &json!({"grpc": "127.0.0.1:1"})).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["grpc"], "127.0.0.1:1");
    }

    #[test]
    fn settings_on_the_command_line() {
        assert_eq!(parse_setting("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(parse_setting("a.b").is_err());
    }
}
