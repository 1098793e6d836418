//! Integer kernels over codes, and the choice of an instruction set, made once per query or build step.
//!
//! Code that loops over kernels is written once, generic over [`Simd`], and handed to [`dispatch`] as a [`Work`]. That
//! compiles it once per instruction set with the kernels inlined, so that no call goes through a pointer. All variants
//! give the same bits: the kernels are integer arithmetic, and the float part of [`Simd::estimates`] rounds alike
//! everywhere (fused multiply-add).

/// Within an implementation of [`Simd`]: methods that call the function of the same name beside it, which is compiled for
/// the instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! forward {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) $(-> $out)? {
            // SAFETY: `self` proves the instruction set.
            unsafe { $name($($arg),*) }
        }
    )* };
}

/// An expression for each of four. Not `map`: a closure that is not inlined is not compiled for the instruction set.
macro_rules! four {
    ($x:ident in $all:expr => $one:expr) => {{
        let mut four = [0; 4];
        for (out, $x) in four.iter_mut().zip($all) {
            *out = $one;
        }
        four
    }};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Neighbours whose 1-bit codes lie together, see [`super::link`].
pub const BLOCK: usize = 32;

/// The kernels on one instruction set. A value of an implementing type proves that the processor has it.
///
/// The bodies here are plain Rust; a variant replaces those that it does better.
pub trait Simd: Copy {
    /// Sum of `a[i] * b[i]`; the lengths are equal and a multiple of 64, at most 2^16.
    #[inline(always)]
    fn dot(self, a: &[u8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    /// The same for four vectors against one.
    #[inline(always)]
    fn dot4(self, a: [&[u8]; 4], b: &[i8]) -> [i32; 4] {
        four!(a in a => self.dot(a, b))
    }

    /// One vector against four.
    #[inline(always)]
    fn dot_by4(self, a: &[u8], b: [&[i8]; 4]) -> [i32; 4] {
        four!(b in b => self.dot(a, b))
    }

    /// Sum of `nibble[i] * steps[i]`, the nibbles of a 4-bit code as [`super::int4`] lays them out: one step per nibble, a
    /// multiple of 64, at most 2^16.
    #[inline(always)]
    fn dot_nibbles(self, code: &[u8], steps: &[i8]) -> i32 {
        let mut sum = 0;
        for (code, steps) in code.chunks(64).zip(steps.chunks(128)) {
            let (lower, upper) = steps.split_at(steps.len() / 2);
            for ((&code, &lower), &upper) in code.iter().zip(lower).zip(upper) {
                sum += i32::from(code & 15) * i32::from(lower) + i32::from(code >> 4) * i32::from(upper);
            }
        }
        sum
    }

    /// The same for four codes.
    #[inline(always)]
    fn dot_nibbles4(self, codes: [&[u8]; 4], steps: &[i8]) -> [i32; 4] {
        four!(code in codes => self.dot_nibbles(code, steps))
    }

    /// Number of bits in which two codes differ; the lengths are equal and a multiple of 8 bytes.
    #[inline(always)]
    fn hamming(self, a: &[u8], b: &[u8]) -> u32 {
        let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
        words.map(|(a, b)| (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones()).sum()
    }

    /// The same for four codes against one.
    #[inline(always)]
    fn hamming4(self, a: [&[u8]; 4], b: &[u8]) -> [u32; 4] {
        four!(a in a => self.hamming(a, b))
    }

    /// Sum over the bits set in `code` of the numbers whose bit `j` is in `planes[j]`; equal lengths, a multiple of 8 bytes.
    #[inline(always)]
    fn plane_sum(self, code: &[u8], planes: [&[u8]; 4]) -> u32 {
        let mut sums = [0; 4];
        for (sum, plane) in sums.iter_mut().zip(planes) {
            let words = code.as_chunks::<8>().0.iter().zip(plane.as_chunks::<8>().0);
            for (code, plane) in words {
                *sum += (u64::from_le_bytes(*code) & u64::from_le_bytes(*plane)).count_ones();
            }
        }
        sums[0] + 2 * sums[1] + 4 * sums[2] + 8 * sums[3]
    }

    /// The same for four codes.
    #[inline(always)]
    fn plane_sums4(self, codes: [&[u8]; 4], planes: [&[u8]; 4]) -> [u32; 4] {
        four!(code in codes => self.plane_sum(code, planes))
    }

    /// For each of 32 codes the sum of the table entries its nibbles choose, see [`super::link::Table`]: `codes` holds
    /// 64 bytes per four nibbles, `table` 64 bytes for each of those.
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

    /// `base + add[i] - mul[i] * (scale * sums[i] + bias)`, and a bit per lane that is below `bound`.
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

    /// Copies the estimates `near` whose bit is set in `chosen`, and their slots (32 numbers of four bytes), to the front
    /// of `to` and `out`, which have room for 48. Returns how many; what is in `to` after them stays or becomes infinite.
    #[inline(always)]
    fn pick(self, chosen: u32, near: &[f32; BLOCK], slots: &[u8], to: &mut [f32], out: &mut [u32]) -> usize {
        let (mut rest, mut count) = (chosen, 0);
        let (slots, _) = slots.as_chunks::<4>();
        while rest != 0 {
            let i = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            (to[count], out[count]) = (near[i], u32::from_le_bytes(slots[i]));
            count += 1;
        }
        count
    }

    /// Index and value of the least number; the first of equal ones. `(0, infinity)` where there is none.
    #[inline(always)]
    fn least(self, distances: &[f32]) -> (usize, f32) {
        let least = distances.iter().fold(f32::INFINITY, |m, &d| if d < m { d } else { m });
        (distances.iter().position(|&d| d == least).unwrap_or(0), least)
    }

    /// The least of 16 numbers.
    #[inline(always)]
    fn least16(self, distances: &[f32; 16]) -> f32 {
        self.least(distances).1
    }

    /// Makes number `lane` infinite; returns the least of the others.
    #[inline(always)]
    fn remove16(self, distances: &mut [f32; 16], lane: usize) -> f32 {
        distances[lane % 16] = f32::INFINITY;
        self.least16(distances)
    }

    /// Moves the numbers below `limit`, and the slots in the same places, to the front. Returns how many; the rest become
    /// infinite. The lengths are equal and a multiple of 16.
    #[inline(always)]
    fn keep_below(self, limit: f32, distances: &mut [f32], slots: &mut [u32]) -> usize {
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

    /// Hadamard transform of each 16 numbers, not scaled.
    #[inline(always)]
    fn hadamard16(self, x: &mut [f32]) {
        for x in x.as_chunks_mut::<16>().0 {
            for half in [8, 4, 2, 1] {
                let old = *x;
                for i in 0..16 {
                    x[i] = if i & half == 0 { old[i] + old[i ^ half] } else { old[i ^ half] - old[i] };
                }
            }
        }
    }

    /// What there is to know of the way from `u` to `v` (a multiple of 16 components): writes its signs, 16 to a word.
    #[inline(always)]
    fn way(self, u: &[f32], v: &[f32], signs: &mut [u16]) -> Way {
        // Sums in 16 lanes that are folded by halves, as the register variants do.
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

    /// `out[s] = (floor + 2 * sum of q[i] where bit i of s is set) * factor`, rounded to the nearest byte.
    #[inline(always)]
    fn table16(self, q: &[f32; 4], floor: f32, factor: f32, out: &mut [u8; 16]) {
        for (signs, out) in out.iter_mut().enumerate() {
            let pick = |i: usize| if signs >> i & 1 == 1 { 2.0 * q[i] } else { 0.0 };
            let sum = ((floor + pick(0)) + pick(1)) + pick(2) + pick(3);
            *out = (sum * factor).round_ties_even() as u8;
        }
    }
}

/// Plain Rust, for every processor; what the other variants are tested against.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Simd for Portable {}

/// The way from one vector to another, see [`super::link`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Way {
    /// Sum of the absolute components.
    pub total: f32,
    /// Sum of their squares.
    pub squares: f32,
    /// Sum of the components of the start, each with the sign of the way.
    pub along: f32,
}

/// What turns table sums into estimated distances.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    /// Half-precision numbers to add, 32 of them.
    pub add: &'a [u8],
    /// Half-precision numbers to multiply by, 32 of them.
    pub mul: &'a [u8],
    /// Distance of the query from the node.
    pub base: f32,
    /// Unit of the table.
    pub scale: f32,
    /// Offset of the table.
    pub bias: f32,
    /// Estimates below this are of interest.
    pub bound: f32,
}

/// A piece of work that is compiled for each instruction set.
pub trait Work {
    /// What it comes to.
    type Output;
    /// Does it. Mark the implementation `#[inline(always)]`, or the kernels will not be inlined.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Does `work` with the best instruction set of this processor.
#[inline]
pub fn dispatch<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = avx512::Avx512::detect() {
            // SAFETY: `detect` found every feature that the function is compiled for.
            return unsafe { avx512::with_avx512(work, simd) };
        }
        if let Some(simd) = avx2::Avx2::detect() {
            // SAFETY: as above.
            return unsafe { avx2::with_avx2(work, simd) };
        }
    }
    work.run(Portable)
}

/// Does `work` once with each instruction set of this processor, the portable one first: for tests and benchmarks.
pub fn on_each<W: Work + Clone>(work: &W) -> Vec<(&'static str, W::Output)> {
    let mut all = vec![("portable", work.clone().run(Portable))];
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = avx2::Avx2::detect() {
            // SAFETY: as in `dispatch`.
            all.push(("avx2", unsafe { avx2::with_avx2(work.clone(), simd) }));
        }
        if let Some(simd) = avx512::Avx512::detect() {
            // SAFETY: as in `dispatch`.
            all.push(("avx512", unsafe { avx512::with_avx512(work.clone(), simd) }));
        }
    }
    all
}
