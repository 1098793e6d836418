//! BM25 (Robertson and Zaragoza 2009), with statistics of a whole collection.

/// How fast more of the same word stops to count.
pub const K1: f64 = 1.2;
/// How much long texts are held against them.
pub const B: f64 = 0.75;

/// What scores depend on beside the text itself. Those of parts of a collection add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextStatistics {
    /// Texts with any word.
    pub documents: u64,
    /// Words of all of them.
    pub words: u64,
    /// Texts with each of the words of a query, in the order that was asked for.
    pub frequencies: Vec<u64>,
}

impl TextStatistics {
    /// Adds those of other texts, about the same words.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.words += other.words;
        if self.frequencies.len() < other.frequencies.len() {
            self.frequencies.resize(other.frequencies.len(), 0);
        }
        for (sum, more) in self.frequencies.iter_mut().zip(&other.frequencies) {
            *sum += more;
        }
    }

    /// Words of a text on average.
    pub fn average_length(&self) -> f64 {
        if self.documents == 0 { 0.0 } else { self.words as f64 / self.documents as f64 }
    }

    /// Words with weights, for scoring: rare ones weigh more, and those that the query repeats as often as it does.
    /// `repeats` is aligned with `words` and these with the frequencies.
    pub fn weigh(&self, words: &[String], repeats: &[u32]) -> Vec<WeightedWord> {
        let weigh = |((word, repeats), frequency): ((&String, &u32), &u64)| WeightedWord {
            word: word.clone(),
            weight: f64::from(*repeats) * self.rarity(*frequency) * (K1 + 1.0),
        };
        words.iter().zip(repeats).zip(&self.frequencies).map(weigh).collect()
    }

    fn rarity(&self, frequency: u64) -> f64 {
        let (all, with) = (self.documents.max(frequency) as f64, frequency as f64);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

/// A word of a query with what one text that has it can gain at most.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedWord {
    /// The word, as an analyzer made it.
    pub word: String,
    /// Factor of its share.
    pub weight: f64,
}

/// What a text of `length` words gains by having a word `times`.
#[inline]
pub fn gain(weight: f64, times: u32, length: u32, average_length: f64) -> f64 {
    let times = f64::from(times);
    let long = if average_length > 0.0 { f64::from(length) / average_length } else { 1.0 };
    weight * times / (times + K1 * (1.0 - B + B * long))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_formula() {
        let statistics = TextStatistics { documents: 10, words: 50, frequencies: vec![1, 9] };
        let words = ["rare".to_owned(), "common".to_owned()];
        let weighed = statistics.weigh(&words, &[1, 2]);
        let rare = (1.0f64 + 9.5 / 1.5).ln() * 2.2;
        let common = 2.0 * (1.0f64 + 1.5 / 9.5).ln() * 2.2;
        assert!((weighed[0].weight - rare).abs() < 1e-12 && (weighed[1].weight - common).abs() < 1e-12);
        // A text of the average length: tf / (tf + k1).
        assert!((gain(1.0, 3, 5, 5.0) - 3.0 / 4.2).abs() < 1e-12);
        assert!(gain(1.0, 1, 4, 5.0) > gain(1.0, 1, 6, 5.0), "short texts gain more");
        assert!(gain(1.0, 2, 5, 5.0) > gain(1.0, 1, 5, 5.0), "repeats gain");
    }

    #[test]
    fn statistics_of_parts_add_up() {
        let mut sum = TextStatistics::default();
        assert_eq!(sum.average_length(), 0.0);
        sum.add(&TextStatistics { documents: 2, words: 10, frequencies: vec![1, 0] });
        sum.add(&TextStatistics { documents: 3, words: 5, frequencies: vec![0, 3] });
        assert_eq!(sum, TextStatistics { documents: 5, words: 15, frequencies: vec![1, 3] });
        assert_eq!(sum.average_length(), 3.0);
    }
}
