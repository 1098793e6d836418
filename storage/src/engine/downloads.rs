//! Snapshots that are being read: a purge that removes one ends them, since a file that is open outlives its name.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::Engine;
use crate::error::{Result, StorageError};
use crate::object::blocking;
use crate::schema::CollectionSchema;
use crate::snapshot::Folder;

/// Files of snapshots that are open, by folder.
#[derive(Default)]
pub(super) struct Downloads {
    open: Mutex<HashMap<String, Vec<Weak<Download>>>>,
}

/// A snapshot that is being read.
pub struct Download {
    name: String,
    state: Mutex<State>,
}

enum State {
    /// Not open yet.
    Opening,
    Open(File),
    /// Its snapshot was removed by a purge, or with its collection.
    Ended,
}

impl Downloads {
    /// Notes a download before its file is opened: one that is noted later finds no file that was removed.
    pub fn begin(&self, folder: &Folder, name: &str) -> Arc<Download> {
        let download = Arc::new(Download { name: name.to_owned(), state: Mutex::new(State::Opening) });
        let mut open = self.open.lock();
        open.retain(|_, all| {
            all.retain(|other| other.strong_count() > 0);
            !all.is_empty()
        });
        open.entry(folder.root().to_owned()).or_default().push(Arc::downgrade(&download));
        download
    }

    /// Ends the downloads of a folder, but for those of `kept`: from the return on nothing more is read from their
    /// files, which are closed. Waits for reads that are under way.
    fn end(&self, folder: &Folder, kept: &[String]) {
        let open = self.open.lock().get(folder.root()).cloned().unwrap_or_default();
        for download in open.iter().filter_map(Weak::upgrade).filter(|d| !kept.contains(&d.name)) {
            *download.state.lock() = State::Ended;
        }
    }
}

impl Download {
    /// Gives it its file.
    ///
    /// # Errors
    /// `NotFound` where it was ended meanwhile.
    pub(super) fn open(&self, file: File) -> Result<()> {
        let mut state = self.state.lock();
        if matches!(*state, State::Ended) {
            return Err(self.removed());
        }
        *state = State::Open(file);
        Ok(())
    }

    /// The next bytes, at most `most`; none at the end.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` once the snapshot was removed by a purge or with its collection.
    pub async fn next(self: &Arc<Self>, most: usize) -> Result<Bytes> {
        let download = self.clone();
        blocking(move || download.read(most)).await
    }

    fn read(&self, most: usize) -> Result<Bytes> {
        let mut state = self.state.lock();
        let State::Open(file) = &mut *state else { return Err(self.removed()) };
        let mut part = Vec::with_capacity(most);
        let read = file.take(most as u64).read_to_end(&mut part);
        read.map_err(|e| StorageError::io(format!("read snapshot {}", self.name), &e))?;
        Ok(part.into())
    }

    fn removed(&self) -> StorageError {
        let short: String = self.name.chars().take(128).collect();
        StorageError::NotFound(format!(
            "snapshot {short:?} was removed by a purge or with its collection while it was read; make another one"
        ))
    }
}

impl Engine {
    /// Ends the downloads of a collection's snapshots, but for those of `kept`.
    pub(super) async fn end_downloads(
        self: &Engine,
        schema: &CollectionSchema,
        kept: &[String],
    ) -> Result<()> {
        let (downloads, folder, kept) = (self.downloads.clone(), self.snapshot_folder(schema), kept.to_vec());
        blocking(move || {
            downloads.end(&folder, &kept);
            Ok(())
        })
        .await
    }
}
