//! The kernels on AVX-512 with VNNI, VBMI and VPOPCNTDQ.

use std::arch::x86_64::*;

use super::{BLOCK, Factors, Simd, Way, Work};

/// AVX-512 with VNNI, VBMI and VPOPCNTDQ: Intel since Ice Lake, AMD since Zen 4.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    #[inline]
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi2");
        found.then_some(Self(()))
    }
}

// AVX-512 implies AVX2, FMA and half-precision conversion.
#[target_feature(enable = "avx512vl,avx512dq,avx512vnni,avx512vbmi,avx512vpopcntdq,popcnt,bmi2")]
pub fn with_avx512<W: Work>(work: W, simd: Avx512) -> W::Output {
    work.run(simd)
}

impl Simd for Avx512 {
    forward! {
        fn dot(a: &[u8], b: &[i8]) -> i32;
        fn dot4(a: [&[u8]; 4], b: &[i8]) -> [i32; 4];
        fn dot_by4(a: &[u8], b: [&[i8]; 4]) -> [i32; 4];
        fn dot_nibbles(code: &[u8], steps: &[i8]) -> i32;
        fn dot_nibbles4(codes: [&[u8]; 4], steps: &[i8]) -> [i32; 4];
        fn hamming(a: &[u8], b: &[u8]) -> u32;
        fn hamming4(a: [&[u8]; 4], b: &[u8]) -> [u32; 4];
        fn plane_sum(code: &[u8], planes: [&[u8]; 4]) -> u32;
        fn plane_sums4(codes: [&[u8]; 4], planes: [&[u8]; 4]) -> [u32; 4];
        fn table_sums(codes: &[u8], table: &[u8]) -> [i32; BLOCK];
        fn estimates(sums: &[i32; BLOCK], factors: &Factors<'_>, out: &mut [f32; BLOCK]) -> u32;
        fn pick(chosen: u32, near: &[f32; BLOCK], slots: &[u8], to: &mut [f32], out: &mut [u32]) -> usize;
        fn least(distances: &[f32]) -> (usize, f32);
        fn least16(distances: &[f32; 16]) -> f32;
        fn remove16(distances: &mut [f32; 16], lane: usize) -> f32;
        fn keep_below(limit: f32, distances: &mut [f32], slots: &mut [u32]) -> usize;
        fn hadamard16(x: &mut [f32]);
        fn way(u: &[f32], v: &[f32], signs: &mut [u16]) -> Way;
        fn table16(q: &[f32; 4], floor: f32, factor: f32, out: &mut [u8; 16]);
    }
}

#[inline]
#[target_feature(enable = "avx512vnni")]
fn dot(a: &[u8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len()) / 64;
    // SAFETY: the function is compiled for the instruction set; `n` whole steps of 64 bytes lie within both slices.
    unsafe {
        let (mut s0, mut s1) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let mut i = 0;
        while i + 2 <= n {
            s0 = _mm512_dpbusd_epi32(s0, load512(a, i), load512(b.cast(), i));
            s1 = _mm512_dpbusd_epi32(s1, load512(a, i + 1), load512(b.cast(), i + 1));
            i += 2;
        }
        if i < n {
            s0 = _mm512_dpbusd_epi32(s0, load512(a, i), load512(b.cast(), i));
        }
        _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1))
    }
}

#[inline]
#[target_feature(enable = "avx512vnni")]
fn dot4(a: [&[u8]; 4], b: &[i8]) -> [i32; 4] {
    four_dots(a, [b; 4])
}

#[inline]
#[target_feature(enable = "avx512vnni")]
fn dot_by4(a: &[u8], b: [&[i8]; 4]) -> [i32; 4] {
    four_dots([a; 4], b)
}

