//! Lists that become one: by rank, or by the distribution of their scores.

use std::collections::HashMap;

use engram_storage::point::PointId;

use super::list::Candidate;
use crate::error::{QueryError, Result};
use crate::request::query::Fusion;

/// The `k` of reciprocal rank fusion where none is given.
const DEFAULT_K: usize = 2;

/// Checks a fusion of so many lists.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn check(fusion: &Fusion, lists: usize) -> Result<()> {
    let refuse = |message: String| Err(QueryError::invalid("invalid_argument", message));
    if lists == 0 {
        return refuse(
            "a fusion needs prefetch stages: give the queries whose results become one".to_owned(),
        );
    }
    let Fusion::Rrf { k, weights } = fusion else { return Ok(()) };
    if *k == Some(0) {
        return refuse("rrf: k is 0: give 1 or more, or leave it out for 2".to_owned());
    }
    if !weights.is_empty() && weights.len() != lists {
        return refuse(format!(
            "rrf: {} weights for {lists} prefetch stages: give one for each, or none",
            weights.len()
        ));
    }
    match weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
        Some(bad) => refuse(format!("rrf: a weight is {bad}: give finite weights of 0 or more")),
        None => Ok(()),
    }
}

/// One list of all points of `lists`, best first, ties by id. A point is taken from the first list that has it.
pub(crate) fn fuse(fusion: &Fusion, lists: Vec<Vec<Candidate>>) -> Vec<Candidate> {
    let mut fused: HashMap<PointId, Candidate> = HashMap::new();
    for (number, mut list) in lists.into_iter().enumerate() {
        match fusion {
            Fusion::Rrf { k, weights } => {
                let weight = weights.get(number).copied().unwrap_or(1.0);
                by_rank(&mut list, k.unwrap_or(DEFAULT_K), weight);
            }
            Fusion::Dbsf => by_distribution(&mut list),
        }
        for candidate in list {
            let sum = |first: &mut Candidate| first.score += candidate.score;
            fused.entry(candidate.id).and_modify(sum).or_insert(Candidate { order: None, ..candidate });
        }
    }
    let mut fused: Vec<Candidate> = fused.into_values().collect();
    fused.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    fused
}

/// `1 / ((rank + 1) / weight + k - 1)`, ranks from 0; without a weight of its own that is `1 / (rank + k)`.
fn by_rank(list: &mut [Candidate], k: usize, weight: f32) {
    for (rank, candidate) in list.iter_mut().enumerate() {
        // In double precision, and never infinite: a huge weight makes the share of the rank vanish.
        let place = (rank + 1) as f64 / f64::from(weight) + k.saturating_sub(1) as f64;
        candidate.score = if weight > 0.0 { (1.0 / place).min(f64::from(f32::MAX)) as f32 } else { 0.0 };
    }
}

/// From three standard deviations below the mean (0) to three above it (1). Lists that do not vary become 0.5.
///
/// Larger is better, as in Qdrant also for lists of distances: fuse those by rank.
fn by_distribution(list: &mut [Candidate]) {
    let n = list.len() as f64;
    let mean = list.iter().map(|c| f64::from(c.score)).sum::<f64>() / n;
    let squares: f64 = list.iter().map(|c| (f64::from(c.score) - mean).powi(2)).sum();
    let deviation = if list.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    let (low, high) = (mean - 3.0 * deviation, mean + 3.0 * deviation);
    for candidate in list {
        candidate.score =
            if high > low { ((f64::from(candidate.score) - low) / (high - low)) as f32 } else { 0.5 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(scores: &[(u64, f32)]) -> Vec<Candidate> {
        let of = |&(id, score): &(u64, f32)| Candidate {
            id: PointId::Num(id),
            score,
            version: 1,
            shard: 0,
            order: None,
        };
        scores.iter().map(of).collect()
    }

    fn close(got: &[Candidate], wanted: &[(u64, f32)]) {
        let ids: Vec<_> = got.iter().map(|c| c.id).collect();
        assert_eq!(ids, wanted.iter().map(|(id, _)| PointId::Num(*id)).collect::<Vec<_>>());
        for (got, wanted) in got.iter().zip(wanted) {
            assert!((got.score - wanted.1).abs() < 1e-5, "{got:?} {wanted:?}");
        }
    }

    #[test]
    fn ranks_count_from_zero_and_k_is_two() {
        let lists = || vec![list(&[(1, 9.0), (2, 8.0)]), list(&[(2, 0.3), (3, 0.2)])];
        let rrf = Fusion::Rrf { k: None, weights: vec![] };
        // 2: 1/3 + 1/2; 1: 1/2; 3: 1/3.
        close(&fuse(&rrf, lists()), &[(2, 0.833_333), (1, 0.5), (3, 0.333_333)]);
        let rrf = Fusion::Rrf { k: Some(60), weights: vec![] };
        close(&fuse(&rrf, lists()), &[(2, 1.0 / 61.0 + 1.0 / 60.0), (1, 1.0 / 60.0), (3, 1.0 / 61.0)]);
    }

    #[test]
    fn weights_stretch_ranks() {
        let lists = vec![list(&[(1, 9.0), (2, 8.0)]), list(&[(3, 0.3), (1, 0.2)]), list(&[(4, 1.0)])];
        let rrf = Fusion::Rrf { k: Some(2), weights: vec![2.0, 0.5, 0.0] };
        // 1: 1/(1/2 + 1) + 1/(2/0.5 + 1); 2: 1/(2/2 + 1); 3: 1/(1/0.5 + 1); 4: nothing.
        close(&fuse(&rrf, lists), &[(1, 0.866_667), (2, 0.5), (3, 0.333_333), (4, 0.0)]);
    }

    #[test]
    fn distributions_become_zero_to_one() {
        // Mean 2, deviation 1: from -1 to 5. A single score, and equal scores, are 0.5.
        let lists = vec![list(&[(1, 3.0), (2, 2.0), (3, 1.0)]), list(&[(3, 70.0)])];
        close(&fuse(&Fusion::Dbsf, lists), &[(3, 0.833_333), (1, 0.666_667), (2, 0.5)]);
        close(&fuse(&Fusion::Dbsf, vec![list(&[(7, 4.0), (5, 4.0)]), vec![]]), &[(5, 0.5), (7, 0.5)]);
    }

    #[test]
    fn ties_go_by_id() {
        let rrf = Fusion::Rrf { k: None, weights: vec![] };
        close(&fuse(&rrf, vec![list(&[(9, 1.0)]), list(&[(4, 1.0)])]), &[(4, 0.5), (9, 0.5)]);
    }

    #[test]
    fn bad_fusions_are_refused() {
        let rrf = |k, weights: &[f32]| Fusion::Rrf { k, weights: weights.to_vec() };
        assert!(check(&rrf(None, &[]), 2).is_ok() && check(&rrf(Some(1), &[0.0, 3.0]), 2).is_ok());
        assert!(check(&Fusion::Dbsf, 0).is_err() && check(&rrf(Some(0), &[]), 2).is_err());
        assert!(check(&rrf(None, &[1.0]), 2).is_err() && check(&rrf(None, &[1.0; 3]), 2).is_err());
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(check(&rrf(None, &[bad]), 1).is_err(), "{bad}");
        }
    }
}
