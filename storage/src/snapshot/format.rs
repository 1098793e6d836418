//! The container: header, entries, trailer, each with its checksum.

use std::io::{self, Read, Write};

use super::SnapshotHeader;
use super::error::{SnapshotError, read_fault};
use crate::error::{Result, StorageError};

/// Version of the format that this build reads and writes.
pub const VERSION: u32 = 1;

/// Bytes at the end: a word and the checksum of everything before.
pub const TRAILER_BYTES: u64 = 8 + HASH as u64;

const MAGIC: [u8; 8] = *b"ENGRAMSN";
const END: [u8; 8] = *b"ENGRAMSE";
const HASH: usize = blake3::OUT_LEN;
const ENTRY_HEAD: usize = 9;
/// Bytes that an entry has beside its content.
pub(super) const ENTRY_FRAME: u64 = (ENTRY_HEAD + HASH) as u64;
/// Largest header: far more than the largest definition and thousands of purges take.
const MAX_HEADER: u32 = 16 << 20;
/// Largest content that is taken into memory: the states of all shards together.
pub(super) const MAX_CONTENTS: u64 = 64 << 20;
/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// State of one shard.
    Shard = 1,
    /// An object of a segment.
    Object = 2,
}

fn entry_head(kind: EntryKind, length: u64) -> [u8; ENTRY_HEAD] {
    let mut head = [kind as u8; ENTRY_HEAD];
    head[1..].copy_from_slice(&length.to_le_bytes());
    head
}

/// Writes a container.
pub struct ContainerWriter<W> {
    out: W,
    whole: blake3::Hasher,
}

impl<W: Write> ContainerWriter<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// `Exhausted` for a header that no reader would take; those of writing.
    pub fn begin(out: W, header: &SnapshotHeader) -> Result<Self> {
        let json = serde_json::to_vec(header).map_err(|e| StorageError::Internal(e.to_string()))?;
        let length = u32::try_from(json.len()).ok().filter(|len| *len <= MAX_HEADER);
        let length = length.ok_or_else(|| {
            StorageError::Exhausted(format!(
                "the header would have {} bytes, at most {MAX_HEADER} fit",
                json.len()
            ))
        })?;
        let mut writer = Self { out, whole: blake3::Hasher::new() };
        for part in [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes(), &json] {
            writer.put(part)?;
        }
        let hash = writer.whole.finalize();
        writer.put(hash.as_bytes())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.whole.update(bytes);
        self.out.write_all(bytes).map_err(|e| StorageError::io("write the snapshot", &e))
    }

    /// Writes one entry; `each` sees every part before it is written, and may stop it.
    ///
    /// # Errors
    /// Those of `each` and of writing.
    pub fn entry(
        &mut self,
        kind: EntryKind,
        content: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let head = entry_head(kind, content.len() as u64);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        self.put(&head)?;
        for part in content.chunks(CHUNK) {
            each(part)?;
            hasher.update(part);
            self.put(part)?;
        }
        self.put(hasher.finalize().as_bytes())
    }

    /// Writes the trailer and gives back its checksum.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<blake3::Hash> {
        let whole = self.whole.finalize();
        self.put(&END)?;
        self.put(whole.as_bytes())?;
        Ok(whole)
    }
}

/// Reads a container from front to back.
pub struct ContainerReader<R> {
    input: R,
    whole: blake3::Hasher,
    /// Bytes of entries still to come.
    left: u64,
}

