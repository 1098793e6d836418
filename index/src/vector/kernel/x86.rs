//! The kernels in registers. One body serves every instruction set, type of stored components and sum; it is compiled
//! for each by the functions that [`compiled`] makes, into which all of it is inlined.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{LANES, Raw};

/// The registers of an instruction set.
///
/// # Safety
/// All functions want that instruction set of the processor.
trait Registers {
    type Floats: Copy;
    /// Lanes of a register.
    const WIDTH: usize;
    unsafe fn zero() -> Self::Floats;
    unsafe fn add(x: Self::Floats, y: Self::Floats) -> Self::Floats;
    unsafe fn sub(x: Self::Floats, y: Self::Floats) -> Self::Floats;
    unsafe fn abs(x: Self::Floats) -> Self::Floats;
    /// `x * y + sum`, rounded once.
    unsafe fn fma(x: Self::Floats, y: Self::Floats, sum: Self::Floats) -> Self::Floats;
    /// All 64 lanes to one, in the order of the portable `fold`.
    unsafe fn fold(lanes: &[Self::Floats]) -> f32;
}

/// Components that a register can be filled with.
///
/// # Safety
/// As for [`Registers`]; that many components can be read from `at`, which needs no alignment.
trait Load<R: Registers>: Copy {
    /// As many as the register has lanes.
    unsafe fn load(at: *const Self) -> R::Floats;
    /// The first `count`, at least 1, then zeros; not more than there are lanes.
    unsafe fn load_some(at: *const Self, count: usize) -> R::Floats;
}

/// Takes a pair of components into a sum.
///
/// # Safety
/// As for [`Registers`].
trait Step {
    unsafe fn step<R: Registers>(sum: R::Floats, x: R::Floats, y: R::Floats) -> R::Floats;
}

struct Products;
struct Squares;
struct Differences;

impl Step for Products {
    #[inline(always)]
    unsafe fn step<R: Registers>(sum: R::Floats, x: R::Floats, y: R::Floats) -> R::Floats {
        // SAFETY: the caller's promise.
        unsafe { R::fma(x, y, sum) }
    }
}

impl Step for Squares {
    #[inline(always)]
    unsafe fn step<R: Registers>(sum: R::Floats, x: R::Floats, y: R::Floats) -> R::Floats {
        // SAFETY: the caller's promise.
        unsafe {
            let difference = R::sub(x, y);
            R::fma(difference, difference, sum)
        }
    }
}

impl Step for Differences {
    #[inline(always)]
    unsafe fn step<R: Registers>(sum: R::Floats, x: R::Floats, y: R::Floats) -> R::Floats {
        // SAFETY: the caller's promise.
        unsafe { R::add(sum, R::abs(R::sub(x, y))) }
    }
}

/// Sums over the components of `a` and each of `b`; the shortest length counts. `ROWS` registers have 64 lanes.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn sums<R: Registers, T: Load<R>, S: Step, const ROWS: usize, const N: usize>(
    a: &[f32],
    b: [&[T]; N],
) -> [f32; N]
where
    f32: Load<R>,
{
    let n = b.iter().fold(a.len(), |n, b| n.min(b.len()));
    let (a, b) = (a.as_ptr(), b.map(<[T]>::as_ptr));
    // SAFETY: the caller's promise; whole registers are loaded where `at + 64 <= n`, and of the last ones `n - first`
    // components at most, so that all loads are within all slices.
    unsafe {
        let mut sums = [[R::zero(); ROWS]; N];
        let mut at = 0;
        while at + LANES <= n {
            for row in 0..ROWS {
                let first = at + R::WIDTH * row;
                let x = f32::load(a.add(first));
                for (sums, b) in sums.iter_mut().zip(b) {
                    sums[row] = S::step::<R>(sums[row], x, T::load(b.add(first)));
                }
            }
            at += LANES;
        }
        if at < n {
            for row in 0..ROWS {
                let first = at + R::WIDTH * row;
                if first < n {
                    // Zeros in both add nothing to any of the sums.
                    let x = f32::load_some(a.add(first), n - first);
                    for (sums, b) in sums.iter_mut().zip(b) {
                        sums[row] = S::step::<R>(sums[row], x, T::load_some(b.add(first), n - first));
                    }
                }
            }
        }
        // A loop: in a closure the compiler would not know of the instruction set, and call for every operation.
        let mut out = [0.0; N];
        for (out, sums) in out.iter_mut().zip(&sums) {
            *out = R::fold(sums);
        }
        out
    }
}

