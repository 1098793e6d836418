//! The kernels over float vectors: the same bits on every instruction set, and near what f64 and `simsimd` say.

use engram_index::vector::{
    Metric,
    kernel::{Component, Kernel},
    metric::MAX_NORM,
};
use half::{bf16, f16};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use simsimd::SpatialSimilarity;

const METRICS: [Metric; 3] = [Metric::Dot, Metric::Euclid, Metric::Manhattan];

/// Kinds of input.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Random,
    /// Zeros and numbers so small that they are subnormal in some type.
    Small,
    /// As large as the type and the largest admitted norm let them be, of both signs.
    Large,
}

const KINDS: [Kind; 3] = [Kind::Random, Kind::Small, Kind::Large];

fn vector(rng: &mut StdRng, kind: Kind, length: usize, largest: f32) -> Vec<f32> {
    let largest = largest.min(MAX_NORM as f32 / (length.max(1) as f32).sqrt());
    let component = |rng: &mut StdRng| match kind {
        Kind::Random => rng.random_range(-1.0f32..1.0),
        Kind::Small => [0.0, -0.0, 1e-45, -3e-41, 6e-8, -2e-5][rng.random_range(0..6)],
        Kind::Large => [largest, -largest, 0.5 * largest, 1.0][rng.random_range(0..4)],
    };
    (0..length).map(|_| component(rng)).collect()
}

/// The sum in f64, and the sum of the sizes of its terms, which the error is a share of.
fn truth(metric: Metric, a: &[f32], b: &[f32]) -> (f64, f64) {
    let term = |(&x, &y): (&f32, &f32)| {
        let (x, y) = (f64::from(x), f64::from(y));
        match metric {
            Metric::Cosine | Metric::Dot => -x * y,
            Metric::Euclid => (x - y) * (x - y),
            Metric::Manhattan => (x - y).abs(),
        }
    };
    let terms = || a.iter().zip(b).map(term);
    (terms().sum(), terms().map(f64::abs).sum())
}

/// A sum of `n` terms in 64 lanes rounds each lane `n / 64` times and folds six times; subtracting rounds twice more.
fn tolerance(n: usize) -> f64 {
    (n as f64 / 64.0 + 10.0) * f64::from(f32::EPSILON)
}

/// Checks all variants for rows that begin `shift` components into their memory.
fn check<T: Component>(a: &[f32], rows: &[Vec<T>; 4], widened: &[Vec<f32>; 4], shift: usize) {
    let (a, n) = (&a[shift..], a.len() - shift);
    let rows = rows.each_ref().map(|row| &row[shift..]);
    for metric in METRICS {
        let plain = Kernel::<f32>::each(metric)[0].1;
        for (name, kernel) in Kernel::<T>::each(metric) {
            let four = kernel.distance4(a, rows);
            for ((row, wide), together) in rows.iter().zip(widened).zip(four) {
                let (wide, alone) = (&wide[shift..], kernel.distance(a, row));
                let what = format!("{name}, {metric:?}, {n} components from {shift}");
                assert_eq!(alone.to_bits(), together.to_bits(), "{what}: four at once");
                assert_eq!(alone.to_bits(), plain.distance(a, wide).to_bits(), "{what}: the widened vector");
                let (exact, sizes) = truth(metric, a, wide);
                // Below the least normal number there is no relative error.
                let bound = tolerance(n) * sizes + f64::from(f32::MIN_POSITIVE);
                assert!((f64::from(alone) - exact).abs() <= bound, "{what}: {alone} for {exact}");
            }
        }
    }
}

fn check_type<T: Component>(round: impl Fn(f32) -> T, widen: impl Fn(&T) -> f32, largest: f32) {
    let mut rng = StdRng::seed_from_u64(11);
    for kind in KINDS {
        // Every length around whole registers, the first and last of longer ones, and every shift of an address.
        for length in (0..=200).chain([255, 256, 257, 384, 784, 1000, 1536]) {
            let shift = rng.random_range(0..32);
            let a = vector(&mut rng, kind, length + shift, f32::MAX);
            let rows: [Vec<T>; 4] = std::array::from_fn(|_| {
                vector(&mut rng, kind, length + shift, largest).into_iter().map(&round).collect()
            });
            let widened = rows.each_ref().map(|row| row.iter().map(&widen).collect());
            check(&a, &rows, &widened, shift);
        }
    }
}

