//! Languages that stemmers and lists of stop words know.

use frostem::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};

use crate::error::{IndexError, Result};

/// A language, by its English name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Language {
    /// Place in the table.
    number: usize,
}

/// Name, code of the list of stop words, Snowball's algorithm.
type Entry = (&'static str, Option<&'static str>, Option<Algorithm>);

const LANGUAGES: [Entry; 34] = [
    ("arabic", Some("ar"), Some(Algorithm::Arabic)),
    ("armenian", None, Some(Algorithm::Armenian)),
    ("azerbaijani", Some("az"), None),
    ("basque", Some("eu"), None),
    ("bengali", Some("bn"), None),
    ("catalan", Some("ca"), None),
    ("chinese", Some("zh"), None),
    ("danish", Some("da"), Some(Algorithm::Danish)),
    ("dutch", Some("nl"), Some(Algorithm::Dutch)),
    ("english", Some("en"), Some(Algorithm::English)),
    ("finnish", Some("fi"), Some(Algorithm::Finnish)),
    ("french", Some("fr"), Some(Algorithm::French)),
    ("german", Some("de"), Some(Algorithm::German)),
    ("greek", Some("el"), Some(Algorithm::Greek)),
    ("hebrew", Some("he"), None),
    ("hinglish", Some("hinglish"), None),
    ("hungarian", Some("hu"), Some(Algorithm::Hungarian)),
    ("indonesian", Some("id"), None),
    ("italian", Some("it"), Some(Algorithm::Italian)),
    ("kazakh", Some("kk"), None),
    ("nepali", Some("ne"), None),
    ("norwegian", Some("no"), Some(Algorithm::Norwegian)),
    ("portuguese", Some("pt"), Some(Algorithm::Portuguese)),
    ("romanian", Some("ro"), Some(Algorithm::Romanian)),
    ("russian", Some("ru"), Some(Algorithm::Russian)),
    ("slovene", Some("sl"), None),
    ("spanish", Some("es"), Some(Algorithm::Spanish)),
    ("swedish", Some("sv"), Some(Algorithm::Swedish)),
    ("tajik", Some("tg"), None),
    ("tamil", Some("ta"), Some(Algorithm::Tamil)),
    ("turkish", Some("tr"), Some(Algorithm::Turkish)),
    ("albanian", Some("sq"), None),
    ("belarusian", Some("be"), None),
    ("uzbek", Some("uz"), None),
];

impl Language {
    /// The language of this name or ISO 639-1 code, in any case.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] with the names that are known.
    pub fn parse(text: &str) -> Result<Self> {
        let found = LANGUAGES.iter().position(|(name, code, _)| {
            text.eq_ignore_ascii_case(name) || code.is_some_and(|code| text.eq_ignore_ascii_case(code))
        });
        found.map(|number| Self { number }).ok_or_else(|| {
            let text: String = text.chars().take(32).collect();
            let known = LANGUAGES.map(|(name, ..)| name).join(", ");
            IndexError::InvalidParameter(format!("language `{text}` is not known: use one of {known}"))
        })
    }

    /// English name, lower case.
    pub fn name(self) -> &'static str {
        LANGUAGES[self.number].0
    }

    /// Its stop words, if there is a list of them.
    pub fn stopwords(self) -> Option<&'static [&'static str]> {
        stop_words::lookup(LANGUAGES[self.number].1?)
    }

    /// Its stemmer, if Snowball has one.
    pub fn stemmer(self) -> Option<Stemmer> {
        Some(Stemmer::new(LANGUAGES[self.number].2?))
    }
}

impl TryFrom<String> for Language {
    type Error = IndexError;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Language> for String {
    fn from(language: Language) -> Self {
        language.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_what_its_entry_says() {
        for (name, code, algorithm) in LANGUAGES {
            let language = Language::parse(name).unwrap();
            assert_eq!(language.name(), name);
            assert_eq!(code.is_some(), language.stopwords().is_some_and(|w| !w.is_empty()), "{name}");
            assert_eq!(algorithm.is_some(), language.stemmer().is_some(), "{name}");
        }
        assert_eq!(Language::parse("EN").unwrap().name(), "english");
        let e = Language::parse("klingon").unwrap_err().to_string();
        assert!(e.contains("`klingon` is not known: use one of arabic,"), "{e}");
    }
}
