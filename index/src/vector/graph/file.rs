//! The file of a graph: a header of one page, small sections with one checksum, then the rows with one per block.

use std::io::Write;

use bytes::Bytes;

use super::{
    GraphIndex,
    calibration::Calibration,
    rows::{Rows, Shape, Width, crc},
    space::Space,
};
use crate::{Column, IndexError, Result, vector::Metric};

const WHAT: &str = "graph";
const MAGIC: &[u8; 8] = b"EGRGRAPH";
const VERSION: u32 = 2;
/// Rows begin at a page of the file.
const PAGE: usize = 4096;
/// Sections before them at a cache line.
const ALIGN: usize = 64;

/// Whether these bytes begin as a file of [`write`] does.
pub fn is_graph(blob: &[u8]) -> bool {
    blob.starts_with(MAGIC)
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    count: u32,
    dimension: u32,
    metric: Metric,
    shape: Shape,
    entry: u32,
    /// Bytes of the small sections, from the end of the header on.
    sections: usize,
    sections_crc: u32,
    calibration: usize,
    repaired: bool,
}

/// Bytes that [`write`] writes.
pub fn encoded_len(index: &GraphIndex) -> usize {
    let sections = sections(index);
    (PAGE + sections.len()).next_multiple_of(PAGE) + index.rows.bytes().len()
}

fn sections(index: &GraphIndex) -> Vec<u8> {
    let mut out = Vec::new();
    let mut section = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
    };
    section(bytemuck::cast_slice(&index.calibration.to_floats()));
    section(bytemuck::cast_slice(&index.rows.sums()));
    section(bytemuck::cast_slice(index.slots.as_slice()));
    index.space.encode(&mut section);
    out
}

/// Writes a graph as [`open`] reads it.
pub fn write(index: &GraphIndex, out: &mut dyn Write) -> std::io::Result<()> {
    let sections = sections(index);
    let shape = index.rows.shape();
    let words = [
        index.vectors.len() as u32,
        index.vectors.dimension() as u32,
        index.vectors.metric().code(),
        shape.components as u32,
        shape.bits as u32,
        shape.degree as u32,
        index.entry,
        sections.len() as u32,
        crc(&sections),
        index.calibration.len() as u32,
        u32::from(index.repaired),
        shape.width as u32,
    ];
    let mut header = vec![0u8; PAGE];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (i, word) in words.into_iter().enumerate() {
        header[16 + 4 * i..20 + 4 * i].copy_from_slice(&word.to_le_bytes());
    }
    let sum = crc(&header[16..]);
    header[12..16].copy_from_slice(&sum.to_le_bytes());
    out.write_all(&header)?;
    out.write_all(&sections)?;
    let padding = (PAGE + sections.len()).next_multiple_of(PAGE) - (PAGE + sections.len());
    out.write_all(&vec![0u8; padding])?;
    out.write_all(index.rows.bytes())
}

impl Header {
    fn read(blob: &[u8]) -> Result<Self> {
        let header = blob.get(..PAGE).ok_or_else(|| corrupt("shorter than its header"))?;
        let word =
            |at: usize| header[at..at + 4].iter().rev().fold(0u32, |value, &b| value << 8 | u32::from(b));
        if &header[..8] != MAGIC {
            return Err(corrupt("not a graph"));
        }
        if word(8) != VERSION {
            return Err(corrupt(format!("version {} is unknown, this build reads {VERSION}", word(8))));
        }
        if word(12) != crc(&header[16..]) {
            return Err(corrupt("checksum of the header"));
        }
        let at = |i: usize| word(16 + 4 * i);
        let width = Width::from_bits(at(11)).ok_or_else(|| corrupt("unknown code"))?;
        let [components, bits, degree] = [3, 4, 5].map(|i| at(i) as usize);
        let shape = Shape { components, width, bits, degree };
        let metric = Metric::from_code(at(2)).ok_or_else(|| corrupt("unknown metric"))?;
        let header = Self {
            count: at(0),
            dimension: at(1),
            metric,
            shape,
            entry: at(6),
            sections: at(7) as usize,
            sections_crc: at(8),
            calibration: at(9) as usize,
            // What is no number of ours counts as the one that asks for more care.
            repaired: at(10) != 0,
        };
        if !shape.is_possible() || header.entry >= header.count.max(1) {
            return Err(corrupt("sizes of the header"));
        }
        Ok(header)
    }
}

/// The parts of a graph file: what it says of its vectors, and all but the vectors themselves.
pub struct Parts {
    /// Number of vectors.
    pub count: usize,
    /// Their dimension.
    pub dimension: usize,
    /// Their metric.
    pub metric: Metric,
    /// See [`GraphIndex`].
    pub entry: u32,
    /// The same.
    pub repaired: bool,
    /// The same.
    pub rows: Rows,
    /// The same.
    pub slots: Column<u32>,
    /// The same.
    pub space: Space,
    /// The same.
    pub calibration: Calibration,
}

/// Reads what [`write`] wrote, without copying rows. Nothing is allocated by a length the file states before the file is
/// known to be that long.
///
/// # Errors
/// [`IndexError::Corrupt`] at the first thing that does not fit.
pub fn open(blob: &Bytes) -> Result<Parts> {
    let header = Header::read(blob)?;
    let rows_start = PAGE
        .checked_add(header.sections)
        .map(|end| end.next_multiple_of(PAGE))
        .filter(|&start| start <= blob.len())
        .ok_or_else(|| corrupt("shorter than its header says"))?;
    let count = header.count as usize;
    if count.checked_mul(header.shape.row()) != Some(blob.len() - rows_start) {
        return Err(corrupt(format!("{} bytes are not {count} rows", blob.len() - rows_start)));
    }
    let sections = blob.slice(PAGE..PAGE + header.sections);
    if crc(&sections) != header.sections_crc {
        return Err(corrupt("checksum of its sections"));
    }
    let mut cut = Cut { bytes: sections, at: 0 };
    let calibration = Calibration::from_floats(&cut.column::<f32>(header.calibration * Calibration::FLOATS)?);
    let sums = cut.column(count.div_ceil(header.shape.rows_per_check()))?;
    let slots: Column<u32> = cut.column(count)?;
    if slots.iter().any(|&slot| slot >= header.count) {
        return Err(corrupt("a vector has no row"));
    }
    let (metric, dimension) = (header.metric, header.dimension as usize);
    let space = Space::decode(metric, dimension, header.shape.bits, &mut cut)?;
    if space.padded() != header.shape.components || space.head_len() != header.shape.bits {
        return Err(corrupt("its codes do not fit its dimension"));
    }
    let rows = Rows::open(header.shape, blob.slice(rows_start..), sums)?;
    let Header { entry, repaired, .. } = header;
    Ok(Parts { count, dimension, metric, entry, repaired, rows, slots, space, calibration })
}

/// Cuts sections off, in the order they were written.
pub struct Cut {
    bytes: Bytes,
    at: usize,
}

impl Cut {
    /// The next `count` numbers.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where there are fewer.
    pub fn column<T: bytemuck::Pod>(&mut self, count: usize) -> Result<Column<T>> {
        let end = count
            .checked_mul(size_of::<T>())
            .and_then(|length| self.at.checked_add(length))
            .filter(|&end| end <= self.bytes.len())
            .ok_or_else(|| corrupt("its sections are too short"))?;
        let column = Column::view_or_copy(self.bytes.slice(self.at..end));
        self.at = end.next_multiple_of(ALIGN).min(self.bytes.len());
        column
    }
}

fn corrupt(why: impl Into<String>) -> IndexError {
    IndexError::corrupt(WHAT, why)
}
