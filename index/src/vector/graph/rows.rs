//! The fast layout: all that a hop needs in one row, read from front to back.
//!
//! `[own 8-bit code | per 32 neighbours: 1-bit codes, add, mul, slots | scale, norm, position]`, padded to 64 bytes
//! (after SymphonyQG, arXiv 2411.12229). A *slot* is the number of a row in this file, a *position* that of the vector.

use bytes::Bytes;
use memmap2::MmapMut;
use rayon::prelude::*;

use crate::{
    IndexError, Result,
    vector::codes::{
        int8::{Codes, Meta},
        link::{self, block_bytes},
        simd::BLOCK,
    },
};

/// Bytes after the codes of a block: two half-precision factors and a slot for each neighbour.
const TAIL: usize = BLOCK * (2 + 2 + 4);

/// Sizes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the own code.
    pub own: usize,
    /// Bits of a neighbour's code.
    pub bits: usize,
    /// Neighbours, a multiple of 32.
    pub degree: usize,
}

impl Shape {
    const fn block(&self) -> usize {
        block_bytes(self.bits) + TAIL
    }

    const fn meta(&self) -> usize {
        self.own + self.degree / BLOCK * self.block()
    }

    /// Bytes of a row.
    pub const fn row(&self) -> usize {
        (self.meta() + 16).next_multiple_of(64)
    }
}

/// Rows of a graph, mapped from a file or made in memory.
#[derive(Clone, Debug)]
pub struct Rows {
    shape: Shape,
    bytes: Bytes,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    shape: Shape,
    bytes: &'a [u8],
}

/// The parts of 32 neighbours.
pub struct Block<'a> {
    /// 1-bit codes.
    pub codes: &'a [u8],
    /// Half-precision factors, see [`link::Edge`].
    pub add: &'a [u8],
    /// The same.
    pub mul: &'a [u8],
    /// Slots.
    pub slots: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => u32::MAX,
    }
}

impl<'a> Row<'a> {
    /// The 8-bit code of the row's vector.
    #[inline(always)]
    pub fn code(&self) -> &'a [u8] {
        &self.bytes[..self.shape.own]
    }

    /// Scale and norm of the code.
    #[inline(always)]
    pub fn meta(&self) -> Meta {
        let at = self.shape.meta();
        Meta { scale: f32::from_bits(word(self.bytes, at)), norm: f32::from_bits(word(self.bytes, at + 4)) }
    }

    /// Position of the row's vector in its set.
    #[inline(always)]
    pub fn position(&self) -> u32 {
        word(self.bytes, self.shape.meta() + 8)
    }

    /// Neighbours `32 i ..`.
    #[inline(always)]
    pub fn block(&self, i: usize) -> Block<'a> {
        let bytes = &self.bytes[self.shape.own + i * self.shape.block()..][..self.shape.block()];
        let (codes, tail) = bytes.split_at(block_bytes(self.shape.bits));
        let (add, tail) = tail.split_at(2 * BLOCK);
        let (mul, slots) = tail.split_at(2 * BLOCK);
        Block { codes, add, mul, slots }
    }

    /// Slots of all neighbours; unused places hold the row's own slot.
    pub fn neighbors(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.shape.degree / BLOCK).flat_map(move |b| {
            let block = self.block(b);
            (0..BLOCK).map(move |i| block.slot(i))
        })
    }
}

impl Block<'_> {
    /// Slot of neighbour `i`.
    #[inline(always)]
    pub fn slot(&self, i: usize) -> u32 {
        word(self.slots, 4 * i)
    }
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.shape.row()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sizes of a row.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Row `slot`; the last one past the end, which only damaged bytes ask for.
    #[inline(always)]
    pub fn row(&self, slot: u32) -> Row<'_> {
        let stride = self.shape.row();
        Row { shape: self.shape, bytes: &self.bytes[slot as usize * stride..][..stride] }
    }

    /// Bytes of a row, to be fetched ahead.
    #[inline(always)]
    pub fn raw(&self, slot: u32) -> &[u8] {
        let stride = self.shape.row();
        &self.bytes[slot as usize * stride..][..stride]
    }

    /// Writes the rows of a graph: slot `s` holds position `order[s]`; `links` names positions, `degree` a row, nearest
    /// first, padded with the row's own position.
    ///
    /// # Errors
    /// [`IndexError::Internal`] where there is no memory.
    pub fn write(
        shape: Shape,
        codes: &Codes,
        heads: &[f32],
        links: &[u32],
        order: &[u32],
    ) -> Result<Self> {
        let stride = shape.row();
        let mut slots = vec![0u32; order.len()];
        order.iter().enumerate().for_each(|(slot, &p)| slots[p as usize] = slot as u32);
        let no_memory = |e: std::io::Error| IndexError::Internal(format!("memory for a graph: {e}"));
        let mut map = MmapMut::map_anon((order.len() * stride).max(1)).map_err(no_memory)?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        map.par_chunks_exact_mut(stride).zip(order).for_each(|(row, &position)| {
            write_row(shape, codes, heads, links, &slots, position, row);
        });
        let len = order.len() * stride;
        Ok(Self { shape, bytes: Bytes::from_owner(map).slice(..len) })
    }
}

#[allow(clippy::too_many_arguments)]
fn write_row(
    shape: Shape,
    codes: &Codes,
    heads: &[f32],
    links: &[u32],
    slots: &[u32],
    position: u32,
    row: &mut [u8],
) {
    let head = |p: u32| &heads[p as usize * shape.bits..][..shape.bits];
    row[..shape.own].copy_from_slice(codes.code(position));
    let mut query = crate::vector::codes::int8::Query::default();
    query.set(codes.code(position), codes.meta(position));
    let own = slots[position as usize];
    let links = &links[position as usize * shape.degree..][..shape.degree];
    for (b, links) in links.chunks_exact(BLOCK).enumerate() {
        let block = &mut row[shape.own + b * shape.block()..][..shape.block()];
        let (bits, tail) = block.split_at_mut(block_bytes(shape.bits));
        let (add, tail) = tail.split_at_mut(2 * BLOCK);
        let (mul, ids) = tail.split_at_mut(2 * BLOCK);
        bits.fill(0);
        for (lane, &p) in links.iter().enumerate() {
            let (edge, slot) = if p == position {
                (link::Edge { add: 65_000.0, mul: 0.0 }, own)
            } else {
                let length = crate::vector::codes::simd::dispatch(Length(&query, codes, p));
                (link::encode(head(position), head(p), length, lane, bits), slots[p as usize])
            };
            add[2 * lane..2 * lane + 2].copy_from_slice(&link::half_bytes(edge.add));
            mul[2 * lane..2 * lane + 2].copy_from_slice(&link::half_bytes(edge.mul));
            ids[4 * lane..4 * lane + 4].copy_from_slice(&slot.to_le_bytes());
        }
    }
    let (at, meta) = (shape.meta(), codes.meta(position));
    row[at..at + 4].copy_from_slice(&meta.scale.to_le_bytes());
    row[at + 4..at + 8].copy_from_slice(&meta.norm.to_le_bytes());
    row[at + 8..at + 12].copy_from_slice(&position.to_le_bytes());
}

struct Length<'a>(&'a crate::vector::codes::int8::Query, &'a Codes, u32);

impl crate::vector::codes::simd::Work for Length<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: crate::vector::codes::simd::Simd>(self, simd: S) -> f32 {
        self.0.distance(simd, self.1.code(self.2), self.1.meta(self.2))
    }
}