#[test]
fn kernels_of_f32_are_exact_enough_and_alike() {
    check_type(|x| x, |x| *x, f32::MAX);
}

#[test]
fn kernels_of_f16_are_those_of_the_widened_vector() {
    check_type(f16::from_f32, |x| x.to_f32(), f16::MAX.to_f32());
}

#[test]
fn kernels_of_bf16_are_those_of_the_widened_vector() {
    check_type(bf16::from_f32, |x| x.to_f32(), f32::MAX);
}

#[test]
fn the_shorter_slice_counts() {
    let a: Vec<f32> = (0..100).map(|i| i as f32).collect();
    for (_, kernel) in Kernel::<f32>::each(Metric::Euclid) {
        assert_eq!(kernel.distance(&a, &a[..77]), 0.0);
        assert_eq!(kernel.distance4(&a, [&a[..77], &a, &a[..99], &a]), [0.0; 4]);
        assert_eq!(kernel.distance(&a[..3], &a), 0.0);
    }
}

#[test]
fn order_of_arguments_does_not_matter_and_self_is_zero() {
    let a: Vec<f32> = (0..301).map(|i| ((i * 7919) % 997) as f32 / 997.0 - 0.4).collect();
    let b: Vec<f32> = (0..301).map(|i| ((i * 104_729) % 991) as f32 / 991.0 - 0.6).collect();
    for metric in METRICS {
        let kernel = Kernel::<f32>::new(metric);
        assert_eq!(kernel.distance(&a, &b).to_bits(), kernel.distance(&b, &a).to_bits());
    }
    assert_eq!(Kernel::<f32>::new(Metric::Euclid).distance(&a, &a), 0.0);
    assert_eq!(Kernel::<f32>::new(Metric::Manhattan).distance(&a, &a), 0.0);
    assert_eq!(Kernel::<f32>::new(Metric::Dot).distance(&[0.0], &[-1.0]).to_bits(), 0);
}

proptest! {
    #[test]
    fn agrees_with_simsimd(pairs in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 1..900)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let n = a.len() as f32;
        let near = |ours: f32, theirs: Option<f64>, tolerance: f32| {
            (ours - theirs.unwrap() as f32).abs() <= tolerance * n
        };
        let (dot, euclid) = (Kernel::new(Metric::Dot), Kernel::new(Metric::Euclid));
        prop_assert!(near(-dot.distance(&a, &b), f32::dot(&a, &b), 1e-6));
        prop_assert!(near(euclid.distance(&a, &b), f32::sqeuclidean(&a, &b), 1e-6));
        // simsimd takes both sides in half the bytes, and rounds differences of bf16 to bf16 where the processor has it.
        let (ha, hb): (Vec<f16>, Vec<f16>) = (to(&a, f16::from_f32), to(&b, f16::from_f32));
        let (theirs_a, theirs_b) = (to(&ha, |x| simsimd::f16(x.to_bits())), to(&hb, |x| simsimd::f16(x.to_bits())));
        let wide = to(&ha, f16::to_f32);
        let (dot, euclid) = (Kernel::new(Metric::Dot), Kernel::new(Metric::Euclid));
        prop_assert!(near(-dot.distance(&wide, &hb), simsimd::f16::dot(&theirs_a, &theirs_b), 1e-5));
        prop_assert!(near(euclid.distance(&wide, &hb), simsimd::f16::sqeuclidean(&theirs_a, &theirs_b), 1e-5));
        let (ba, bb): (Vec<bf16>, Vec<bf16>) = (to(&a, bf16::from_f32), to(&b, bf16::from_f32));
        let (theirs_a, theirs_b) = (to(&ba, |x| simsimd::bf16(x.to_bits())), to(&bb, |x| simsimd::bf16(x.to_bits())));
        let wide = to(&ba, bf16::to_f32);
        let (dot, euclid) = (Kernel::new(Metric::Dot), Kernel::new(Metric::Euclid));
        prop_assert!(near(-dot.distance(&wide, &bb), simsimd::bf16::dot(&theirs_a, &theirs_b), 1e-5));
        prop_assert!(near(euclid.distance(&wide, &bb), simsimd::bf16::sqeuclidean(&theirs_a, &theirs_b), 2e-2));
    }
}

fn to<A: Copy, B>(x: &[A], f: impl Fn(A) -> B) -> Vec<B> {
    x.iter().map(|&x| f(x)).collect()
}
