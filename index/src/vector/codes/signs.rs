//! 1-bit codes of whole vectors: the signs of the components, compared with each other or with a query of 4 bits.
//!
//! After RaBitQ (arXiv 2405.12497), as [`super::link`] does for the way to a neighbour: with `m = |x|^2 / sum |x_i|` the
//! estimate `<q, x> ~ m * sum sign(x_i) q_i` is unbiased under a random rotation. The components of the query are rounded to
//! 16 levels and cut into four planes of bits, so that the sum is four counts of bits.
//!
//! Used by benchmarks and tests so far: a navigator or first pass for collections too large for 4-bit codes.

use super::{int4, simd::Simd};

/// What belongs to a code beside its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meta {
    /// Factor of the sum of signed components.
    pub factor: f32,
    /// Squared norm of the vector itself.
    pub norm: f32,
    /// Number of bits that are set.
    pub ones: u32,
}

/// Writes the signs of `x` (a multiple of 64 components) as the bits of `code`, the first one lowest.
#[inline(always)]
pub fn encode(x: &[f32], code: &mut [u8]) -> Meta {
    let (mut squares, mut sizes, mut ones) = ([0.0f32; 8], [0.0f32; 8], 0);
    for (x, code) in x.as_chunks::<8>().0.iter().zip(code) {
        *code = 0;
        for (i, x) in x.iter().enumerate() {
            *code |= u8::from(*x > 0.0) << i;
            squares[i] += x * x;
            sizes[i] += x.abs();
        }
        ones += code.count_ones();
    }
    let (norm, total): (f32, f32) = (squares.iter().sum(), sizes.iter().sum());
    Meta { factor: if total > 0.0 { norm / total } else { 0.0 }, norm, ones }
}

/// A vector made ready to be compared with codes.
#[derive(Clone, Debug, Default)]
pub struct Query {
    planes: [Vec<u8>; 4],
    nibbles: Vec<u8>,
    /// Length of half a step.
    scale: f32,
    /// Sum of the levels, in half steps.
    sum: i32,
    norm: f32,
}

impl Query {
    /// Takes over a vector of a multiple of 64 components. Keeps its memory for the next one.
    #[inline(always)]
    pub fn set(&mut self, x: &[f32]) {
        self.nibbles.resize(int4::code_bytes(x.len()), 0);
        self.scale = int4::encode(x, &mut self.nibbles).scale;
        self.norm = x.iter().map(|x| x * x).sum();
        self.sum = 0;
        for plane in &mut self.planes {
            plane.clear();
            plane.resize(x.len() / 8, 0);
        }
        for i in 0..x.len() {
            let nibble = int4::nibble_at(&self.nibbles, i);
            self.sum += 2 * i32::from(nibble) - 15;
            for (j, plane) in self.planes.iter_mut().enumerate() {
                plane[i / 8] |= (nibble >> j & 1) << (i % 8);
            }
        }
    }

    /// Estimated squared distance of the vector that a code belongs to.
    #[inline(always)]
    pub fn distance<S: Simd>(&self, simd: S, code: &[u8], meta: Meta) -> f32 {
        self.finish(simd.plane_sum(code, self.planes()), meta)
    }

    /// Four distances at once.
    #[inline(always)]
    pub fn distance4<S: Simd>(&self, simd: S, codes: [&[u8]; 4], metas: [Meta; 4]) -> [f32; 4] {
        let sums = simd.plane_sums4(codes, self.planes());
        std::array::from_fn(|i| self.finish(sums[i], metas[i]))
    }

    #[inline(always)]
    fn planes(&self) -> [&[u8]; 4] {
        self.planes.each_ref().map(Vec::as_slice)
    }

    #[inline(always)]
    fn finish(&self, sum: u32, meta: Meta) -> f32 {
        // The levels of the bits that are set, twice, less all levels: each level with the sign of its bit.
        let signed = 2 * (2 * sum.cast_signed() - 15 * meta.ones.cast_signed()) - self.sum;
        let product = signed as f32 * (self.scale * meta.factor);
        (self.norm + meta.norm - 2.0 * product).max(0.0)
    }
}
