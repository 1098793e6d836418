//! How text becomes words.

use serde::{Deserialize, Serialize};

use super::language::Language;
use crate::error::{IndexError, Result};

/// Longest word, bytes: longer ones are neither indexed nor looked for.
pub const MAX_WORD_BYTES: usize = 1_024;
/// Longest prefix that a prefix index holds, characters, where the options name none.
pub const MAX_PREFIX_CHARS: usize = 64;
/// Largest bound of the length of words, characters.
pub const MAX_TOKEN_LEN: usize = 1_024;
/// Most stop words of a list of one's own.
pub const MAX_STOPWORDS: usize = 1_000;
/// Longest stop word, bytes.
pub const MAX_STOPWORD_BYTES: usize = 256;

/// Where words begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Words are letters and digits; all else parts them.
    #[default]
    Word,
    /// Words are parted by white space alone.
    Whitespace,
    /// As `Word`; each beginning of a word, from `min_token_len` to `max_token_len` characters, is a word of the text. A
    /// word of a query is found where a text has a word that begins so.
    Prefix,
    /// Words by the word boundaries of Unicode (UAX #29): each character of scripts without spaces is a word.
    Multilingual,
}

/// Words that are left out of texts and queries. They are compared after folding and lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stopwords {
    /// Those of these languages.
    pub languages: Vec<Language>,
    /// And these.
    pub custom: Vec<String>,
}

/// How text becomes words: split, folded to ASCII, made lower case, stop words left out, stemmed, measured, in this
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextOptions {
    /// Where words begin and end.
    pub tokenizer: Tokenizer,
    /// Whether words are made lower case.
    pub lowercase: bool,
    /// Words of fewer characters are left out.
    pub min_token_len: Option<usize>,
    /// Words of more characters are left out; prefixes are cut there.
    pub max_token_len: Option<usize>,
    /// Whether the index keeps the places of words. Phrases are found without too, by reading rows that have all words.
    pub phrase_matching: bool,
    /// Words become their stems by Snowball's algorithm of this language.
    pub stemmer: Option<Language>,
    /// Words that are left out.
    pub stopwords: Stopwords,
    /// Whether letters with marks become those without, where ASCII has them.
    pub ascii_folding: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            tokenizer: Tokenizer::default(),
            lowercase: true,
            min_token_len: None,
            max_token_len: None,
            phrase_matching: false,
            stemmer: None,
            stopwords: Stopwords::default(),
            ascii_folding: false,
        }
    }
}

impl TextOptions {
    /// Checks lengths, lists and languages.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`], which says what would do.
    pub fn validate(&self) -> Result<()> {
        let languages = &self.stopwords.languages;
        let repeated =
            languages.iter().enumerate().find(|(at, language)| languages[..*at].contains(language));
        match repeated {
            Some((_, language)) => {
                let name = language.name();
                Err(IndexError::InvalidParameter(format!(
                    "the stop words of {name} are named more than once: name each language once"
                )))
            }
            None => self.check(),
        }
    }

    /// As [`TextOptions::validate`], but for what was once allowed and is stored.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(IndexError::InvalidParameter(why));
        for (name, len) in [("min_token_len", self.min_token_len), ("max_token_len", self.max_token_len)] {
            if let Some(len) = len.filter(|len| !(1..=MAX_TOKEN_LEN).contains(len)) {
                return refuse(format!(
                    "`{name}` of a text index is {len}: use 1 to {MAX_TOKEN_LEN}, or none"
                ));
            }
        }
        if let (Some(min), Some(max)) = (self.min_token_len, self.max_token_len)
            && min > max
        {
            return refuse(format!("`min_token_len` {min} of a text index is above `max_token_len` {max}"));
        }
        let custom = &self.stopwords.custom;
        if custom.len() > MAX_STOPWORDS {
            let count = custom.len();
            return refuse(format!("{count} custom stop words are above the limit of {MAX_STOPWORDS}"));
        }
        if let Some(long) = custom.iter().map(String::len).find(|len| *len > MAX_STOPWORD_BYTES) {
            return refuse(format!("a stop word of {long} bytes is above the limit of {MAX_STOPWORD_BYTES}"));
        }
        if self.stopwords.languages.len() > MAX_STOPWORDS {
            return refuse("more stop word languages than there are: name each once".to_owned());
        }
        if let Some(language) = self.stopwords.languages.iter().find(|l| l.stopwords().is_none()) {
            return refuse(format!("there is no list of stop words for {}: give your own", language.name()));
        }
        match self.stemmer.filter(|language| language.stemmer().is_none()) {
            Some(language) => refuse(format!("there is no stemmer for {}: leave it out", language.name())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_and_have_the_defaults_of_clients() {
        let read = |json: &str| serde_json::from_str::<TextOptions>(json).unwrap();
        assert_eq!(read("{}"), TextOptions::default());
        assert!(read("{}").lowercase && !read("{}").phrase_matching);
        let full = r#"{"tokenizer":"prefix","lowercase":false,"min_token_len":2,"max_token_len":8,
            "phrase_matching":true,"stemmer":"german","stopwords":{"languages":["english"],"custom":["x"]}}"#;
        let options = read(full);
        assert!(options.validate().is_ok());
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(read(&json), options);

        let bad = [
            r#"{"min_token_len":0}"#,
            r#"{"max_token_len":1025}"#,
            r#"{"min_token_len":5,"max_token_len":4}"#,
            r#"{"stemmer":"hebrew"}"#,
            r#"{"stopwords":{"languages":["armenian"]}}"#,
            r#"{"stopwords":{"languages":["english","german","en"]}}"#,
        ];
        for json in bad {
            assert!(read(json).validate().is_err(), "{json}");
        }
        let words = |n: usize, len: usize| TextOptions {
            stopwords: Stopwords { custom: vec!["w".repeat(len); n], ..Stopwords::default() },
            ..TextOptions::default()
        };
        assert!(words(MAX_STOPWORDS, MAX_STOPWORD_BYTES).validate().is_ok());
        assert!(words(MAX_STOPWORDS + 1, 1).validate().is_err());
        assert!(words(1, MAX_STOPWORD_BYTES + 1).validate().is_err());
    }
}
