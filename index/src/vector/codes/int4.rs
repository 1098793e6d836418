//! 4-bit codes of whole vectors, compared with an 8-bit query.
//!
//! A component becomes one of 16 odd numbers of half steps, `-15, -13 .. 15`, stored as a nibble `c` that stands for
//! `(2 c - 15) * scale`. Unlike 8-bit codes, which span the largest component, the step is fitted: a rotated vector is
//! nearly normal, a step that reaches its largest component wastes levels on few. [`encode`] tries [`STEPS`] times the
//! root mean square, takes the one with the least squared error and then the scale that fits the chosen levels best.
//! Mean squared error on WordNet's rotated vectors, as a share of the squared norm: 0.0111; one try at 0.335, the
//! optimum for a normal distribution, 0.0114; 16 tries 0.0110; the best of four steps around 0 (-8..7) 0.0114; largest
//! component on the last level 0.0133, and 0.0173 without half steps (`max / 7`).
//!
//! Layout: in a block of 64 bytes, byte `i` has component `i` of 128 in its lower nibble and component `64 + i` in its
//! upper, so that one register of bytes is masked into two that lie as the steps of the query do. Vectors have a multiple of
//! 64 components; where a half block is left, its byte `i` has components `i` and `32 + i`.

use super::{
    int8::{Meta, Query},
    simd::Simd,
};

/// Steps that are tried, in root mean squares of the vector.
pub const STEPS: [f32; 4] = [0.29, 0.32, 0.35, 0.38];

/// Components of a block.
const BLOCK: usize = 128;

/// Bytes of a code of that many components, a multiple of 64.
pub const fn code_bytes(components: usize) -> usize {
    components / 2
}

/// Encodes `x` (a multiple of 64 components) into `code` ([`code_bytes`] of them). The norm is that of the decoded vector,
/// as in [`super::int8`].
#[inline(always)]
pub fn encode(x: &[f32], code: &mut [u8]) -> Meta {
    let largest = super::largest(x);
    if largest < super::VANISHING {
        code.fill(0x88);
        return Meta { scale: 0.0, norm: 0.0 };
    }
    let unit = 1.0 / largest;
    let spread = spread(x, unit);
    // One step that spans all, for a vector that was not rotated and has few large components.
    let mut best = fit(x, unit * 7.5);
    for step in STEPS {
        let fit = fit(x, unit / (spread * step));
        best = if fit.gain() > best.gain() { fit } else { best };
    }
    for (x, code) in x.chunks(BLOCK).zip(code.chunks_mut(BLOCK / 2)) {
        let (lower, upper) = x.split_at(x.len() / 2);
        for ((code, &lower), &upper) in code.iter_mut().zip(lower).zip(upper) {
            *code = nibble(lower * best.inverse) | nibble(upper * best.inverse) << 4;
        }
    }
    let scale = best.product / best.squares;
    Meta { scale, norm: scale * scale * best.squares }
}

/// Writes the 8-bit code of the vector that a 4-bit code stands for: the way to make a stored vector a [`Query`].
#[inline(always)]
pub fn widen(code: &[u8], meta: Meta, out: &mut [u8]) -> Meta {
    for (code, out) in code.chunks(BLOCK / 2).zip(out.chunks_mut(BLOCK)) {
        let (lower, upper) = out.split_at_mut(out.len() / 2);
        for ((&code, lower), upper) in code.iter().zip(lower).zip(upper) {
            (*lower, *upper) = (128 - 15 + 2 * (code & 15), 128 - 15 + 2 * (code >> 4));
        }
    }
    meta
}

/// Nibble of component `i`.
#[inline(always)]
pub(super) fn nibble_at(code: &[u8], i: usize) -> u8 {
    let start = i / BLOCK * (BLOCK / 2);
    let half = (code.len() - start).min(BLOCK / 2);
    let within = i % BLOCK;
    code[start + within % half] >> (4 * (within / half)) & 15
}

/// How a vector is met by the levels of one step.
#[derive(Clone, Copy)]
struct Fit {
    /// Steps per unit of the components.
    inverse: f32,
    /// Product of the components with their levels, in half steps.
    product: f32,
    /// Sum of the squares of the levels.
    squares: f32,
}

impl Fit {
    /// The squared norm less this is the squared error, with the best scale for these levels.
    #[inline(always)]
    fn gain(&self) -> f32 {
        // In this order: the square alone might not be finite.
        self.product / self.squares * self.product
    }
}

#[inline(always)]
fn nibble(steps: f32) -> u8 {
    (steps.floor().clamp(-8.0, 7.0) as i32 + 8) as u8
}

#[inline(always)]
fn fit(x: &[f32], inverse: f32) -> Fit {
    let (mut products, mut squares) = ([0.0f32; 16], [0.0f32; 16]);
    for x in x.as_chunks::<16>().0 {
        for i in 0..16 {
            let level = 2.0 * (x[i] * inverse).floor().clamp(-8.0, 7.0) + 1.0;
            products[i] += x[i] * level;
            squares[i] += level * level;
        }
    }
    Fit { inverse, product: products.iter().sum(), squares: squares.iter().sum() }
}

/// Root mean square of the components times `unit`.
#[inline(always)]
fn spread(x: &[f32], unit: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    for x in x.as_chunks::<16>().0 {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += (x * unit) * (x * unit);
        }
    }
    (lanes.iter().sum::<f32>() / x.len() as f32).sqrt()
}

impl Query {
    /// Squared distance of the decoded vectors, the other one a 4-bit code.
    #[inline(always)]
    pub fn distance_nibbles<S: Simd>(&self, simd: S, code: &[u8], meta: Meta) -> f32 {
        self.finish_nibbles(simd.dot_nibbles(code, self.steps()), meta)
    }

    /// Four distances at once.
    #[inline(always)]
    pub fn distance_nibbles4<S: Simd>(&self, simd: S, codes: [&[u8]; 4], metas: [Meta; 4]) -> [f32; 4] {
        let dots = simd.dot_nibbles4(codes, self.steps());
        std::array::from_fn(|i| self.finish_nibbles(dots[i], metas[i]))
    }

    #[inline(always)]
    fn finish_nibbles(&self, dot: i32, meta: Meta) -> f32 {
        self.finish(2 * dot - 15 * self.sum(), meta)
    }
}
