//! The vectors of one field in one run of rows.

use std::io::Write;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use roaring::RoaringBitmap;

use crate::{
    Column, IndexError, Mask, Result,
    vector::{MAX_DIMENSION, Metric},
};

const WHAT: &str = "vector set";
const MAGIC: &[u8; 8] = b"EGRMVECS";
const VERSION: u32 = 1;
/// Header length and alignment of the sections after it: a cache line, so that rows of a mapped file sit on lines.
const ALIGN: usize = 64;

/// Vectors of one field, row-major, with the ordinals of the rows that have one.
#[derive(Clone, Debug)]
pub struct VectorSet {
    metric: Metric,
    dimension: usize,
    /// `len x dimension` components, already admitted.
    data: Column<f32>,
    /// Ordinal of each vector, ascending; `None` when vector i belongs to ordinal i.
    ordinals: Option<Column<u32>>,
    /// The same ordinals as a bitmap: counts how many a mask allows without walking them.
    members: Option<RoaringBitmap>,
}

/// Rows of a set behind one slice: what the inner loops read.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    dimension: usize,
}

impl<'a> Rows<'a> {
    /// The vector at `position`; empty past the end.
    #[inline]
    pub fn get(&self, position: usize) -> &'a [f32] {
        let start = position * self.dimension;
        self.data.get(start..start + self.dimension).unwrap_or(&[])
    }
}

impl VectorSet {
    /// A set over admitted components: `data` holds whole vectors of `dimension`, one after the other; `ordinals`, where
    /// given, holds one strictly ascending row number per vector.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] where a count does not fit or the ordinals do not ascend.
    pub fn new(
        metric: Metric,
        dimension: usize,
        data: Column<f32>,
        ordinals: Option<Column<u32>>,
    ) -> Result<Self> {
        let invalid = |why: String| Err(IndexError::InvalidParameter(why));
        if dimension == 0 || dimension > MAX_DIMENSION {
            return invalid(format!("dimension {dimension} is out of range: 1 to {MAX_DIMENSION}"));
        }
        if !data.len().is_multiple_of(dimension) {
            return invalid(format!("{} components are not whole vectors of {dimension}", data.len()));
        }
        let len = data.len() / dimension;
        if u32::try_from(len).is_err() {
            return invalid(format!("{len} vectors are more than ordinals can number"));
        }
        let mut set = Self { metric, dimension, data, ordinals: None, members: None };
        if let Some(ordinals) = ordinals {
            if ordinals.len() != len {
                return invalid(format!("{} ordinals for {len} vectors", ordinals.len()));
            }
            let Ok(members) = RoaringBitmap::from_sorted_iter(ordinals.iter().copied()) else {
                return invalid("ordinals do not ascend strictly".to_owned());
            };
            // Ascending and ending at len - 1 means 0, 1, 2, ...: then positions are ordinals and need no table.
            if ordinals.last().is_some_and(|&last| last as usize != len - 1) {
                (set.ordinals, set.members) = (Some(ordinals), Some(members));
            }
        }
        Ok(set)
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// True when there is no vector.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Components per vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Metric of the field.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The vector at `position` (0 to `len - 1`); empty past the end.
    pub fn vector(&self, position: usize) -> &[f32] {
        self.rows().get(position)
    }

    /// All vectors, for loops: resolves the column once.
    pub fn rows(&self) -> Rows<'_> {
        Rows { data: self.data.as_slice(), dimension: self.dimension }
    }

    /// Ordinal of the vector at `position`. Past the end there is none; `u32::MAX` stands for it.
    pub fn ordinal(&self, position: usize) -> u32 {
        match &self.ordinals {
            Some(ordinals) => ordinals.get(position).copied().unwrap_or(u32::MAX),
            None => u32::try_from(position).unwrap_or(u32::MAX),
        }
    }

    /// Position of the vector of row `ordinal`, if that row has one.
    pub fn position(&self, ordinal: u32) -> Option<usize> {
        match &self.ordinals {
            Some(ordinals) => ordinals.binary_search(&ordinal).ok(),
            None => Some(ordinal as usize).filter(|&p| p < self.len()),
        }
    }

    /// The components, row-major.
    pub fn data(&self) -> &Column<f32> {
        &self.data
    }

    /// The ordinals; `None` when vector i belongs to ordinal i (also where they were given and turned out so).
    pub fn ordinals(&self) -> Option<&Column<u32>> {
        self.ordinals.as_ref()
    }

    /// Number of vectors a mask allows. Counts bitmap containers, not vectors.
    pub fn allowed(&self, mask: Mask<'_>) -> usize {
        let hit = |set: &RoaringBitmap| match &self.members {
            Some(members) => members.intersection_len(set),
            None => set.range_cardinality(..self.len() as u32),
        };
        match mask {
            Mask::All => self.len(),
            Mask::Allow(set) => hit(set) as usize,
            Mask::Deny(set) => self.len() - hit(set) as usize,
        }
    }

