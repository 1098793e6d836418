//! Logs of all shards below one directory, and the handle of one owner.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;

use super::directory;
use super::fault::SyncFault;
use super::frame::Compressors;
use super::reader::{self, View};
use super::writer::{Common, OpenWriters, Shared};
use crate::clock::Clock;
use crate::log::{Epoch, Extent, Log, LogError, LogProvider, Offset, OpenReport, Record};
use crate::schema::ShardKey;

/// Settings of file logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLogOptions {
    /// A file that would grow beyond this is left alone and a new one begun; a single append is never split.
    pub rotate_bytes: u64,
    /// Most files that are kept open for appending; the least recently used one is closed. At least one.
    pub open_files: usize,
}

impl Default for FileLogOptions {
    fn default() -> Self {
        Self { rotate_bytes: 64 << 20, open_files: 128 }
    }
}

/// Opens logs below a directory.
pub struct FileLogProvider {
    common: Arc<Common>,
    clock: Arc<dyn Clock>,
    logs: Mutex<HashMap<String, Arc<Shared>>>,
}

impl FileLogProvider {
    /// Logs below `root`, which need not exist yet. Only one process may use it: hold the lock of the data directory.
    pub fn new(root: PathBuf, clock: Arc<dyn Clock>, options: FileLogOptions) -> Self {
        Self::testing(root, clock, options, SyncFault::default())
    }

    /// As [`FileLogProvider::new`], over a disk that fails when `fault` says so. For tests.
    #[doc(hidden)]
    pub fn testing(root: PathBuf, clock: Arc<dyn Clock>, options: FileLogOptions, fault: SyncFault) -> Self {
        let options = FileLogOptions { open_files: options.open_files.max(1), ..options };
        let (compressors, writers) = (Compressors::default(), OpenWriters::default());
        let common = Arc::new(Common { root, options, fault, compressors, writers });
        Self { common, clock, logs: Mutex::default() }
    }

    /// How many files are open for appending.
    pub fn open_files(&self) -> usize {
        self.common.writers.len()
    }

    fn shared(&self, shard: &ShardKey) -> Arc<Shared> {
        let path = shard.path();
        let mut logs = self.logs.lock();
        let log =
            logs.entry(path).or_insert_with_key(|path| Arc::new(Shared::new(self.common.clone(), path)));
        log.clone()
    }
}

/// Runs a change of a log on a thread that may block. The lock moves along, so that a caller who goes away does not
/// let the next change begin before this one has ended.
async fn change<T: Send + 'static>(
    shared: &Arc<Shared>,
    job: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let guard = shared.writer.clone().lock_owned().await;
    let shared = shared.clone();
    let task = tokio::task::spawn_blocking(move || {
        let _guard = guard;
        job(&shared)
    });
    task.await.unwrap_or_else(|e| Err(LogError::Ambiguous(format!("the writer of the log was stopped: {e}"))))
}

#[async_trait]
impl LogProvider for FileLogProvider {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn open(&self, shard: &ShardKey, epoch: Epoch) -> Result<(Arc<dyn Log>, OpenReport), LogError> {
        loop {
            let shared = self.shared(shard);
            let opened =
                change(
                    &shared,
                    move |log| if log.meta().deleted { Ok(None) } else { log.open(epoch).map(Some) },
                );
            // Deleted between the look-up and the lock: the next look-up finds a new one.
            if let Some(report) = opened.await? {
                return Ok((Arc::new(FileLog { shared, epoch, clock: self.clock.clone() }), report));
            }
            self.forget(shard, &shared);
        }
    }

    async fn begin(&self, shard: &ShardKey, epoch: Epoch, after: Offset) -> Result<(), LogError> {
        let shared = self.shared(shard);
        change(&shared, move |log| log.begin(epoch, after)).await
    }

    async fn delete(&self, shard: &ShardKey) -> Result<(), LogError> {
        let shared = self.shared(shard);
        let done = change(&shared, Shared::delete).await;
        self.forget(shard, &shared);
        done
    }

    async fn exists(&self, shard: &ShardKey) -> Result<bool, LogError> {
        let dir = self.common.root.join(shard.path()).join("log");
        let listed = tokio::task::spawn_blocking(move || directory::list(&dir)).await;
        let listed = listed.map_err(|e| LogError::Unavailable(e.to_string()))?;
        let found =
            listed.map_err(|e| LogError::Unavailable(format!("cannot list the log of {shard}: {e}")))?;
        Ok(found.sealed || !found.files.is_empty())
    }
}

impl FileLogProvider {
    /// Drops a deleted log from the table, unless another has taken its place already.
    fn forget(&self, shard: &ShardKey, shared: &Arc<Shared>) {
        let mut logs = self.logs.lock();
        let path = shard.path();
        if logs.get(&path).is_some_and(|known| Arc::ptr_eq(known, shared)) {
            logs.remove(&path);
        }
    }
}

/// The log of one shard in the hands of one owner. Costs nothing while nobody appends or reads.
pub struct FileLog {
    shared: Arc<Shared>,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Log for FileLog {
    async fn append(&self, expected_tail: Offset, bodies: Vec<Bytes>) -> Result<Offset, LogError> {
        let (epoch, now) = (self.epoch, self.clock.now_ms());
        change(&self.shared, move |log| log.append(epoch, expected_tail, now, &bodies)).await
    }

    fn read(&self, from: Offset) -> BoxStream<'_, Result<(Offset, Record), LogError>> {
        let from = from.max(1);
        let view = {
            let meta = self.shared.meta();
            let Some(disk) = meta.disk.as_ref().filter(|_| !meta.deleted) else {
                let gone = LogError::Unavailable("the log was deleted".into());
                return stream::iter([Err(gone)]).boxed();
            };
            let first = disk.files.first().map_or(disk.tail + 1, |f| f.0);
            if from < first {
                return stream::iter([Err(LogError::Trimmed { first })]).boxed();
            }
            if from > disk.tail {
                return stream::empty().boxed();
            }
            let skip = disk.files.partition_point(|f| f.0 <= from).saturating_sub(1);
            let files: VecDeque<_> =
                disk.files.iter().skip(skip).filter(|f| f.0 <= disk.tail).copied().collect();
            View { dir: self.shared.dir.clone(), shard: self.shared.shard, files, tail: disk.tail }
        };
        reader::read(view, from)
    }

    async fn extent(&self) -> Result<Extent, LogError> {
        self.shared.extent()
    }

    async fn trim(&self, through: Offset) -> Result<(), LogError> {
        let epoch = self.epoch;
        change(&self.shared, move |log| log.trim(epoch, through)).await
    }

    async fn rotate(&self) -> Result<Offset, LogError> {
        let epoch = self.epoch;
        change(&self.shared, move |log| log.rotate(epoch)).await
    }

    async fn seal(&self, epoch: Epoch) -> Result<(), LogError> {
        change(&self.shared, move |log| log.seal(epoch)).await
    }
}
