//! What a graph holds of each vector, in two layouts.
//!
//! *Fast*: all that a hop needs in one row, read from front to back, `[own code | per 32 neighbours: 1-bit codes, add,
//! mul, slots | scale, norm, position]` (after SymphonyQG, arXiv 2411.12229). *Compact*: `[own code | scale, norm, position |
//! slots]`. Rows are padded to 64 bytes. A *slot* is the number of a row in this file, a *position* that of the vector.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use rayon::prelude::*;

use super::{buffer::Buffer, check};
use crate::{
    Column, IndexError, Result,
    vector::{
        MAX_DIMENSION,
        codes::{
            int4,
            int8::{Codes, Meta, Query},
            link::{self, block_bytes},
            simd::{BLOCK, Simd, Work, dispatch},
        },
    },
};

/// Bytes of scale, norm and position, and 4 that are not used.
const META: usize = 16;
/// Bytes of the slots of a block.
const SLOTS: usize = BLOCK * 4;
/// Bytes of the half-precision factors of one kind of a block.
const HALVES: usize = BLOCK * 2;

/// Most neighbours of a row.
pub const MAX_DEGREE: usize = 256;
/// Rows written by one task.
const PIECE: usize = 256;

/// Bits of a component of the own code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Width {
    /// See [`int4`].
    Four = 4,
    /// See [`crate::vector::codes::int8`].
    #[default]
    Eight = 8,
}

impl Width {
    /// Results whose vectors are compared besides the `k` nearest by codes: those this many times as far at most, on squared
    /// distances. Five standard deviations of the error of 8 bits at 384 dimensions, four of that of 4. Among far vectors, which
    /// lie close, those are many.
    pub const fn near_tie(self) -> f32 {
        match self {
            Self::Four => 1.05,
            Self::Eight => 1.01,
        }
    }

    /// As a number in a file.
    pub fn from_bits(bits: u32) -> Option<Self> {
        [Self::Four, Self::Eight].into_iter().find(|&w| w as u32 == bits)
    }
}

/// Sizes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Components of the own code, a multiple of 64.
    pub components: usize,
    /// Bits of each.
    pub width: Width,
    /// Bits of a neighbour's code; 0 in the compact layout.
    pub bits: usize,
    /// Neighbours, a multiple of 32.
    pub degree: usize,
}

impl Shape {
    /// Whether a graph can have these sizes: the door for those out of a file.
    pub const fn is_possible(&self) -> bool {
        let whole = self.components.is_multiple_of(64)
            && self.bits.is_multiple_of(64)
            && self.degree.is_multiple_of(BLOCK);
        let some = self.components > 0 && self.degree > 0;
        let few = self.components <= 2 * MAX_DIMENSION && self.bits <= self.components;
        whole && some && few && self.degree <= MAX_DEGREE
    }

    /// Bytes of the own code.
    pub const fn own(&self) -> usize {
        match self.width {
            Width::Four => int4::code_bytes(self.components),
            Width::Eight => self.components,
        }
    }

    /// Whether a row knows nothing of its neighbours but their slots.
    pub const fn is_compact(&self) -> bool {
        self.bits == 0
    }

    const fn block(&self) -> usize {
        let factors = if self.is_compact() { 0 } else { 2 * HALVES };
        block_bytes(self.bits) + factors + SLOTS
    }

    /// Where scale, norm and position lie.
    const fn meta(&self) -> usize {
        if self.is_compact() { self.own() } else { self.own() + self.degree / BLOCK * self.block() }
    }

    /// Where block `i` lies.
    const fn block_start(&self, i: usize) -> usize {
        let first = if self.is_compact() { self.own() + META } else { self.own() };
        first + i * self.block()
    }

    /// Bytes that a comparison reads.
    pub const fn compared_bytes(&self) -> usize {
        self.own() + META
    }

    /// Rows that share a checksum: about 32 KiB.
    pub const fn rows_per_check(&self) -> usize {
        let rows = 32 * 1024 / self.row();
        if rows == 0 { 1 } else { rows }
    }

    /// Bytes of a row.
    pub const fn row(&self) -> usize {
        (self.own() + META + self.degree / BLOCK * self.block()).next_multiple_of(64)
    }
}

