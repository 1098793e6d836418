//! Results unlike each other: maximal marginal relevance (Carbonell and Goldstein 1998).

use engram_index::Pace;

use crate::error::{QueryError, Result};
use crate::local::spend;

/// Chooses up to `limit` of `relevance.len()` candidates, in the order they are chosen: first the most relevant one, then
/// always the one with the largest `(1 - diversity) * relevance - diversity * (largest similarity to those before)`. Ties
/// go to the first.
///
/// # Errors
/// `DeadlineExceeded`.
pub(crate) fn choose(
    relevance: &[f32],
    diversity: f32,
    limit: usize,
    similarity: impl Fn(usize, usize) -> f32,
    pace: &Pace<'_>,
) -> Result<Vec<usize>> {
    let relevant = 1.0 - diversity;
    let mut rest: Vec<usize> = (0..relevance.len()).collect();
    // The largest similarity to what was chosen, so that each pair is compared once.
    let mut likeness = vec![f32::NEG_INFINITY; relevance.len()];
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < limit && !rest.is_empty() {
        spend(pace, rest.len())?;
        if let Some(&last) = chosen.last() {
            for &candidate in &rest {
                likeness[candidate] = likeness[candidate].max(similarity(candidate, last));
            }
        }
        let score = |candidate: usize| match chosen.is_empty() {
            true => relevance[candidate],
            false => relevant * relevance[candidate] - diversity * likeness[candidate],
        };
        let first = rest
            .iter()
            .enumerate()
            .reduce(|best, next| if score(*next.1).total_cmp(&score(*best.1)).is_gt() { next } else { best });
        let Some(at) = first.map(|(at, _)| at) else { break };
        spend(pace, 0)?;
        // Keeps the order of the rest, by which ties are decided.
        chosen.push(rest.remove(at));
    }
    Ok(chosen)
}

/// Checks the diversity.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn check(diversity: f32) -> Result<()> {
    if (0.0..=1.0).contains(&diversity) {
        return Ok(());
    }
    let message =
        format!("mmr: the diversity is {diversity}: give 0 (relevance alone) to 1 (diversity alone)");
    Err(QueryError::invalid("invalid_argument", message))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    fn run(relevance: &[f32], diversity: f32, limit: usize) -> Vec<usize> {
        // Candidates 0 and 1 are twins, 2 is unlike both.
        let similarity = |a: usize, b: usize| if a.max(b) == 1 { 1.0 } else { 0.1 };
        choose(relevance, diversity, limit, similarity, &Pace::endless()).unwrap()
    }

    #[test]
    fn a_twin_waits_for_what_is_unlike() {
        let relevance = [0.9, 0.89, 0.5];
        assert_eq!(run(&relevance, 0.0, 3), [0, 1, 2]);
        // 0.5 * 0.89 - 0.5 * 1 = -0.055 is below 0.5 * 0.5 - 0.5 * 0.1 = 0.2.
        assert_eq!(run(&relevance, 0.5, 3), [0, 2, 1]);
        assert_eq!(run(&relevance, 1.0, 2), [0, 2]);
        // 0.8 * 0.89 - 0.2 * 1 = 0.512 is above 0.8 * 0.5 - 0.2 * 0.1 = 0.38.
        assert_eq!(run(&relevance, 0.2, 2), [0, 1]);
    }

    #[test]
    fn the_most_relevant_is_first_and_ties_go_to_the_first() {
        assert_eq!(run(&[0.1, 0.2, 0.9], 1.0, 1), [2]);
        assert_eq!(run(&[0.5, 0.5, 0.5], 0.0, 3), [0, 1, 2]);
        assert!(run(&[], 0.5, 3).is_empty() && run(&[1.0], 0.5, 0).is_empty());
    }

    #[test]
    fn the_diversity_is_a_share() {
        assert!([0.0, 0.5, 1.0].into_iter().all(|d| check(d).is_ok()));
        assert!([-0.1, 1.1, f32::NAN].into_iter().all(|d| check(d).is_err()));
    }

    #[test]
    fn it_ends_while_likenesses_are_computed() {
        let (compared, late) = (Cell::new(0), Cell::new(false));
        let is_late = || late.get();
        let pace = Pace::new(&is_late);
        let alike = |_: usize, _: usize| {
            compared.set(compared.get() + 1);
            late.set(pace.look() && compared.get() == 3);
            0.0
        };
        let e = choose(&[1.0; 1_000], 0.5, 1_000, alike, &pace).unwrap_err();
        assert_eq!(e.code(), "deadline_exceeded");
        // The first round was begun in time, and is the last.
        assert!(compared.get() < 1_000, "{}", compared.get());
    }
}
