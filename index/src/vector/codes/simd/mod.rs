//! Integer kernels over codes, and the choice of an instruction set, made once per query or build step.
//!
//! Code that loops over kernels is written once, generic over [`Simd`], and handed to [`dispatch`] as a [`Work`]. That
//! compiles it once per instruction set with the kernels inlined, so that no call goes through a pointer. All variants
//! give the same bits: the kernels are integer arithmetic, and the float part of [`Simd::estimates`] rounds alike
//! everywhere (fused multiply-add).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub use portable::Portable;

/// Neighbours whose 1-bit codes lie together, see [`super::link`].
pub const BLOCK: usize = 32;

/// The kernels on one instruction set. A value of an implementing type proves that the processor has it.
pub trait Simd: Copy {
    /// Sum of `a[i] * b[i]`; the lengths are equal and a multiple of 64, at most 2^16.
    fn dot(self, a: &[u8], b: &[i8]) -> i32;

    /// The same for four vectors against one.
    fn dot4(self, a: [&[u8]; 4], b: &[i8]) -> [i32; 4];

    /// One vector against four.
    fn dot_by4(self, a: &[u8], b: [&[i8]; 4]) -> [i32; 4];

    /// For each of 32 codes the sum of the table entries its nibbles choose, see [`super::link::Table`]: `codes` holds
    /// 64 bytes per four nibbles, `table` 64 bytes for each of those.
    fn table_sums(self, codes: &[u8], table: &[u8]) -> [i32; BLOCK];

    /// `base + add[i] - mul[i] * (scale * sums[i] + bias)`, and a bit per lane that is below `bound`.
    fn estimates(self, sums: &[i32; BLOCK], factors: &Factors<'_>, out: &mut [f32; BLOCK]) -> u32;

    /// Copies the estimates whose bit is set in `chosen`, and their slots (32 numbers of four bytes), to the front of
    /// `distances` and `out`, which have room for 48. Returns how many; the distances after them stay or become infinite.
    fn pick(
        self,
        chosen: u32,
        estimates: &[f32; BLOCK],
        slots: &[u8],
        distances: &mut [f32],
        out: &mut [u32],
    ) -> usize;

    /// Index and value of the least number; the first of equal ones. `(0, infinity)` where there is none.
    fn least(self, distances: &[f32]) -> (usize, f32);

    /// The least of 16 numbers.
    fn least16(self, distances: &[f32; 16]) -> f32;

    /// Makes number `lane` infinite; returns the least of the others.
    fn remove16(self, distances: &mut [f32; 16], lane: usize) -> f32;

    /// Moves the numbers below `limit`, and the slots in the same places, to the front. Returns how many; the rest become
    /// infinite. The lengths are equal and a multiple of 16.
    fn keep_below(self, limit: f32, distances: &mut [f32], slots: &mut [u32]) -> usize;

    /// Hadamard transform of each 16 numbers, not scaled.
    fn hadamard16(self, x: &mut [f32]);

    /// What there is to know of the way from `u` to `v` (a multiple of 16 components): writes its signs, 16 to a word.
    fn way(self, u: &[f32], v: &[f32], signs: &mut [u16]) -> Way;

    /// `out[s] = (floor + 2 * sum of q[i] where bit i of s is set) * factor`, rounded to the nearest byte.
    fn table16(self, q: &[f32; 4], floor: f32, factor: f32, out: &mut [u8; 16]);
}

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