/// Four products in one loop; the side that is the same for all is loaded once, as the compiler sees.
#[inline]
#[target_feature(enable = "avx512vnni")]
fn four_dots(a: [&[u8]; 4], b: [&[i8]; 4]) -> [i32; 4] {
    let n = a.iter().zip(&b).fold(usize::MAX, |n, (a, b)| n.min(a.len()).min(b.len())) / 64;
    // SAFETY: as in `dot`.
    unsafe {
        let mut s = [_mm512_setzero_si512(); 4];
        for i in 0..n {
            for (s, (a, b)) in s.iter_mut().zip(a.iter().zip(&b)) {
                *s = _mm512_dpbusd_epi32(*s, load512(a.as_ptr(), i), load512(b.as_ptr().cast(), i));
            }
        }
        fold4(s)
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn dot_nibbles(code: &[u8], steps: &[i8]) -> i32 {
    let [sum] = nibbles([code], steps);
    _mm512_reduce_add_epi32(sum)
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn dot_nibbles4(codes: [&[u8]; 4], steps: &[i8]) -> [i32; 4] {
    // SAFETY: the function is compiled for the instruction set.
    unsafe { fold4(nibbles(codes, steps)) }
}

/// The sums of products of some codes, lane by lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512vnni")]
fn nibbles<const N: usize>(codes: [&[u8]; N], steps: &[i8]) -> [__m512i; N] {
    let n = codes.iter().fold(steps.len() / 2, |n, code| n.min(code.len()));
    let (blocks, zero, low) = (n / 64, _mm512_setzero_si512(), _mm512_set1_epi8(15));
    let (mut lower, mut upper) = ([zero; N], [zero; N]);
    // SAFETY: compiled for the instruction set; `blocks` times 64 bytes lie within each code, and twice that within
    // `steps`; where there are 32 bytes more, so are their 64 steps.
    unsafe {
        let steps = steps.as_ptr().cast();
        for i in 0..blocks {
            let (y, z) = (load512(steps, 2 * i), load512(steps, 2 * i + 1));
            for (j, code) in codes.iter().enumerate() {
                let c = load512(code.as_ptr(), i);
                lower[j] = _mm512_dpbusd_epi32(lower[j], _mm512_and_si512(c, low), y);
                // Upper nibbles stay where they are, 16 times their value: one shift at the end instead of one a block.
                upper[j] = _mm512_dpbusd_epi32(upper[j], _mm512_andnot_si512(low, c), z);
            }
        }
        let mut sums = std::array::from_fn(|j| _mm512_add_epi32(lower[j], _mm512_srai_epi32::<4>(upper[j])));
        if n % 64 >= 32 {
            let y = load512(steps, 2 * blocks);
            for (sum, code) in sums.iter_mut().zip(&codes) {
                let c = _mm512_broadcast_i64x4(_mm256_loadu_si256(code.as_ptr().add(64 * blocks).cast()));
                let c = _mm512_mask_srli_epi16::<4>(c, 0xFFFF_0000, c);
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(c, low), y);
            }
        }
        sums
    }
}

#[inline]
#[target_feature(enable = "avx512vpopcntdq")]
fn hamming(a: &[u8], b: &[u8]) -> u32 {
    let [sum] = differing([a], b);
    _mm512_reduce_add_epi64(sum) as u32
}

#[inline]
#[target_feature(enable = "avx512vpopcntdq")]
fn hamming4(a: [&[u8]; 4], b: &[u8]) -> [u32; 4] {
    // SAFETY: the function is compiled for the instruction set.
    unsafe { fold4(differing(a, b)).map(i32::cast_unsigned) }
}

/// The number of bits that differ, lane by lane.
#[inline]
#[target_feature(enable = "avx512vpopcntdq")]
fn differing<const N: usize>(a: [&[u8]; N], b: &[u8]) -> [__m512i; N] {
    let words = a.iter().fold(b.len(), |n, a| n.min(a.len())) / 8;
    let mut sums = [_mm512_setzero_si512(); N];
    for i in 0..words.div_ceil(8) {
        // SAFETY: compiled for the instruction set; all slices have `words` words.
        unsafe {
            let y = load_words(b, i, words);
            for (sum, a) in sums.iter_mut().zip(&a) {
                let x = _mm512_xor_si512(load_words(a, i, words), y);
                *sum = _mm512_add_epi64(*sum, _mm512_popcnt_epi64(x));
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512vpopcntdq")]
fn plane_sum(code: &[u8], planes: [&[u8]; 4]) -> u32 {
    let [sum] = weighed([code], planes);
    _mm512_reduce_add_epi64(sum) as u32
}

#[inline]
#[target_feature(enable = "avx512vpopcntdq")]
fn plane_sums4(codes: [&[u8]; 4], planes: [&[u8]; 4]) -> [u32; 4] {
    // SAFETY: the function is compiled for the instruction set.
    unsafe { fold4(weighed(codes, planes)).map(i32::cast_unsigned) }
}

/// The sums of plane bits that are set in some codes, each with the weight of its plane, lane by lane.
#[inline]
#[target_feature(enable = "avx512vpopcntdq")]
fn weighed<const N: usize>(codes: [&[u8]; N], planes: [&[u8]; 4]) -> [__m512i; N] {
    let words = codes.iter().chain(&planes).fold(usize::MAX, |n, x| n.min(x.len())) / 8;
    let mut sums = [[_mm512_setzero_si512(); 4]; N];
    for i in 0..words.div_ceil(8) {
        // SAFETY: compiled for the instruction set; all slices have `words` words.
        unsafe {
            let planes = planes.map(|plane| load_words(plane, i, words));
            for (sums, code) in sums.iter_mut().zip(&codes) {
                let c = load_words(code, i, words);
                for (sum, plane) in sums.iter_mut().zip(planes) {
                    *sum = _mm512_add_epi64(*sum, _mm512_popcnt_epi64(_mm512_and_si512(c, plane)));
                }
            }
        }
    }
    sums.map(|[a, b, c, d]| {
        let upper = _mm512_add_epi64(c, _mm512_slli_epi64::<1>(d));
        let lower = _mm512_add_epi64(a, _mm512_slli_epi64::<1>(b));
        _mm512_add_epi64(lower, _mm512_slli_epi64::<2>(upper))
    })
}

#[inline]
#[target_feature(enable = "avx512vnni,avx512vbmi")]
fn table_sums(codes: &[u8], table: &[u8]) -> [i32; BLOCK] {
    let n = codes.len().min(table.len()) / 64;
    let mut out = [0; BLOCK];
    // SAFETY: as in `dot`; `out` has room for two registers.
    unsafe {
        let low = _mm512_set1_epi8(15);
        // Entry i of byte j is found at 16 * (j mod 4) + i of the 64-byte table.
        let part = _mm512_set1_epi32(0x3020_1000);
        let one = _mm512_set1_epi8(1);
        let mut s = [_mm512_setzero_si512(); 4];
        let mut i = 0;
        while i < n {
            for turn in 0..2 {
                if i + turn < n {
                    let c = load512(codes.as_ptr(), i + turn);
                    let t = load512(table.as_ptr(), i + turn);
                    // (c & 15) | part, and the same of the upper nibbles.
                    let x = _mm512_ternarylogic_epi32::<0xEA>(c, low, part);
                    let y = _mm512_ternarylogic_epi32::<0xEA>(_mm512_srli_epi16::<4>(c), low, part);
                    let (x, y) = (_mm512_permutexvar_epi8(x, t), _mm512_permutexvar_epi8(y, t));
                    s[2 * turn] = _mm512_dpbusd_epi32(s[2 * turn], x, one);
                    s[2 * turn + 1] = _mm512_dpbusd_epi32(s[2 * turn + 1], y, one);
                }
            }
            i += 2;
        }
        _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_add_epi32(s[0], s[2]));
        _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), _mm512_add_epi32(s[1], s[3]));
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f")]
fn estimates(sums: &[i32; BLOCK], f: &Factors<'_>, out: &mut [f32; BLOCK]) -> u32 {
    assert!(f.add.len() >= 2 * BLOCK && f.mul.len() >= 2 * BLOCK);
    let mut below = 0;
    for half in 0..2 {
        // SAFETY: the function is compiled for the instruction set; all slices have room for 16 lanes from 16 * half.
        unsafe {
            let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.as_ptr().add(16 * half).cast()));
            let product = _mm512_fmadd_ps(sum, _mm512_set1_ps(f.scale), _mm512_set1_ps(f.bias));
            let halves = |p: &[u8]| _mm512_cvtph_ps(_mm256_loadu_si256(p.as_ptr().add(32 * half).cast()));
            let start = _mm512_add_ps(_mm512_set1_ps(f.base), halves(f.add));
            let estimate = _mm512_fnmadd_ps(halves(f.mul), product, start);
            _mm512_storeu_ps(out.as_mut_ptr().add(16 * half), estimate);
            let mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(estimate, _mm512_set1_ps(f.bound));
            below |= u32::from(mask) << (16 * half);
        }
    }
    below
}

#[inline]
#[target_feature(enable = "avx512f")]
fn pick(chosen: u32, near: &[f32; BLOCK], slots: &[u8], to: &mut [f32], out: &mut [u32]) -> usize {
    assert!(slots.len() >= 4 * BLOCK && to.len() >= 48 && out.len() >= 48);
    let mut count = 0;
    for half in 0..2 {
        let mask = (chosen >> (16 * half)) as u16;
        // SAFETY: compiled for the instruction set; `count` is at most 16 where 16 lanes are written after it.
        unsafe {
            let d = _mm512_loadu_ps(near.as_ptr().add(16 * half));
            let s = _mm512_loadu_si512(slots.as_ptr().add(64 * half).cast());
            // In a register and stored whole: a compressing store is slow on Zen 4.
            let infinity = _mm512_set1_ps(f32::INFINITY);
            let packed = _mm512_mask_compress_ps(infinity, mask, d);
            _mm512_storeu_ps(to.as_mut_ptr().add(count), packed);
            let packed = _mm512_maskz_compress_epi32(mask, s);
            _mm512_storeu_si512(out.as_mut_ptr().add(count).cast(), packed);
        }
        count += mask.count_ones() as usize;
    }
    count
}

#[inline]
#[target_feature(enable = "avx512f")]
fn least(distances: &[f32]) -> (usize, f32) {
    let infinity = _mm512_set1_ps(f32::INFINITY);
    let (whole, rest) = (distances.len() / 16, distances.len() % 16);
    let tail: __mmask16 = (1u16 << rest) - 1;
    let at = |i: usize| distances.as_ptr().wrapping_add(16 * i);
    // SAFETY: compiled for the instruction set; whole registers and the masked rest lie within the slice.
    unsafe {
        let mut least = _mm512_mask_loadu_ps(infinity, tail, at(whole));
        for i in 0..whole {
            least = _mm512_min_ps(least, _mm512_loadu_ps(at(i)));
        }
        let value = _mm512_reduce_min_ps(least);
        let wanted = _mm512_set1_ps(value);
        for i in 0..whole {
            let equal = _mm512_cmpeq_ps_mask(_mm512_loadu_ps(at(i)), wanted);
            if equal != 0 {
                return (16 * i + equal.trailing_zeros() as usize, value);
            }
        }
        let last = _mm512_cmpeq_ps_mask(_mm512_mask_loadu_ps(infinity, tail, at(whole)), wanted) & tail;
        if last == 0 { (0, f32::INFINITY) } else { (16 * whole + last.trailing_zeros() as usize, value) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn least16(distances: &[f32; 16]) -> f32 {
    // SAFETY: compiled for the instruction set; the array is one register.
    unsafe { _mm512_reduce_min_ps(_mm512_loadu_ps(distances.as_ptr())) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn remove16(distances: &mut [f32; 16], lane: usize) -> f32 {
    // SAFETY: compiled for the instruction set; the array is one register.
    unsafe {
        let old = _mm512_loadu_ps(distances.as_ptr());
        let new = _mm512_mask_mov_ps(old, 1 << (lane % 16), _mm512_set1_ps(f32::INFINITY));
        _mm512_storeu_ps(distances.as_mut_ptr(), new);
        _mm512_reduce_min_ps(new)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn keep_below(limit: f32, distances: &mut [f32], slots: &mut [u32]) -> usize {
    let count = distances.len().min(slots.len()) / 16;
    let (limit, infinity) = (_mm512_set1_ps(limit), _mm512_set1_ps(f32::INFINITY));
    let mut kept = 0;
    for i in 0..count {
        // SAFETY: compiled for the instruction set; 16 lanes from `16 * i` are within both slices, and `kept` is not
        // larger, so that nothing is overwritten that was not read.
        unsafe {
            let d = _mm512_loadu_ps(distances.as_ptr().add(16 * i));
            let s = _mm512_loadu_si512(slots.as_ptr().add(16 * i).cast());
            _mm512_storeu_ps(distances.as_mut_ptr().add(16 * i), infinity);
            let mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(d, limit);
            let packed = _mm512_mask_compress_ps(infinity, mask, d);
            _mm512_storeu_ps(distances.as_mut_ptr().add(kept), packed);
            let packed = _mm512_maskz_compress_epi32(mask, s);
            _mm512_storeu_si512(slots.as_mut_ptr().add(kept).cast(), packed);
            kept += mask.count_ones() as usize;
        }
    }
    kept
}

#[inline]
#[target_feature(enable = "avx512f")]
fn hadamard16(x: &mut [f32]) {
    for x in x.as_chunks_mut::<16>().0 {
        // SAFETY: compiled for the instruction set; a chunk is one register.
        unsafe {
            let mut y = _mm512_loadu_ps(x.as_ptr());
            // The half of the lanes whose bit is set is subtracted from what comes from the other half.
            let step = |y: __m512, other: __m512, set: __mmask16| {
                _mm512_mask_sub_ps(_mm512_add_ps(other, y), set, other, y)
            };
            y = step(y, _mm512_shuffle_f32x4::<0b01_00_11_10>(y, y), 0xFF00);
            y = step(y, _mm512_shuffle_f32x4::<0b10_11_00_01>(y, y), 0xF0F0);
            y = step(y, _mm512_permute_ps::<0b01_00_11_10>(y), 0xCCCC);
            y = step(y, _mm512_permute_ps::<0b10_11_00_01>(y), 0xAAAA);
            _mm512_storeu_ps(x.as_mut_ptr(), y);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn way(u: &[f32], v: &[f32], signs: &mut [u16]) -> Way {
    let zero = _mm512_setzero_ps();
    let (mut total, mut squares, mut along) = (zero, zero, zero);
    let chunks = u.as_chunks::<16>().0.iter().zip(v.as_chunks::<16>().0);
    for ((u, v), signs) in chunks.zip(signs) {
        // SAFETY: compiled for the instruction set; a chunk is one register.
        let (u, v) = unsafe { (_mm512_loadu_ps(u.as_ptr()), _mm512_loadu_ps(v.as_ptr())) };
        let way = _mm512_sub_ps(v, u);
        let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(way, zero);
        total = _mm512_add_ps(total, _mm512_abs_ps(way));
        squares = _mm512_fmadd_ps(way, way, squares);
        along = _mm512_add_ps(along, _mm512_mask_sub_ps(u, !positive, zero, u));
        *signs = positive;
    }
    Way {
        total: _mm512_reduce_add_ps(total),
        squares: _mm512_reduce_add_ps(squares),
        along: _mm512_reduce_add_ps(along),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn table16(q: &[f32; 4], floor: f32, factor: f32, out: &mut [u8; 16]) {
    let mut sum = _mm512_set1_ps(floor);
    for (q, set) in q.iter().zip([0xAAAA, 0xCCCC, 0xF0F0, 0xFF00]) {
        sum = _mm512_mask_add_ps(sum, set, sum, _mm512_set1_ps(2.0 * q));
    }
    let whole = _mm512_cvtps_epi32(_mm512_mul_ps(sum, _mm512_set1_ps(factor)));
    // SAFETY: compiled for the instruction set; `out` has the 16 bytes.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(whole)) };
}

/// 64 bytes from `64 * i` on.
///
/// # Safety
/// The processor has AVX-512, and those bytes may be read.
#[inline(always)]
unsafe fn load512(p: *const u8, i: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(p.add(64 * i).cast()) }
}

/// Eight words from word `8 * i` on, zeros from word `words` on.
///
/// # Safety
/// The processor has AVX-512, and the slice has `words` words of 8 bytes.
#[inline(always)]
unsafe fn load_words(p: &[u8], i: usize, words: usize) -> __m512i {
    let mask = 0xFFu8 >> (8 - (words - 8 * i).min(8));
    // SAFETY: the caller's promise; the mask keeps the load from touching anything past `words`.
    unsafe { _mm512_maskz_loadu_epi64(mask, p.as_ptr().add(64 * i).cast()) }
}

/// The sums of the lanes of four registers.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn fold4(s: [__m512i; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise; registers only, and an array of four is 16 bytes.
    unsafe {
        let halve =
            |s: __m512i| _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64::<1>(s));
        let ab = _mm256_hadd_epi32(halve(s[0]), halve(s[1]));
        let cd = _mm256_hadd_epi32(halve(s[2]), halve(s[3]));
        let abcd = _mm256_hadd_epi32(ab, cd);
        let sums = _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256::<1>(abcd));
        std::mem::transmute(sums)
    }
}