/// The functions of one instruction set and type. Four at once share the loads of `a`, where there are registers enough.
macro_rules! compiled {
    ($name:ident, $type:ty, $registers:ty, $rows:literal, $features:literal, $four:ident) => {
        pub(super) mod $name {
            use super::*;

            pub const RAW: Raw<$type> = (
                [one::<Products>, one::<Squares>, one::<Differences>],
                [four::<Products>, four::<Squares>, four::<Differences>],
            );

            #[target_feature(enable = $features)]
            fn one<S: Step>(a: &[f32], b: &[$type]) -> f32 {
                // SAFETY: the function is compiled for the instruction set.
                let [sum] = unsafe { sums::<$registers, $type, S, $rows, 1>(a, [b]) };
                sum
            }

            #[target_feature(enable = $features)]
            fn four<S: Step>(a: &[f32], b: [&[$type]; 4]) -> [f32; 4] {
                compiled!(@$four S, $type, $registers, $rows, a, b)
            }
        }
    };
    (@together $sum:ident, $type:ty, $registers:ty, $rows:literal, $a:ident, $b:ident) => {
        // SAFETY: the function is compiled for the instruction set.
        unsafe { sums::<$registers, $type, $sum, $rows, 4>($a, $b) }
    };
    (@in_turns $sum:ident, $type:ty, $registers:ty, $rows:literal, $a:ident, $b:ident) => {
        $b.map(|b| one::<$sum>($a, b))
    };
}

compiled!(f32_avx512, f32, Avx512, 4, "avx512bw,avx512vl", together);
compiled!(f16_avx512, f16, Avx512, 4, "avx512bw,avx512vl", together);
compiled!(bf16_avx512, bf16, Avx512, 4, "avx512bw,avx512vl", together);
compiled!(f32_avx2, f32, Avx2, 8, "avx2,fma,f16c", in_turns);
compiled!(f16_avx2, f16, Avx2, 8, "avx2,fma,f16c", in_turns);
compiled!(bf16_avx2, bf16, Avx2, 8, "avx2,fma,f16c", in_turns);

/// Operations of [`Registers`] that are one instruction.
macro_rules! operations {
    ($(fn $name:ident($($x:ident: $type:ty),*) -> $floats:ty = $intrinsic:ident;)*) => { $(
        #[inline(always)]
        unsafe fn $name($($x: $type),*) -> $floats {
            // SAFETY: the caller's promise.
            unsafe { $intrinsic($($x),*) }
        }
    )* };
}

/// 16 lanes.
struct Avx512;

impl Registers for Avx512 {
    type Floats = __m512;
    const WIDTH: usize = 16;

    operations! {
        fn zero() -> __m512 = _mm512_setzero_ps;
        fn add(x: __m512, y: __m512) -> __m512 = _mm512_add_ps;
        fn sub(x: __m512, y: __m512) -> __m512 = _mm512_sub_ps;
        fn fma(x: __m512, y: __m512, sum: __m512) -> __m512 = _mm512_fmadd_ps;
        fn abs(x: __m512) -> __m512 = _mm512_abs_ps;
    }

    #[inline(always)]
    unsafe fn fold(s: &[__m512]) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            let row = _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]));
            let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(row)));
            fold8(_mm256_add_ps(_mm512_castps512_ps256(row), upper))
        }
    }
}

