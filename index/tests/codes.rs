//! The kernels over codes: alike on every instruction set, and near what they estimate.

use engram_index::vector::codes::{
    int4,
    int8::{self, Meta, Query},
    link::{self, Table, block_bytes},
    rotation::Rotation,
    signs,
    simd::{BLOCK, Factors, Portable, Simd, Way, Work, on_each},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use simsimd::{BinarySimilarity, SpatialSimilarity};

/// Every kernel once, on the same input.
#[derive(Clone)]
struct Everything {
    codes: Vec<u8>,
    steps: Vec<i8>,
    floats: Vec<f32>,
    /// Where the input begins: kernels must not need an aligned address.
    shift: usize,
}

#[derive(Debug, PartialEq)]
struct Outcome {
    dot: i32,
    dot4: [i32; 4],
    dot_by4: [i32; 4],
    nibbles: (i32, [i32; 4]),
    hamming: (u32, [u32; 4]),
    planes: (u32, [u32; 4]),
    sums: [i32; BLOCK],
    below: u32,
    estimates: Vec<u32>,
    picked: Vec<(u32, u32)>,
    least: (usize, u32),
    removed: (u32, Vec<u32>),
    kept: Vec<(u32, u32)>,
    hadamard: Vec<u32>,
    way: (Way, Vec<u16>),
    table: [u8; 16],
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

impl Work for Everything {
    type Output = Outcome;

    fn run<S: Simd>(self, simd: S) -> Outcome {
        let Self { codes, steps, floats, shift } = self;
        let length = (codes.len().min(steps.len()) - shift) / 64 * 64;
        let (code, step) = (&codes[shift..shift + length], &steps[shift..shift + length]);
        let turned: Vec<u8> = code.iter().rev().copied().collect();
        // Codes of single bits have whole words, not whole registers.
        let bits_length = length - 8 * (shift % 8);
        let (a, b, c) = (&code[..bits_length], &turned[..bits_length], &codes[..bits_length]);
        let sums = simd.table_sums(code, &turned);
        let halves: Vec<u8> = floats[..2 * BLOCK].iter().flat_map(|&x| link::half_bytes(x)).collect();
        let factors = Factors {
            add: &halves[..2 * BLOCK],
            mul: &halves[2 * BLOCK..],
            base: floats[0],
            scale: 0.01,
            bias: floats[1],
            bound: floats[2],
        };
        let mut estimates = [0.0; BLOCK];
        let below = simd.estimates(&sums, &factors, &mut estimates);
        let slots: Vec<u8> = (0..BLOCK as u32).flat_map(|i| (i * 7 + 1).to_le_bytes()).collect();
        let (mut distances, mut out) = (vec![f32::INFINITY; 64], vec![0; 64]);
        let count = simd.pick(below, &estimates, &slots, &mut distances, &mut out);
        assert!(distances[count..].iter().all(|&d| d == f32::INFINITY));
        let picked = (0..count).map(|i| (distances[i].to_bits(), out[i])).collect();
        let least = simd.least(&floats[shift..]);
        let mut sixteen: [f32; 16] = floats[shift..shift + 16].try_into().unwrap();
        let rest = simd.remove16(&mut sixteen, shift % 16);
        assert_eq!(rest.to_bits(), simd.least16(&sixteen).to_bits());
        let mut held = floats[shift..shift + 48].to_vec();
        let mut names: Vec<u32> = (0..48).collect();
        let kept = simd.keep_below(floats[3], &mut held, &mut names);
        assert!(held[kept..].iter().all(|&d| d == f32::INFINITY));
        let mut spread = floats[shift..shift + 32].to_vec();
        simd.hadamard16(&mut spread);
        let mut signs = vec![0; 3];
        let way = simd.way(&floats[shift..shift + 48], &floats[..48], &mut signs);
        let mut table = [0; 16];
        let q = [floats[4], floats[5], floats[6], floats[7]];
        let width: f32 = q.iter().map(|x| x.abs()).sum();
        simd.table16(&q, width - q.iter().sum::<f32>(), 100.0 / width.max(0.1), &mut table);
        Outcome {
            dot: simd.dot(code, step),
            dot4: simd.dot4([code, code, &codes[..length], code], step),
            dot_by4: simd.dot_by4(code, [step, &steps[..length], step, step]),
            nibbles: nibbles(simd, &codes, &steps, shift, length),
            hamming: (simd.hamming(a, b), simd.hamming4([a, b, c, a], c)),
            planes: (simd.plane_sum(a, [a, b, c, b]), simd.plane_sums4([a, b, c, b], [c, a, b, c])),
            sums,
            below,
            estimates: bits(&estimates),
            picked,
            least: (least.0, least.1.to_bits()),
            removed: (rest.to_bits(), bits(&sixteen)),
            kept: (0..kept).map(|i| (held[i].to_bits(), names[i])).collect(),
            hadamard: bits(&spread),
            way: (way, signs),
            table,
        }
    }
}

/// One code and four, each beside a sum in the plainest way.
fn nibbles<S: Simd>(simd: S, codes: &[u8], steps: &[i8], shift: usize, length: usize) -> (i32, [i32; 4]) {
    let step = &steps[shift..shift + length];
    let four: [&[u8]; 4] = std::array::from_fn(|i| &codes[(shift + i) / 2..][..length / 2]);
    let plain = four.map(|code| {
        let mut wide = vec![0; length];
        int4::widen(code, Meta::default(), &mut wide);
        wide.iter().zip(step).map(|(&c, &s)| (i32::from(c) - 113) / 2 * i32::from(s)).sum()
    });
    let found = simd.dot_nibbles4(four, step);
    assert_eq!(found, plain);
    assert_eq!(simd.dot_nibbles(four[3], step), plain[3]);
    (plain[0], found)
}

/// What `simsimd` has too: products of 8-bit codes and of 4-bit codes once they are widened, bits that differ.
#[derive(Clone)]
struct Common<'a> {
    code: &'a [u8],
    steps: &'a [i8],
    wide: &'a [u8],
}

impl Work for Common<'_> {
    type Output = (i32, i32, u32);

    fn run<S: Simd>(self, simd: S) -> (i32, i32, u32) {
        let half = self.code.len() / 2;
        let nibbles = simd.dot_nibbles(&self.code[..half], self.steps);
        (simd.dot(self.code, self.steps), nibbles, simd.hamming(&self.code[..half], &self.wide[half..]))
    }
}

