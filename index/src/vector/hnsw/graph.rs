//! The graph as searched: compact arrays of neighbour positions, owned or mapped, and their file format.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};

use crate::{Column, IndexError, Result, vector::Metric};

const WHAT: &str = "hnsw graph";
const MAGIC: &[u8; 8] = b"EGRMHNSW";
const VERSION: u32 = 1;
/// Header length and alignment of the sections after it.
const ALIGN: usize = 64;
/// More layers than any graph has: the builder makes at most 16.
const MAX_LAYERS: usize = 64;

/// Which vectors a graph belongs to and how it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub count: u32,
    pub dimension: u32,
    pub metric: Metric,
    pub m: u32,
    pub ef_construction: u32,
}

/// Rows of positions of uneven length: row `i` is `targets[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    offsets: Column<u32>,
    targets: Column<u32>,
}

/// A layer above the lowest: few nodes, found by their position.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Positions of the nodes, ascending; row `i` of `links` belongs to the `i`-th.
    pub nodes: Column<u32>,
    pub links: Links,
}

/// A layered proximity graph over the positions of a vector set (Malkov & Yashunin, arXiv 1603.09320).
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub origin: Origin,
    /// Position the descent starts from, in the topmost layer.
    pub entry: u32,
    /// Layer 0: one row per position.
    pub base: Links,
    /// Layers 1, 2, ...
    pub upper: Vec<Layer>,
}

/// Two slices of a [`Links`], for loops: resolves the columns once.
#[derive(Clone, Copy)]
pub(super) struct LinkRows<'a> {
    offsets: &'a [u32],
    targets: &'a [u32],
}

impl<'a> LinkRows<'a> {
    /// Row `i`; empty past the end.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u32] {
        match self.offsets.get(i..i + 2) {
            Some(&[start, end]) => self.targets.get(start as usize..end as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
}

impl Links {
    /// From rows.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] where there are more than `u32::MAX` links.
    pub fn from_rows<'a>(rows: impl Iterator<Item = &'a [u32]>) -> Result<Self> {
        let (mut offsets, mut targets) = (vec![0u32], Vec::new());
        for row in rows {
            targets.extend_from_slice(row);
            let end = u32::try_from(targets.len()).map_err(|_| {
                IndexError::InvalidParameter("too many links for one graph: split the rows".into())
            })?;
            offsets.push(end);
        }
        targets.shrink_to_fit();
        Ok(Self { offsets: offsets.into(), targets: targets.into() })
    }

    pub fn rows(&self) -> LinkRows<'_> {
        LinkRows { offsets: self.offsets.as_slice(), targets: self.targets.as_slice() }
    }

    fn heap_bytes(&self) -> usize {
        self.offsets.heap_bytes() + self.targets.heap_bytes()
    }

    /// Whether the offsets ascend from 0 to the end, and every target is a position below `count`.
    fn check(&self, count: u32) -> Result<()> {
        let offsets = self.offsets.as_slice();
        let whole =
            offsets.first() == Some(&0) && offsets.last().map(|&e| e as usize) == Some(self.targets.len());
        if !whole || !offsets.is_sorted() {
            return Err(corrupt("offsets of links"));
        }
        if self.targets.iter().any(|&t| t >= count) {
            return Err(corrupt("a link leads out of the graph"));
        }
        Ok(())
    }
}

