//! Faults that tests plant: what a broken disk does, without one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How late a planted late sync is.
const LATENESS: Duration = Duration::from_millis(20);

/// Faults of the disk below a log. Nothing sets them outside tests; see [`super::FileLogProvider::testing`].
#[derive(Clone, Debug, Default)]
pub struct SyncFault(Arc<AtomicU8>);

impl SyncFault {
    const SYNC: u8 = 1;
    const WRITE: u8 = 2;
    const TRUNCATE: u8 = 4;
    const LATE: u8 = 8;

    /// The next sync fails, once.
    pub fn fail_next_sync(&self) {
        self.0.fetch_or(Self::SYNC, Ordering::SeqCst);
    }

    /// The next write stops half-way since the disk is full, once.
    pub fn fill_disk_at_next_write(&self) {
        self.0.fetch_or(Self::WRITE, Ordering::SeqCst);
    }

    /// The next truncation fails, once.
    pub fn fail_next_truncate(&self) {
        self.0.fetch_or(Self::TRUNCATE, Ordering::SeqCst);
    }

    /// From now on every sync happens some time after it was reported: the planted defect that a trace has to catch.
    pub fn sync_late(&self) {
        self.0.fetch_or(Self::LATE, Ordering::SeqCst);
    }

    fn fires(&self, bit: u8) -> bool {
        // A plain load first: this sits in the path of every append.
        self.0.load(Ordering::Relaxed) & bit != 0 && self.0.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    pub(super) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.fires(Self::WRITE) {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, at)
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        if self.fires(Self::SYNC) {
            return Err(io::Error::other("planted fault: the sync failed"));
        }
        if self.0.load(Ordering::Relaxed) & Self::LATE != 0 {
            let file = file.try_clone()?;
            std::thread::spawn(move || {
                std::thread::sleep(LATENESS);
                file.sync_data()
            });
            return Ok(());
        }
        file.sync_data()
    }

    pub(super) fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        if self.fires(Self::TRUNCATE) {
            return Err(io::Error::other("planted fault: the file cannot be truncated"));
        }
        file.set_len(len)?;
        self.sync(file)
    }
}
