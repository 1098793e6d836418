//! Quantized vectors: a random rotation, codes of whole vectors with 8, 4 and 1 bit, 1-bit codes of the way to a neighbour.

pub mod head;
pub mod int4;
pub mod int8;
pub mod link;
pub mod rotation;
pub mod signs;
pub mod simd;

/// Vectors with no larger component are coded as zero: the squares of such components vanish in f32 anyway, and the
/// inverse of a smaller step might not be finite.
const VANISHING: f32 = 1e-30;

/// The largest absolute component.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    let mut largest = 0.0f32;
    for x in lanes.iter().chain(rest) {
        largest = largest.max(x.abs());
    }
    largest
}
