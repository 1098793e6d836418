//! The distance kernels: one result, bit for bit, on every instruction set and every search path.
//!
//! All variants sum into the same 64 virtual lanes (lane `i mod 64` takes component `i`) with fused multiply-add, and
//! fold the lanes in the same tree. So AVX-512, AVX2 and the portable code agree to the last bit, nodes with different
//! processors give the same answer, and the exact scan, the graph and the memtable never disagree about a distance.
//! Four 16-lane accumulators hide the latency of the multiply-add; `simsimd`, which has one, takes 1.25 to 1.4 times as
//! long in cache (`benches/run micro`) and is the tests' oracle.
//!
//! One side is always f32. The other may be stored in half the bytes, as [`f16`] or [`bf16`]: its components are widened,
//! which is exact, and summed in the same way, so that the distance has the bits of that of the widened vector.

use half::{bf16, f16};

use crate::vector::Metric;

#[cfg(target_arch = "x86_64")]
mod x86;

/// Virtual lanes of a sum.
const LANES: usize = 64;

/// Sum over the components of two slices; the shorter length counts.
///
/// Unsafe only because the processor must have the instruction set the function was compiled for.
type RawKernel<T> = unsafe fn(&[f32], &[T]) -> f32;

/// The same of four slices against one.
type RawKernel4<T> = unsafe fn(&[f32], [&[T]; 4]) -> [f32; 4];

/// The functions of one instruction set, in the order of [`Sum`].
type Raw<T> = ([RawKernel<T>; 3], [RawKernel4<T>; 3]);

/// A distance function made ready for this processor. Take one per query, not per pair.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<T = f32> {
    metric: Metric,
    /// Only ever functions whose instruction set [`Isa::all`] has found.
    raw: RawKernel<T>,
    raw4: RawKernel4<T>,
}

/// What is summed over the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Products,
    Squares,
    Differences,
}

/// Instruction sets with a variant of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with byte and word instructions and those for shorter vectors: Intel since Skylake-X, AMD since Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and half-precision conversion: Intel since Haswell, AMD since Zen.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust.
    Portable,
}

impl Isa {
    /// The best one of this processor (the standard library caches the answers).
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            if avx2 {
                return if avx512 { Isa::Avx512 } else { Isa::Avx2 };
            }
        }
        Isa::Portable
    }
}

mod sealed {
    use super::{Isa, Raw};

    /// What a type of components must have; only this module's types do.
    pub trait Stored: Copy + 'static {
        fn widen(self) -> f32;
        fn raw(isa: Isa) -> Raw<Self>;
    }
}

use sealed::Stored;

/// Types a stored component may have: `f32`, [`f16`] and [`bf16`] (the last two used by benchmarks and tests so far).
pub trait Component: Stored {}

macro_rules! component {
    ($type:ty, $widen:expr, $avx512:ident, $avx2:ident) => {
        impl Component for $type {}
        impl Stored for $type {
            #[inline(always)]
            fn widen(self) -> f32 {
                $widen(self)
            }

            fn raw(isa: Isa) -> Raw<Self> {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => x86::$avx512::RAW,
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => x86::$avx2::RAW,
                    Isa::Portable => portable(),
                }
            }
        }
    };
}

component!(f32, std::convert::identity, f32_avx512, f32_avx2);
component!(f16, f16::to_f32, f16_avx512, f16_avx2);
component!(bf16, bf16::to_f32, bf16_avx512, bf16_avx2);

impl<T: Component> Kernel<T> {
    /// The kernel of a metric on this processor.
    pub fn new(metric: Metric) -> Self {
        Self::of(metric, Isa::detect())
    }

