//! Predicates over words.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::analyzer::Analyzer;
use crate::error::{IndexError, Result};
use crate::pace::Pace;

/// Longest text of a query, bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// Most words of a query, repeats not counted.
pub const MAX_WORDS: usize = 256;

/// Which of the words a field must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextMode {
    /// All of them, in any order.
    All,
    /// One of them.
    Any,
    /// All of them, in their order, without others between.
    Phrase,
}

/// A text to look for in the strings of a field.
///
/// Where the field has a text index, in this run or not yet, the predicate is *bound* to its options: it is about words.
/// All strings at the path are one text then, but no phrase goes from one string into the next; a text without any word
/// (such as one of stop words) matches nothing. Unbound, it is about the plain words of one string, as Qdrant has it: runs
/// of letters and digits, whatever their case.
#[derive(Clone, Debug)]
pub struct TextMatch {
    mode: TextMode,
    text: String,
    words: Option<Arc<Words>>,
}

/// Words of a query, with what made them.
#[derive(Debug)]
struct Words {
    analyzer: Arc<Analyzer>,
    /// As they stand in the query.
    sequence: Vec<String>,
    /// Each once, with its number.
    numbers: HashMap<String, usize>,
}

impl TextMatch {
    /// An unbound predicate.
    pub fn new(mode: TextMode, text: impl Into<String>) -> Self {
        Self { mode, text: text.into(), words: None }
    }

    /// The same predicate, about the words that `analyzer` makes.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] for too long a text or too many words.
    pub fn bound(&self, analyzer: &Arc<Analyzer>) -> Result<Self> {
        let sequence = query_words(analyzer, &self.text)?;
        let mut numbers = HashMap::new();
        for word in &sequence {
            let next = numbers.len();
            numbers.entry(word.clone()).or_insert(next);
        }
        let words = Words { analyzer: analyzer.clone(), sequence, numbers };
        Ok(Self { words: Some(Arc::new(words)), ..self.clone() })
    }

    /// Which of the words.
    pub fn mode(&self) -> TextMode {
        self.mode
    }

    /// The text as the client gave it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What splits the texts, where bound.
    pub fn analyzer(&self) -> Option<&Arc<Analyzer>> {
        self.words.as_ref().map(|words| &words.analyzer)
    }

    /// The words in the order of the query, where bound.
    pub fn words(&self) -> Option<&[String]> {
        self.words.as_ref().map(|words| words.sequence.as_slice())
    }

    /// Checks the length.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] above [`MAX_TEXT_BYTES`].
    pub fn validate(&self) -> Result<()> {
        check_length(&self.text)
    }

    /// Whether it holds for the strings of a field.
    pub fn holds<'t>(&self, texts: impl Iterator<Item = &'t str>) -> bool {
        self.holds_while(texts, &Pace::endless())
    }

    /// As [`TextMatch::holds`]; ends without a meaning where `pace` says so.
    pub fn holds_while<'t>(&self, mut texts: impl Iterator<Item = &'t str>, pace: &Pace<'_>) -> bool {
        match (&self.words, self.mode) {
            (None, mode) => {
                let wanted = plain_words(&self.text);
                !wanted.is_empty() && texts.any(|text| plain(mode, &wanted, text, pace))
            }
            (Some(words), TextMode::Any) => words.any(texts, pace),
            (Some(words), TextMode::All) => words.all(texts, pace),
            (Some(words), TextMode::Phrase) => words.phrase(texts, pace),
        }
    }
}

/// What making one word of a text costs, and what looking at one of a phrase, in nanoseconds or so.
const WORD_WORK: usize = 100;
const PLACE_WORK: usize = 10;

/// The words of a text of which no index says how to split it.
fn plain_words(text: &str) -> Vec<String> {
    plain_split(text).map(str::to_lowercase).collect()
}

fn plain_split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn plain(mode: TextMode, wanted: &[String], text: &str, pace: &Pace<'_>) -> bool {
    let words = plain_split(text).take_while(|_| pace.go_on(WORD_WORK)).map(str::to_lowercase);
    let mut missing: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    match mode {
        TextMode::Any => words.into_iter().any(|word| missing.contains(word.as_str())),
        TextMode::All => words.into_iter().any(|word| {
            missing.remove(word.as_str());
            missing.is_empty()
        }),
        TextMode::Phrase => {
            let words: Vec<String> = words.collect();
            words.windows(wanted.len()).any(|part| {
                let mut pairs = part.iter().zip(wanted);
                pairs.all(|(word, wanted)| word == wanted && pace.go_on(PLACE_WORK))
            })
        }
    }
}

