//! The encoded form of a sparse index.
//!
//! ```text
//! 0   magic "EGRMSPRS"
//! 8   version u32
//! 12  CRC-32C of all after it, u32
//! 16  rows u32, 1 where ordinals are listed u32, components u64, terms u64
//! 40  sections, each padded to 8 bytes: ordinals u32, offsets u64, indices u32, values f32, terms u32, starts u64,
//!     places u32, weights f32
//! ```
//! All numbers are little-endian.

use std::io::Write;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::SparseIndex;
use crate::vector::ordinals::Ordinals;
use crate::{Column, IndexError, Result};

const WHAT: &str = "sparse index";
const MAGIC: &[u8; 8] = b"EGRMSPRS";
const VERSION: u32 = 1;
const CRC_AT: usize = 12;
const HEADER: usize = 40;
const ALIGN: usize = 8;

fn padding(len: usize) -> usize {
    len.next_multiple_of(ALIGN) - len
}

fn corrupt(why: impl Into<String>) -> IndexError {
    IndexError::corrupt(WHAT, why)
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
        digest.update(&[0; ALIGN][..padding(part.len())]);
    }
    // The algorithm has 32 bits.
    u32::try_from(digest.finalize()).unwrap_or(0)
}

impl SparseIndex {
    fn sections(&self) -> [&[u8]; 8] {
        [
            self.ordinals.table().map_or(&[], |table| bytemuck::cast_slice(table)),
            bytemuck::cast_slice(&self.offsets),
            bytemuck::cast_slice(&self.indices),
            bytemuck::cast_slice(&self.values),
            bytemuck::cast_slice(&self.terms),
            bytemuck::cast_slice(&self.starts),
            bytemuck::cast_slice(&self.places),
            bytemuck::cast_slice(&self.weights),
        ]
    }

    /// Number of bytes that [`SparseIndex::encode_to`] writes.
    pub fn encoded_len(&self) -> usize {
        HEADER + self.sections().iter().map(|part| part.len().next_multiple_of(ALIGN)).sum::<usize>()
    }

    /// Writes the index as [`SparseIndex::open`] reads it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn encode_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let sections = self.sections();
        let mut header = [0u8; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        // Fewer rows than ordinals, see `Ordinals::new`.
        header[16..20].copy_from_slice(&(self.len() as u32).to_le_bytes());
        header[20..24].copy_from_slice(&u32::from(self.ordinals.table().is_some()).to_le_bytes());
        header[24..32].copy_from_slice(&(self.indices.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(self.terms.len() as u64).to_le_bytes());
        let mut covered = vec![&header[16..]];
        covered.extend(sections);
        let sum = crc(&covered);
        header[CRC_AT..16].copy_from_slice(&sum.to_le_bytes());
        out.write_all(&header)?;
        for part in sections {
            out.write_all(part)?;
            out.write_all(&[0; ALIGN][..padding(part.len())])?;
        }
        Ok(())
    }

    /// Opens what [`SparseIndex::encode_to`] wrote, without copying it (unless `blob` is not aligned), and checks all of it.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`]: rebuild the blob from its source.
    pub fn open(mut blob: Bytes) -> Result<Self> {
        let word = |at: usize| -> Result<u32> {
            let bytes = blob.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or_else(|| corrupt("shorter than its header"))
        };
        let long = |at: usize| Ok::<u64, IndexError>(u64::from(word(at + 4)?) << 32 | u64::from(word(at)?));
        if blob.get(..8) != Some(MAGIC) {
            return Err(corrupt("not a sparse index"));
        }
        if word(8)? != VERSION {
            return Err(corrupt(format!("version {}, this build reads {VERSION}", word(8)?)));
        }
        let (rows, listed, components, terms) = (word(16)?, word(20)?, long(24)?, long(32)?);
        if word(CRC_AT)? != crc(&[&blob[16..]]) || listed > 1 {
            return Err(corrupt("checksum does not match"));
        }
        drop(blob.split_to(HEADER));
        let mut rest = Sections { rest: blob };
        let table = if listed == 1 { Some(rest.column::<u32>(rows.into())?) } else { None };
        let (offsets, indices) = (rest.column(u64::from(rows) + 1)?, rest.column(components)?);
        let (values, terms_column) = (rest.column(components)?, rest.column(terms)?);
        let starts = rest.column(terms.saturating_add(1))?;
        let (places, weights) = (rest.column(components)?, rest.column(components)?);
        if !rest.rest.is_empty() {
            return Err(corrupt("bytes after the last section"));
        }
        let ordinals = Ordinals::new(rows as usize, table).map_err(|e| corrupt(e.to_string()))?;
        let index = Self { ordinals, offsets, indices, values, terms: terms_column, starts, places, weights };
        index.misfit().map_or(Ok(index), |why| Err(corrupt(why)))
    }
}

/// Sections that were not taken yet.
struct Sections {
    rest: Bytes,
}

impl Sections {
    /// The next section, of so many values; held against the bytes that are left before anything is taken for it.
    fn column<T: bytemuck::Pod>(&mut self, values: u64) -> Result<Column<T>> {
        let len = usize::try_from(values).ok().and_then(|n| n.checked_mul(size_of::<T>()));
        let len = len.filter(|len| len.checked_next_multiple_of(ALIGN).is_some_and(|n| n <= self.rest.len()));
        let Some(len) = len else { return Err(corrupt("a section does not fit the file")) };
        let section = self.rest.split_to(len);
        drop(self.rest.split_to(padding(len)));
        Column::view_or_copy(section)
    }
}
