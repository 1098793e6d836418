//! Where the server's binary is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// Root of the repository.
pub fn repository() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// The `engram` binary: `ENGRAM_BIN`, or the one beside the running test, which is built where it is missing.
///
/// # Errors
/// Where it cannot be built.
pub fn engram() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let path = match std::env::var_os("ENGRAM_BIN") {
        Some(given) => PathBuf::from(given),
        None => beside_this_test()?,
    };
    ensure!(path.exists(), "{} is not there; run `cargo build --release` first", path.display());
    Ok(FOUND.get_or_init(|| path).clone())
}

/// `target/release` of the running test or tool.
fn output_dir() -> Result<PathBuf> {
    let this = std::env::current_exe().context("where is this program?")?;
    let mut dir = this.parent().context("a program has a directory")?.to_path_buf();
    if dir.ends_with("deps") {
        dir.pop();
    }
    Ok(dir)
}

fn beside_this_test() -> Result<PathBuf> {
    let dir = output_dir()?;
    let path = dir.join("engram");
    if path.exists() {
        return Ok(path);
    }
    let target = dir.parent().context("the target directory")?;
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "-p", "engram-cli", "--bin", "engram"])
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", target)
        .status()
        .context("cargo build of the server")?;
    ensure!(built.success(), "the server could not be built");
    Ok(path)
}
