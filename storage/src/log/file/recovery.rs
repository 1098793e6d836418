//! Opening a log: find its tail, cut what a crash left half-written, refuse what is damaged.
//!
//! Writes nothing unless there is something to cut, so it may be interrupted and repeated at will.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::directory::{self, log_path};
use super::fault::SyncFault;
use super::frame::{BadHeader, Chain, FRAME_HEADER, FrameHeader, MAGIC};
use super::header::FILE_HEADER;
use super::reader::{FrameReader, ReadError};
use crate::log::{Epoch, LogError, Offset, OpenReport};

/// What the disk says about a log.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// First offset and length of each file, ascending; the last is the active one.
    pub files: Vec<(Offset, u64)>,
    pub tail: Offset,
    pub chain: Chain,
    /// Largest epoch in the log.
    pub epoch: Epoch,
    /// Largest sealed epoch.
    pub sealed: Epoch,
    /// Tag of the active file.
    pub tag: u64,
}

/// Everything up to here is whole batches.
#[derive(Clone, Copy)]
struct Good {
    end: u64,
    tail: Offset,
    chain: Chain,
    epoch: Epoch,
}

/// What a look at the last file found.
enum Last {
    /// Its records end here; `damage` says what follows.
    Ends { good: Good, tag: u64, damage: Option<(u64, &'static str)> },
    /// Its header does not fit.
    NoHeader { why: &'static str, torn: bool },
}

fn corrupt(path: &Path, at: u64, why: impl Into<String>) -> LogError {
    LogError::Corrupt { path: path.display().to_string(), at, why: why.into() }
}

fn unavailable(what: &str, path: &Path, e: &io::Error) -> LogError {
    LogError::Unavailable(format!("cannot {what} {}: {e}", path.display()))
}

/// Recovers the log in `dir`; `first_chain` is the chain of an empty one.
pub(super) fn recover(
    root: &Path,
    dir: &Path,
    shard: u64,
    first_chain: Chain,
    fault: &SyncFault,
) -> Result<(Recovered, OpenReport), LogError> {
    let found = directory::list(dir).map_err(|e| unavailable("list", dir, &e))?;
    for path in &found.temporary {
        tracing::info!(path = %path.display(), "removing what an interrupted write left");
        // Harmless where it stays: nothing reads it.
        let _ = std::fs::remove_file(path);
    }
    let mut out = Recovered { files: found.files, chain: first_chain, ..Recovered::default() };
    if found.sealed {
        let (path, epoch) =
            directory::read_seal(dir).map_err(|e| unavailable("read the seal in", dir, &e))?;
        out.sealed = epoch.ok_or_else(|| corrupt(&path, 0, "the seal does not fit its checksum"))?;
    }
    let mut report = OpenReport::default();
    check_earlier(dir, shard, &out.files)?;
    while let Some(&(first, len)) = out.files.last() {
        let path = log_path(dir, first);
        match inspect(dir, first, shard)? {
            Last::Ends { good, tag, damage } => {
                if let Some((at, why)) = damage {
                    refuse_acknowledged(&path, at, tag, good.tail, why)?;
                    cut(&path, good.end, len, why, fault)?;
                    report.cut = Some((path.display().to_string(), good.end, len - good.end));
                }
                make_durable(root, dir, first, fault)?;
                (out.tail, out.chain, out.epoch, out.tag) = (good.tail, good.chain, good.epoch, tag);
                if let Some(last) = out.files.last_mut() {
                    last.1 = good.end;
                }
                break;
            }
            Last::NoHeader { why, torn } => {
                drop_unborn(dir, shard, &out.files, why, torn)?;
                report.cut = Some((path.display().to_string(), 0, len));
                out.files.pop();
            }
        }
    }
    out.epoch = out.epoch.max(out.sealed);
    Ok((out, report))
}

/// The headers of all files but the last must fit: they were synced before the next file was begun.
fn check_earlier(dir: &Path, shard: u64, files: &[(Offset, u64)]) -> Result<(), LogError> {
    let earlier = files.split_last().map_or(&[][..], |(_, earlier)| earlier);
    for &(first, _) in earlier {
        FrameReader::open(dir, first, shard, None).map_err(|e| e.into_log_error(&log_path(dir, first)))?;
    }
    Ok(())
}

/// Reads the last file up to its end or to the first thing that does not fit.
fn inspect(dir: &Path, first: Offset, shard: u64) -> Result<Last, LogError> {
    let path = log_path(dir, first);
    let mut reader = match FrameReader::open(dir, first, shard, None) {
        Ok(reader) => reader,
        Err(ReadError::Bad { why, torn, .. }) => return Ok(Last::NoHeader { why, torn }),
        Err(e) => return Err(e.into_log_error(&path)),
    };
    let tag = reader.header.tag();
    let mut good = Good { end: reader.at, tail: first - 1, chain: reader.chain, epoch: reader.epoch() };
    loop {
        let at = reader.at;
        let step = next_in_batch(&mut reader, tag, good.tail);
        match step {
            Ok(Some(true)) => {
                let (tail, epoch) = (reader.next - 1, reader.epoch());
                good = Good { end: reader.at, tail, chain: reader.chain, epoch };
            }
            Ok(Some(false)) => {}
            Ok(None) if good.tail + 1 == reader.next => return Ok(Last::Ends { good, tag, damage: None }),
            Ok(None) => {
                let damage = Some((at, "the last records of an append are missing"));
                return Ok(Last::Ends { good, tag, damage });
            }
            Err(ReadError::Bad { at, why, torn: true }) => {
                return Ok(Last::Ends { good, tag, damage: Some((at, why)) });
            }
            Err(e) => return Err(e.into_log_error(&path)),
        }
    }
}

/// Passes the next frame; true where it is the last of its batch, `None` at the end of the file.
fn next_in_batch(reader: &mut FrameReader, tag: u64, good_tail: Offset) -> Result<Option<bool>, ReadError> {
    let Some(h) = reader.next_header(tag)? else { return Ok(None) };
    if h.batch_first() != good_tail + 1 {
        let why = "the record belongs to another append than the one before it";
        return Err(ReadError::Bad { at: reader.at, why, torn: false });
    }
    reader.body(&h)?;
    Ok(Some(h.is_last_of_batch()))
}

/// Refuses to cut where an intact frame of a later append follows the damage at `at`: then what is damaged had been
/// acknowledged. Frames of the same append prove nothing, since its pages reach the disk in any order.
fn refuse_acknowledged(path: &Path, at: u64, tag: u64, tail: Offset, why: &str) -> Result<(), LogError> {
    let read = |e: io::Error| unavailable("read", path, &e);
    let later = find_frame(path, at, |h| h.is_none_or(|h| h.tag == tag && h.batch_first() != tail + 1));
    match later.map_err(read)? {
        Some(_) => Err(corrupt(path, at, format!("{why}, and intact records follow"))),
        None => Ok(()),
    }
}

/// Position of the first intact frame header from `at` on that `wanted` takes; it is given `None` for one that is
/// intact but of a newer version.
fn find_frame(
    path: &Path,
    at: u64,
    wanted: impl Fn(Option<&FrameHeader>) -> bool,
) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut window = Vec::new();
    let mut base = at;
    loop {
        let before = window.len();
        let read = file.by_ref().take(1 << 20).read_to_end(&mut window)?;
        for (i, block) in window.windows(FRAME_HEADER).enumerate() {
            // Compare the first byte alone first: most positions are dismissed by it.
            let Some(block) = block.first_chunk().filter(|b| b[0] == MAGIC[0] && b.starts_with(&MAGIC))
            else {
                continue;
            };
            let fits = match FrameHeader::parse(block) {
                Ok(h) => wanted(Some(&h)),
                Err(BadHeader::Refused(_)) => wanted(None),
                Err(BadHeader::Damaged(_)) => false,
            };
            if fits {
                return Ok(Some(base + i as u64));
            }
        }
        if read == 0 {
            return Ok(None);
        }
        debug_assert_eq!(before + read, window.len());
        // A header may straddle two reads.
        let keep = window.len().min(FRAME_HEADER - 1);
        base += (window.len() - keep) as u64;
        window.drain(..window.len() - keep);
    }
}

/// Removes the last file where its making was cut short: header and first records are one write, so nothing in it
/// was acknowledged. Anything else is damage.
fn drop_unborn(
    dir: &Path,
    shard: u64,
    files: &[(Offset, u64)],
    why: &str,
    torn: bool,
) -> Result<(), LogError> {
    let Some((&(first, _), earlier)) = files.split_last() else { return Ok(()) };
    let path = log_path(dir, first);
    if !torn {
        return Err(corrupt(&path, 0, why));
    }
    let read = |e: io::Error| unavailable("read", &path, &e);
    // A frame proves that there was a header once; only one of the very first append may be there without it.
    let acknowledged = |h: Option<&FrameHeader>| h.is_none_or(|h| h.batch_first() != first);
    let foreign = find_frame(&path, 0, acknowledged).map_err(read)?;
    let own = find_frame(&path, 0, |h| h.is_some_and(|h| h.batch_first() == first)).map_err(read)?;
    let header_was_written = own.is_some() && header_block_is_whole(&path).map_err(read)?;
    if foreign.is_some() || header_was_written {
        return Err(corrupt(&path, 0, format!("{why}, and intact records follow")));
    }
    // The file before must end where this one begins; otherwise this header alone knew the tail (after a trim).
    match earlier.last() {
        None if first == 1 => {}
        None => return Err(corrupt(&path, 0, format!("{why}, and no other file tells the tail"))),
        Some(&(before, _)) => match inspect(dir, before, shard)? {
            Last::Ends { good, .. } if good.tail + 1 == first => {}
            _ => return Err(corrupt(&path, 0, format!("{why}, and the file before does not reach it"))),
        },
    }
    tracing::warn!(path = %path.display(), why, "removing a log file whose making was cut short");
    directory::remove_durably(&path).map_err(|e| unavailable("remove", &path, &e))
}

/// Whether the header block holds something other than zeros: then its page had reached the disk.
fn header_block_is_whole(path: &Path) -> io::Result<bool> {
    let mut block = vec![];
    File::open(path)?.take(FILE_HEADER as u64).read_to_end(&mut block)?;
    Ok(block.len() == FILE_HEADER && block.iter().any(|b| *b != 0))
}

fn cut(path: &Path, to: u64, len: u64, why: &str, fault: &SyncFault) -> Result<(), LogError> {
    tracing::warn!(path = %path.display(), at = to, bytes = len - to, why, "cutting a torn tail off the log");
    let cut = OpenOptions::new().write(true).open(path).and_then(|file| fault.truncate(&file, to));
    cut.map_err(|e| unavailable("cut the torn tail of", path, &e))
}

/// A process may have been killed between write and sync: what is served from here on must be durable.
fn make_durable(root: &Path, dir: &Path, first: Offset, fault: &SyncFault) -> Result<(), LogError> {
    let path = log_path(dir, first);
    let synced = File::open(&path).and_then(|file| fault.sync(&file)).and_then(|()| {
        // A later file shows that the way to the directory was synced for the first one.
        if first == 1 { directory::sync_parents(root, dir) } else { directory::sync_dir(dir) }
    });
    synced.map_err(|e| LogError::Poisoned(format!("cannot sync {}: {e}", path.display())))
}
