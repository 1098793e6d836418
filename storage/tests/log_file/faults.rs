//! A disk that is full or broken.

use std::process::Command;

use super::*;
use engram_storage::ErrorKind;

fn faulty(root: &Path, options: FileLogOptions) -> (FileLogProvider, SyncFault) {
    let fault = SyncFault::default();
    let clock = Arc::new(ManualClock::new(1));
    (FileLogProvider::testing(root.to_owned(), clock, options, fault.clone()), fault)
}

#[tokio::test]
async fn log_the_first_failed_sync_poisons_for_good() {
    let root = tempfile::tempdir().unwrap();
    let (provider, fault) = faulty(root.path(), FileLogOptions::default());
    let (log, _) = provider.open(&shard(0), 1).await.unwrap();
    log.append(0, bodies(1..=3)).await.unwrap();
    fault.fail_next_sync();
    assert!(matches!(log.append(3, bodies(4..=4)).await, Err(LogError::Poisoned(_))));
    for _ in 0..3 {
        assert!(
            matches!(log.append(3, bodies(4..=4)).await, Err(LogError::Poisoned(_))),
            "never tried again"
        );
        assert!(matches!(log.trim(3).await, Err(LogError::Poisoned(_))));
    }
    // What was acknowledged can still be read, and a new owner in this process cannot heal it.
    assert_eq!(read_all(&log).await.unwrap().len(), 3);
    let (newer, _) = provider.open(&shard(0), 2).await.unwrap();
    assert!(matches!(newer.append(3, bodies(4..=4)).await, Err(LogError::Poisoned(_))));
    let (log, report) = reopen(root.path(), TINY).await.unwrap();
    assert_eq!(report.cut, None);
    expect_usable(root.path(), &log, 3).await;
}

#[tokio::test]
async fn log_a_failed_sync_of_a_new_file_poisons_too() {
    let root = tempfile::tempdir().unwrap();
    let (provider, fault) = faulty(root.path(), TINY);
    let (log, _) = provider.open(&shard(0), 1).await.unwrap();
    fault.fail_next_sync();
    assert!(matches!(log.append(0, bodies(1..=1)).await, Err(LogError::Poisoned(_))));
    assert!(matches!(log.append(0, bodies(1..=1)).await, Err(LogError::Poisoned(_))));
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    expect_usable(root.path(), &log, 0).await;
    // And one at recovery: what it could not sync it must not serve.
    fault.fail_next_sync();
    let (again, fault) = faulty(root.path(), TINY);
    fault.fail_next_sync();
    assert!(matches!(again.open(&shard(0), 1).await.err(), Some(LogError::Poisoned(_))));
    assert!(matches!(again.open(&shard(0), 1).await.err(), Some(LogError::Poisoned(_))));
}

#[tokio::test]
async fn log_a_write_that_stops_half_way_is_undone() {
    let root = tempfile::tempdir().unwrap();
    let (provider, fault) = faulty(root.path(), TINY);
    let (log, _) = provider.open(&shard(0), 1).await.unwrap();
    let mut tail = 0;
    for _ in 0..30 {
        let before = files(root.path());
        fault.fill_disk_at_next_write();
        let refused = log.append(tail, bodies(tail + 1..=tail + 2)).await.unwrap_err();
        assert!(matches!(refused, LogError::Full(_)) && refused.kind() == ErrorKind::Exhausted);
        assert_eq!(files(root.path()), before, "nothing of it is left");
        tail = log.append(tail, bodies(tail + 1..=tail + 2)).await.expect("the log stays usable");
    }
    expect_usable(root.path(), &log, tail).await;
}

#[tokio::test]
async fn log_a_write_that_cannot_be_undone_poisons() {
    let root = tempfile::tempdir().unwrap();
    let (provider, fault) = faulty(root.path(), FileLogOptions::default());
    let (log, _) = provider.open(&shard(0), 1).await.unwrap();
    log.append(0, bodies(1..=2)).await.unwrap();
    fault.fill_disk_at_next_write();
    fault.fail_next_truncate();
    assert!(matches!(log.append(2, bodies(3..=5)).await, Err(LogError::Poisoned(_))));
    assert!(matches!(log.append(2, bodies(3..=5)).await, Err(LogError::Poisoned(_))));
    let (log, report) = reopen(root.path(), TINY).await.unwrap();
    assert!(report.cut.is_some());
    expect_usable(root.path(), &log, 2).await;
}

/// A small file system of its own; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn log_on_a_disk_that_is_really_full() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED log_on_a_disk_that_is_really_full: no right to mount a tmpfs");
        return;
    };
    let root = disk.0.path();
    let log_provider = provider(root, FileLogOptions { rotate_bytes: 60_000, open_files: 2 });
    let (log, _) = log_provider.open(&shard(0), 1).await.unwrap();
    let noise =
        |n: u64| -> Bytes { blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof_bytes(10_000) };
    let mut tail = 0;
    let full = loop {
        match log.append(tail, vec![noise(tail + 1), noise(tail + 1)]).await {
            Ok(now) => tail = now,
            Err(e) => break e,
        }
    };
    assert!(matches!(full, LogError::Full(_)), "{full}");
    assert!(tail > 20);
    assert!(matches!(log.append(tail, vec![noise(1); 3]).await, Err(LogError::Full(_))));
    let (_, report) = provider(root, TINY).open(&shard(0), 1).await.unwrap();
    assert_eq!(report.cut, None, "half an append was undone, not left");
    assert_eq!(read_all(&log).await.unwrap().len() as u64, tail);
    // Making room is enough.
    log.trim(tail / 2).await.unwrap();
    assert_eq!(log.append(tail, vec![noise(tail + 1)]).await, Ok(tail + 1));
}

/// Bytes that do not compress.
trait Xof {
    fn finalize_xof_bytes(&self, n: usize) -> Bytes;
}

impl Xof for blake3::Hasher {
    fn finalize_xof_bytes(&self, n: usize) -> Bytes {
        let mut out = vec![0; n];
        self.finalize_xof().fill(&mut out);
        out.into()
    }
}
