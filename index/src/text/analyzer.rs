//! Text becomes words.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use frostem::Stemmer;
use tantivy::tokenizer::{AsciiFoldingFilter, RawTokenizer, TextAnalyzer};
use unicode_segmentation::UnicodeSegmentation;

use super::language::Language;
use super::options::{MAX_PREFIX_CHARS, MAX_WORD_BYTES, TextOptions, Tokenizer};
use crate::error::Result;

/// Free places between the words of two strings of one field, so that no phrase goes from one into the next.
pub const GAP: u32 = 1;

/// Takes a word with its place; the end of the work where it says false.
type Each<'a> = &'a mut dyn FnMut(&str, u32) -> bool;

/// Options made ready.
#[derive(Default)]
pub struct Analyzer {
    options: TextOptions,
    stopwords: HashSet<Cow<'static, str>>,
    stemmer: Option<Stemmer>,
}

impl Analyzer {
    /// An analyzer for texts and queries of an index with these options.
    ///
    /// # Errors
    /// Those of [`TextOptions::validate`], but for languages that are named more than once.
    pub fn new(options: &TextOptions) -> Result<Self> {
        options.check()?;
        // Stored options may name one more than once.
        let languages: HashSet<Language> = options.stopwords.languages.iter().copied().collect();
        let listed = languages.iter().filter_map(|language| language.stopwords()).flatten();
        let custom = options.stopwords.custom.iter().map(|word| Cow::Owned(word.clone()));
        let mut analyzer = Self { options: options.clone(), stopwords: HashSet::new(), stemmer: None };
        let words = listed.map(|word| Cow::Borrowed(*word)).chain(custom);
        // As the words of a text are when they are compared.
        analyzer.stopwords = words.map(|word| analyzer.normal(word)).collect();
        analyzer.stemmer = options.stemmer.and_then(|language| language.stemmer());
        Ok(analyzer)
    }

    /// The options.
    pub fn options(&self) -> &TextOptions {
        &self.options
    }

    /// Calls `each` with the words of a text and their places, from 0 on, until it says false. Several words may be in
    /// one place, never the same one twice.
    pub fn words(&self, text: &str, mut each: impl FnMut(&str, u32) -> bool) {
        let mut place = 0;
        self.split(text, &mut |word| {
            let Some(word) = self.word(word, true) else { return true };
            let go_on = match self.options.tokenizer {
                Tokenizer::Prefix => self.prefixes(&word, place, &mut each),
                _ => word.len() > MAX_WORD_BYTES || each(&word, place),
            };
            place += u32::from(word.len() <= MAX_WORD_BYTES);
            go_on
        });
    }

