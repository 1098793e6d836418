//! 8-bit codes of whole vectors: one scale per vector, distances by integer arithmetic.
//!
//! A rotated component `x` becomes `round(x / scale)` with `scale = max |x| / 127`, stored with 128 added so that the
//! multiply-add of unsigned by signed bytes takes it. Norms are those of the *decoded* vector: then the distance of two
//! codes is a true distance of two points, errors shrink with it and it is never below zero.

use super::simd::Simd;
use crate::{Result, vector::graph::buffer::Buffer};

/// What belongs to a code beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meta {
    /// Length of a step.
    pub scale: f32,
    /// Squared norm of the decoded vector.
    pub norm: f32,
}

/// Added to a number of few bits it leaves the nearest integer (ties to even) in the lowest bits of the sum: a conversion that
/// every instruction set does in one step.
const ROUND: f32 = 12_582_912.0;

/// The nearest integer of a number between -127 and 127.
#[inline(always)]
fn round(x: f32) -> i32 {
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

/// Encodes `x` into `code` (same length).
#[inline(always)]
pub fn encode(x: &[f32], code: &mut [u8]) -> Meta {
    let largest = super::largest(x);
    if largest < super::VANISHING {
        code.fill(128);
        return Meta { scale: 0.0, norm: 0.0 };
    }
    let inverse = 127.0 / largest;
    let scale = largest / 127.0;
    let mut lanes = [0i32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    let (codes, last) = code.as_chunks_mut::<16>();
    for (x, code) in chunks.iter().zip(codes) {
        for i in 0..16 {
            let step = round(x[i] * inverse);
            lanes[i] += step * step;
            code[i] = (step + 128) as u8;
        }
    }
    let mut squares = 0i64;
    for lane in lanes {
        squares += i64::from(lane);
    }
    for (x, code) in rest.iter().zip(last) {
        let step = round(x * inverse);
        squares += i64::from(step * step);
        *code = (step + 128) as u8;
    }
    Meta { scale, norm: scale * scale * squares as f32 }
}

/// A code made ready to be compared with others.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Steps, signed.
    steps: Vec<i8>,
    meta: Meta,
    /// Sum of the steps.
    sum: i32,
}

impl Query {
    /// Takes over a code. Keeps its memory for the next one.
    #[inline(always)]
    pub fn set(&mut self, code: &[u8], meta: Meta) {
        self.steps.resize(code.len(), 0);
        let mut lanes = [0i32; 16];
        let (codes, rest) = code.as_chunks::<16>();
        let (steps, last) = self.steps.as_chunks_mut::<16>();
        for (code, steps) in codes.iter().zip(steps) {
            for i in 0..16 {
                steps[i] = (code[i] ^ 128).cast_signed();
                lanes[i] += i32::from(steps[i]);
            }
        }
        let mut sum = 0;
        for lane in lanes {
            sum += lane;
        }
        for (code, step) in rest.iter().zip(last) {
            *step = (code ^ 128).cast_signed();
            sum += i32::from(*step);
        }
        self.meta = meta;
        self.sum = sum;
    }

    /// Writes the decoded vector.
    #[inline(always)]
    pub fn decode(&self, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.steps.iter().map(|&step| f32::from(step) * self.meta.scale));
    }

    /// The steps, signed.
    pub fn steps(&self) -> &[i8] {
        &self.steps
    }

    /// Sum of the steps.
    pub fn sum(&self) -> i32 {
        self.sum
    }

    /// What the offset of a code on the other side adds to the integer product.
    pub fn offset(&self) -> i32 {
        128 * self.sum
    }

    /// Scale and norm.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// Squared distance of the decoded vectors.
    #[inline(always)]
    pub fn distance<S: Simd>(&self, simd: S, code: &[u8], meta: Meta) -> f32 {
        self.finish(simd.dot(code, &self.steps) - self.offset(), meta)
    }

    /// Four distances at once.
    #[inline(always)]
    pub fn distance4<S: Simd>(&self, simd: S, codes: [&[u8]; 4], metas: [Meta; 4]) -> [f32; 4] {
        let dots = simd.dot4(codes, &self.steps);
        std::array::from_fn(|i| self.finish(dots[i] - self.offset(), metas[i]))
    }

    /// Distances of one decoded vector from four that were made ready.
    #[inline(always)]
    pub fn distance_by4<S: Simd>(simd: S, four: &[Query; 4], code: &[u8], meta: Meta) -> [f32; 4] {
        let dots = simd.dot_by4(code, [&four[0].steps, &four[1].steps, &four[2].steps, &four[3].steps]);
        std::array::from_fn(|i| four[i].finish(dots[i] - four[i].offset(), meta))
    }

    /// Inner product with a decoded vector.
    #[inline(always)]
    pub fn dot<S: Simd>(&self, simd: S, code: &[u8], scale: f32) -> f32 {
        (simd.dot(code, &self.steps) - self.offset()) as f32 * (self.meta.scale * scale)
    }

    /// The distance that belongs to a product of signed steps.
    #[inline(always)]
    pub(super) fn finish(&self, dot: i32, meta: Meta) -> f32 {
        let product = dot as f32 * (self.meta.scale * meta.scale);
        (self.meta.norm + meta.norm - 2.0 * product).max(0.0)
    }
}

/// Codes of many vectors, one after the other, with 8 or 4 bits.
#[derive(Debug)]
pub struct Codes {
    stride: usize,
    bytes: Buffer<u8>,
    metas: Vec<Meta>,
}

impl Codes {
    /// Room for `count` codes of `stride` bytes: a multiple of 64, or of 32 for 4-bit codes.
    ///
    /// # Errors
    /// [`crate::IndexError::Internal`] where there is no memory.
    pub fn with_len(count: usize, stride: usize) -> Result<Self> {
        let bytes = Buffer::zeroed(count.saturating_mul(stride))?;
        Ok(Self { stride, bytes, metas: vec![Meta::default(); count] })
    }

    /// Bytes of a code.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of codes.
    pub fn len(&self) -> usize {
        self.metas.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// The code of vector `i`.
    #[inline(always)]
    pub fn code(&self, i: u32) -> &[u8] {
        &self.bytes[i as usize * self.stride..][..self.stride]
    }

    /// Scale and norm of vector `i`.
    #[inline(always)]
    pub fn meta(&self, i: u32) -> Meta {
        self.metas[i as usize]
    }

    /// Adds codes of the same length at the end.
    ///
    /// # Errors
    /// As [`Codes::with_len`].
    pub fn append(&mut self, other: &Self) -> Result<()> {
        let old = self.bytes.len();
        let mut bytes = Buffer::zeroed(old + other.bytes.len())?;
        bytes[..old].copy_from_slice(&self.bytes);
        bytes[old..].copy_from_slice(&other.bytes);
        self.bytes = bytes;
        self.metas.extend_from_slice(&other.metas);
        Ok(())
    }

    /// The parts in pieces of `count` codes, to be filled in parallel.
    pub fn pieces(&mut self, count: usize) -> impl Iterator<Item = (&mut [u8], &mut [Meta])> {
        self.bytes.chunks_mut(count * self.stride).zip(self.metas.chunks_mut(count))
    }
}
