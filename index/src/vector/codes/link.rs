//! 1-bit codes of the way from a node to each of its neighbours, and the table that reads 32 of them at once.
//!
//! After RaBitQ (arXiv 2405.12497) and SymphonyQG (arXiv 2411.12229, section 3). For a node `u` and a neighbour `v` the
//! signs of `r = v - u` are stored. With `m = |r|^2 / sum |r_i|` the estimate `<q - u, r> ~ m * sum sign(r_i) (q - u)_i` is
//! unbiased under a random rotation, so
//! `|q - v|^2 ~ |q - u|^2 + add - mul * S`, where `S = sum sign(r_i) q_i` depends on the query only, `mul = 2 m` and
//! `add = |v - u|^2 + 2 m sum sign(r_i) u_i`. What belongs to the edge is stored in half precision.
//!
//! `S` is read from a table of 16 entries per four components (FastScan, André et al., VLDB 2015). A block holds 32
//! codes. Its 64-byte group `g` holds components `16 g .. 16 g + 16`: byte `4 j + i` has the four signs of components
//! `16 g + 4 i ..` of neighbour `j` in its lower nibble and those of neighbour `16 + j` in its upper.

use half::f16;

use super::simd::{BLOCK, Simd, Way};

/// Factors of one edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Edge {
    /// Added to the distance of the node.
    pub add: f32,
    /// Multiplied with the sum of signed components of the query.
    pub mul: f32,
}

/// Bytes of the codes of 32 neighbours with `bits` bits each.
pub const fn block_bytes(bits: usize) -> usize {
    bits * BLOCK / 8
}

/// Writes the signs of `v - u` as code `lane` of a block, and gives the factors. `length` is the squared length of the
/// whole way, which may have more components than the `u.len()` (a multiple of 16) that are coded.
#[inline(always)]
pub fn encode<S: Simd>(
    simd: S,
    (u, v): (&[f32], &[f32]),
    length: f32,
    lane: usize,
    signs: &mut Vec<u16>,
    block: &mut [u8],
) -> Edge {
    signs.resize(u.len() / 16, 0);
    let Way { total, squares, along } = simd.way(u, v, signs);
    let (at, shift) = (4 * (lane % 16), if lane < 16 { 0 } else { 4 });
    for (group, signs) in block.chunks_exact_mut(64).zip(signs) {
        for (i, byte) in group[at..at + 4].iter_mut().enumerate() {
            *byte |= ((*signs >> (4 * i) & 15) as u8) << shift;
        }
    }
    let m = if total > 0.0 { squares / total } else { 0.0 };
    Edge { add: length + 2.0 * m * along, mul: 2.0 * m }
}

/// Half-precision bytes of a factor, kept within the range of finite numbers.
pub fn half_bytes(x: f32) -> [u8; 2] {
    f16::from_f32(x.clamp(-65_000.0, 65_000.0)).to_le_bytes()
}

/// The table of a query: sums of signed components in steps of `scale` above `bias`.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: Vec<u8>,
    scale: f32,
    bias: f32,
}

impl Table {
    /// Makes it for the coded components of a query, a multiple of 16 of them. Keeps its memory for the next one.
    #[inline(always)]
    pub fn set<S: Simd>(&mut self, simd: S, query: &[f32]) {
        // The entry of signs s is sum s_i q_i: between -w and w, where w is the sum of |q_i| of the four.
        let width = |q: &[f32; 4]| (q[0].abs() + q[1].abs()) + (q[2].abs() + q[3].abs());
        let (fours, _) = query.as_chunks::<4>();
        let (mut widest, mut total) = (0.0f32, 0.0);
        for q in fours {
            let width = width(q);
            widest = if width > widest { width } else { widest };
            total += width;
        }
        let factor = if widest > 0.0 { 255.0 / (2.0 * widest) } else { 0.0 };
        self.entries.resize(fours.len() * 16, 0);
        for (q, out) in fours.iter().zip(self.entries.as_chunks_mut::<16>().0) {
            // Twice the components whose bit is set, less all of them, is the signed sum; the table starts at the least.
            let floor = width(q) - (q[0] + q[1] + q[2] + q[3]);
            simd.table16(q, floor, factor, out);
        }
        self.scale = 2.0 * widest / 255.0;
        self.bias = -total;
    }

    /// 16 entries per four components.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// Length of a step.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// What a sum of zeros stands for.
    pub fn bias(&self) -> f32 {
        self.bias
    }
}
