//! Like the positive examples and unlike the negative ones.

use super::discover::{scaled_sigmoid, sum};

/// The vector that lies where the examples say: the mean of the positive ones, moved away from the mean of the negative
/// ones by as much again as they differ. `positive` is not empty.
pub(crate) fn average(positive: &[Vec<f32>], negative: &[Vec<f32>]) -> Vec<f32> {
    let toward = mean(positive);
    if negative.is_empty() {
        return toward;
    }
    toward.iter().zip(mean(negative)).map(|(p, n)| p + p - n).collect()
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let dimension = vectors.first().map_or(0, Vec::len);
    let at = |i: usize| vectors.iter().filter_map(|v| v.get(i)).map(|x| f64::from(*x)).sum::<f64>();
    (0..dimension).map(|i| (at(i) / vectors.len() as f64) as f32).collect()
}

/// By the nearest example: 0 to 1 where that is a positive one, -1 to 0 where it is a negative one.
pub(super) fn best_score(positive: &[Vec<f32>], negative: &[Vec<f32>], like: impl Fn(&[f32]) -> f32) -> f32 {
    let best = |examples: &[Vec<f32>]| examples.iter().map(|e| like(e)).fold(f32::NEG_INFINITY, f32::max);
    let (for_it, against) = (best(positive), best(negative));
    if for_it > against { scaled_sigmoid(for_it) } else { -scaled_sigmoid(against) }
}

/// By all examples.
pub(super) fn sum_scores(positive: &[Vec<f32>], negative: &[Vec<f32>], like: impl Fn(&[f32]) -> f32) -> f32 {
    sum(positive, &like) - sum(negative, &like)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(xs: &[f32]) -> Vec<Vec<f32>> {
        xs.iter().map(|x| vec![*x]).collect()
    }

    #[test]
    fn averages_move_away_from_the_negative_ones() {
        let positive = [vec![1.0, 2.0], vec![3.0, 6.0]];
        assert_eq!(average(&positive, &[]), [2.0, 4.0]);
        assert_eq!(average(&positive, &[vec![1.0, 0.0]]), [3.0, 8.0]);
    }

    #[test]
    fn the_best_example_decides() {
        // The similarity of a one-component example is that component.
        let score = |p: &[f32], n: &[f32]| best_score(&examples(p), &examples(n), |e| e[0]);
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
        let score = |p: &[f32], n: &[f32]| sum_scores(&examples(p), &examples(n), |e| e[0]);
        assert_eq!(score(&[1.0, 3.0], &[2.5]), 1.5);
        assert_eq!(score(&[], &[2.5]), -2.5);
    }
}
