//! A server process of the tour's own, that can be killed like in real life.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longest time a start may take.
const START: Duration = Duration::from_secs(30);

/// A running `engram serve`; dropping it kills it.
pub struct ServerProcess {
    child: Child,
    /// Address of its gRPC port.
    pub url: String,
    /// Time it took to be ready.
    pub ready_after: Duration,
}

impl ServerProcess {
    /// Starts this program as a server over `folder/data`, on free ports.
    pub async fn start(folder: &Path) -> Result<Self> {
        let ready = folder.join("ready.json");
        let output = folder.join("server.log");
        // A file of an earlier server would say that this one is ready.
        let _ = std::fs::remove_file(&ready);
        let log = File::options().create(true).append(true).open(&output)?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let started = Instant::now();
        let mut command = Command::new(program);
        command.args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(folder.join("data")).arg("--ready-file").arg(&ready);
        // The user's own settings are for the user's own server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ENGRAM_") {
                command.env_remove(name);
            }
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let mut this =
            Self { child: child.context("cannot start the server")?, url: String::new(), ready_after: START };
        while started.elapsed() < START {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                let addresses: serde_json::Value = serde_json::from_str(&text)?;
                this.url = format!("http://{}", addresses["grpc"].as_str().unwrap_or_default());
                this.ready_after = started.elapsed();
                return Ok(this);
            }
            if let Some(status) = this.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", tail(&output));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("the server was not ready after {} s:\n{}", START.as_secs(), tail(&output))
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL: it can do nothing about that.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(path: &PathBuf) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
