//! The directory of one log: names of its files, and changes that survive a power cut.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::frame::Fields;
use crate::private_dir;

/// Name of the seal.
const SEAL: &str = "seal";
const SEAL_MAGIC: [u8; 8] = *b"ENGRAMSL";
const SEAL_LEN: usize = 20;

/// Path of the file whose first record has offset `first`.
pub(super) fn log_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// First offset in the name of a log file, `None` for other names.
pub(super) fn first_offset(name: &str) -> Option<u64> {
    let digits =
        name.strip_suffix(".log").filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|n| *n > 0)
}

/// What a log directory holds. Names that are not ours are left alone.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// First offset and length of each log file, ascending.
    pub files: Vec<(u64, u64)>,
    /// Left over from an interrupted replacement: safe to remove.
    pub temporary: Vec<PathBuf>,
    pub sealed: bool,
}

/// Lists a log directory; one that does not exist is empty.
pub(super) fn list(dir: &Path) -> io::Result<Listing> {
    let mut found = Listing::default();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !entry.file_type()?.is_file() {
            continue;
        }
        if let Some(first) = first_offset(name) {
            found.files.push((first, entry.metadata()?.len()));
        } else if name == SEAL {
            found.sealed = true;
        } else if name.ends_with(".tmp") {
            found.temporary.push(entry.path());
        }
    }
    found.files.sort_unstable();
    Ok(found)
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Directories from `dir` up to the one that holds `root`, outermost first.
fn chain_of_parents<'a>(root: &Path, dir: &'a Path) -> Vec<&'a Path> {
    let above = root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(root);
    let mut out: Vec<_> = dir.ancestors().take_while(|d| d.starts_with(above)).collect();
    out.reverse();
    out
}

/// Creates `dir` and its parents from `root` on so that they survive a power cut. Those that exist are synced too: a
/// process that was killed may have made them and not come to that.
pub(super) fn create_durably(root: &Path, dir: &Path) -> io::Result<()> {
    private_dir::create(dir)?;
    sync_parents(root, dir)
}

/// Makes the way from `root` to `dir` durable.
pub(super) fn sync_parents(root: &Path, dir: &Path) -> io::Result<()> {
    chain_of_parents(root, dir).into_iter().try_for_each(sync_dir)
}

/// Removes a file durably; one that is gone already is fine.
pub(super) fn remove_durably(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes the directory of a log durably; one that is gone already is fine.
pub(super) fn remove_log(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Replaces the seal durably.
pub(super) fn write_seal(dir: &Path, epoch: u64) -> io::Result<()> {
    let mut bytes = SEAL_MAGIC.to_vec();
    bytes.extend_from_slice(&epoch.to_le_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let temporary = dir.join(format!("{SEAL}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(SEAL))?;
    sync_dir(dir)
}

/// Path of the seal and the epoch in it; `None` in place of the epoch where it is damaged.
pub(super) fn read_seal(dir: &Path) -> io::Result<(PathBuf, Option<u64>)> {
    let path = dir.join(SEAL);
    let bytes = std::fs::read(&path)?;
    if bytes.len() != SEAL_LEN {
        return Ok((path, None));
    }
    let mut f = Fields(&bytes);
    let (magic, epoch, crc) = (f.take::<8>(), f.u64(), f.u32());
    let intact = magic == SEAL_MAGIC && crc == crc_fast::crc32_iscsi(&bytes[..SEAL_LEN - 4]);
    Ok((path, intact.then_some(epoch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_are_log_files() {
        assert_eq!(first_offset("00000000000000000042.log"), Some(42));
        for other in [
            "00000000000000000000.log",
            "42.log",
            "0000000000000000004x.log",
            "x",
            "99999999999999999999.log",
        ] {
            assert_eq!(first_offset(other), None, "{other}");
        }
    }
}
