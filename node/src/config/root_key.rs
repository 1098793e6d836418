//! The keys of the configuration: kept as hashes, compared in constant time, never printed.

use std::fmt;

use serde::Deserialize;
use subtle::ConstantTimeEq;

/// Text that no `Debug` shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// BLAKE3 hash of the root key, or of that of scrapers.
#[derive(Clone)]
pub struct RootKey([u8; 32]);

impl RootKey {
    /// Shortest key that is accepted.
    pub const MIN_LEN: usize = 16;

    /// Hashes a key; `None` where it is too short or holds bytes that no header can carry.
    pub fn new(key: &str) -> Option<Self> {
        let fits = key.len() >= Self::MIN_LEN && key.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(*blake3::hash(key.as_bytes()).as_bytes()))
    }

    /// Whether `given` is the key. Takes as long for a wrong key as for the right one.
    pub fn matches(&self, given: &[u8]) -> bool {
        bool::from(self.0.ct_eq(blake3::hash(given).as_bytes()))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_matches_and_nothing_shows_it() {
        let key = RootKey::new("0123456789abcdef").unwrap();
        assert!(key.matches(b"0123456789abcdef"));
        assert!(!key.matches(b"0123456789abcdeg"));
        assert!(!key.matches(b""));
        let shown = format!("{key:?} {:?}", Secret::new("0123456789abcdef"));
        assert!(!shown.contains("0123"), "{shown}");
        assert!(RootKey::new("short").is_none());
        assert!(RootKey::new("0123456789 abcdef").is_none());
    }
}
