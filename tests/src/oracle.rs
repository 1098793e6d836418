//! Nearest neighbours by comparing with every point, in 64-bit arithmetic.

use engram_proto::v1::Metric;

/// Distance of two vectors: smaller is closer.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let dot = || pairs().map(|(x, y)| x * y).sum::<f64>();
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    match metric {
        Metric::Dot => -dot(),
        Metric::Euclid => pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt(),
        Metric::Manhattan => pairs().map(|(x, y)| (x - y).abs()).sum(),
        Metric::Cosine | Metric::Unspecified => 1.0 - dot() / (norm(a) * norm(b)),
    }
}

/// The `k` nearest of `points` as (id, distance), ties by id.
pub fn nearest<'a>(
    metric: Metric,
    query: &[f32],
    k: usize,
    points: impl Iterator<Item = (u64, &'a [f32])>,
) -> Vec<(u64, f64)> {
    let mut all: Vec<_> = points.map(|(id, v)| (id, distance(metric, query, v))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// Whether `got` is a right answer: as many results as expected, and each as close as the one expected in its place
/// (two points that differ less than rounding may change places).
///
/// # Errors
/// What differs.
pub fn same_answer(expected: &[(u64, f64)], got: &[(u64, f64)]) -> Result<(), String> {
    if expected.len() != got.len() {
        return Err(format!("{} results instead of {}", got.len(), expected.len()));
    }
    for (place, (e, g)) in expected.iter().zip(got).enumerate() {
        let tolerance = 1e-4 * e.1.abs().max(1.0);
        if e.0 != g.0 && (e.1 - g.1).abs() > tolerance {
            return Err(format!("place {place}: id {} at {}, expected id {} at {}", g.0, g.1, e.0, e.1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_books() {
        let (a, b) = ([3.0, 0.0], [0.0, 4.0]);
        assert_eq!(distance(Metric::Euclid, &a, &b), 5.0);
        assert_eq!(distance(Metric::Manhattan, &a, &b), 7.0);
        assert_eq!(distance(Metric::Cosine, &a, &b), 1.0);
        assert_eq!(distance(Metric::Dot, &a, &a), -9.0);
    }

    #[test]
    fn a_wrong_neighbour_and_a_short_answer_are_seen() {
        let expected = [(1, 0.5), (2, 0.6)];
        assert!(same_answer(&expected, &[(1, 0.5), (2, 0.6)]).is_ok());
        assert!(same_answer(&expected, &[(1, 0.5)]).is_err());
        assert!(same_answer(&expected, &[(1, 0.5), (9, 0.9)]).is_err());
    }
}
