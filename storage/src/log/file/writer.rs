//! Appending: one write and one sync for all records of an append, undone where the disk refuses them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::directory::{self, log_path};
use super::fault::SyncFault;
use super::frame::{self, BatchInfo, Chain, Compressors, MAX_RECORD};
use super::header::{self, FILE_HEADER, FileHeader};
use super::provider::FileLogOptions;
use super::recovery::{self, Recovered};
use crate::log::{Epoch, Extent, LogError, Offset, OpenReport};

/// What all logs of a provider share.
pub(super) struct Common {
    pub root: PathBuf,
    pub options: FileLogOptions,
    pub fault: SyncFault,
    pub compressors: Compressors,
    pub writers: OpenWriters,
}

/// Descriptors of active files, the least recently used one closed when there are too many.
#[derive(Default)]
pub(super) struct OpenWriters(Mutex<OpenFiles>);

#[derive(Default)]
struct OpenFiles {
    /// Counts uses.
    now: u64,
    /// Each file with its last use.
    by_path: HashMap<PathBuf, (u64, Arc<File>)>,
}

impl OpenWriters {
    fn get(&self, path: &Path) -> io::Result<Arc<File>> {
        let known = self.0.lock().by_path.get(path).map(|(_, file)| file.clone());
        match known {
            Some(file) => Ok(file),
            None => Ok(Arc::new(OpenOptions::new().write(true).open(path)?)),
        }
    }

    fn keep(&self, path: PathBuf, file: Arc<File>, most: usize) {
        let mut open = self.0.lock();
        open.now += 1;
        let now = open.now;
        open.by_path.insert(path, (now, file));
        while open.by_path.len() > most {
            let oldest = open.by_path.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            let Some(path) = oldest else { break };
            open.by_path.remove(&path);
        }
    }

    pub fn close(&self, path: &Path) {
        self.0.lock().by_path.remove(path);
    }

    pub fn len(&self) -> usize {
        self.0.lock().by_path.len()
    }
}

/// What is known of a log between two changes.
#[derive(Default)]
pub(super) struct Meta {
    /// `None` until the first open has looked at the disk.
    pub disk: Option<Recovered>,
    /// Largest epoch that opened the log in this process.
    pub owner: Epoch,
    /// Why no append is taken any more.
    pub poison: Option<String>,
    /// The log was deleted: handles to it are dead.
    pub deleted: bool,
}

/// One log, shared by all its handles. Changes hold the provider's per-log writer lock.
pub(super) struct Shared {
    pub common: Arc<Common>,
    pub dir: PathBuf,
    /// [`header::shard_hash`] of the shard.
    pub shard: u64,
    first_chain: Chain,
    meta: Mutex<Meta>,
    /// Held by whoever changes the log, across threads.
    pub writer: Arc<tokio::sync::Mutex<()>>,
}

/// Poisons the log if the change it guards ends in a panic: then nobody knows what the file holds.
struct Unfinished<'a>(&'a Shared, bool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.poison("an append was interrupted by a defect".into());
        }
    }
}

/// Errors that say the disk has no room.
fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

fn refused(what: &str, path: &Path, e: &io::Error) -> LogError {
    let text = format!("cannot {what} {}: {e}", path.display());
    if is_full(e) { LogError::Full(text) } else { LogError::Unavailable(text) }
}

impl Shared {
    pub fn new(common: Arc<Common>, shard_path: &str) -> Self {
        Self {
            dir: common.root.join(shard_path).join("log"),
            common,
            shard: header::shard_hash(shard_path),
            first_chain: header::first_chain(shard_path),
            meta: Mutex::default(),
            writer: Arc::default(),
        }
    }

