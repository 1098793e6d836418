//! JSON that is read as far as it is looked into.
//!
//! What nobody looks into keeps its text: a whole number of more than 64 bits stays what it is, where a tree would make
//! another number of it, and costs no more than its text.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Result};

/// Up to so many keys are compared one by one, more are hashed.
pub(super) const FEW_KEYS: usize = 16;

/// A JSON value.
#[derive(Clone, Debug)]
pub enum LazyJson<'a> {
    /// One that nobody has looked into.
    Text(&'a RawValue),
    /// An object.
    Object(Entries<'a>),
    /// An array.
    Array(Vec<LazyJson<'a>>),
}

/// Keys and values of an object, in their order; each key is there once. Of a key that the text repeats the last value counts,
/// as it does for those who read a tree.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a>(pub Vec<(String, LazyJson<'a>)>);

impl<'a> Entries<'a> {
    /// The entries of the object that `json` is; none of no text.
    ///
    /// # Errors
    /// For text that is no object.
    pub fn read(json: &'a [u8]) -> Result<Self> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Deserializer::from_slice(json);
        let entries = reader.deserialize_map(Level)?;
        reader.end()?;
        Ok(entries)
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut LazyJson<'a>> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets the value of a key, in its place where it is there.
    pub fn insert(&mut self, key: String, value: LazyJson<'a>) {
        match self.get_mut(&key) {
            Some(there) => *there = value,
            None => self.0.push((key, value)),
        }
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let place = self.0.iter().position(|(name, _)| name == key);
        place.map(|n| self.0.remove(n)).is_some()
    }

    /// Takes out the entries whose place is marked.
    pub(super) fn drop_marked(&mut self, marked: &[bool]) {
        let mut marks = marked.iter();
        self.0.retain(|_| marks.next() != Some(&true));
    }

    /// Leaves the last value of each key, in the place of the first.
    fn once_each(&mut self) {
        let repeats = self.repeats();
        if repeats.is_empty() {
            return;
        }
        let mut marked = vec![false; self.0.len()];
        for (first, repeat) in repeats {
            self.0.swap(first, repeat);
            marked[repeat] = true;
        }
        self.drop_marked(&marked);
    }

    /// Where a key is repeated: its first place, and that of the repeat.
    fn repeats(&self) -> Vec<(usize, usize)> {
        let keys = || self.0.iter().map(|(key, _)| key.as_str()).enumerate();
        if self.0.len() <= FEW_KEYS {
            let first = |key| keys().find(|(_, other)| *other == key).map(|(n, _)| n);
            return keys()
                .filter_map(|(n, key)| first(key).filter(|first| *first < n).map(|first| (first, n)))
                .collect();
        }
        let mut places = HashMap::with_capacity(self.0.len());
        let mut repeats = Vec::new();
        for (n, key) in keys() {
            match places.entry(key) {
                Entry::Occupied(first) => repeats.push((*first.get(), n)),
                Entry::Vacant(free) => drop(free.insert(n)),
            }
        }
        repeats
    }
}

impl<'a> LazyJson<'a> {
    /// Looks into it: an object or an array is no text afterwards.
    ///
    /// # Errors
    /// For text that is not JSON, which no payload is.
    pub fn open(&mut self) -> Result<&mut Self> {
        if let Self::Text(raw) = self {
            let json = raw.get();
            match json.as_bytes().first() {
                Some(b'{') => *self = Self::Object(Deserializer::from_str(json).deserialize_map(Level)?),
                Some(b'[') => {
                    *self = Self::Array(
                        serde_json::from_str::<Vec<&RawValue>>(json)?.into_iter().map(Self::Text).collect(),
                    )
                }
                _ => {}
            }
        }
        Ok(self)
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Text(raw) if raw.get() == "null")
    }
}

/// Reads the entries of an object.
struct Level;

impl<'de> Visitor<'de> for Level {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            entries.push((key, LazyJson::Text(value)));
        }
        let mut entries = Entries(entries);
        entries.once_each();
        Ok(entries)
    }
}

impl Serialize for LazyJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Text(raw) => raw.serialize(to),
            Self::Object(entries) => entries.serialize(to),
            Self::Array(items) => to.collect_seq(items),
        }
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_looked_into_keeps_its_text() {
        let json = r#"{"a": [1.50, 1e3], "b": {"c": 123456789012345678901234567890, "d": null}, "\u0065": "\u00e9"}"#;
        let mut all = Entries::read(json.as_bytes()).unwrap();
        let LazyJson::Object(inner) = all.get_mut("b").unwrap().open().unwrap() else { panic!() };
        assert!(inner.get_mut("d").unwrap().is_null());
        assert!(inner.remove("d") && !inner.remove("d"));
        let LazyJson::Array(items) = all.get_mut("a").unwrap().open().unwrap() else { panic!() };
        items.pop();
        assert_eq!(
            serde_json::to_string(&all).unwrap(),
            r#"{"a":[1.50],"b":{"c":123456789012345678901234567890},"e":"\u00e9"}"#
        );
        assert!(Entries::read(b"").unwrap().0.is_empty());
        for bad in ["[]", "1", "{", "{} x"] {
            assert!(Entries::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_value_of_a_repeated_key_counts() {
        for others in [0, FEW_KEYS] {
            let others: String = (0..others).map(|n| format!(r#","k{n}":{n}"#)).collect();
            let json = format!(r#"{{"a":1,"b":{{"c":1,"c":2}},"a":2{others},"a":3}}"#);
            let mut all = Entries::read(json.as_bytes()).unwrap();
            all.get_mut("b").unwrap().open().unwrap();
            let tree: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&all).unwrap(), tree.to_string());
            assert!(all.remove("a") && all.get_mut("a").is_none());
        }
    }
}
