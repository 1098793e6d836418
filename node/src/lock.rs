//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use engram_storage::private_dir;

use crate::NodeError;

/// Name of the file that is locked.
const LOCK: &str = "LOCK";

/// Holds the lock until it is dropped; the system releases it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[allow(dead_code, reason = "held, not read")] File);

impl DirectoryLock {
    /// Makes the directory if need be and locks it.
    pub(crate) fn take(directory: &Path) -> Result<Self, NodeError> {
        let failed = |what: &str, e: &std::io::Error| {
            NodeError::DataDirectory(format!("data_dir {}: {what}: {e}", directory.display()))
        };
        private_dir::create_or_tighten(directory, &[LOCK]).map_err(|e| failed("cannot be made", &e))?;
        let path = directory.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed("LOCK cannot be opened", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(directory, &mut file)),
            Err(TryLockError::Error(e)) => return Err(failed("cannot be locked", &e)),
        }
        // The number only helps people; the lock itself is the system's.
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        written.map_err(|e| failed("LOCK cannot be written", &e))?;
        Ok(Self(file))
    }
}

fn held(directory: &Path, file: &mut File) -> NodeError {
    let mut text = String::new();
    let holder = match file.take(32).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
        _ => "another process".to_owned(),
    };
    NodeError::DataDirectory(format!(
        "data_dir {} is in use by {holder}; stop it, or start this server with another data_dir",
        directory.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(directory.path()).unwrap();
        let refused = DirectoryLock::take(directory.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        DirectoryLock::take(directory.path()).unwrap();
    }
}