impl<R: Read> ContainerReader<R> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`SnapshotError`]; those of reading.
    pub fn open(input: R) -> Result<(SnapshotHeader, Self)> {
        let mut reader = Self { input, whole: blake3::Hasher::new(), left: 0 };
        let magic: [u8; 8] = reader.take("its first bytes")?;
        if magic != MAGIC {
            return Err(SnapshotError::NotASnapshot.into());
        }
        let version = u32::from_le_bytes(reader.take("its first bytes")?);
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion(version).into());
        }
        let length = u32::from_le_bytes(reader.take("its first bytes")?);
        if length > MAX_HEADER {
            return Err(SnapshotError::Damaged(format!("a header of {length} bytes")).into());
        }
        let json = reader.bounded("the header", u64::from(length))?;
        reader.compare("the header", reader.whole.finalize())?;
        let header: SnapshotHeader = serde_json::from_slice(&json)
            .map_err(|e| SnapshotError::misfit(format!("its header cannot be read ({e})")))?;
        reader.left = header.body_bytes;
        Ok((header, reader))
    }

    fn read(&mut self, part: &str, into: &mut [u8]) -> Result<()> {
        self.input.read_exact(into).map_err(|e| read_fault(part, &e))?;
        self.whole.update(into);
        Ok(())
    }

    fn take<const N: usize>(&mut self, part: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(part, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the checksum that comes next and compares it.
    fn compare(&mut self, part: &str, computed: blake3::Hash) -> Result<()> {
        let stored: [u8; HASH] = self.take(part)?;
        if computed == stored {
            return Ok(());
        }
        Err(SnapshotError::Damaged(format!("the checksum of {part} does not fit")).into())
    }

    /// Content into memory, which is taken as the bytes arrive: a length alone takes none.
    fn bounded(&mut self, part: &str, length: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut content).map_err(|e| read_fault(part, &e))?;
        if (content.len() as u64) < length {
            return Err(SnapshotError::Truncated(part.to_owned()).into());
        }
        self.whole.update(&content);
        Ok(content)
    }

    /// The head of the next entry, which must be of this kind and fit into what is left.
    fn begin_entry(&mut self, kind: EntryKind, part: &str) -> Result<(u64, blake3::Hasher)> {
        let damaged = |what: String| StorageError::from(SnapshotError::Damaged(what));
        if self.left < ENTRY_FRAME {
            return Err(damaged(format!("the header leaves no room for {part}")));
        }
        let head: [u8; ENTRY_HEAD] = self.take(part)?;
        let mut length = [0; 8];
        length.copy_from_slice(&head[1..]);
        let length = u64::from_le_bytes(length);
        self.left -= ENTRY_FRAME;
        if head[0] != kind as u8 || length > self.left {
            return Err(damaged(format!(
                "{part} is announced with {length} bytes where {} are left",
                self.left
            )));
        }
        self.left -= length;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        Ok((length, hasher))
    }

    /// The next entry in memory; it may have `most` bytes.
    ///
    /// # Errors
    /// [`SnapshotError`]; those of reading.
    pub fn entry(&mut self, kind: EntryKind, part: &str, most: u64) -> Result<Vec<u8>> {
        let (length, mut hasher) = self.begin_entry(kind, part)?;
        if length > most {
            return Err(SnapshotError::misfit(format!(
                "{part} has {length} bytes, at most {most} are taken"
            )));
        }
        let content = self.bounded(part, length)?;
        hasher.update(&content);
        self.compare(part, hasher.finalize())?;
        Ok(content)
    }

    /// Copies the next entry, which must have `length` bytes, to `out`.
    ///
    /// # Errors
    /// [`SnapshotError`]; those of reading and writing.
    pub fn copy_entry(
        &mut self,
        kind: EntryKind,
        part: &str,
        length: u64,
        out: &mut impl Write,
    ) -> Result<()> {
        let (announced, mut hasher) = self.begin_entry(kind, part)?;
        if announced != length {
            return Err(SnapshotError::misfit(format!("{part} has {announced} bytes, should have {length}")));
        }
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(CHUNK).min(CHUNK)];
        let mut rest = length;
        while rest > 0 {
            let now = usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK);
            self.read(part, &mut chunk[..now])?;
            hasher.update(&chunk[..now]);
            out.write_all(&chunk[..now]).map_err(|e| StorageError::io(format!("write {part}"), &e))?;
            rest -= now as u64;
        }
        self.compare(part, hasher.finalize())
    }

    /// Reads the trailer; nothing may follow it.
    ///
    /// # Errors
    /// [`SnapshotError`]; those of reading.
    pub fn finish(mut self) -> Result<()> {
        if self.left > 0 {
            return Err(SnapshotError::Damaged(format!("{} bytes belong to nothing", self.left)).into());
        }
        let whole = self.whole.finalize();
        let end: [u8; 8] = self.take("its end")?;
        if end != END {
            return Err(SnapshotError::Damaged("its end is not where it should be".into()).into());
        }
        self.compare("the whole file", whole)?;
        let mut more = [0];
        loop {
            match self.input.read(&mut more) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(SnapshotError::Damaged("something follows its end".into()).into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(read_fault("its end", &e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::conformance::schema;

    fn header(body_bytes: u64) -> SnapshotHeader {
        SnapshotHeader {
            name: "n".into(),
            created_at: 1,
            server_version: "0".into(),
            schema: schema(1, "c"),
            purges: vec![],
            shards: vec![],
            body_bytes,
        }
    }

    fn container() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ContainerWriter::begin(&mut out, &header(2 * ENTRY_FRAME + 8)).unwrap();
        writer.entry(EntryKind::Shard, b"abc", |_| Ok(())).unwrap();
        writer.entry(EntryKind::Object, b"defgh", |_| Ok(())).unwrap();
        writer.finish().unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let (_, mut reader) = ContainerReader::open(bytes)?;
        let first = reader.entry(EntryKind::Shard, "a shard", 100)?;
        let mut second = Vec::new();
        reader.copy_entry(EntryKind::Object, "an object", 5, &mut second)?;
        reader.finish()?;
        Ok((first, second))
    }

    #[test]
    fn a_container_comes_back() {
        assert_eq!(read(&container()).unwrap(), (b"abc".to_vec(), b"defgh".to_vec()));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let whole = container();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bad = whole.clone();
                bad[at] ^= 1 << bit;
                let e = read(&bad).expect_err("a changed bit");
                assert!(matches!(e, StorageError::Snapshot(_)), "byte {at}: {e}");
            }
            let e = read(&whole[..at]).expect_err("a cut");
            assert!(matches!(e, StorageError::Snapshot(_)), "cut at {at}: {e}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(read(&longer).is_err());
    }

    #[test]
    fn lengths_are_bounded_before_memory_is_taken() {
        // Lengths of the header and of an entry that nothing follows: refused without as much memory.
        let mut huge = container();
        huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read(&huge), Err(StorageError::Snapshot(SnapshotError::Damaged(_)))));
        let mut out = Vec::new();
        ContainerWriter::begin(&mut out, &header(u64::MAX)).unwrap();
        out.extend(entry_head(EntryKind::Shard, u64::MAX - ENTRY_FRAME));
        assert!(matches!(read(&out), Err(StorageError::Snapshot(SnapshotError::Misfit(_)))));
    }
}
