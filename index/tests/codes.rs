//! The kernels over codes: alike on every instruction set, and near what they estimate.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use engram_index::vector::codes::{
    int8::{self, Meta, Query},
    link::{self, Table, block_bytes},
    rotation::Rotation,
    simd::{BLOCK, Factors, Portable, Simd, Way, Work, on_each},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

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
        let mut turned = floats[shift..shift + 32].to_vec();
        simd.hadamard16(&mut turned);
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
            sums,
            below,
            estimates: bits(&estimates),
            picked,
            least: (least.0, least.1.to_bits()),
            removed: (rest.to_bits(), bits(&sixteen)),
            kept: (0..kept).map(|i| (held[i].to_bits(), names[i])).collect(),
            hadamard: bits(&turned),
            way: (way, signs),
            table,
        }
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

#[test]
fn a_vector_of_zeros_has_a_code() {
    let mut code = vec![7; 64];
    let meta = int8::encode(&[0.0; 64], &mut code);
    assert_eq!((meta, code), (Meta { scale: 0.0, norm: 0.0 }, vec![128; 64]));
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
