//! The file log: contract, torn tails, damage, faults of the disk, and the failures other databases had.

mod corruption;
mod faults;
mod regress;
mod torn;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engram_storage::log::file::{FileLogOptions, FileLogProvider, SyncFault};
use engram_storage::log::{Log, LogError, LogProvider, Offset, OpenReport, Record, conformance};
use engram_storage::{CollectionId, ManualClock, RegionName, ShardKey, TenantId};
use futures::{StreamExt, TryStreamExt};

/// Options under which every few records begin a new file.
const TINY: FileLogOptions = FileLogOptions { rotate_bytes: 2000, open_files: 2 };

fn provider(root: &Path, options: FileLogOptions) -> FileLogProvider {
    FileLogProvider::new(root.to_owned(), Arc::new(ManualClock::new(1_000)), options)
}

fn shard(bucket: u32) -> ShardKey {
    let region = RegionName::try_from("eu").unwrap();
    ShardKey { tenant: TenantId(1), collection: CollectionId(uuid::Uuid::from_u128(5)), region, bucket }
}

fn log_dir(root: &Path) -> PathBuf {
    root.join(shard(0).path()).join("log")
}

type Opened = Result<(Arc<dyn Log>, OpenReport), LogError>;

/// Opens the log of shard 0 as a restarted process would.
async fn reopen(root: &Path, options: FileLogOptions) -> Opened {
    provider(root, options).open(&shard(0), 1).await
}

fn body(n: u64) -> Bytes {
    Bytes::from(format!("body of record {n}: {}", "abc".repeat(n as usize % 30)))
}

fn bodies(range: std::ops::RangeInclusive<u64>) -> Vec<Bytes> {
    range.map(body).collect()
}

/// Makes a log of `appends` appends of `each` records.
async fn make(root: &Path, options: FileLogOptions, appends: u64, each: u64) {
    let (log, _) = reopen(root, options).await.unwrap();
    for n in 0..appends {
        log.append(n * each, bodies(n * each + 1..=n * each + each)).await.unwrap();
    }
}

async fn read_all(log: &Arc<dyn Log>) -> Result<Vec<(Offset, Record)>, LogError> {
    let first = log.extent().await?.first;
    log.read(first).try_collect().await
}

/// Name and content of every file of shard 0's log.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(log_dir(root)) else { return BTreeMap::new() };
    let load = |e: std::io::Result<std::fs::DirEntry>| {
        let e = e.unwrap();
        (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())
    };
    entries.map(load).collect()
}

/// Replaces the files of shard 0's log.
fn restore(root: &Path, content: &BTreeMap<String, Vec<u8>>) {
    let dir = log_dir(root);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in content {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

/// Checks that the log holds exactly `1..=tail`, takes appends, and opens again with nothing to cut.
async fn expect_usable(root: &Path, log: &Arc<dyn Log>, tail: Offset) {
    let got = read_all(log).await.unwrap();
    assert_eq!(got.len() as u64, tail);
    assert!(got.iter().zip(1..).all(|(r, n)| r.0 == n && r.1.body == body(n)));
    assert_eq!(log.append(tail, bodies(tail + 1..=tail + 2)).await, Ok(tail + 2));
    let (again, report) = reopen(root, TINY).await.unwrap();
    assert_eq!(report.cut, None);
    assert_eq!(read_all(&again).await.unwrap().len() as u64, tail + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_file_passes_the_contract() {
    for options in [FileLogOptions::default(), TINY, FileLogOptions { rotate_bytes: 0, open_files: 1 }] {
        let root = tempfile::tempdir().unwrap();
        conformance::run(async || Arc::new(provider(root.path(), options)) as Arc<dyn LogProvider>).await;
    }
}

#[tokio::test]
async fn log_trim_of_everything_leaves_no_old_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (log, _) = reopen(root.path(), FileLogOptions::default()).await.unwrap();
    let needle = Bytes::from_static(b"a secret of a person");
    log.append(0, vec![needle.clone()]).await.unwrap();
    let holds = |files: &BTreeMap<String, Vec<u8>>| {
        files.values().any(|f| f.windows(needle.len()).any(|w| w == needle))
    };
    assert!(holds(&files(root.path())), "control: the bytes were there");
    log.trim(1).await.unwrap();
    let left = files(root.path());
    assert!(!holds(&left));
    assert_eq!(left.keys().collect::<Vec<_>>(), ["00000000000000000002.log"]);
}

#[tokio::test]
async fn log_idle_logs_hold_no_descriptors() {
    let root = tempfile::tempdir().unwrap();
    let provider = provider(root.path(), FileLogOptions { open_files: 3, ..FileLogOptions::default() });
    let mut logs = vec![];
    for bucket in 0..20 {
        let (log, _) = provider.open(&shard(bucket), 1).await.unwrap();
        assert!(provider.open_files() <= 3);
        log.append(0, bodies(1..=1)).await.unwrap();
        logs.push(log);
    }
    assert_eq!(provider.open_files(), 3);
    for log in &logs {
        assert_eq!(log.append(1, bodies(2..=2)).await, Ok(2));
    }
    let open = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|e| std::fs::read_link(e.unwrap().path()).ok());
    assert!(open.filter(|target| target.starts_with(root.path())).count() <= 3);
}

#[tokio::test]
async fn log_an_append_goes_on_when_its_caller_goes_away() {
    let root = tempfile::tempdir().unwrap();
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    for _ in 0..50 {
        let tail = log.extent().await.unwrap().tail;
        let append = log.append(tail, bodies(tail + 1..=tail + 1));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(50), append).await;
        // Whether or not it happened, the log is whole and the next append finds the tail.
        loop {
            let tail = log.extent().await.unwrap().tail;
            match log.append(tail, bodies(tail + 1..=tail + 1)).await {
                Ok(_) => break,
                Err(e) => assert!(matches!(e, LogError::WrongTail { .. })),
            }
        }
    }
    let tail = log.extent().await.unwrap().tail;
    expect_usable(root.path(), &log, tail).await;
}

#[tokio::test]
async fn log_a_record_that_is_too_large_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    let max = engram_storage::log::file::frame::MAX_RECORD;
    let large = Bytes::from(vec![0; max + 1]);
    let refused = log.append(0, vec![body(1), large.clone()]).await;
    assert_eq!(refused, Err(LogError::TooLarge { bytes: max + 1, max }));
    assert_eq!(log.append(0, vec![large.slice(1..)]).await, Ok(1));
    assert_eq!(log.read(1).next().await.unwrap().unwrap().1.body.len(), max);
}
