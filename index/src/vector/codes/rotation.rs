//! A fast random rotation: signs and Hadamard transforms over two overlapping windows.
//!
//! Rounds of random signs and fast Hadamard transforms spread what is in few components over all (Ailon & Chazelle,
//! "The fast Johnson-Lindenstrauss transform", 2009). A transform needs a power of two; where the dimension is none, the
//! first and the last window of that length are transformed in turn, and they overlap.

use super::simd::Simd;
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Rounds of signs and transforms: one over each window.
const ROUNDS: usize = 2;

/// An orthogonal map that depends on nothing but the dimension, so that codes survive merges of segments.
#[derive(Clone, Debug)]
pub struct Rotation {
    padded: usize,
    window: usize,
    /// `ROUNDS` times `padded` numbers, 1 or -1, the scale of the transform within.
    signs: Vec<f32>,
}

impl Rotation {
    /// The rotation of vectors of `dimension` components, 1 or more.
    pub fn new(dimension: usize) -> Self {
        let padded = dimension.max(1).next_multiple_of(64);
        let window = 1 << padded.ilog2();
        let mut rng = SmallRng::seed_from_u64(0x656E_6772_616D ^ padded as u64);
        let signs = (0..ROUNDS * padded).map(|_| if rng.random() { 1.0 } else { -1.0 }).collect();
        Self { padded, window, signs }
    }

    /// Components after the rotation: the dimension rounded up to a multiple of 64.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Rotates in place; `x` has [`Rotation::padded`] components, zeros after the dimension.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, simd: S, x: &mut [f32]) {
        let scale = 1.0 / (self.window as f32).sqrt();
        for (round, signs) in self.signs.chunks_exact(self.padded).enumerate() {
            for (x, sign) in x.iter_mut().zip(signs) {
                *x *= sign;
            }
            let start = if round % 2 == 0 { 0 } else { self.padded - self.window };
            let window = &mut x[start..start + self.window];
            hadamard(simd, window);
            for x in window {
                *x *= scale;
            }
        }
    }
}

/// The unnormalised fast Hadamard transform; the length is a power of two and at least 64.
#[inline(always)]
fn hadamard<S: Simd>(simd: S, x: &mut [f32]) {
    let mut half = x.len() / 2;
    // Two halvings at a time: half the passes over memory.
    while half >= 32 {
        let quarter = half / 2;
        for block in x.chunks_exact_mut(2 * half) {
            let (front, back) = block.split_at_mut(half);
            let (a, b) = front.split_at_mut(quarter);
            let (c, d) = back.split_at_mut(quarter);
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let (p, q, r, s) = (*a + *c, *b + *d, *a - *c, *b - *d);
                (*a, *b, *c, *d) = (p + q, p - q, r + s, r - s);
            }
        }
        half /= 4;
    }
    if half == 16 {
        for block in x.chunks_exact_mut(32) {
            let (front, back) = block.split_at_mut(16);
            for (a, b) in front.iter_mut().zip(back) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
    }
    simd.hadamard16(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_lengths_and_spreads_one_component() {
        for dimension in [1, 63, 64, 100, 384, 784, 1536] {
            let rotation = Rotation::new(dimension);
            let mut x = vec![0.0; rotation.padded()];
            x[0] = 3.0;
            rotation.apply(crate::vector::codes::simd::Portable, &mut x);
            let norm: f32 = x.iter().map(|x| x * x).sum();
            assert!((norm - 9.0).abs() < 1e-3, "{dimension}: {norm}");
            let largest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!(largest < 3.0 * 6.0 / (rotation.padded() as f32).sqrt(), "{dimension}: {largest}");
        }
    }
}
