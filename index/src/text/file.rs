//! The packed form of an index.
//!
//! ```text
//! 0   magic "ETXT"
//! 4   version u32
//! 8   CRC-32C of the bytes before and after it, u32
//! 12  length of the head, u32
//! 16  head: options, number of rows, parts with the names, places and lengths of their files, as JSON
//!     lengths of the rows in words, u32 each, and the files, each at a multiple of 8
//! ```
//! All numbers are little-endian.

use std::collections::BTreeMap;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use serde::{Deserialize, Serialize};

use super::options::TextOptions;
use crate::column::Column;
use crate::error::{IndexError, Result};

const MAGIC: [u8; 4] = *b"ETXT";
const VERSION: u32 = 1;
const CRC_AT: usize = 8;
const HEADER: usize = 16;
const ALIGNMENT: usize = 8;

/// The files of one part, to be packed.
pub(super) struct PartFiles {
    pub first: u32,
    pub rows: u32,
    pub files: Vec<(String, Vec<u8>)>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    options: TextOptions,
    rows: u32,
    /// Where the lengths of the rows are, from the first byte after the head on; so are all places.
    lengths: u64,
    parts: Vec<PartHead>,
}

#[derive(Serialize, Deserialize)]
struct PartHead {
    first: u32,
    rows: u32,
    files: Vec<FileHead>,
}

#[derive(Serialize, Deserialize)]
struct FileHead {
    name: String,
    at: u64,
    length: u64,
}

/// What a blob holds.
pub(super) struct Packed {
    pub options: TextOptions,
    pub lengths: Column<u32>,
    pub parts: Vec<PackedPart>,
}

/// One part: its rows, and its files as slices of the blob.
pub(super) struct PackedPart {
    pub first: u32,
    pub rows: u32,
    pub files: BTreeMap<String, Bytes>,
}

fn corrupt(why: impl Into<String>) -> IndexError {
    IndexError::corrupt("text index", why)
}

/// Packs the parts, file by file, so that little is in memory twice.
pub(super) fn encode(options: &TextOptions, lengths: &[u32], parts: Vec<PartFiles>) -> Result<Vec<u8>> {
    let mut at = (size_of_val(lengths) as u64).next_multiple_of(ALIGNMENT as u64);
    let mut place = |length: usize| {
        let here = at;
        at = (at + length as u64).next_multiple_of(ALIGNMENT as u64);
        here
    };
    let file = |place: &mut dyn FnMut(usize) -> u64, (name, content): &(String, Vec<u8>)| FileHead {
        name: name.clone(),
        at: place(content.len()),
        length: content.len() as u64,
    };
    let heads = parts.iter().map(|part| PartHead {
        first: part.first,
        rows: part.rows,
        files: part.files.iter().map(|f| file(&mut place, f)).collect(),
    });
    let rows = u32::try_from(lengths.len()).map_err(|_| corrupt("too many rows"))?;
    let head = Head { options: options.clone(), rows, lengths: 0, parts: heads.collect() };
    let head = serde_json::to_vec(&head).map_err(|e| corrupt(e.to_string()))?;
    let head_length = u32::try_from(head.len()).map_err(|_| corrupt("its head is too long"))?;

    let first = (HEADER + head.len()).next_multiple_of(ALIGNMENT);
    let mut blob = Vec::with_capacity(first + usize::try_from(at).unwrap_or(0));
    blob.extend_from_slice(&MAGIC);
    blob.extend_from_slice(&VERSION.to_le_bytes());
    blob.extend_from_slice(&[0; 4]);
    blob.extend_from_slice(&head_length.to_le_bytes());
    blob.extend_from_slice(&head);
    pad(&mut blob);
    blob.extend_from_slice(bytemuck::cast_slice(lengths));
    pad(&mut blob);
    for (_, content) in parts.into_iter().flat_map(|part| part.files) {
        blob.extend_from_slice(&content);
        pad(&mut blob);
    }
    let crc = checksum(&blob);
    if let Some(field) = blob.get_mut(CRC_AT..CRC_AT + 4) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
    Ok(blob)
}

fn pad(blob: &mut Vec<u8>) {
    blob.resize(blob.len().next_multiple_of(ALIGNMENT), 0);
}

/// Checks header, checksum and all places of a blob.
pub(super) fn decode(blob: &Bytes) -> Result<Packed> {
    let word = |at: usize| -> Result<u32> {
        let bytes = blob.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or_else(|| corrupt("shorter than its header"))
    };
    if word(0)? != u32::from_le_bytes(MAGIC) {
        return Err(corrupt("not a text index"));
    }
    if word(4)? != VERSION {
        return Err(corrupt(format!("version {}, this build reads {VERSION}", word(4)?)));
    }
    if word(CRC_AT)? != checksum(blob) {
        return Err(corrupt("checksum does not match"));
    }
    let end = HEADER + word(12)? as usize;
    let head = blob.get(HEADER..end).ok_or_else(|| corrupt("the head is cut off"))?;
    let head: Head = serde_json::from_slice(head).map_err(|e| corrupt(format!("the head: {e}")))?;
    let first = end.next_multiple_of(ALIGNMENT);
    let slice = |at: u64, length: u64| {
        let from = usize::try_from(at).ok().and_then(|at| at.checked_add(first));
        let to = from.zip(usize::try_from(length).ok()).and_then(|(from, length)| from.checked_add(length));
        let span = from.zip(to).filter(|(_, to)| *to <= blob.len());
        span.map(|(from, to)| blob.slice(from..to)).ok_or_else(|| corrupt("a file lies outside"))
    };
    let lengths = Column::view_or_copy(slice(head.lengths, u64::from(head.rows) * 4)?)?;
    let (mut parts, mut next) = (Vec::new(), 0u32);
    for part in head.parts {
        // Part after part, none of them empty.
        let end = part.first.checked_add(part.rows).filter(|end| *end <= head.rows && part.rows > 0);
        next = end.filter(|_| part.first == next).ok_or_else(|| corrupt("parts do not follow each other"))?;
        let mut files = BTreeMap::new();
        for FileHead { name, at, length } in part.files {
            files.insert(name, slice(at, length)?);
        }
        parts.push(PackedPart { first: part.first, rows: part.rows, files });
    }
    if next != head.rows {
        return Err(corrupt("the parts have fewer rows than the index"));
    }
    head.options.validate().map_err(|e| corrupt(e.to_string()))?;
    Ok(Packed { options: head.options, lengths, parts })
}

fn checksum(blob: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(blob.get(..CRC_AT).unwrap_or(&[]));
    digest.update(blob.get(CRC_AT + 4..).unwrap_or(&[]));
    // The algorithm has 32 bits.
    u32::try_from(digest.finalize()).unwrap_or(0)
}