    /// The words of all strings of a field, with a gap between those of two strings. See [`Analyzer::words`].
    pub fn words_of<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t str>,
        mut each: impl FnMut(&str, u32) -> bool,
    ) {
        let mut first = 0;
        for text in texts {
            let (mut next, mut go_on) = (first, true);
            self.words(text, |word, place| {
                next = first + place + 1;
                go_on = each(word, first + place);
                go_on
            });
            if !go_on {
                return;
            }
            first = next + GAP;
        }
    }

    /// The words of a query, in order. Of a prefix index: the longest beginning that the index holds.
    pub fn query(&self, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        self.split(text, &mut |word| {
            let prefix = self.options.tokenizer == Tokenizer::Prefix;
            let Some(word) = self.word(word, !prefix) else { return true };
            let word = if prefix { first_chars(&word, self.longest_prefix()) } else { &word };
            if word.len() <= MAX_WORD_BYTES {
                words.push(word.to_owned());
            }
            true
        });
        words
    }

    fn split(&self, text: &str, each: &mut dyn FnMut(&str) -> bool) {
        let text = if self.options.ascii_folding { folded(text) } else { Cow::Borrowed(text) };
        match self.options.tokenizer {
            Tokenizer::Word | Tokenizer::Prefix => {
                all(text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()), each);
            }
            Tokenizer::Whitespace => all(text.split_whitespace(), each),
            Tokenizer::Multilingual => all(text.unicode_words(), each),
        }
    }

    /// Folded and in lower case.
    fn normal<'a>(&self, word: Cow<'a, str>) -> Cow<'a, str> {
        if self.options.ascii_folding && !word.is_ascii() {
            return self.lower(Cow::Owned(folded(&word).into_owned()));
        }
        self.lower(word)
    }

    fn lower<'a>(&self, word: Cow<'a, str>) -> Cow<'a, str> {
        let is_lower = |b: u8| b.is_ascii() && !b.is_ascii_uppercase();
        if !self.options.lowercase || word.bytes().all(is_lower) {
            return word;
        }
        Cow::Owned(word.to_lowercase())
    }

    /// A word of a text that was folded; `None` where it is left out. Words of queries of a prefix index are beginnings,
    /// which no list can tell from stop words.
    fn word<'a>(&self, word: &'a str, whole: bool) -> Option<Cow<'a, str>> {
        let word = self.lower(Cow::Borrowed(word));
        if whole && self.stopwords.contains(word.as_ref()) {
            return None;
        }
        let word = match &self.stemmer {
            Some(stemmer) => Cow::Owned(stemmer.stem(&word).into_owned()),
            None => word,
        };
        let TextOptions { tokenizer, min_token_len, max_token_len, .. } = &self.options;
        if word.is_empty() {
            return None;
        }
        if min_token_len.is_none() && max_token_len.is_none() {
            return Some(word);
        }
        let chars = word.chars().count();
        let fits = min_token_len.is_none_or(|min| chars >= min)
            && (*tokenizer == Tokenizer::Prefix || max_token_len.is_none_or(|max| chars <= max));
        fits.then_some(word)
    }

    fn longest_prefix(&self) -> usize {
        self.options.max_token_len.unwrap_or(MAX_PREFIX_CHARS).min(MAX_PREFIX_CHARS)
    }

    fn prefixes(&self, word: &str, place: u32, each: Each<'_>) -> bool {
        let shortest = self.options.min_token_len.unwrap_or(1);
        let longest = self.longest_prefix();
        let ends = word.char_indices().skip(1).map(|(at, _)| at).chain([word.len()]);
        for (chars, end) in (1..).zip(ends) {
            if chars > longest {
                break;
            }
            if chars >= shortest && !each(&word[..end], place) {
                return false;
            }
        }
        true
    }
}

fn all<'t>(mut words: impl Iterator<Item = &'t str>, each: &mut dyn FnMut(&str) -> bool) {
    let _ = words.all(each);
}

fn first_chars(word: &str, chars: usize) -> &str {
    word.char_indices().nth(chars).map_or(word, |(end, _)| &word[..end])
}

/// `text` without marks on letters, where ASCII has those.
fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut folding = TextAnalyzer::builder(RawTokenizer::default()).filter(AsciiFoldingFilter).build();
    let mut stream = folding.token_stream(text);
    match stream.next() {
        Some(token) => Cow::Owned(token.text.clone()),
        None => Cow::Borrowed(text),
    }
}