impl Graph {
    /// Heap bytes held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        self.base.heap_bytes()
            + self.upper.iter().map(|l| l.nodes.heap_bytes() + l.links.heap_bytes()).sum::<usize>()
    }

    /// Header of 64 bytes, table of the upper layers, then the arrays, each at a multiple of 64 bytes; little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0u8; ALIGN];
        for layer in &self.upper {
            out.extend_from_slice(&(layer.nodes.len() as u32).to_le_bytes());
            out.extend_from_slice(&(layer.links.targets.len() as u32).to_le_bytes());
        }
        let mut section = |column: &Column<u32>| {
            out.resize(out.len().next_multiple_of(ALIGN), 0);
            out.extend_from_slice(bytemuck::cast_slice(column.as_slice()));
        };
        section(&self.base.offsets);
        section(&self.base.targets);
        for layer in &self.upper {
            section(&layer.nodes);
            section(&layer.links.offsets);
            section(&layer.links.targets);
        }
        let o = &self.origin;
        let words = [
            o.count,
            o.dimension,
            o.metric.code(),
            o.m,
            o.ef_construction,
            self.entry,
            self.upper.len() as u32,
            self.base.targets.len() as u32,
        ];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        for (i, word) in words.into_iter().enumerate() {
            out[16 + 4 * i..20 + 4 * i].copy_from_slice(&word.to_le_bytes());
        }
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &out[16..]) as u32;
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`Graph::encode`] wrote. The arrays stay in `blob`; nothing is allocated by a length it states.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] at the first thing that does not fit.
    pub fn decode(blob: &Bytes) -> Result<Self> {
        let head = blob.get(..ALIGN).ok_or_else(|| corrupt("shorter than its header"))?;
        if &head[..8] != MAGIC {
            return Err(corrupt("not a graph"));
        }
        let word =
            |at: usize| blob[at..at + 4].iter().rev().fold(0u32, |value, &b| value << 8 | u32::from(b));
        if word(8) != VERSION {
            return Err(corrupt(format!("version {} is unknown, this build reads {VERSION}", word(8))));
        }
        if word(12) != checksum(CrcAlgorithm::Crc32Iscsi, &blob[16..]) as u32 {
            return Err(corrupt("checksum"));
        }
        let metric = Metric::from_code(word(24)).ok_or_else(|| corrupt("unknown metric"))?;
        let origin =
            Origin { count: word(16), dimension: word(20), metric, m: word(28), ef_construction: word(32) };
        let (entry, layers, count) = (word(36), word(40) as usize, word(16) as usize);
        let table_end = ALIGN + 8 * layers.min(MAX_LAYERS);
        if layers > MAX_LAYERS || blob.len() < table_end || (entry as usize >= count && count > 0) {
            return Err(corrupt("counts of the header"));
        }
        let mut sections = Sections { blob, at: table_end };
        let base = sections.links(count, word(44) as usize)?;
        base.check(origin.count)?;
        let mut upper = Vec::with_capacity(layers);
        for layer in 0..layers {
            let (node_count, link_count) =
                (word(ALIGN + 8 * layer) as usize, word(ALIGN + 8 * layer + 4) as usize);
            let nodes = sections.column(node_count)?;
            let ascending = nodes.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascending || nodes.last().is_some_and(|&last| last >= origin.count) {
                return Err(corrupt("nodes of a layer"));
            }
            let links = sections.links(node_count, link_count)?;
            links.check(origin.count)?;
            upper.push(Layer { nodes, links });
        }
        if sections.at != blob.len() {
            return Err(corrupt("bytes after its end"));
        }
        Ok(Self { origin, entry, base, upper })
    }
}

/// Cuts a blob into sections, in the order they were written.
struct Sections<'a> {
    blob: &'a Bytes,
    at: usize,
}

impl Sections<'_> {
    fn column(&mut self, count: usize) -> Result<Column<u32>> {
        let start = self.at.next_multiple_of(ALIGN);
        let end = count
            .checked_mul(size_of::<u32>())
            .and_then(|bytes| start.checked_add(bytes))
            .filter(|&end| end <= self.blob.len())
            .ok_or_else(|| corrupt(format!("shorter than the {count} numbers its header promises")))?;
        self.at = end;
        Column::view_or_copy(self.blob.slice(start..end))
    }

    fn links(&mut self, rows: usize, links: usize) -> Result<Links> {
        Ok(Links { offsets: self.column(rows + 1)?, targets: self.column(links)? })
    }
}

fn corrupt(why: impl Into<String>) -> IndexError {
    IndexError::corrupt(WHAT, why)
}
