//! What the system says about a process.

use std::path::Path;

use anyhow::{Context, Result};

/// Resident memory in bytes.
///
/// # Errors
/// Where there is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_kib(pid, "VmRSS:")
}

/// Largest resident memory so far, in bytes.
///
/// # Errors
/// Where there is no such process.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    status_kib(pid, "VmHWM:")
}

/// Resident memory that is not a file's, in bytes: mapped segments are left out, since the system takes them back.
///
/// # Errors
/// Where there is no such process.
pub fn anonymous_bytes(pid: u32) -> Result<u64> {
    status_kib(pid, "RssAnon:")
}

/// Number of open descriptors.
///
/// # Errors
/// Where there is no such process.
pub fn open_files(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd")).context("descriptors of the server")?.count())
}

/// Number of threads.
///
/// # Errors
/// Where there is no such process.
pub fn threads(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task")).context("threads of the server")?.count())
}

fn status_kib(pid: u32, key: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("status of the server")?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)).context("no such line in the status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("no number in the status")?;
    Ok(kib * 1024)
}

/// Sends a signal to a process that this one started.
pub fn signal(pid: u32, signal: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // SAFETY: `kill` takes two integers and touches no memory of ours.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// A control group that bounds the memory of the processes in it; removed on drop.
#[derive(Debug)]
pub struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    /// A group of `bytes`, with version 1 or 2 of the controller; `None` where neither can be written.
    pub fn new(bytes: u64) -> Option<Self> {
        let name = format!("engram-test-{}-{bytes}", std::process::id());
        for (root, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let dir = Path::new(root).join(&name);
            if std::fs::create_dir(&dir).is_err() {
                continue;
            }
            if dir.join(limit).exists() && std::fs::write(dir.join(limit), bytes.to_string()).is_ok() {
                // Without this the group would swap instead of ending; absent where the kernel has no swap.
                let _ = std::fs::write(dir.join("memory.swappiness"), "0");
                let _ = std::fs::write(dir.join("memory.swap.max"), "0");
                return Some(Self(dir));
            }
            let _ = std::fs::remove_dir(&dir);
        }
        None
    }

    /// Directory of the group.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a process into the group.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn add(&self, pid: u32) -> Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string())
            .context("cannot put the server into its group")
    }

    /// Largest use so far (page cache included) in bytes, where the system tells.
    pub fn peak_bytes(&self) -> Option<u64> {
        ["memory.max_usage_in_bytes", "memory.peak"]
            .iter()
            .find_map(|f| std::fs::read_to_string(self.0.join(f)).ok()?.trim().parse().ok())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