impl fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Analyzer").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, Stopwords};
    use super::*;

    fn analyzer(json: &str) -> Analyzer {
        Analyzer::new(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn words(options: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        analyzer(options).words(text, |word, _| {
            out.push(word.to_owned());
            true
        });
        out
    }

    #[test]
    fn stored_options_that_repeat_a_language_are_still_read() {
        let languages = vec!["english"; 1_000].join("\",\"");
        let options = format!("{{\"stopwords\":{{\"languages\":[\"{languages}\"]}}}}");
        assert_eq!(words(&options, "the fox"), ["fox"]);
    }

    #[test]
    fn tokenizers_split_where_they_say() {
        let text = "The quick-brown Fox's 42nd jump!";
        let expected = ["the", "quick", "brown", "fox", "s", "42nd", "jump"];
        assert_eq!(words(r#"{"tokenizer":"word"}"#, text), expected);
        let expected = ["The", "quick-brown", "Fox's", "42nd", "jump!"];
        assert_eq!(words(r#"{"tokenizer":"whitespace","lowercase":false}"#, text), expected);
        let expected = ["the", "quick", "brown", "fox's", "42nd", "jump"];
        assert_eq!(words(r#"{"tokenizer":"multilingual"}"#, text), expected);
        assert_eq!(words(r#"{"tokenizer":"multilingual"}"#, "東京タワー"), ["東", "京", "タワー"]);
        assert_eq!(
            words(r#"{"tokenizer":"prefix","max_token_len":3}"#, "Jump on"),
            ["j", "ju", "jum", "o", "on"]
        );
        assert_eq!(words(r#"{"tokenizer":"prefix","min_token_len":3}"#, "jump on"), ["jum", "jump"]);
        assert!(words("{}", " -- ").is_empty());
    }

    #[test]
    fn queries_are_made_as_texts_are() {
        let prefix = analyzer(r#"{"tokenizer":"prefix","max_token_len":4,"stopwords":{"custom":["on"]}}"#);
        // `on` may be the beginning of a word that is no stop word.
        assert_eq!(prefix.query("Jumping on"), ["jump", "on"]);
        let long = "x".repeat(200);
        let open = analyzer(r#"{"tokenizer":"prefix"}"#);
        assert_eq!(open.query(&long), ["x".repeat(MAX_PREFIX_CHARS)]);
        assert_eq!(words(r#"{"tokenizer":"prefix"}"#, &long).len(), MAX_PREFIX_CHARS);
        assert_eq!(analyzer("{}").query("A b a"), ["a", "b", "a"]);
    }

    #[test]
    fn words_are_folded_stopped_stemmed_and_measured_in_this_order() {
        assert_eq!(words(r#"{"ascii_folding":true}"#, "Crème Straße Ærø"), ["creme", "strasse", "aero"]);
        assert_eq!(words("{}", "Crème ΣΊΣΥΦΟΣ"), ["crème", "σίσυφος"]);
        assert_eq!(words(r#"{"stemmer":"english"}"#, "running runs easily"), ["run", "run", "easili"]);
        assert_eq!(words(r#"{"stemmer":"german"}"#, "Häuser"), ["haus"]);
        let stopped = r#"{"stopwords":{"languages":["english"],"custom":["FOX"]}}"#;
        assert_eq!(words(stopped, "The fox and the dog"), ["dog"]);
        let folded = r#"{"stopwords":{"languages":["french"]},"ascii_folding":true}"#;
        assert_eq!(words(folded, "été meme même chat"), ["chat"]);
        assert_eq!(words(r#"{"min_token_len":2,"max_token_len":4}"#, "a bb cccc ddddd"), ["bb", "cccc"]);
        // The stem is measured, not the word.
        assert_eq!(words(r#"{"stemmer":"english","max_token_len":3}"#, "running"), ["run"]);
    }

    #[test]
    fn words_beyond_any_language_are_left_out_everywhere() {
        let long = "x".repeat(MAX_WORD_BYTES + 1);
        let text = format!("a {long} b");
        assert_eq!(words("{}", &text), ["a", "b"]);
        assert_eq!(analyzer("{}").query(&text), ["a", "b"]);
        assert_eq!(words("{}", &long[1..]).len(), 1);
    }

    #[test]
    fn strings_of_one_field_are_apart() {
        let mut places = Vec::new();
        analyzer("{}").words_of(["a b", "", "c d"], |word, place| {
            places.push((word.to_owned(), place));
            word != "c"
        });
        let expected = [("a", 0), ("b", 1), ("c", 4)].map(|(word, place)| (word.to_owned(), place));
        assert_eq!(places, expected);
    }

    #[test]
    fn options_of_stop_words_name_languages() {
        let stopwords = Stopwords { languages: vec![Language::parse("de").unwrap()], custom: vec![] };
        let options = TextOptions { stopwords, ..TextOptions::default() };
        assert_eq!(Analyzer::new(&options).unwrap().query("der Hund und die Katze"), ["hund", "katze"]);
    }
}
