//! Words of rows that no index knows: the same statistics and scores, row by row.

use std::collections::HashMap;

use super::analyzer::Analyzer;
use super::bm25::{TextStatistics, WeightedWord, gain};

/// How often a row has each of some words.
#[derive(Debug)]
pub struct WordCounts {
    numbers: HashMap<String, usize>,
    counts: Vec<u32>,
    length: u32,
}

impl WordCounts {
    /// Counts of these words, each of which is there once.
    pub fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let numbers: HashMap<_, _> = words.into_iter().map(str::to_owned).zip(0..).collect();
        Self { counts: vec![0; numbers.len()], numbers, length: 0 }
    }

    /// Counts the words of a row with these strings, instead of those of the row before.
    pub fn count<'t>(&mut self, analyzer: &Analyzer, texts: impl IntoIterator<Item = &'t str>) {
        self.counts.fill(0);
        self.length = 0;
        analyzer.words_of(texts, |word, _| {
            self.length = self.length.saturating_add(1);
            if let Some(&number) = self.numbers.get(word) {
                self.counts[number] += 1;
            }
            true
        });
    }

    /// Adds the row to statistics about the same words.
    pub fn add_to(&self, statistics: &mut TextStatistics) {
        statistics.frequencies.resize(self.counts.len(), 0);
        statistics.documents += u64::from(self.length > 0);
        statistics.words += u64::from(self.length);
        for (frequency, count) in statistics.frequencies.iter_mut().zip(&self.counts) {
            *frequency += u64::from(*count > 0);
        }
    }

    /// Score of the row, `None` where it has none of the words. `words` are those it was made for.
    pub fn score(&self, words: &[WeightedWord], average_length: f64) -> Option<f32> {
        let found = words.iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        let sum: f64 =
            found.map(|(word, count)| gain(word.weight, *count, self.length, average_length)).sum();
        (sum > 0.0).then_some(sum as f32)
    }
}
