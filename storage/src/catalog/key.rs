//! API keys as the catalog keeps them: whose they are, what they allow, and a keyed hash of each secret.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

use crate::schema::TenantId;

/// First characters of every API key, for those who search for lost ones.
const PREFIX: &str = "engram_";
const ID_DIGITS: usize = 16;
/// 256 bits as hex.
const SECRET_DIGITS: usize = 64;
/// `engram_ID_SECRET`.
const TEXT_LEN: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS;

/// Identity of a key: no secret, shown in lists and part of the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(pub u64);

impl KeyId {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits =
            text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a key allows; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Searches and reads.
    Read,
    /// Changes points.
    Write,
    /// Defines and drops collections, purges, manages keys of the tenant.
    Admin,
}

impl Role {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Collections of the tenant that a key reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All there are and will be.
    All,
    /// Those of these names; none of them means nothing at all.
    Collections(BTreeSet<String>),
}

impl Scope {
    /// Whether a collection of this name is within.
    pub fn contains(&self, collection: &str) -> bool {
        match self {
            Self::All => true,
            Self::Collections(names) => names.contains(collection),
        }
    }

    /// Whether everything within `other` is within this one.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Collections(_), Self::All) => false,
            (Self::Collections(own), Self::Collections(other)) => other.is_subset(own),
        }
    }
}

/// The keyed hash of one secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySecret {
    salt: [u8; 32],
    hash: [u8; 32],
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// From then on it is no good; `None` for as long as the key.
    pub expires_at: Option<i64>,
}

impl KeySecret {
    /// Hashes `secret` with BLAKE3 under `salt`.
    pub fn new(secret: &[u8], salt: [u8; 32], created_at: i64) -> Self {
        let hash = *blake3::keyed_hash(&salt, secret).as_bytes();
        Self { salt, hash, created_at, expires_at: None }
    }

    /// Whether it is good at `now_ms`.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.expires_at.is_none_or(|end| now_ms < end)
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(hidden)")
    }
}

/// An API key: all of it but its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Identity.
    pub id: KeyId,
    /// Whose; every request of the key acts for this tenant.
    pub tenant: TenantId,
    /// What its maker calls it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// One, two while it is being rotated, none once it is revoked.
    pub secrets: Vec<KeySecret>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// From then on the key is no good.
    pub expires_at: Option<i64>,
    /// About when it was last used; stored now and then, not for each use.
    pub last_used: Option<i64>,
    /// Revoked then, for good.
    pub revoked_at: Option<i64>,
}

impl Key {
    /// Whether the key is good at `now_ms`.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now_ms < end)
    }

    /// Whether `secret` is one of the key at `now_ms`. Takes as long for a wrong one as for a right one.
    pub fn accepts(&self, secret: &[u8], now_ms: i64) -> bool {
        let mut right = Choice::from(0);
        // No early end: which secret it was must not show in the time.
        for stored in &self.secrets {
            let given = blake3::keyed_hash(&stored.salt, secret);
            let live = Choice::from(u8::from(stored.is_live(now_ms)));
            right |= stored.hash.ct_eq(given.as_bytes()) & live;
        }
        bool::from(right) && self.is_live(now_ms)
    }
}

/// The text of a key, as its holder sends it. Exists only while it is handed out; nothing shows it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The text for a key and its secret.
    pub fn new(id: KeyId, secret: &[u8; 32]) -> Self {
        let mut text = format!("{PREFIX}{id}_");
        for byte in secret {
            text.push_str(&format!("{byte:02x}"));
        }
        Self(text)
    }

    /// The text itself, to hand it out once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is hashed of it.
    pub fn secret(&self) -> &[u8] {
        &self.0.as_bytes()[TEXT_LEN - SECRET_DIGITS..]
    }

    /// Takes a text apart into the id to look up and the secret to compare.
    pub fn parse(given: &[u8]) -> Option<(KeyId, &[u8])> {
        if given.len() != TEXT_LEN {
            return None;
        }
        let rest = given.strip_prefix(PREFIX.as_bytes())?;
        let (id, rest) = rest.split_at_checked(ID_DIGITS)?;
        Some((KeyId::parse(std::str::from_utf8(id).ok()?)?, rest.strip_prefix(b"_")?))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secrets: Vec<KeySecret>) -> Key {
        Key {
            id: KeyId(7),
            tenant: TenantId(2),
            name: "n".into(),
            role: Role::Read,
            scope: Scope::All,
            secrets,
            created_at: 0,
            expires_at: None,
            last_used: None,
            revoked_at: None,
        }
    }

    #[test]
    fn only_live_secrets_of_live_keys_are_accepted() {
        let old = KeySecret { expires_at: Some(10), ..KeySecret::new(b"old", [1; 32], 0) };
        let both = key(vec![old, KeySecret::new(b"new", [2; 32], 0)]);
        assert!(both.accepts(b"old", 9) && both.accepts(b"new", 9));
        assert!(!both.accepts(b"old", 10) && both.accepts(b"new", 10));
        assert!(!both.accepts(b"", 0) && !both.accepts(b"newer", 0));
        let ending = Key { expires_at: Some(5), ..both.clone() };
        assert!(ending.accepts(b"new", 4) && !ending.accepts(b"new", 5));
        let revoked = Key { revoked_at: Some(3), ..both };
        assert!(!revoked.accepts(b"new", 2));
    }

    #[test]
    fn a_text_goes_there_and_back_and_nothing_else_is_one() {
        let id = KeyId(0x00ab_cdef_0123_4567);
        let text = ApiKey::new(id, &[0xa5; 32]);
        let (found, secret) = ApiKey::parse(text.expose().as_bytes()).unwrap();
        assert_eq!((found, secret), (id, text.secret()));
        assert_eq!(secret, "a5".repeat(32).as_bytes());
        let whole = text.expose().to_owned();
        for bad in [
            "",
            "engram_",
            &whole[1..],
            &format!("{whole}0"),
            &whole.to_uppercase(),
            &whole.replacen("_0", "_+", 1),
            &whole.replacen("engram_", "engrams", 1),
        ] {
            assert!(ApiKey::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_shows_a_secret_or_its_hash() {
        let text = ApiKey::new(KeyId(1), &[0x5c; 32]);
        let stored = key(vec![KeySecret::new(text.secret(), [0x77; 32], 0)]);
        let shown = format!("{text:?} {stored:?} {stored:#?}");
        assert!(!shown.contains("5c5c") && !shown.contains("119"), "{shown}");
        assert!(!serde_json::to_string(&stored).unwrap().contains("5c5c"));
    }

    #[test]
    fn a_scope_covers_what_is_within_and_an_empty_one_is_nothing() {
        let of = |names: &[&str]| Scope::Collections(names.iter().map(|n| (*n).to_owned()).collect());
        assert!(Scope::All.covers(&Scope::All) && Scope::All.covers(&of(&["a"])));
        assert!(of(&["a", "b"]).covers(&of(&["b"])) && !of(&["a"]).covers(&of(&["b"])));
        assert!(!of(&["a"]).covers(&Scope::All));
        assert!(!of(&[]).contains("a") && !of(&[]).contains(""));
    }
}
