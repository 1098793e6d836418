//! The best rows by BM25.

use tantivy::postings::{Postings, SegmentPostings};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED};

use super::bm25::{WeightedWord, gain};
use super::guard::guarded;
use super::index::{Part, TextIndex};
use crate::error::Result;
use crate::mask::Mask;
use crate::pace::Pace;
use crate::vector::topk::{TopK, key, key_distance, key_position};

/// Rows whose scores are summed at a time: they stay in the second-level cache.
const WINDOW: u32 = 8_192;
/// Allowed rows are looked up one by one where the words have so many times more postings.
const SEEK_FACTOR: u64 = 8;

/// What looking one row up in the postings of one word costs, in nanoseconds or so.
const SEEK_WORK: usize = 50;

/// A row and its score.
pub type ScoredRow = (u32, f32);

/// The rows of a word with its weight.
struct Cursor {
    weight: f64,
    postings: SegmentPostings,
}

/// What the sums of a search go through.
struct Search<'a> {
    lengths: &'a [u32],
    average_length: f64,
    mask: Mask<'a>,
    best: TopK,
    pace: &'a Pace<'a>,
}

impl TextIndex {
    /// The best `k` of the rows that `mask` allows and that have any of the words: highest score first, ties by
    /// ordinal. A score is the sum over the words in their order, so it does not depend on the other rows of the index. Ends
    /// without a meaning where `pace` says so.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`](crate::IndexError::Corrupt) where the index cannot be read.
    pub fn search(
        &self,
        words: &[WeightedWord],
        average_length: f64,
        (k, mask): (usize, Mask<'_>),
        pace: &Pace<'_>,
    ) -> Result<Vec<ScoredRow>> {
        guarded("a search", || {
            let best = TopK::new(k);
            let mut search = Search { lengths: &self.lengths, average_length, mask, best, pace };
            for part in &self.parts {
                search.part(part, words)?;
            }
            let scored = |key| (key_position(key), -key_distance(key));
            Ok(search.best.take_sorted().into_iter().map(scored).collect())
        })
    }
}

impl Search<'_> {
    fn part(&mut self, part: &Part, words: &[WeightedWord]) -> Result<()> {
        let mut cursors = Vec::with_capacity(words.len());
        for WeightedWord { word, weight } in words {
            if let Some(postings) = part.postings(word, IndexRecordOption::WithFreqs)? {
                cursors.push(Cursor { weight: *weight, postings });
            }
        }
        let postings: u64 = cursors.iter().map(|cursor| u64::from(cursor.postings.doc_freq())).sum();
        if let Mask::Allow(rows) = self.mask
            && rows.range_cardinality(part.first..part.end()).saturating_mul(SEEK_FACTOR) < postings
        {
            for row in rows.range(part.first..part.end()) {
                if !self.pace.go_on(cursors.len() * SEEK_WORK) {
                    break;
                }
                self.row(part, &mut cursors, row);
            }
            return Ok(());
        }
        self.windows(part, &mut cursors);
        Ok(())
    }

    /// Scores one row.
    fn row(&mut self, part: &Part, cursors: &mut [Cursor], row: u32) {
        let document = row - part.first;
        let mut sum = 0.0;
        for Cursor { weight, postings } in cursors {
            if postings.doc() < document {
                postings.seek(document);
            }
            if postings.doc() == document {
                sum += gain(*weight, postings.term_freq(), self.length(row), self.average_length);
            }
        }
        if sum > 0.0 {
            self.best.push(key(-(sum as f32), row));
        }
    }

    /// Scores all rows that have a word, window by window, word by word.
    fn windows(&mut self, part: &Part, cursors: &mut [Cursor]) {
        let mut sums = vec![0.0; WINDOW as usize];
        let mut touched: Vec<u32> = Vec::new();
        while let Some(start) = cursors.iter().map(|c| c.postings.doc()).min().filter(|d| *d != TERMINATED) {
            let end = start.saturating_add(WINDOW);
            for Cursor { weight, postings } in cursors.iter_mut() {
                if !self.pace.go_on(WINDOW as usize) {
                    return;
                }
                let mut document = postings.doc();
                while document < end && document != TERMINATED {
                    let sum = &mut sums[(document - start) as usize];
                    if *sum == 0.0 {
                        touched.push(document);
                    }
                    let length = self.lengths.get((part.first + document) as usize).copied().unwrap_or(0);
                    *sum += gain(*weight, postings.term_freq(), length, self.average_length);
                    document = postings.advance();
                }
            }
            for document in touched.drain(..) {
                let sum = std::mem::take(&mut sums[(document - start) as usize]);
                let row = part.first + document;
                let key = key(-(sum as f32), row);
                // The mask is looked up last: few rows get so far.
                if key < self.best.bound() && self.mask.allows(row) {
                    self.best.push(key);
                }
            }
        }
    }

    fn length(&self, row: u32) -> u32 {
        self.lengths.get(row as usize).copied().unwrap_or(0)
    }
}
