//! The encoded form of an index.
//!
//! ```text
//! 0   magic "EPIX"
//! 4   version u32
//! 8   kind u32
//! 12  CRC-32C of the bytes before and after it, u32
//! 16  sections: numbers (u64), columns (length in values u64, values) and bitmaps (length in bytes u64, portable
//!     roaring form), each padded to 8 bytes, so that columns can be read in place
//! ```
//! All numbers are little-endian.

use bytemuck::Pod;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use roaring::RoaringBitmap;

use crate::column::Column;
use crate::error::{IndexError, Result};
use crate::payload::PayloadIndexKind;

const MAGIC: [u8; 4] = *b"EPIX";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const CRC_AT: usize = 12;

/// An error about a payload index blob.
pub(super) fn corrupt(why: impl Into<String>) -> IndexError {
    IndexError::corrupt("payload index", why)
}

/// Appends sections.
pub(super) struct Writer {
    buf: Vec<u8>,
}

impl Writer {
    pub fn new(kind: PayloadIndexKind) -> Self {
        let mut buf = Vec::with_capacity(1024);
        buf.extend_from_slice(&MAGIC);
        buf.extend_from_slice(&VERSION.to_le_bytes());
        buf.extend_from_slice(&kind_code(kind).to_le_bytes());
        buf.extend_from_slice(&[0; 4]);
        Self { buf }
    }

    pub fn number(&mut self, n: u64) {
        self.buf.extend_from_slice(&n.to_le_bytes());
    }

    pub fn column<T: Pod>(&mut self, values: &[T]) {
        self.number(values.len() as u64);
        self.buf.extend_from_slice(bytemuck::cast_slice(values));
        self.pad();
    }

    pub fn bitmap(&mut self, bitmap: &RoaringBitmap) {
        self.number(bitmap.serialized_size() as u64);
        // Writing to a Vec does not fail.
        let _ = bitmap.serialize_into(&mut self.buf);
        self.pad();
    }

    fn pad(&mut self) {
        self.buf.resize(self.buf.len().next_multiple_of(8), 0);
    }

    /// The blob with its checksum.
    pub fn finish(mut self) -> Vec<u8> {
        let crc = checksum(&self.buf);
        if let Some(field) = self.buf.get_mut(CRC_AT..HEADER) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        self.buf
    }
}

/// Takes sections; every length is held against the bytes that are left before memory is taken for it.
pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Checks header and checksum.
    pub fn open(mut blob: Bytes) -> Result<(PayloadIndexKind, Self)> {
        let word = |at: usize| -> Result<u32> {
            let bytes = blob.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or_else(|| corrupt("shorter than its header"))
        };
        if word(0)? != u32::from_le_bytes(MAGIC) {
            return Err(corrupt("not a payload index"));
        }
        if word(4)? != VERSION {
            return Err(corrupt(format!("version {}, this build reads {VERSION}", word(4)?)));
        }
        if word(CRC_AT)? != checksum(&blob) {
            return Err(corrupt("checksum does not match"));
        }
        let kind = kind_of(word(8)?).ok_or_else(|| corrupt("unknown kind"))?;
        let rest = blob.split_off(HEADER);
        Ok((kind, Self { rest }))
    }

    pub fn number(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        bytes.as_ref().try_into().map(u64::from_le_bytes).map_err(|_| corrupt("a number is cut off"))
    }

    pub fn column<T: Pod>(&mut self) -> Result<Column<T>> {
        let values = usize::try_from(self.number()?).ok();
        let len = values
            .and_then(|n| n.checked_mul(size_of::<T>()))
            .ok_or_else(|| corrupt("a column is too long"))?;
        let bytes = self.padded(len)?;
        // A buffer that is not aligned (an unmapped copy, a slice of a larger file) is copied.
        if bytemuck::try_cast_slice::<u8, T>(&bytes).is_ok() {
            return Column::from_bytes(bytes);
        }
        let mut values = vec![T::zeroed(); len / size_of::<T>().max(1)];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&bytes);
        Ok(values.into())
    }

    /// A blob of its own format.
    pub fn blob(&mut self) -> Result<Bytes> {
        let len = usize::try_from(self.number()?).map_err(|_| corrupt("a blob is too long"))?;
        self.padded(len)
    }

    /// A bitmap of ordinals below `rows`.
    pub fn bitmap(&mut self, rows: u32) -> Result<RoaringBitmap> {
        let len = usize::try_from(self.number()?).map_err(|_| corrupt("a bitmap is too long"))?;
        let bytes = self.padded(len)?;
        let mut input: &[u8] = &bytes;
        let bitmap =
            RoaringBitmap::deserialize_from(&mut input).map_err(|e| corrupt(format!("a bitmap: {e}")))?;
        if !input.is_empty() {
            return Err(corrupt("bytes after a bitmap"));
        }
        if bitmap.max().is_some_and(|max| max >= rows) {
            return Err(corrupt("a bitmap has a row beyond the last"));
        }
        Ok(bitmap)
    }

    /// Refuses bytes after the last section.
    pub fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(corrupt("bytes after the last section")) }
    }

    fn padded(&mut self, len: usize) -> Result<Bytes> {
        let bytes = self.take(len)?;
        self.take(len.next_multiple_of(8) - len)?;
        Ok(bytes)
    }

    fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.rest.len() {
            return Err(corrupt(format!("a section of {len} bytes where {} are left", self.rest.len())));
        }
        Ok(self.rest.split_to(len))
    }
}

fn checksum(blob: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(blob.get(..CRC_AT).unwrap_or(&[]));
    digest.update(blob.get(HEADER..).unwrap_or(&[]));
    // The algorithm has 32 bits.
    u32::try_from(digest.finalize()).unwrap_or(0)
}

const KINDS: [(PayloadIndexKind, u32); 8] = [
    (PayloadIndexKind::Keyword, 1),
    (PayloadIndexKind::Integer, 2),
    (PayloadIndexKind::Float, 3),
    (PayloadIndexKind::Bool, 4),
    (PayloadIndexKind::Datetime, 5),
    (PayloadIndexKind::Uuid, 6),
    (PayloadIndexKind::Geo, 7),
    (PayloadIndexKind::Text, 8),
];

fn kind_code(kind: PayloadIndexKind) -> u32 {
    KINDS.iter().find(|(k, _)| *k == kind).map_or(0, |(_, code)| *code)
}

fn kind_of(code: u32) -> Option<PayloadIndexKind> {
    KINDS.iter().find(|(_, c)| *c == code).map(|(kind, _)| *kind)
}