fn agree(work: &Everything) -> Result<(), TestCaseError> {
    let all = on_each(work);
    for (name, outcome) in &all[1..] {
        prop_assert_eq!(outcome, &all[0].1, "{} differs from portable", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn kernels_agree_on_every_instruction_set(
        seed in any::<u64>(),
        shift in 0usize..64,
        groups in 2usize..20,
        extreme in any::<bool>(),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let length = 64 * groups;
        let byte = |rng: &mut StdRng| if extreme { [0, 255][rng.random_range(0..2)] } else { rng.random() };
        let codes = (0..length).map(|_| byte(&mut rng)).collect();
        let steps = (0..length).map(|_| if extreme { [-128, 127][rng.random_range(0..2)] } else { rng.random() }).collect();
        let float = |rng: &mut StdRng| match rng.random_range(0..20) {
            0 => 0.0,
            1 if extreme => 3e4,
            2 if extreme => -3e4,
            _ => rng.random_range(-2.0f32..2.0),
        };
        let floats = (0..160).map(|_| float(&mut rng)).collect();
        agree(&Everything { codes, steps, floats, shift })?;
    }

    /// On each instruction set, by way of what our kernels have in common with those of another library.
    #[test]
    fn integer_kernels_agree_with_simsimd(seed in any::<u64>(), groups in 1usize..20) {
        let (d, mut rng) = (64 * groups, StdRng::seed_from_u64(seed));
        let code: Vec<u8> = (0..d).map(|_| rng.random()).collect();
        let steps: Vec<i8> = (0..d).map(|_| rng.random()).collect();
        let mut wide = vec![0; d];
        int4::widen(&code[..d / 2], Meta::default(), &mut wide);
        let dot = |code: &[u8]| {
            let signed: Vec<i8> = code.iter().map(|c| (c ^ 128).cast_signed()).collect();
            i8::dot(&signed, &steps).unwrap() as i32
        };
        let differing = u8::hamming(&code[..d / 2], &wide[d / 2..]).unwrap() as u32;
        let sum: i32 = steps.iter().map(|&s| i32::from(s)).sum();
        let theirs = (dot(&code), dot(&wide), differing);
        for (name, ours) in on_each(&Common { code: &code, steps: &steps, wide: &wide }) {
            prop_assert_eq!((ours.0 - 128 * sum, 2 * ours.1 - 15 * sum, ours.2), theirs, "{}", name);
        }
    }

    /// The error of the distance of two codes is that of rounding to 127 steps, not more.
    #[test]
    fn distances_of_codes_are_near_those_of_vectors(seed in any::<u64>(), groups in 1usize..14) {
        let mut rng = StdRng::seed_from_u64(seed);
        let d = 64 * groups;
        let mut vector = || -> Vec<f32> { (0..d).map(|_| rng.random_range(-1.0f32..1.0)).collect() };
        let (a, b) = (vector(), vector());
        let code = |x: &[f32]| { let mut c = vec![0; d]; let meta = int8::encode(x, &mut c); (c, meta) };
        let ((ca, ma), (cb, mb)) = (code(&a), code(&b));
        let mut query = Query::default();
        query.set(&ca, ma);
        let exact: f32 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
        let found = query.distance(Portable, &cb, mb);
        // Each component is off by half a step at most, on both sides.
        let step = ma.scale.max(mb.scale);
        let bound = 2.0 * exact.sqrt() * step * (d as f32).sqrt() + step * step * d as f32;
        prop_assert!((found - exact).abs() <= bound, "{} for {}", found, exact);
        prop_assert!(query.distance(Portable, &ca, ma).abs() <= 1e-3 * ma.norm);
    }
}

/// What a 4-bit code stands for, by way of the 8-bit code it widens to.
fn decoded(code: &[u8], meta: Meta, d: usize) -> Vec<f32> {
    let mut wide = vec![0; d];
    let meta = int4::widen(code, meta, &mut wide);
    wide.iter().map(|&c| (f32::from(c) - 128.0) * meta.scale).collect()
}

fn normal(rng: &mut StdRng, d: usize) -> Vec<f32> {
    (0..d).map(|_| (0..12).map(|_| rng.random_range(-0.5f32..0.5)).sum()).collect()
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}

/// 0.01154 is the squared error of the best even steps for a normal distribution (Max, 1960); steps fitted to each vector
/// do a little better.
#[test]
fn codes_of_4_bits_lose_little_of_a_rotated_vector() {
    let mut rng = StdRng::seed_from_u64(5);
    for d in [64, 128, 384, 832] {
        let (mut error, mut norms) = (0.0, 0.0);
        for _ in 0..100 {
            let x = normal(&mut rng, d);
            let mut code = vec![0; int4::code_bytes(d)];
            let meta = int4::encode(&x, &mut code);
            let found = decoded(&code, meta, d);
            let norm = squared(&found, &vec![0.0; d]);
            assert!((f64::from(meta.norm) - norm).abs() <= 1e-6 * norm, "{} for {norm}", meta.norm);
            error += squared(&x, &found);
            norms += squared(&x, &vec![0.0; d]);
        }
        assert!(error / norms < 0.0118, "{d} components: {}", error / norms);
    }
}

#[test]
fn distances_of_4_bit_codes_are_those_of_the_decoded_vectors() {
    let mut rng = StdRng::seed_from_u64(6);
    for d in [64, 192, 384, 832] {
        let mut bytes = vec![0; d];
        let meta = int8::encode(&normal(&mut rng, d), &mut bytes);
        let mut query = Query::default();
        query.set(&bytes, meta);
        let q: Vec<f32> = bytes.iter().map(|&c| (f32::from(c) - 128.0) * meta.scale).collect();
        let coded: [(Vec<u8>, Meta); 4] = std::array::from_fn(|_| {
            let mut code = vec![0; int4::code_bytes(d)];
            let meta = int4::encode(&normal(&mut rng, d), &mut code);
            (code, meta)
        });
        let codes = coded.each_ref().map(|c| c.0.as_slice());
        let four = query.distance_nibbles4(Portable, codes, coded.each_ref().map(|c| c.1));
        for ((code, meta), found) in coded.iter().zip(four) {
            let exact = squared(&q, &decoded(code, *meta, d));
            assert!((f64::from(found) - exact).abs() <= 1e-5 * exact, "{found} for {exact}");
            assert_eq!(found, query.distance_nibbles(Portable, code, *meta));
            let mut wide = vec![0; d];
            let meta = int4::widen(code, *meta, &mut wide);
            let other = query.distance(Portable, &wide, meta);
            assert!((found - other).abs() <= 1e-5 * found, "{found}, widened {other}");
        }
    }
}

/// Estimates of 1-bit codes have the error RaBitQ states, see below.
#[test]
fn distances_of_1_bit_codes_are_near_those_of_vectors() {
    let (d, mut rng) = (384, StdRng::seed_from_u64(7));
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for _ in 0..50 {
        let q = normal(&mut rng, d);
        let mut query = signs::Query::default();
        query.set(&q);
        let vectors: [Vec<f32>; 4] = std::array::from_fn(|_| normal(&mut rng, d));
        let mut codes = [[0; 48]; 4];
        let metas = std::array::from_fn(|i| signs::encode(&vectors[i], &mut codes[i]));
        let four = query.distance4(Portable, codes.each_ref().map(<[u8; 48]>::as_slice), metas);
        for (i, found) in four.into_iter().enumerate() {
            assert_eq!(found, query.distance(Portable, &codes[i], metas[i]));
            let norms = (squared(&q, &vec![0.0; d]) * f64::from(metas[i].norm)).sqrt();
            let error = (f64::from(found) - squared(&q, &vectors[i])) / (2.0 * norms / (d as f64).sqrt());
            (sum, squares, count) = (sum + error, squares + error * error, count + 1.0);
        }
    }
    let (bias, deviation): (f64, f64) = (sum / count, f64::sqrt(squares / count));
    assert!(bias.abs() < 0.15 && (0.6..0.95).contains(&deviation), "bias {bias}, deviation {deviation}");
}

#[test]
fn a_vector_of_zeros_has_a_code() {
    for x in [0.0, -0.0, 1e-45, 1e-39, -9e-31] {
        let (mut code, mut nibbles) = (vec![7; 64], vec![7; 32]);
        let zero = Meta { scale: 0.0, norm: 0.0 };
        assert_eq!((int8::encode(&[x; 64], &mut code), code), (zero, vec![128; 64]));
        assert_eq!((int4::encode(&[x; 64], &mut nibbles), nibbles), (zero, vec![0x88; 32]));
    }
}

/// The least and largest vectors, and those with one component.
#[test]
fn codes_of_extreme_vectors_are_finite_and_near() {
    for d in [64, 384, 832] {
        for size in [2e-30f32, 1e-15, 1.0, 1e18 / 32.0] {
            let one: Vec<f32> = (0..d).map(|i| if i == d - 1 { -size } else { 0.0 }).collect();
            for x in [vec![size; d], vec![-size; d], one] {
                let mut code = vec![0; int4::code_bytes(d)];
                let meta = int4::encode(&x, &mut code);
                let found = decoded(&code, meta, d);
                let norm = squared(&x, &vec![0.0; d]);
                assert!(meta.norm.is_finite() && found.iter().all(|x| x.is_finite()));
                // The worst is a single component, beside which all others become half a step.
                assert!(squared(&x, &found) <= 0.8 * norm, "{d}, {size}: {meta:?}");
            }
        }
    }
}

/// Estimates of 1-bit codes are unbiased and off by about 1 / sqrt(dimension), see RaBitQ (arXiv 2405.12497, theorem 3.2).
#[test]
fn estimates_of_links_are_near_the_distances() {
    let (d, mut rng) = (256, StdRng::seed_from_u64(3));
    let rotation = Rotation::new(d);
    let mut vector = |spread: f32| -> Vec<f32> {
        let mut x: Vec<f32> = (0..d).map(|_| rng.random_range(-1.0..1.0f32) * spread).collect();
        rotation.apply(Portable, &mut x);
        x
    };
    let (mut sum, mut squares, mut count) = (0.0f64, 0.0f64, 0.0f64);
    for _ in 0..40 {
        let (u, q) = (vector(1.0), vector(1.0));
        let plus = |u: &[f32], v: Vec<f32>| -> Vec<f32> { u.iter().zip(v).map(|(u, v)| u + v).collect() };
        let neighbors: Vec<Vec<f32>> = (0..BLOCK).map(|_| plus(&u, vector(0.7))).collect();
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        let mut block = vec![0; block_bytes(d)];
        let (mut add, mut mul, mut signs) = (Vec::new(), Vec::new(), Vec::new());
        for (lane, v) in neighbors.iter().enumerate() {
            let edge = link::encode(Portable, (&u, v), distance(&u, v), lane, &mut signs, &mut block);
            add.extend(link::half_bytes(edge.add));
            mul.extend(link::half_bytes(edge.mul));
        }
        let mut table = Table::default();
        table.set(Portable, &q);
        let sums = Portable.table_sums(&block, table.entries());
        let base = distance(&q, &u);
        let factors =
            Factors { add: &add, mul: &mul, base, scale: table.scale(), bias: table.bias(), bound: 0.0 };
        let mut estimates = [0.0; BLOCK];
        Portable.estimates(&sums, &factors, &mut estimates);
        for (v, estimate) in neighbors.iter().zip(estimates) {
            // In units of 2 |q - u| |v - u| / sqrt(d), in which the theorem states the error.
            let unit = 2.0 * (base * distance(&u, v)).sqrt() / (d as f32).sqrt();
            let error = f64::from((estimate - distance(&q, v)) / unit);
            (sum, squares, count) = (sum + error, squares + error * error, count + 1.0);
        }
    }
    let (bias, deviation) = (sum / count, (squares / count).sqrt());
    assert!(bias.abs() < 0.1, "bias {bias}");
    assert!((0.5..1.0).contains(&deviation), "deviation {deviation}; the theorem says sqrt(pi/2 - 1) = 0.76");
}
