//! The kernels on AVX2.

use std::arch::x86_64::*;

use super::{BLOCK, Factors, Simd, Work};

/// AVX2 with FMA and half-precision conversion: Intel since Haswell, AMD since Zen.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    #[inline]
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi2");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
pub fn with_avx2<W: Work>(work: W, simd: Avx2) -> W::Output {
    work.run(simd)
}

impl Simd for Avx2 {
    forward! {
        fn dot(a: &[u8], b: &[i8]) -> i32;
        fn dot_nibbles(code: &[u8], steps: &[i8]) -> i32;
        fn table_sums(codes: &[u8], table: &[u8]) -> [i32; BLOCK];
        fn estimates(sums: &[i32; BLOCK], factors: &Factors<'_>, out: &mut [f32; BLOCK]) -> u32;
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot(a: &[u8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len()) / 32;
    // SAFETY: the function is compiled for the instruction set; `n` whole steps of 32 bytes lie within both slices.
    unsafe {
        let mut s = [_mm256_setzero_si256(); 2];
        for i in 0..n {
            for (half, s) in s.iter_mut().enumerate() {
                let x = _mm_loadu_si128(a.as_ptr().add(32 * i + 16 * half).cast());
                let y = _mm_loadu_si128(b.as_ptr().add(32 * i + 16 * half).cast());
                // 16-bit products: those of unsigned and signed bytes would saturate in pairs.
                let pairs = _mm256_madd_epi16(_mm256_cvtepu8_epi16(x), _mm256_cvtepi8_epi16(y));
                *s = _mm256_add_epi32(*s, pairs);
            }
        }
        sum256(_mm256_add_epi32(s[0], s[1]))
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_nibbles(code: &[u8], steps: &[i8]) -> i32 {
    let n = code.len().min(steps.len() / 2) / 32;
    // SAFETY: the function is compiled for the instruction set; a piece of 32 bytes has its 64 steps within `steps`.
    unsafe {
        let (low, one16) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
        let mut s = _mm256_setzero_si256();
        for i in 0..n {
            let c = _mm256_loadu_si256(code.as_ptr().add(32 * i).cast());
            // The steps of the upper nibbles are 64 further; in a last half block, which is 32 bytes, 32.
            let gap = if i % 2 == 0 && i + 1 == n { 32 } else { 64 };
            let at = steps.as_ptr().add(128 * (i / 2) + 32 * (i % 2));
            let (y, z) = (_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(gap).cast()));
            // No pair saturates: 2 * 15 * 128 has 12 bits.
            let lower = _mm256_maddubs_epi16(_mm256_and_si256(c, low), y);
            let upper = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(c), low), z);
            s = _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_add_epi16(lower, upper), one16));
        }
        sum256(s)
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn table_sums(codes: &[u8], table: &[u8]) -> [i32; BLOCK] {
    let n = codes.len().min(table.len()) / 64;
    let mut out = [0; BLOCK];
    // SAFETY: the function is compiled for the instruction set; loads lie within the slices, stores within `out`.
    unsafe {
        let (low, one8, one16) = (_mm256_set1_epi8(15), _mm256_set1_epi8(1), _mm256_set1_epi16(1));
        // A shuffle gives 0 where the top bit of the index is set: that leaves each table its own bytes.
        let others = [0x8080_8000u32, 0x8080_0080, 0x8000_8080, 0x0080_8080]
            .map(|m| _mm256_set1_epi32(m.cast_signed()));
        let mut s = [_mm256_setzero_si256(); 4];
        for i in 0..n {
            let tables: [__m256i; 4] = std::array::from_fn(|part| {
                let t = table.as_ptr().add(64 * i + 16 * part);
                _mm256_broadcastsi128_si256(_mm_loadu_si128(t.cast()))
            });
            for half in 0..2 {
                let c = _mm256_loadu_si256(codes.as_ptr().add(64 * i + 32 * half).cast());
                let nibbles = [_mm256_and_si256(c, low), _mm256_and_si256(_mm256_srli_epi16::<4>(c), low)];
                for (upper, nibble) in nibbles.into_iter().enumerate() {
                    let mut found = _mm256_setzero_si256();
                    for (table, other) in tables.iter().zip(&others) {
                        let index = _mm256_or_si256(nibble, *other);
                        found = _mm256_or_si256(found, _mm256_shuffle_epi8(*table, index));
                    }
                    let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(found, one8), one16);
                    let s = &mut s[2 * upper + half];
                    *s = _mm256_add_epi32(*s, sums);
                }
            }
        }
        for (i, s) in s.into_iter().enumerate() {
            _mm256_storeu_si256(out.as_mut_ptr().add(8 * i).cast(), s);
        }
    }
    out
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn estimates(sums: &[i32; BLOCK], f: &Factors<'_>, out: &mut [f32; BLOCK]) -> u32 {
    assert!(f.add.len() >= 2 * BLOCK && f.mul.len() >= 2 * BLOCK);
    let mut below = 0;
    for i in 0..4 {
        // SAFETY: the function is compiled for the instruction set; all slices have room for 8 lanes from 8 * i.
        unsafe {
            let sum = _mm256_cvtepi32_ps(_mm256_loadu_si256(sums.as_ptr().add(8 * i).cast()));
            let product = _mm256_fmadd_ps(sum, _mm256_set1_ps(f.scale), _mm256_set1_ps(f.bias));
            let halves = |p: &[u8]| _mm256_cvtph_ps(_mm_loadu_si128(p.as_ptr().add(16 * i).cast()));
            let start = _mm256_add_ps(_mm256_set1_ps(f.base), halves(f.add));
            let estimate = _mm256_fnmadd_ps(halves(f.mul), product, start);
            _mm256_storeu_ps(out.as_mut_ptr().add(8 * i), estimate);
            let mask = _mm256_cmp_ps::<_CMP_LT_OQ>(estimate, _mm256_set1_ps(f.bound));
            below |= _mm256_movemask_ps(mask).cast_unsigned() << (8 * i);
        }
    }
    below
}

/// The sum of eight lanes.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn sum256(s: __m256i) -> i32 {
    // SAFETY: the caller's promise; registers only.
    unsafe {
        let s = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s));
        let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
        _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s)))
    }
}