/// Rows of a graph, mapped from a file or made in memory.
#[derive(Clone, Debug)]
pub struct Rows {
    shape: Shape,
    bytes: Bytes,
    /// Absent where the rows were made here.
    checks: Option<Arc<Checks>>,
}

/// Checksums of blocks of rows, compared when a block is used for the first time: opening a file reads almost nothing
/// of it, and no damaged row is ever used.
#[derive(Debug)]
struct Checks {
    /// CRC-32C of each [`Shape::rows_per_check`] rows.
    sums: Column<u32>,
    /// One bit per block: it has been compared and is sound.
    sound: Vec<AtomicU64>,
    damaged: AtomicBool,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    shape: Shape,
    bytes: &'a [u8],
}

/// The parts of 32 neighbours; of the compact layout the slots only.
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
    /// The code of the row's vector.
    #[inline(always)]
    pub fn code(&self) -> &'a [u8] {
        &self.bytes[..self.shape.own()]
    }

    /// Squared distance of a query from the row's decoded vector.
    #[inline(always)]
    pub fn distance<S: Simd>(&self, simd: S, query: &Query) -> f32 {
        match self.shape.width {
            Width::Four => query.distance_nibbles(simd, self.code(), self.meta()),
            Width::Eight => query.distance(simd, self.code(), self.meta()),
        }
    }

    /// The same of four rows of one shape.
    #[inline(always)]
    pub fn distance4<S: Simd>(simd: S, query: &Query, [a, b, c, d]: [Row<'_>; 4]) -> [f32; 4] {
        let codes = [a.code(), b.code(), c.code(), d.code()];
        let metas = [a.meta(), b.meta(), c.meta(), d.meta()];
        match a.shape.width {
            Width::Four => query.distance_nibbles4(simd, codes, metas),
            Width::Eight => query.distance4(simd, codes, metas),
        }
    }

    /// Writes the row's vector as an 8-bit code.
    pub fn copy_code(&self, out: &mut [u8]) -> Meta {
        match self.shape.width {
            Width::Four => int4::widen(self.code(), self.meta(), out),
            Width::Eight => {
                out.copy_from_slice(self.code());
                self.meta()
            }
        }
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
        let bytes = &self.bytes[self.shape.block_start(i)..][..self.shape.block()];
        let (rest, slots) = bytes.split_at(bytes.len() - SLOTS);
        let (codes, factors) = rest.split_at(block_bytes(self.shape.bits));
        let (add, mul) = factors.split_at(factors.len() / 2);
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

    /// Rows out of a file, with the checksums that [`Rows::sums`] gave.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where the lengths do not fit each other.
    pub fn open(shape: Shape, bytes: Bytes, sums: Column<u32>) -> Result<Self> {
        let whole = bytes.len().is_multiple_of(shape.row());
        let blocks = (bytes.len() / shape.row()).div_ceil(shape.rows_per_check());
        if !whole || blocks != sums.len() {
            return Err(IndexError::corrupt("graph", "rows and their checksums differ in number"));
        }
        let sound = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let checks = Checks { sums, sound, damaged: AtomicBool::new(false) };
        Ok(Self { shape, bytes, checks: Some(Arc::new(checks)) })
    }

    /// Memory held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        if self.checks.is_some() { 0 } else { self.bytes.len() }
    }

    /// The checksums of all blocks.
    pub fn sums(&self) -> Vec<u32> {
        let block = self.shape.rows_per_check() * self.shape.row();
        self.bytes.chunks(block).map(crc).collect()
    }

    /// Whether a damaged block has been met.
    pub fn damaged(&self) -> bool {
        self.checks.as_ref().is_some_and(|c| c.damaged.load(Ordering::Relaxed))
    }

    /// Whether row `slot` is as it was written; compares the checksum of its block the first time.
    #[inline(always)]
    pub fn is_sound(&self, slot: u32) -> bool {
        let Some(checks) = &self.checks else { return true };
        let block = slot as usize / self.shape.rows_per_check();
        let word = &checks.sound[block / 64];
        word.load(Ordering::Relaxed) >> (block % 64) & 1 == 1 || self.compare(checks, block)
    }

    #[cold]
    fn compare(&self, checks: &Checks, block: usize) -> bool {
        let length = self.shape.rows_per_check() * self.shape.row();
        let start = block * length;
        let end = (start + length).min(self.bytes.len());
        let sound = checks.sums.get(block).is_some_and(|&sum| sum == crc(&self.bytes[start..end]));
        if sound {
            checks.sound[block / 64].fetch_or(1 << (block % 64), Ordering::Relaxed);
        } else {
            checks.damaged.store(true, Ordering::Relaxed);
        }
        sound
    }

    /// All bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Row `slot`, which [`Rows::len`] is larger than.
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

    /// Bytes of its slots in the compact layout.
    #[inline(always)]
    pub fn raw_slots(&self, slot: u32) -> &[u8] {
        &self.raw(slot)[self.shape.block_start(0)..]
    }

    /// Writes the rows of a graph: slot `s` holds position `order[s]`; `links` names positions, `degree` a row, nearest
    /// first, padded with the row's own position.
    ///
    /// # Errors
    /// [`IndexError::Internal`] where there is no memory; [`IndexError::Cancelled`].
    pub fn write(
        shape: Shape,
        codes: &Codes,
        heads: &[f32],
        links: &[u32],
        order: &[u32],
        cancel: &AtomicBool,
    ) -> Result<Self> {
        let stride = shape.row();
        let mut slots = vec![0u32; order.len()];
        order.iter().enumerate().for_each(|(slot, &p)| slots[p as usize] = slot as u32);
        let mut bytes = Buffer::<u8>::zeroed(order.len() * stride)?;
        bytes.par_chunks_mut(PIECE * stride).zip(order.par_chunks(PIECE)).try_for_each(|(rows, order)| {
            check(cancel)?;
            dispatch(Write { shape, codes, heads, links, slots: &slots, order, rows });
            Ok(())
        })?;
        Ok(Self { shape, bytes: bytes.into_bytes(), checks: None })
    }
}

