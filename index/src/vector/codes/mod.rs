//! Quantized vectors: a random rotation, 8-bit codes of whole vectors and 1-bit codes of the way to a neighbour.

pub mod head;
pub mod int8;
pub mod link;
pub mod rotation;
pub mod simd;