    pub fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock()
    }

    fn poison(&self, why: String) -> LogError {
        tracing::error!(log = %self.dir.display(), why, "the log takes no more appends");
        let mut meta = self.meta();
        let why = meta.poison.get_or_insert(why).clone();
        LogError::Poisoned(why)
    }

    /// Opens the log for `epoch`: recovers it if this process has not yet, and fences smaller epochs.
    pub fn open(&self, epoch: Epoch) -> Result<OpenReport, LogError> {
        let mut report = OpenReport::default();
        if self.meta().disk.is_none() {
            if let Some(why) = &self.meta().poison {
                return Err(LogError::Poisoned(why.clone()));
            }
            let recovered = recovery::recover(
                &self.common.root,
                &self.dir,
                self.shard,
                self.first_chain,
                &self.common.fault,
            );
            let (disk, found) = match recovered {
                // A sync that failed must not be tried again by the next open.
                Err(LogError::Poisoned(why)) => return Err(self.poison(why)),
                other => other?,
            };
            report = found;
            self.meta().disk = Some(disk);
        }
        let mut meta = self.meta();
        let on_disk = meta.disk.as_ref().map_or(0, |d| d.epoch);
        let newer = meta.owner.max(on_disk);
        if epoch < newer {
            return Err(LogError::Fenced { newer });
        }
        meta.owner = epoch;
        Ok(report)
    }

    /// Refuses a change of an owner that may not make it.
    fn check_owner(&self, meta: &Meta, epoch: Epoch) -> Result<(), LogError> {
        if meta.deleted {
            return Err(LogError::Unavailable("the log was deleted".into()));
        }
        if let Some(why) = &meta.poison {
            return Err(LogError::Poisoned(why.clone()));
        }
        let disk = meta.disk.as_ref();
        let newer = meta.owner.max(disk.map_or(0, |d| d.epoch));
        let sealed = disk.map_or(0, |d| d.sealed);
        if newer > epoch {
            return Err(LogError::Fenced { newer });
        }
        if sealed >= epoch && sealed > 0 {
            return Err(LogError::Sealed { epoch: sealed });
        }
        Ok(())
    }

    /// See [`crate::log::Log::append`]; blocks, and the caller holds the writer lock.
    pub fn append(
        &self,
        epoch: Epoch,
        expected_tail: Offset,
        appended_at: i64,
        bodies: &[Bytes],
    ) -> Result<Offset, LogError> {
        let (active, tail, chain, tag) = {
            let meta = self.meta();
            self.check_owner(&meta, epoch)?;
            let none = LogError::Unavailable("the log is not open".into());
            let disk = meta.disk.as_ref().ok_or(none)?;
            if disk.tail != expected_tail {
                return Err(LogError::WrongTail { tail: disk.tail });
            }
            (disk.files.last().copied(), disk.tail, disk.chain, disk.tag)
        };
        if let Some(body) = bodies.iter().find(|b| b.len() > MAX_RECORD) {
            return Err(LogError::TooLarge { bytes: body.len(), max: MAX_RECORD });
        }
        if bodies.is_empty() {
            return Ok(tail);
        }
        let mut guard = Unfinished(self, false);
        let info = |tag| BatchInfo { tag, epoch, appended_at, first: tail + 1 };
        let incoming: u64 = bodies.iter().map(|b| b.len() as u64).sum();
        let fits = |&(first, len): &(Offset, u64)| {
            first > tail || len.saturating_add(incoming) <= self.common.options.rotate_bytes
        };
        let done = match active.filter(fits) {
            Some((first, len)) => {
                let mut block = Vec::new();
                let chain =
                    frame::encode_batch(&mut block, &info(tag), chain, bodies, &self.common.compressors);
                self.write_at(first, len, &block).map(|()| (first, len + block.len() as u64, chain, tag))
            }
            None => {
                let header = FileHeader::new(self.shard, epoch, tail + 1, chain);
                let mut block = header.encode();
                let info = info(header.tag());
                let chain = frame::encode_batch(&mut block, &info, chain, bodies, &self.common.compressors);
                self.create(tail + 1, active.is_none(), &block)
                    .map(|()| (tail + 1, block.len() as u64, chain, info.tag))
            }
        };
        guard.1 = true;
        let (first, len, chain, tag) = done?;
        if let Some((before, _)) = active.filter(|a| a.0 != first) {
            self.common.writers.close(&log_path(&self.dir, before));
        }
        let tail = tail + bodies.len() as u64;
        if let Some(disk) = &mut self.meta().disk {
            disk.files.retain(|f| f.0 != first);
            disk.files.push((first, len));
            (disk.tail, disk.chain, disk.tag, disk.epoch) = (tail, chain, tag, disk.epoch.max(epoch));
        }
        Ok(tail)
    }

    /// Writes `block` at the end of the active file and syncs it.
    fn write_at(&self, first: Offset, len: u64, block: &[u8]) -> Result<(), LogError> {
        let path = log_path(&self.dir, first);
        let file = self.common.writers.get(&path).map_err(|e| refused("open", &path, &e))?;
        if let Err(e) = self.common.fault.write(&file, block, len) {
            self.common.writers.close(&path);
            return Err(match self.common.fault.truncate(&file, len) {
                Ok(()) => refused("write", &path, &e),
                Err(undo) => {
                    self.poison(format!("cannot write {} ({e}) nor undo it: {undo}", path.display()))
                }
            });
        }
        if let Err(e) = self.common.fault.sync(&file) {
            self.common.writers.close(&path);
            // Best effort, and not synced again: so a reader of this machine does not see what was not acknowledged.
            let _ = file.set_len(len);
            return Err(self.poison(format!("cannot sync {}: {e}", path.display())));
        }
        self.common.writers.keep(path, file, self.common.options.open_files);
        Ok(())
    }

    /// Makes the file whose first record will be `first`, durably, with `block` in it.
    fn create(&self, first: Offset, new_log: bool, block: &[u8]) -> Result<(), LogError> {
        let path = log_path(&self.dir, first);
        if new_log {
            directory::create_durably(&self.common.root, &self.dir)
                .map_err(|e| refused("create", &self.dir, &e))?;
        }
        // What a failed attempt may have left under this name was never acknowledged.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = opened.map_err(|e| refused("create", &path, &e))?;
        if let Err(e) = self.common.fault.write(&file, block, 0) {
            return Err(match directory::remove_durably(&path) {
                Ok(()) => refused("write", &path, &e),
                Err(undo) => {
                    self.poison(format!("cannot write {} ({e}) nor undo it: {undo}", path.display()))
                }
            });
        }
        let synced = self.common.fault.sync(&file).and_then(|()| directory::sync_dir(&self.dir));
        if let Err(e) = synced {
            let _ = std::fs::remove_file(&path);
            return Err(self.poison(format!("cannot sync {}: {e}", path.display())));
        }
        self.common.writers.keep(path, Arc::new(file), self.common.options.open_files);
        Ok(())
    }

    /// See [`crate::log::Log::rotate`]; blocks, and the caller holds the writer lock.
    pub fn rotate(&self, epoch: Epoch) -> Result<Offset, LogError> {
        self.check_trimmer(epoch)?;
        let tail = self.meta().disk.as_ref().map_or(0, |disk| disk.tail);
        self.begin_file(epoch)?;
        Ok(tail)
    }

    /// A sealed log takes no records, but may still be emptied by its owner.
    fn check_trimmer(&self, epoch: Epoch) -> Result<(), LogError> {
        let meta = self.meta();
        match self.check_owner(&meta, epoch) {
            Ok(()) | Err(LogError::Sealed { .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// See [`crate::log::LogProvider::begin`]; blocks, and the caller holds the writer lock.
    pub fn begin(&self, epoch: Epoch, after: Offset) -> Result<(), LogError> {
        self.open(epoch)?;
        {
            let meta = self.meta();
            self.check_owner(&meta, epoch)?;
            let untouched = |d: &&Recovered| d.tail == 0 && d.files.is_empty();
            if meta.disk.as_ref().filter(untouched).is_none() {
                return Err(LogError::WrongTail { tail: meta.disk.as_ref().map_or(0, |d| d.tail) });
            }
        }
        let mut guard = Unfinished(self, false);
        let header = FileHeader::new(self.shard, epoch, after + 1, self.first_chain);
        let made = self.create(after + 1, true, &header.encode());
        guard.1 = true;
        made?;
        if let Some(disk) = &mut self.meta().disk {
            disk.files.push((after + 1, FILE_HEADER as u64));
            (disk.tail, disk.tag, disk.epoch) = (after, header.tag(), disk.epoch.max(epoch));
        }
        Ok(())
    }

    /// Begins a new file, which carries tail and chain on, unless the active one holds no record yet.
    fn begin_file(&self, epoch: Epoch) -> Result<(), LogError> {
        let (last, tail, chain) = match &self.meta().disk {
            Some(disk) => (disk.files.last().copied(), disk.tail, disk.chain),
            None => return Ok(()),
        };
        if last.is_none_or(|(first, _)| first > tail) {
            return Ok(());
        }
        let mut guard = Unfinished(self, false);
        let header = FileHeader::new(self.shard, epoch, tail + 1, chain);
        let made = self.create(tail + 1, false, &header.encode());
        guard.1 = true;
        made?;
        if let Some(disk) = &mut self.meta().disk {
            disk.files.push((tail + 1, FILE_HEADER as u64));
            (disk.tag, disk.epoch) = (header.tag(), disk.epoch.max(epoch));
        }
        Ok(())
    }

    /// See [`crate::log::Log::trim`]; blocks, and the caller holds the writer lock.
    pub fn trim(&self, epoch: Epoch, through: Offset) -> Result<(), LogError> {
        self.check_trimmer(epoch)?;
        let Some(tail) = self.meta().disk.as_ref().map(|disk| disk.tail) else { return Ok(()) };
        let through = through.min(tail);
        if through == tail {
            // The active file goes too.
            self.begin_file(epoch)?;
        }
        let mut files = self.meta().disk.as_ref().map(|disk| disk.files.clone()).unwrap_or_default();
        // In order and each durably: a power cut must not leave a gap.
        while files.get(1).is_some_and(|&(next, _)| next <= through + 1) {
            let path = log_path(&self.dir, files[0].0);
            self.common.writers.close(&path);
            directory::remove_durably(&path).map_err(|e| refused("remove", &path, &e))?;
            files.remove(0);
            if let Some(disk) = &mut self.meta().disk {
                disk.files.clone_from(&files);
            }
        }
        Ok(())
    }

    /// See [`crate::log::Log::seal`]; blocks, and the caller holds the writer lock.
    pub fn seal(&self, epoch: Epoch) -> Result<(), LogError> {
        {
            let meta = self.meta();
            if meta.deleted {
                return Err(LogError::Unavailable("the log was deleted".into()));
            }
            if meta.disk.as_ref().is_some_and(|d| d.sealed >= epoch) {
                return Ok(());
            }
        }
        let written = directory::create_durably(&self.common.root, &self.dir)
            .and_then(|()| directory::write_seal(&self.dir, epoch));
        written.map_err(|e| refused("seal", &self.dir, &e))?;
        if let Some(disk) = &mut self.meta().disk {
            disk.sealed = disk.sealed.max(epoch);
            disk.epoch = disk.epoch.max(epoch);
        }
        Ok(())
    }

    /// Removes the log; blocks, and the caller holds the writer lock.
    pub fn delete(&self) -> Result<(), LogError> {
        let listing = directory::list(&self.dir).map_err(|e| refused("list", &self.dir, &e))?;
        for (first, _) in listing.files {
            self.common.writers.close(&log_path(&self.dir, first));
        }
        self.meta().deleted = true;
        directory::remove_log(&self.dir).map_err(|e| refused("remove", &self.dir, &e))
    }

    pub fn extent(&self) -> Result<Extent, LogError> {
        let meta = self.meta();
        let open = meta.disk.as_ref().filter(|_| !meta.deleted);
        let disk = open.ok_or_else(|| LogError::Unavailable("the log was deleted".into()))?;
        let first = disk.files.first().map_or(disk.tail + 1, |f| f.0);
        Ok(Extent { first, tail: disk.tail, bytes: disk.files.iter().map(|f| f.1).sum() })
    }
}