    /// Heap bytes held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        self.data.heap_bytes()
            + self.ordinals.as_ref().map_or(0, Column::heap_bytes)
            + self.members.as_ref().map_or(0, RoaringBitmap::serialized_size)
    }

    /// Writes the set as [`VectorSet::open`] reads it: a header of 64 bytes, the components, then the ordinals, each
    /// section at a multiple of 64 bytes, all little-endian, with a CRC-32C each.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn encode_to(&self, out: &mut impl Write) -> std::io::Result<()> {
        let data: &[u8] = bytemuck::cast_slice(self.data.as_slice());
        let ordinals: &[u8] = self.ordinals.as_ref().map_or(&[], |o| bytemuck::cast_slice(o.as_slice()));
        let mut header = [0u8; ALIGN];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..20].copy_from_slice(&(self.len() as u32).to_le_bytes());
        header[20..24].copy_from_slice(&(self.dimension as u32).to_le_bytes());
        header[24..28].copy_from_slice(&self.metric.code().to_le_bytes());
        header[28..32].copy_from_slice(&u32::from(self.ordinals.is_some()).to_le_bytes());
        header[32..36].copy_from_slice(&crc(data).to_le_bytes());
        header[36..40].copy_from_slice(&crc(ordinals).to_le_bytes());
        let sum = crc(&header[16..]);
        header[12..16].copy_from_slice(&sum.to_le_bytes());
        out.write_all(&header)?;
        out.write_all(data)?;
        if self.ordinals.is_some() {
            out.write_all(&[0u8; ALIGN][..data.len().next_multiple_of(ALIGN) - data.len()])?;
            out.write_all(ordinals)?;
        }
        Ok(())
    }

    /// Opens what [`VectorSet::encode_to`] wrote, without copying it (unless `blob` is not 4-byte aligned).
    ///
    /// The header, the lengths and the ordinals are checked; the components are not read, so that opening a mapped file
    /// does not load it. [`VectorSet::verify`] reads all.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`]: rebuild the blob from its source.
    pub fn open(blob: Bytes) -> Result<Self> {
        let layout = Layout::read(&blob)?;
        let data = Column::view_or_copy(blob.slice(ALIGN..layout.data_end))?;
        let ordinals = match layout.ordinals_start {
            None => None,
            Some(start) => {
                let bytes = blob.slice(start..);
                if crc(&bytes) != layout.ordinals_crc {
                    return Err(corrupt("checksum of the ordinals"));
                }
                Some(Column::view_or_copy(bytes)?)
            }
        };
        Self::new(layout.metric, layout.dimension, data, ordinals).map_err(|e| corrupt(&e.to_string()))
    }

    /// Reads every byte of a blob and compares the checksums: for scrubbing and after a transfer.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where [`VectorSet::open`] would fail or the components do not fit their checksum.
    pub fn verify(blob: &Bytes) -> Result<()> {
        Self::open(blob.clone())?;
        let layout = Layout::read(blob)?;
        if crc(&blob[ALIGN..layout.data_end]) != layout.data_crc {
            return Err(corrupt("checksum of the components"));
        }
        Ok(())
    }
}

/// Where things are in a blob; made only where the blob's length fits exactly.
struct Layout {
    metric: Metric,
    dimension: usize,
    data_end: usize,
    ordinals_start: Option<usize>,
    data_crc: u32,
    ordinals_crc: u32,
}

impl Layout {
    fn read(blob: &[u8]) -> Result<Self> {
        let header = blob.get(..ALIGN).ok_or_else(|| corrupt("shorter than its header"))?;
        if &header[..8] != MAGIC {
            return Err(corrupt("not a vector set"));
        }
        let word =
            |at: usize| header[at..at + 4].iter().rev().fold(0u32, |value, &b| value << 8 | u32::from(b));
        if word(8) != VERSION {
            return Err(corrupt(&format!("version {} is unknown, this build reads {VERSION}", word(8))));
        }
        if word(12) != crc(&header[16..]) {
            return Err(corrupt("checksum of the header"));
        }
        let metric = Metric::from_code(word(24)).ok_or_else(|| corrupt("unknown metric"))?;
        let dimension = word(20) as usize;
        let too_large = || corrupt("more vectors than memory can address");
        let data_len = (word(16) as usize)
            .checked_mul(dimension)
            .and_then(|n| n.checked_mul(size_of::<f32>()))
            .filter(|&n| n < isize::MAX as usize / 2)
            .ok_or_else(too_large)?;
        let data_end = ALIGN + data_len;
        let ordinals_start = (word(28) == 1).then(|| data_end.next_multiple_of(ALIGN));
        let end = ordinals_start.map_or(data_end, |start| start + word(16) as usize * size_of::<u32>());
        if dimension == 0 || dimension > MAX_DIMENSION || word(28) > 1 || blob.len() != end {
            return Err(corrupt(&format!("{} bytes, its header says {end}", blob.len())));
        }
        Ok(Self { metric, dimension, data_end, ordinals_start, data_crc: word(32), ordinals_crc: word(36) })
    }
}

fn crc(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn corrupt(why: &str) -> IndexError {
    IndexError::corrupt(WHAT, why)
}