    /// One for each instruction set of this processor, the portable one first: for tests and benchmarks.
    pub fn each(metric: Metric) -> Vec<(&'static str, Self)> {
        let best = Isa::detect();
        let mut all = vec![("portable", Self::of(metric, Isa::Portable))];
        #[cfg(target_arch = "x86_64")]
        {
            if best != Isa::Portable {
                all.push(("avx2", Self::of(metric, Isa::Avx2)));
            }
            if best == Isa::Avx512 {
                all.push(("avx512", Self::of(metric, Isa::Avx512)));
            }
        }
        all
    }

    fn of(metric: Metric, isa: Isa) -> Self {
        let sum = match metric {
            Metric::Cosine | Metric::Dot => Sum::Products,
            Metric::Euclid => Sum::Squares,
            Metric::Manhattan => Sum::Differences,
        };
        let (raw, raw4) = T::raw(isa);
        Self { metric, raw: raw[sum as usize], raw4: raw4[sum as usize] }
    }

    /// Distance of two admitted vectors, see [`Metric::distance`]. Never NaN and never -0 for admitted vectors.
    #[inline]
    pub fn distance(&self, a: &[f32], b: &[T]) -> f32 {
        // SAFETY: `raw` is of an instruction set that `Isa::detect` found; it reads within the slices.
        self.finish(unsafe { (self.raw)(a, b) })
    }

    /// The distances of four vectors from one, with the bits of [`Kernel::distance`]. Used by benchmarks and tests so far:
    /// it pays where rows are in cache, and searches wait for memory.
    #[inline]
    pub fn distance4(&self, a: &[f32], b: [&[T]; 4]) -> [f32; 4] {
        // SAFETY: as in `distance`.
        let sums = unsafe { (self.raw4)(a, b) };
        sums.map(|sum| self.finish(sum))
    }

    #[inline]
    fn finish(&self, sum: f32) -> f32 {
        match self.metric {
            // Rounding may carry the product of two unit vectors past 1, and no similarity is above 1.
            Metric::Cosine => (1.0 - sum).clamp(0.0, 2.0),
            // Adding zero turns -0 into 0, so that equal distances have equal bits.
            Metric::Dot => -sum + 0.0,
            Metric::Euclid | Metric::Manhattan => sum + 0.0,
        }
    }
}

/// Asks the processor to bring the beginning of `vector` into its cache. A hint: it changes no result.
#[inline]
pub fn prefetch<T>(slice: &[T], lines: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = slice.as_ptr().cast::<i8>();
        let lines = lines.min(size_of_val(slice).div_ceil(64));
        for line in 0..lines {
            // SAFETY: the address lies within `slice` (a prefetch could not fault anyway); SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, lines);
}

/// The functions of [`Isa::Portable`].
fn portable<T: Stored>() -> Raw<T> {
    (
        [|a, b| sum(a, b, product), |a, b| sum(a, b, square), |a, b| sum(a, b, difference)],
        [
            |a, b| b.map(|b| sum(a, b, product)),
            |a, b| b.map(|b| sum(a, b, square)),
            |a, b| b.map(|b| sum(a, b, difference)),
        ],
    )
}

fn product(sum: f32, x: f32, y: f32) -> f32 {
    x.mul_add(y, sum)
}

fn square(sum: f32, x: f32, y: f32) -> f32 {
    (x - y).mul_add(x - y, sum)
}

fn difference(sum: f32, x: f32, y: f32) -> f32 {
    sum + (x - y).abs()
}

#[inline(always)]
fn sum<T: Stored>(a: &[f32], b: &[T], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (x, y) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = step(*lane, x, y.widen());
        }
    }
    fold(&lanes)
}

/// The summation tree all variants follow: four rows of 16 as (0 + 1) + (2 + 3), then halves onto halves.
fn fold(lanes: &[f32; LANES]) -> f32 {
    let mut row = [0.0f32; 16];
    for (i, lane) in row.iter_mut().enumerate() {
        *lane = (lanes[i] + lanes[16 + i]) + (lanes[32 + i] + lanes[48 + i]);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            row[i] += row[half + i];
        }
    }
    row[0]
}
