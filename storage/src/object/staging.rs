//! Staging files: what the local store writes before an object gets its name.
//!
//! A kill leaves them behind, `list` does not show them, and they hold the bytes of points. So they are looked for in
//! the raw directory. Those of uploads under way in this process are left alone.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Result, StorageError};

/// Files that uploads under way will become, with the number of uploads.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploads(Arc<Mutex<HashMap<PathBuf, usize>>>);

/// Marks an upload as under way until it is dropped.
#[derive(Debug)]
pub(super) struct UploadMark {
    uploads: Uploads,
    target: PathBuf,
}

impl Uploads {
    pub(super) fn begin(&self, target: PathBuf) -> UploadMark {
        *self.0.lock().entry(target.clone()).or_default() += 1;
        UploadMark { uploads: self.clone(), target }
    }
}

impl Drop for UploadMark {
    fn drop(&mut self) {
        let mut under_way = self.uploads.0.lock();
        if let Some(count) = under_way.get_mut(&self.target) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.target);
            }
        }
    }
}

/// The file that staging file `path` was to become; `None` if it is no staging file.
fn target_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (stem, number) = name.rsplit_once('#')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| path.with_file_name(stem))
}

/// Removes staging files below `dir` that no upload of this process owns; returns them with their sizes.
pub(super) fn sweep(dir: &Path, uploads: &Uploads) -> Result<Vec<(PathBuf, u64)>> {
    let mut removed = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let before = removed.len();
        for path in entries(&dir)? {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                open.push(path);
            } else if let Some(target) = target_of(&path) {
                // Held while removing, so that no upload begins to use this very name in between.
                let under_way = uploads.0.lock();
                if !under_way.contains_key(&target) && remove(&path)? {
                    removed.push((path, meta.len()));
                }
            }
        }
        if removed.len() > before {
            sync_dir(&dir)?;
        }
    }
    Ok(removed)
}

/// Removes directories below `dir`, and `dir` itself, that hold nothing.
pub(super) fn remove_empty_dirs(dir: &Path) -> Result<()> {
    for path in entries(dir)? {
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            remove_empty_dirs(&path)?;
        }
    }
    // Fails where something is inside, which is what should happen.
    if fs::remove_dir(dir).is_ok()
        && let Some(parent) = dir.parent()
    {
        sync_dir(parent)?;
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let fault = |e: &std::io::Error| StorageError::io(format!("list {}", dir.display()), e);
    match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(fault(&e)),
        Ok(entries) => {
            let paths = entries.map(|entry| entry.map(|e| e.path()));
            paths.collect::<std::io::Result<_>>().map_err(|e| fault(&e))
        }
    }
}

/// Removes a file; false if it was gone already.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StorageError::io(format!("remove {}", path.display()), &e)),
    }
}

/// Makes the entries of a directory durable; a directory that is gone needs nothing.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    match fs::File::open(dir).and_then(|f| f.sync_all()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::io(format!("sync {}", dir.display()), &e))
        }
        _ => Ok(()),
    }
}