/// The first `count` words, then zeros; not more than 16.
///
/// # Safety
/// As for [`Load::load_some`].
#[inline(always)]
unsafe fn some_words(at: *const i16, count: usize) -> __m256i {
    // SAFETY: the caller's promise; the mask keeps the load from touching anything after `count`.
    unsafe { _mm256_maskz_loadu_epi16(0xFFFF >> (16 - count.min(16)), at) }
}

impl Load<Avx512> for f32 {
    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_some(at: *const f32, count: usize) -> __m512 {
        // SAFETY: the caller's promise; the mask keeps the load from touching anything after `count`.
        unsafe { _mm512_maskz_loadu_ps(0xFFFF >> (16 - count.min(16)), at) }
    }
}

impl Load<Avx512> for f16 {
    #[inline(always)]
    unsafe fn load(at: *const f16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn load_some(at: *const f16, count: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(some_words(at.cast(), count)) }
    }
}

impl Load<Avx512> for bf16 {
    #[inline(always)]
    unsafe fn load(at: *const bf16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { widen16(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn load_some(at: *const bf16, count: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { widen16(some_words(at.cast(), count)) }
    }
}

/// A bf16 is the upper half of an f32.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn widen16(words: __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words))) }
}

/// 8 lanes.
struct Avx2;

impl Registers for Avx2 {
    type Floats = __m256;
    const WIDTH: usize = 8;

    operations! {
        fn zero() -> __m256 = _mm256_setzero_ps;
        fn add(x: __m256, y: __m256) -> __m256 = _mm256_add_ps;
        fn sub(x: __m256, y: __m256) -> __m256 = _mm256_sub_ps;
        fn fma(x: __m256, y: __m256, sum: __m256) -> __m256 = _mm256_fmadd_ps;
    }

    #[inline(always)]
    unsafe fn abs(x: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) }
    }

    #[inline(always)]
    unsafe fn fold(s: &[__m256]) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            let lower = _mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[4], s[6]));
            let upper = _mm256_add_ps(_mm256_add_ps(s[1], s[3]), _mm256_add_ps(s[5], s[7]));
            fold8(_mm256_add_ps(lower, upper))
        }
    }
}

/// Sliding mask: the 8 words from `8 - v` on select the first `v` lanes.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// What [`Load::load_some`] does for words, of which AVX2 has no masked load.
///
/// # Safety
/// As for [`Load::load_some`].
#[inline(always)]
unsafe fn load_copied<T: Load<Avx2>>(at: *const T, count: usize, zero: T) -> __m256 {
    // SAFETY: the caller's promise; fewer than 8 fit into the copy.
    unsafe {
        if count >= 8 {
            return T::load(at);
        }
        let mut copy = [zero; 8];
        std::ptr::copy_nonoverlapping(at, copy.as_mut_ptr(), count);
        T::load(copy.as_ptr())
    }
}

impl Load<Avx2> for f32 {
    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_some(at: *const f32, count: usize) -> __m256 {
        // SAFETY: the caller's promise; the 8 words read lie within the 16 of `MASKS`, and the mask keeps the load from
        // touching anything after `count`.
        unsafe { _mm256_maskload_ps(at, _mm256_loadu_si256(MASKS.as_ptr().add(8 - count.min(8)).cast())) }
    }
}

impl Load<Avx2> for f16 {
    #[inline(always)]
    unsafe fn load(at: *const f16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }

    #[inline(always)]
    unsafe fn load_some(at: *const f16, count: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { load_copied(at, count, f16::ZERO) }
    }
}

impl Load<Avx2> for bf16 {
    #[inline(always)]
    unsafe fn load(at: *const bf16) -> __m256 {
        // SAFETY: the caller's promise. A bf16 is the upper half of an f32.
        unsafe {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
        }
    }

    #[inline(always)]
    unsafe fn load_some(at: *const bf16, count: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { load_copied(at, count, bf16::ZERO) }
    }
}

/// 8 lanes to one: halves onto halves, as the portable `fold` goes on from 8.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn fold8(row: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(row), _mm256_extractf128_ps::<1>(row));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}
