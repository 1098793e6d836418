//! Like the positive examples and unlike the negative ones.

use std::collections::BTreeMap;

use engram_index::vector::{MultiVector, SparseVector, VectorValue};

use super::discover::{scaled_sigmoid, sum};

/// The value that lies where the examples say: the mean of the positive ones, moved away from the mean of the negative
/// ones by as much again as they differ. Multi vectors have no mean: all of them together stand for it, the negative ones
/// negated. `positive` is not empty, and all are values of one field.
pub(crate) fn average(positive: &[VectorValue], negative: &[VectorValue]) -> VectorValue {
    match positive.first() {
        Some(VectorValue::Sparse(_)) => average_sparse(positive, negative),
        Some(VectorValue::Multi(first)) => {
            let components = |values: &[VectorValue], sign: f32| -> Vec<f32> {
                let multi = values.iter().filter_map(|value| match value {
                    VectorValue::Multi(multi) => Some(multi.components.as_slice()),
                    VectorValue::Dense(_) | VectorValue::Sparse(_) => None,
                });
                multi.flatten().map(|x| sign * x).collect()
            };
            let mut all = components(positive, 1.0);
            all.extend(components(negative, -1.0));
            VectorValue::Multi(MultiVector { dimension: first.dimension, components: all })
        }
        _ => {
            let toward = mean(positive);
            if negative.is_empty() {
                return VectorValue::Dense(toward);
            }
            toward.iter().zip(mean(negative)).map(|(p, n)| p + p - n).collect::<Vec<f32>>().into()
        }
    }
}

fn mean(values: &[VectorValue]) -> Vec<f32> {
    let vectors: Vec<&[f32]> = values.iter().filter_map(VectorValue::as_dense).collect();
    let dimension = vectors.first().map_or(0, |v| v.len());
    let at = |i: usize| vectors.iter().filter_map(|v| v.get(i)).map(|x| f64::from(*x)).sum::<f64>();
    (0..dimension).map(|i| (at(i) / vectors.len() as f64) as f32).collect()
}

fn average_sparse(positive: &[VectorValue], negative: &[VectorValue]) -> VectorValue {
    let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
    // Without negative examples there is nothing to move away from.
    let toward = if negative.is_empty() { 1.0 } else { 2.0 };
    for (values, weight) in [(positive, toward), (negative, -1.0)] {
        for value in values {
            let VectorValue::Sparse(sparse) = value else { continue };
            for (index, x) in sparse.indices.iter().zip(&sparse.values) {
                *sums.entry(*index).or_default() += weight * f64::from(*x) / values.len() as f64;
            }
        }
    }
    let (indices, values) = sums.into_iter().map(|(index, sum)| (index, sum as f32)).unzip();
    VectorValue::Sparse(SparseVector { indices, values })
}

/// By the nearest example: 0 to 1 where that is a positive one, -1 to 0 where it is a negative one.
pub(super) fn best_score<E>(positive: &[E], negative: &[E], like: impl Fn(&E) -> f32) -> f32 {
    let best = |examples: &[E]| examples.iter().map(&like).fold(f32::NEG_INFINITY, f32::max);
    let (for_it, against) = (best(positive), best(negative));
    if for_it > against { scaled_sigmoid(for_it) } else { -scaled_sigmoid(against) }
}

/// By all examples.
pub(super) fn sum_scores<E>(positive: &[E], negative: &[E], like: impl Fn(&E) -> f32) -> f32 {
    sum(positive, &like) - sum(negative, &like)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(xs: &[f32]) -> VectorValue {
        xs.to_vec().into()
    }

    fn sparse(parts: &[(u32, f32)]) -> VectorValue {
        let (indices, values) = parts.iter().copied().unzip();
        SparseVector { indices, values }.into()
    }

    #[test]
    fn averages_move_away_from_the_negative_ones() {
        let positive = [dense(&[1.0, 2.0]), dense(&[3.0, 6.0])];
        assert_eq!(average(&positive, &[]), dense(&[2.0, 4.0]));
        assert_eq!(average(&positive, &[dense(&[1.0, 0.0])]), dense(&[3.0, 8.0]));
    }

    #[test]
    fn absent_components_of_sparse_examples_are_zero() {
        let positive = [sparse(&[(1, 1.0), (7, 2.0)]), sparse(&[(7, 4.0)])];
        assert_eq!(average(&positive, &[]), sparse(&[(1, 0.5), (7, 3.0)]));
        let negative = [sparse(&[(3, 1.0), (7, 1.0)])];
        assert_eq!(average(&positive, &negative), sparse(&[(1, 1.0), (3, -1.0), (7, 5.0)]));
    }

    #[test]
    fn multi_examples_stand_together() {
        let multi = |xs: &[f32]| VectorValue::Multi(MultiVector { dimension: 2, components: xs.to_vec() });
        let positive = [multi(&[1.0, 2.0, 3.0, 4.0]), multi(&[5.0, 6.0])];
        let all = multi(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -7.0, -8.0]);
        assert_eq!(average(&positive, &[multi(&[7.0, 8.0])]), all);
    }

    #[test]
    fn the_best_example_decides() {
        // The similarity of a one-component example is that component.
        let score = |p: &[f32], n: &[f32]| best_score(p, n, |e| *e);
        // 0.5 * (1 + 3 / (1 + 3)) = 0.875
        assert!((score(&[1.0, 3.0], &[2.0]) - 0.875).abs() < 1e-6);
        // -0.5 * (1 + 1 / (1 + 1)) = -0.75
        assert!((score(&[0.5], &[1.0, -5.0]) + 0.75).abs() < 1e-6);
        assert!((score(&[], &[1.0]) + 0.75).abs() < 1e-6);
        // 0.5 * (1 - 3 / 4) = 0.125, of distances that are negated.
        assert!((score(&[-3.0], &[]) - 0.125).abs() < 1e-6);
        assert!(score(&[1.0], &[1.0]) < 0.0, "on a tie the negative one decides");
    }

    #[test]
    fn sums_are_differences() {
        let score = |p: &[f32], n: &[f32]| sum_scores(p, n, |e| *e);
        assert_eq!(score(&[1.0, 3.0], &[2.5]), 1.5);
        assert_eq!(score(&[], &[2.5]), -2.5);
    }
}
