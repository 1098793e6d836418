//! Mapped files: the only unsafe code of this crate.

use std::fs::File;

use bytes::Bytes;

/// Maps a whole file for reading; an empty file gives no bytes.
pub(super) fn map(file: &File) -> std::io::Result<Bytes> {
    // The system refuses to map nothing.
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to the store. Objects are never changed or cut once they have
    // their name: they are written under a staging name, renamed into place, and only ever unlinked, which leaves
    // the mapped inode alive. The data directory is locked by this process, so nobody else writes in it either.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}
