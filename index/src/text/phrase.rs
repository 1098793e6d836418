//! Rows that have several words, and whether these stand as in a phrase.

use tantivy::postings::{Postings, SegmentPostings};
use tantivy::{DocSet, TERMINATED};

/// Calls `found` with each document that all `postings` have, ascending. There is at least one.
pub(super) fn meet(postings: &mut [SegmentPostings], mut found: impl FnMut(&mut [SegmentPostings], u32)) {
    let Some(lead) = (0..postings.len()).min_by_key(|&i| postings[i].doc_freq()) else { return };
    let mut document = postings[lead].doc();
    while document != TERMINATED {
        let mut furthest = document;
        for other in postings.iter_mut() {
            if other.doc() < document {
                other.seek(document);
            }
            furthest = furthest.max(other.doc());
            if furthest > document {
                break;
            }
        }
        document = if furthest == document {
            found(postings, document);
            postings[lead].advance()
        } else if furthest == TERMINATED {
            TERMINATED
        } else {
            postings[lead].seek(furthest)
        };
    }
}

/// The numbers of the words of a phrase among `words`, which are sorted.
pub(super) fn numbers(sequence: &[String], words: &[String]) -> Vec<usize> {
    sequence.iter().filter_map(|word| words.binary_search(word).ok()).collect()
}

/// Whether the words of `numbers` stand one after the other in the document that all `postings` are at. `places` is
/// memory for their places.
pub(super) fn stands(postings: &mut [SegmentPostings], numbers: &[usize], places: &mut [Vec<u32>]) -> bool {
    for (postings, places) in postings.iter_mut().zip(places.iter_mut()) {
        postings.positions(places);
    }
    let Some(first) = numbers.first().and_then(|&number| places.get(number)) else { return false };
    let stands_at = |start: u32| {
        (start..).zip(numbers).all(|(place, &number)| {
            places.get(number).is_some_and(|places| places.binary_search(&place).is_ok())
        })
    };
    first.iter().any(|&start| stands_at(start))
}