impl Words {
    fn any<'t>(&self, texts: impl Iterator<Item = &'t str>, pace: &Pace<'_>) -> bool {
        let mut found = false;
        self.analyzer.words_of(texts, |word, _| {
            found = self.numbers.contains_key(word);
            !found && pace.go_on(WORD_WORK)
        });
        found
    }

    fn all<'t>(&self, texts: impl Iterator<Item = &'t str>, pace: &Pace<'_>) -> bool {
        let mut missing = vec![true; self.numbers.len()];
        let mut left = missing.len();
        if left == 0 {
            return false;
        }
        self.analyzer.words_of(texts, |word, _| {
            if let Some(&number) = self.numbers.get(word) {
                left -= usize::from(std::mem::take(&mut missing[number]));
            }
            left > 0 && pace.go_on(WORD_WORK)
        });
        left == 0
    }

    fn phrase<'t>(&self, texts: impl Iterator<Item = &'t str>, pace: &Pace<'_>) -> bool {
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); self.numbers.len()];
        self.analyzer.words_of(texts, |word, place| {
            if let Some(&number) = self.numbers.get(word) {
                places[number].push(place);
            }
            pace.go_on(WORD_WORK)
        });
        let Some(first) = self.sequence.first().and_then(|word| self.numbers.get(word)) else { return false };
        let stands_at = |start: u32| {
            (start..).zip(&self.sequence).all(|(place, word)| {
                let stands = |number: &usize| places[*number].binary_search(&place).is_ok();
                self.numbers.get(word).is_some_and(stands) && pace.go_on(PLACE_WORK * 5)
            })
        };
        places[*first].iter().any(|&start| stands_at(start))
    }
}

/// The words that a query asks for.
///
/// # Errors
/// [`IndexError::InvalidParameter`] for too long a text or too many words.
pub fn query_words(analyzer: &Analyzer, text: &str) -> Result<Vec<String>> {
    check_length(text)?;
    let words = analyzer.query(text);
    let mut distinct: Vec<&String> = words.iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() > MAX_WORDS {
        let count = distinct.len();
        let why = format!("a text of {count} words is above the limit of {MAX_WORDS}: look for fewer words");
        return Err(IndexError::InvalidParameter(why));
    }
    Ok(words)
}

fn check_length(text: &str) -> Result<()> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let len = text.len();
    let why = format!("a text of {len} bytes is above the limit of {MAX_TEXT_BYTES}: look for fewer words");
    Err(IndexError::InvalidParameter(why))
}

/// Equal where they ask for the same in the same way.
impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        let options = |m: &Self| m.words.as_ref().map(|words| words.analyzer.options().clone());
        self.mode == other.mode && self.text == other.text && options(self) == options(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::TextOptions;
    use super::*;

    fn bound(mode: TextMode, text: &str, options: &str) -> TextMatch {
        let options: TextOptions = serde_json::from_str(options).unwrap();
        TextMatch::new(mode, text).bound(&Arc::new(Analyzer::new(&options).unwrap())).unwrap()
    }

    #[test]
    fn words_in_any_order_one_of_them_or_as_they_stand() {
        use TextMode::{All, Any, Phrase};
        let texts = ["The quick brown fox", "jumps over"];
        let holds = |mode, text| bound(mode, text, "{}").holds(texts.into_iter());
        assert!(holds(All, "FOX quick") && holds(All, "over fox") && !holds(All, "quick cat"));
        assert!(holds(Any, "cat fox") && !holds(Any, "cat dog"));
        assert!(holds(Phrase, "quick Brown") && !holds(Phrase, "brown quick") && !holds(Phrase, "quick fox"));
        assert!(!holds(Phrase, "fox jumps"), "no phrase goes from one string into the next");
        for mode in [All, Any, Phrase] {
            assert!(!holds(mode, "...") && !holds(mode, ""));
        }
        let repeated = bound(Phrase, "a b a", "{}");
        assert!(repeated.holds(["x a b a"].into_iter()) && !repeated.holds(["a b b"].into_iter()));
    }

    #[test]
    fn without_an_index_plain_words_count() {
        use TextMode::{All, Any, Phrase};
        let texts = ["The quick, brown_fox", "jumps OVER"];
        let holds = |mode, text| TextMatch::new(mode, text).holds(texts.into_iter());
        assert!(
            holds(All, "fox the") && holds(All, "over!") && !holds(All, "ick") && !holds(All, "fox jumps")
        );
        assert!(holds(Phrase, "Quick Brown") && !holds(Phrase, "brown quick") && !holds(Phrase, "the brown"));
        assert!(holds(Any, "zebra FOX") && !holds(Any, "zebra ox"));
        for mode in [All, Any, Phrase] {
            assert!(!holds(mode, "...") && !holds(mode, ""), "no word matches nothing");
        }
    }

    #[test]
    fn prefixes_of_one_word_share_its_place() {
        let options = r#"{"tokenizer":"prefix"}"#;
        let holds = |mode, text| bound(mode, text, options).holds(["hello wonderful world"].into_iter());
        assert!(holds(TextMode::All, "wor hel") && !holds(TextMode::All, "orld"));
        assert!(holds(TextMode::Phrase, "he won wo") && !holds(TextMode::Phrase, "he wor"));
    }

    #[test]
    fn length_and_words_are_bounded() {
        let analyzer = Arc::new(Analyzer::new(&TextOptions::default()).unwrap());
        let words = |n: usize| (0..n).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
        let bind = |text: String| TextMatch::new(TextMode::All, text).bound(&analyzer);
        assert!(bind(words(MAX_WORDS)).is_ok());
        let e = bind(words(MAX_WORDS + 1)).unwrap_err().to_string();
        assert!(e.contains("257 words is above the limit of 256"), "{e}");
        assert!(bind("x".repeat(MAX_TEXT_BYTES)).is_ok() && bind("x".repeat(MAX_TEXT_BYTES + 1)).is_err());
        assert!(TextMatch::new(TextMode::All, "x".repeat(MAX_TEXT_BYTES + 1)).validate().is_err());
    }
}
