//! Pairs of examples that split the space.

/// The number of pairs on whose positive side a point is, less those on whose negative side it is, and between 0 and 1 how
/// near it is to the target.
pub(super) fn discover<E>(target: &E, pairs: &[(E, E)], like: impl Fn(&E) -> f32) -> f32 {
    let side = |(positive, negative): &(E, E)| like(positive).total_cmp(&like(negative)) as i32;
    let sides: i32 = pairs.iter().map(side).sum();
    sides as f32 + scaled_sigmoid(like(target))
}

/// The sum over the pairs of how far a point is on the negative side; almost 0 for points on all positive sides.
pub(super) fn context<E>(pairs: &[(E, E)], like: impl Fn(&E) -> f32) -> f32 {
    let loss = |(positive, negative): &(E, E)| {
        let difference = like(positive) - like(negative) - f32::EPSILON;
        sigmoid(difference.min(0.0))
    };
    pairs.iter().map(loss).sum()
}

/// The sum of similarities.
pub(super) fn sum<E>(examples: &[E], like: impl Fn(&E) -> f32) -> f32 {
    // Not `sum()`, whose empty sum is -0.
    examples.iter().fold(0.0, |sum, example| sum + like(example))
}

/// From -1 to 1, cheaply.
fn sigmoid(x: f32) -> f32 {
    if x.is_finite() { x / (1.0 + x.abs()) } else { x }
}

/// From 0 to 1.
pub(super) fn scaled_sigmoid(x: f32) -> f32 {
    0.5 * (sigmoid(x) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_count_and_the_target_decides_among_equals() {
        let score = |target: f32, of: &[(f32, f32)]| discover(&target, of, |e| *e);
        // Two sides for, one against, one undecided; 0.5 * (1 + 1/2) = 0.75.
        assert!((score(1.0, &[(2.0, 1.0), (5.0, 0.0), (0.0, 1.0), (3.0, 3.0)]) - 1.75).abs() < 1e-6);
        assert!((score(-1.0, &[(0.0, 1.0)]) + 0.75).abs() < 1e-6);
        assert!((score(1.0, &[]) - 0.75).abs() < 1e-6);
    }

    #[test]
    fn only_the_negative_side_costs() {
        let score = |of: &[(f32, f32)]| context(of, |e| *e);
        assert_eq!(score(&[(2.0, 1.0), (7.0, 0.0)]), 0.0);
        // -1 / (1 + 1) and -3 / (1 + 3).
        assert!((score(&[(1.0, 2.0), (9.0, 0.0), (0.0, 3.0)]) + 1.25).abs() < 1e-5);
        assert!(score(&[(1.0, 1.0)]) < 0.0);
    }
}
