//! Multi vectors: the max-sim scan against brute force.

use engram_index::vector::{Metric, MultiSet, MultiVector, multi};
use engram_index::{IndexError, Mask, Pace};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use roaring::RoaringBitmap;

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

fn drawn(rng: &mut StdRng, metric: Metric, dimension: usize) -> MultiVector {
    let vectors = rng.random_range(1..12);
    let components = (0..vectors * dimension).map(|_| rng.random_range(-1.0f32..1.0)).collect();
    let mut drawn = MultiVector { dimension, components };
    multi::admit(metric, dimension, &mut drawn).unwrap();
    drawn
}

fn set(metric: Metric, dimension: usize, rows: &[(u32, MultiVector)]) -> MultiSet {
    let mut offsets = vec![0u64];
    let mut data = Vec::new();
    for (_, row) in rows {
        data.extend_from_slice(&row.components);
        offsets.push((data.len() / dimension) as u64);
    }
    let ordinals: Vec<u32> = rows.iter().map(|(ordinal, _)| *ordinal).collect();
    MultiSet::new(metric, dimension, Some(ordinals.into()), offsets.into(), data.into()).unwrap()
}

/// Sum of the best matches in f64, by looking at every pair.
fn score(metric: Metric, query: &MultiVector, row: &MultiVector) -> f64 {
    let pair = |a: &[f32], b: &[f32]| {
        let both = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
        match metric {
            Metric::Cosine | Metric::Dot => both().map(|(x, y)| x * y).sum::<f64>(),
            Metric::Euclid => -both().map(|(x, y)| (x - y) * (x - y)).sum::<f64>(),
            Metric::Manhattan => -both().map(|(x, y)| (x - y).abs()).sum::<f64>(),
        }
    };
    let best = |q: &[f32]| row.vectors().map(|v| pair(q, v)).fold(f64::NEG_INFINITY, f64::max);
    query.vectors().map(best).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn scan_agrees_with_brute_force(seed in any::<u64>(), dimension in 1usize..70, k in 0usize..30) {
        let rng = &mut StdRng::seed_from_u64(seed);
        for metric in METRICS {
            let mut next = 0;
            let rows: Vec<(u32, MultiVector)> = (0..rng.random_range(1..50)).map(|_| {
                next += rng.random_range(1..3);
                (next, drawn(rng, metric, dimension))
            }).collect();
            let set = set(metric, dimension, &rows);
            let query = drawn(rng, metric, dimension);
            let masked: RoaringBitmap = (0..next + 5).filter(|_| rng.random_bool(0.4)).collect();
            let split = rng.random_range(0..=set.len());
            for mask in [Mask::All, Mask::Allow(&masked), Mask::Deny(&masked)] {
                let found = set.scan(&query, k, mask, (0..usize::MAX, &Pace::endless())).unwrap();
                let mut parts = set.scan(&query, k, mask, (0..split, &Pace::endless())).unwrap();
                parts.extend(set.scan(&query, k, mask, (split..set.len(), &Pace::endless())).unwrap());
                parts.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.ordinal.cmp(&b.ordinal)));
                parts.truncate(k);
                prop_assert_eq!(&parts, &found);
                let mut all: Vec<f64> = rows.iter().filter(|(o, _)| mask.allows(*o))
                    .map(|(_, row)| score(metric, &query, row)).collect();
                all.sort_by(|a, b| b.total_cmp(a));
                prop_assert_eq!(found.len(), all.len().min(k));
                for (neighbor, best) in found.iter().zip(&all) {
                    let row = &rows.iter().find(|(o, _)| *o == neighbor.ordinal).unwrap().1;
                    let true_score = score(metric, &query, row);
                    prop_assert!((true_score - best).abs() < 1e-3, "{:?}: {} {}", metric, true_score, best);
                    prop_assert_eq!(multi::max_sim(metric, &query, row), neighbor.distance);
                    let told = match metric {
                        Metric::Cosine | Metric::Dot => f64::from(metric.score(neighbor.distance)),
                        _ => -f64::from(neighbor.distance),
                    };
                    prop_assert!((told - true_score).abs() < 1e-3, "{:?}: {} {}", metric, told, true_score);
                }
            }
            for (ordinal, row) in &rows {
                prop_assert_eq!(set.value(*ordinal), Some(row.components.as_slice()));
            }
        }
    }
}

#[test]
fn sets_that_do_not_fit_are_refused() {
    let new = |ordinals: Option<Vec<u32>>, offsets: &[u64], data: &[f32]| {
        let ordinals = ordinals.map(Into::into);
        MultiSet::new(Metric::Dot, 2, ordinals, offsets.to_vec().into(), data.to_vec().into())
    };
    new(None, &[0, 1, 3], &[0.0; 6]).unwrap();
    new(None, &[0], &[]).unwrap();
    for (ordinals, offsets, data) in [
        (None, &[0u64, 1][..], &[0.0f32; 3][..]),
        (None, &[0, 1], &[0.0; 4]),
        (None, &[0, 1, 1], &[0.0; 2]),
        (None, &[1, 2], &[0.0; 4]),
        (None, &[], &[]),
        (Some(vec![1]), &[0, 1, 2], &[0.0; 4]),
        (Some(vec![2, 1]), &[0, 1, 2], &[0.0; 4]),
    ] {
        assert!(matches!(new(ordinals, offsets, data), Err(IndexError::InvalidParameter(_))), "{offsets:?}");
    }
}
