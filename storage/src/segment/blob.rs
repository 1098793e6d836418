//! The container of a segment's blobs: a header and sections at multiples of 64 bytes, so that columns can be read in
//! place. Lengths are checked here; content is covered by the checksum of the [`ObjectRef`](crate::object::ObjectRef).
//!
//! ```text
//! "ENGRBLOB" | format u32 | kind u32 | rows u64 | detail u64 | sections u64 | (offset u64, length u64) x sections
//! ```

use std::io::Write;

use bytemuck::Pod;
use bytes::Bytes;
use engram_index::Column;

use crate::error::{Result, StorageError};
use crate::object::ObjectSink;

const MAGIC: &[u8; 8] = b"ENGRBLOB";
const FORMAT: u32 = 1;
const ALIGNMENT: u64 = 64;
const FIXED_BYTES: usize = 40;
const MAX_SECTIONS: usize = 16;

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rows = 1,
    Vectors = 2,
    PayloadIndex = 3,
    Graph = 4,
    Sparse = 5,
    Multi = 6,
}

/// What the header of a blob says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub kind: Kind,
    pub rows: u64,
    /// Meaning depends on the kind.
    pub detail: u64,
}

/// Writes the sections of a blob one after the other; their lengths are given before.
pub(super) struct BlobWriter<'s> {
    sink: &'s mut ObjectSink,
    path: String,
    lengths: std::slice::Iter<'s, u64>,
    end: u64,
}

impl<'s> BlobWriter<'s> {
    pub(super) fn begin(
        sink: &'s mut ObjectSink,
        path: &str,
        header: Header,
        lengths: &'s [u64],
    ) -> Result<Self> {
        let mut head = Vec::with_capacity(FIXED_BYTES + 16 * lengths.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&FORMAT.to_le_bytes());
        head.extend_from_slice(&(header.kind as u32).to_le_bytes());
        for number in [header.rows, header.detail, lengths.len() as u64] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        let mut at = (FIXED_BYTES as u64 + 16 * lengths.len() as u64).next_multiple_of(ALIGNMENT);
        for length in lengths {
            head.extend_from_slice(&at.to_le_bytes());
            head.extend_from_slice(&length.to_le_bytes());
            at = (at + length).next_multiple_of(ALIGNMENT);
        }
        let mut writer =
            Self { sink, path: path.to_owned(), lengths: lengths.iter(), end: head.len() as u64 };
        writer.put(&head)?;
        Ok(writer)
    }

    /// Begins the next section; the one before must be complete.
    pub(super) fn section(&mut self) -> Result<()> {
        self.complete()?;
        let Some(length) = self.lengths.next() else {
            return Err(StorageError::Internal(format!("{}: one section too many", self.path)));
        };
        self.sink.align(ALIGNMENT).map_err(|e| self.fault(&e))?;
        self.end = self.sink.position() + length;
        Ok(())
    }

    /// Writes into the section.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(|e| self.fault(&e))
    }

    /// Writes a whole section.
    pub(super) fn column<T: Pod>(&mut self, values: &[T]) -> Result<()> {
        self.section()?;
        self.put(bytemuck::cast_slice(values))
    }

    /// Checks that the section is as long as was said.
    pub(super) fn complete(&self) -> Result<()> {
        if self.sink.position() == self.end {
            return Ok(());
        }
        let (at, end) = (self.sink.position(), self.end);
        Err(StorageError::Internal(format!("{}: a section ends at {at}, should at {end}", self.path)))
    }

    fn fault(&self, e: &std::io::Error) -> StorageError {
        StorageError::io(format!("write {}", self.path), e)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

/// A blob whose header and lengths fit.
pub(super) struct Blob {
    pub path: String,
    pub header: Header,
    sections: Vec<Bytes>,
}

impl Blob {
    /// Reads the header of a blob that should be of this kind, with this number of sections.
    pub(super) fn open(path: &str, file: &Bytes, kind: Kind, sections: usize) -> Result<Self> {
        match Self::parse(file, kind, sections) {
            Ok((header, sections)) => Ok(Self { path: path.to_owned(), header, sections }),
            Err(why) => Err(StorageError::corrupt(path, why)),
        }
    }

    fn parse(file: &Bytes, kind: Kind, sections: usize) -> Result<(Header, Vec<Bytes>), String> {
        let number =
            |at: usize| -> Option<u64> { Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?)) };
        let head = || Some((file.get(..8)?, number(8)?, number(16)?, number(24)?, number(32)?));
        let (magic, format_kind, rows, detail, count) = head().ok_or("shorter than its header")?;
        if magic != MAGIC || format_kind != u64::from(FORMAT) | (kind as u64) << 32 {
            return Err(format!("the header is not that of a {kind:?} blob of format {FORMAT}"));
        }
        if count != sections as u64 || sections > MAX_SECTIONS {
            return Err(format!("{count} sections instead of {sections}"));
        }
        let mut end = FIXED_BYTES + 16 * sections;
        let mut parts = Vec::with_capacity(sections);
        for section in 0..sections {
            let at = FIXED_BYTES + 16 * section;
            let span = || {
                let from = usize::try_from(number(at)?).ok()?;
                let to = from.checked_add(usize::try_from(number(at + 8)?).ok()?)?;
                (from == end.next_multiple_of(ALIGNMENT as usize) && to <= file.len()).then_some(from..to)
            };
            let span = span().ok_or_else(|| format!("section {section} does not fit the file"))?;
            end = span.end;
            parts.push(file.slice(span));
        }
        if end != file.len() {
            return Err(format!("{} bytes after the last section", file.len() - end));
        }
        Ok((Header { kind, rows, detail }, parts))
    }

    /// A section as it is.
    pub(super) fn bytes(&self, section: usize) -> Bytes {
        self.sections.get(section).cloned().unwrap_or_default()
    }

    /// A section as a column.
    pub(super) fn column<T: Pod>(&self, section: usize) -> Result<Column<T>> {
        Column::from_bytes(self.bytes(section)).map_err(|e| self.corrupt(format!("section {section}: {e}")))
    }

    /// The error that this blob is damaged.
    pub(super) fn corrupt(&self, why: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.path, why)
    }
}