/// CRC-32C.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Writes a piece of the rows.
struct Write<'a> {
    shape: Shape,
    codes: &'a Codes,
    heads: &'a [f32],
    links: &'a [u32],
    slots: &'a [u32],
    order: &'a [u32],
    rows: &'a mut [u8],
}

impl Work for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape, codes, heads, links, slots, order, rows } = self;
        let head = |p: u32| &heads[p as usize * shape.bits..][..shape.bits];
        let (mut query, mut decoded, mut signs) = (Query::default(), Vec::new(), Vec::new());
        for (row, &position) in rows.chunks_exact_mut(shape.row()).zip(order) {
            query.set(codes.code(position), codes.meta(position));
            let links = &links[position as usize * shape.degree..][..shape.degree];
            for (b, links) in links.chunks_exact(BLOCK).enumerate() {
                let block = &mut row[shape.block_start(b)..][..shape.block()];
                let (rest, ids) = block.split_at_mut(block.len() - SLOTS);
                for (id, &p) in ids.chunks_exact_mut(4).zip(links) {
                    id.copy_from_slice(&slots[p as usize].to_le_bytes());
                }
                if shape.is_compact() {
                    continue;
                }
                let (bits, factors) = rest.split_at_mut(block_bytes(shape.bits));
                let (add, mul) = factors.split_at_mut(HALVES);
                bits.fill(0);
                for (lane, &p) in links.iter().enumerate() {
                    let edge = if p == position {
                        link::Edge { add: f32::INFINITY, mul: 0.0 }
                    } else {
                        let length = query.distance(simd, codes.code(p), codes.meta(p));
                        link::encode(simd, (head(position), head(p)), length, lane, &mut signs, bits)
                    };
                    add[2 * lane..2 * lane + 2].copy_from_slice(&link::half_bytes(edge.add));
                    mul[2 * lane..2 * lane + 2].copy_from_slice(&link::half_bytes(edge.mul));
                }
            }
            let own = &mut row[..shape.own()];
            let meta = match shape.width {
                Width::Four => {
                    query.decode(&mut decoded);
                    int4::encode(&decoded, own)
                }
                Width::Eight => {
                    own.copy_from_slice(codes.code(position));
                    codes.meta(position)
                }
            };
            let at = shape.meta();
            row[at..at + 4].copy_from_slice(&meta.scale.to_le_bytes());
            row[at + 4..at + 8].copy_from_slice(&meta.norm.to_le_bytes());
            row[at + 8..at + 12].copy_from_slice(&position.to_le_bytes());
        }
    }
}
