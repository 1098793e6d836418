//! The kernels in plain Rust.

use super::{BLOCK, Factors, Simd, Way};

/// Plain Rust, for every processor; what the other variants are tested against.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Simd for Portable {
    #[inline(always)]
    fn dot(self, a: &[u8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    #[inline(always)]
    fn dot4(self, a: [&[u8]; 4], b: &[i8]) -> [i32; 4] {
        a.map(|a| self.dot(a, b))
    }

    #[inline(always)]
    fn dot_by4(self, a: &[u8], b: [&[i8]; 4]) -> [i32; 4] {
        b.map(|b| self.dot(a, b))
    }

    #[inline(always)]
    fn table_sums(self, codes: &[u8], table: &[u8]) -> [i32; BLOCK] {
        let mut sums = [0; BLOCK];
        for (codes, table) in codes.chunks_exact(64).zip(table.chunks_exact(64)) {
            for (i, &byte) in codes.iter().enumerate() {
                let entries = &table[16 * (i % 4)..16 * (i % 4) + 16];
                sums[i / 4] += i32::from(entries[usize::from(byte & 15)]);
                sums[16 + i / 4] += i32::from(entries[usize::from(byte >> 4)]);
            }
        }
        sums
    }

    #[inline(always)]
    fn estimates(self, sums: &[i32; BLOCK], factors: &Factors<'_>, out: &mut [f32; BLOCK]) -> u32 {
        let half =
            |bytes: &[u8], i: usize| half::f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32();
        let mut below = 0;
        for i in 0..BLOCK {
            let product = (sums[i] as f32).mul_add(factors.scale, factors.bias);
            out[i] = (-half(factors.mul, i)).mul_add(product, factors.base + half(factors.add, i));
            below |= u32::from(out[i] < factors.bound) << i;
        }
        below
    }

    #[inline(always)]
    fn pick(
        self,
        chosen: u32,
        estimates: &[f32; BLOCK],
        slots: &[u8],
        distances: &mut [f32],
        out: &mut [u32],
    ) -> usize {
        pick(chosen, estimates, slots, distances, out)
    }

    #[inline(always)]
    fn least(self, distances: &[f32]) -> (usize, f32) {
        least(distances)
    }

    #[inline(always)]
    fn least16(self, distances: &[f32; 16]) -> f32 {
        least(distances).1
    }

    #[inline(always)]
    fn remove16(self, distances: &mut [f32; 16], lane: usize) -> f32 {
        distances[lane % 16] = f32::INFINITY;
        least(distances).1
    }

    #[inline(always)]
    fn keep_below(self, limit: f32, distances: &mut [f32], slots: &mut [u32]) -> usize {
        keep_below(limit, distances, slots)
    }

    #[inline(always)]
    fn hadamard16(self, x: &mut [f32]) {
        hadamard16(x);
    }

    #[inline(always)]
    fn way(self, u: &[f32], v: &[f32], signs: &mut [u16]) -> Way {
        way(u, v, signs)
    }

    #[inline(always)]
    fn table16(self, q: &[f32; 4], floor: f32, factor: f32, out: &mut [u8; 16]) {
        table16(q, floor, factor, out);
    }
}

#[inline(always)]
pub(super) fn keep_below(limit: f32, distances: &mut [f32], slots: &mut [u32]) -> usize {
    let mut kept = 0;
    for i in 0..distances.len().min(slots.len()) {
        let distance = std::mem::replace(&mut distances[i], f32::INFINITY);
        if distance < limit {
            (distances[kept], slots[kept]) = (distance, slots[i]);
            kept += 1;
        }
    }
    kept
}

#[inline(always)]
pub(super) fn hadamard16(x: &mut [f32]) {
    for x in x.as_chunks_mut::<16>().0 {
        for half in [8, 4, 2, 1] {
            let old = *x;
            for i in 0..16 {
                x[i] = if i & half == 0 { old[i] + old[i ^ half] } else { old[i ^ half] - old[i] };
            }
        }
    }
}

/// Sums in 16 lanes that are folded by halves, as the register variants do.
#[inline(always)]
pub(super) fn way(u: &[f32], v: &[f32], signs: &mut [u16]) -> Way {
    let mut lanes = [[0.0f32; 16]; 3];
    let chunks = u.as_chunks::<16>().0.iter().zip(v.as_chunks::<16>().0);
    for ((u, v), signs) in chunks.zip(signs) {
        *signs = 0;
        for i in 0..16 {
            let way = v[i] - u[i];
            let positive = way > 0.0;
            lanes[0][i] += way.abs();
            lanes[1][i] = way.mul_add(way, lanes[1][i]);
            lanes[2][i] += if positive { u[i] } else { -u[i] };
            *signs |= u16::from(positive) << i;
        }
    }
    let [total, squares, along] = lanes.map(|mut lane| {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lane[i] += lane[i + half];
            }
        }
        lane[0]
    });
    Way { total, squares, along }
}

#[inline(always)]
pub(super) fn table16(q: &[f32; 4], floor: f32, factor: f32, out: &mut [u8; 16]) {
    for (signs, out) in out.iter_mut().enumerate() {
        let pick = |i: usize| if signs >> i & 1 == 1 { 2.0 * q[i] } else { 0.0 };
        let sum = ((floor + pick(0)) + pick(1)) + pick(2) + pick(3);
        *out = (sum * factor).round_ties_even() as u8;
    }
}

#[inline(always)]
pub(super) fn pick(
    chosen: u32,
    estimates: &[f32; BLOCK],
    slots: &[u8],
    distances: &mut [f32],
    out: &mut [u32],
) -> usize {
    let (mut rest, mut count) = (chosen, 0);
    while rest != 0 {
        let i = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        distances[count] = estimates[i];
        out[count] = u32::from_le_bytes([slots[4 * i], slots[4 * i + 1], slots[4 * i + 2], slots[4 * i + 3]]);
        count += 1;
    }
    count
}

#[inline(always)]
pub(super) fn least(distances: &[f32]) -> (usize, f32) {
    let least = distances.iter().fold(f32::INFINITY, |m, &d| if d < m { d } else { m });
    (distances.iter().position(|&d| d == least).unwrap_or(0), least)
}
