//! Payloads: checking them without building a tree, and projections.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use engram_index::payload::{Entries, LazyJson, Segment};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::error::{QueryError, Result};
use crate::limits::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_KEYS, MAX_PAYLOAD_VALUES};
use crate::stages::order::path;

/// Objects with more keys look for duplicates by hashing, smaller ones by comparing.
const FEW_KEYS: usize = 16;

/// Keys by which `serde_json` marks raw values and numbers inside its own trees: a payload with one of them would be
/// read as something else, or not at all.
const RESERVED_KEYS: &str = "$serde_json::private::";

/// Checks that `json` is one JSON object within the limits of a payload, without building it.
///
/// # Errors
/// [`QueryError::Limit`] for a payload that is too long, too deep or has too many keys; [`QueryError::Invalid`] for
/// what is no JSON object or repeats a key.
pub fn check(json: &[u8]) -> Result<()> {
    if json.len() > MAX_PAYLOAD_BYTES {
        let (len, max) = (json.len(), MAX_PAYLOAD_BYTES);
        let advice = "keep large texts elsewhere and store a reference";
        return Err(QueryError::Limit(format!("the payload has {len} bytes, the limit is {max}: {advice}")));
    }
    let limits = Counter::default();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let outcome = Object(&limits).deserialize(&mut reader).and_then(|()| reader.end());
    match (outcome, limits.exceeded.take()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(limit)) => Err(QueryError::Limit(limit)),
        (Err(e), None) => {
            Err(QueryError::invalid("invalid_payload", format!("the payload must be one JSON object: {e}")))
        }
    }
}

/// Counts over one payload.
#[derive(Default)]
struct Counter {
    depth: Cell<usize>,
    keys: Cell<usize>,
    values: Cell<usize>,
    /// The limit that was exceeded; tells such errors from those of the syntax.
    exceeded: Cell<Option<String>>,
}

impl Counter {
    fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        self.depth.set(self.depth.get() + 1);
        if self.depth.get() > MAX_PAYLOAD_DEPTH {
            return self.refuse(format!("the payload nests deeper than {MAX_PAYLOAD_DEPTH}: flatten it"));
        }
        Ok(())
    }

    fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    fn key<E: serde::de::Error>(&self) -> Result<(), E> {
        self.keys.set(self.keys.get() + 1);
        if self.keys.get() > MAX_PAYLOAD_KEYS {
            return self
                .refuse(format!("the payload has more than {MAX_PAYLOAD_KEYS} keys: store fewer fields"));
        }
        Ok(())
    }

    fn value<E: serde::de::Error>(&self) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > MAX_PAYLOAD_VALUES {
            return self.refuse(format!(
                "the payload has more than {MAX_PAYLOAD_VALUES} values: store long lists elsewhere, or as a text"
            ));
        }
        Ok(())
    }

    fn refuse<T, E: serde::de::Error>(&self, limit: String) -> Result<T, E> {
        self.exceeded.set(Some(limit));
        Err(E::custom("limit"))
    }
}

/// Accepts one JSON object.
struct Object<'a>(&'a Counter);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.enter()?;
        let mut seen = Keys::default();
        while let Some(key) = map.next_key_seed(Key)? {
            self.0.key()?;
            if key.starts_with(RESERVED_KEYS) {
                return Err(A::Error::custom(format_args!("key {key:?} is reserved; use another")));
            }
            if let Some(key) = seen.insert(key) {
                return Err(A::Error::custom(format_args!("key {key:?} is repeated")));
            }
            map.next_value_seed(Any(self.0))?;
        }
        self.0.leave();
        Ok(())
    }
}

/// Accepts any JSON value.
struct Any<'a>(&'a Counter);

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.value()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.enter()?;
        while seq.next_element_seed(Any(self.0))?.is_some() {}
        self.0.leave();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object(self.0).visit_map(map)
    }
}

/// A key, borrowed from the text where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Keys of one object.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    /// Adds `key`; hands it back if it was there.
    fn insert(&mut self, key: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.many.is_empty() {
            if self.few.contains(&key) {
                return Some(key);
            }
            if self.few.len() < FEW_KEYS {
                self.few.push(key);
                return None;
            }
            self.many.extend(self.few.drain(..));
        }
        if self.many.contains(&key) {
            return Some(key);
        }
        self.many.insert(key);
        None
    }
}

/// Which parts of a payload a reader wants.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    include: Option<PathTree>,
    exclude: Option<PathTree>,
}

/// Paths by their first part; a leaf stands for everything below.
#[derive(Clone, Debug, Default)]
struct PathTree {
    leaf: bool,
    keys: std::collections::BTreeMap<String, PathTree>,
    /// What goes on after `[]`.
    each: Option<Box<PathTree>>,
}

impl PathTree {
    fn new(paths: &[String]) -> Result<Option<Self>> {
        let mut root = Self::default();
        for text in paths {
            let path = path("a payload path", text)?;
            let end = path.segments().iter().try_fold(&mut root, |at, segment| match segment {
                Segment::Key(key) => Some(at.keys.entry(key.clone()).or_default()),
                Segment::Each => Some(at.each.get_or_insert_default().as_mut()),
                // One element of an array is nothing that an array could be cut down to.
                Segment::At(_) => None,
            });
            if let Some(end) = end {
                end.leaf = true;
            }
        }
        Ok((!paths.is_empty()).then_some(root))
    }
}

impl Projection {
    /// A projection to the paths `include` (all when empty) without the paths `exclude`. `a[].b` looks into each element of
    /// the array `a`, and so does `a.b`, as in filters. What encloses a path stays where the path itself is not there.
    ///
    /// # Errors
    /// `invalid_argument` for what is no path.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        Ok(Self { include: PathTree::new(include)?, exclude: PathTree::new(exclude)? })
    }

    /// The wanted part of `payload`. Shares the bytes when everything is wanted.
    ///
    /// # Errors
    /// [`QueryError::Storage`] (corrupt) where a stored payload is no JSON object.
    pub fn apply(&self, payload: Bytes) -> Result<Bytes> {
        if self.include.is_none() && self.exclude.is_none() {
            return Ok(payload);
        }
        let corrupt = |e: serde_json::Error| engram_storage::StorageError::corrupt("payload", e.to_string());
        let mut object = Entries::read(&payload).map_err(corrupt)?;
        if let Some(tree) = &self.include {
            keep_keys(&mut object, tree).map_err(corrupt)?;
        }
        if let Some(tree) = &self.exclude {
            remove_keys(&mut object, tree).map_err(corrupt)?;
        }
        Ok(serde_json::to_vec(&object).map_err(corrupt)?.into())
    }
}

fn keep_keys(object: &mut Entries<'_>, tree: &PathTree) -> serde_json::Result<()> {
    object.0.retain(|(key, _)| tree.keys.contains_key(key));
    for (key, value) in &mut object.0 {
        if let Some(child) = tree.keys.get(key) {
            keep(value, child)?;
        }
    }
    Ok(())
}

/// Cuts `value` down to the paths of `tree`.
fn keep(value: &mut LazyJson<'_>, tree: &PathTree) -> serde_json::Result<()> {
    if tree.leaf {
        return Ok(());
    }
    match value.open()? {
        LazyJson::Object(object) => keep_keys(object, tree),
        LazyJson::Array(items) => match &tree.each {
            Some(each) => items.iter_mut().try_for_each(|item| keep(item, each)),
            // A path that goes on with a key is one into the elements.
            None if tree.keys.is_empty() => {
                items.clear();
                Ok(())
            }
            None => items.iter_mut().try_for_each(|item| keep(item, tree)),
        },
        LazyJson::Text(_) => Ok(()),
    }
}

fn remove_keys(object: &mut Entries<'_>, tree: &PathTree) -> serde_json::Result<()> {
    object.0.retain(|(key, _)| tree.keys.get(key).is_none_or(|child| !child.leaf));
    for (key, value) in &mut object.0 {
        if let Some(child) = tree.keys.get(key) {
            remove(value, child)?;
        }
    }
    Ok(())
}

fn remove(value: &mut LazyJson<'_>, tree: &PathTree) -> serde_json::Result<()> {
    match value.open()? {
        LazyJson::Object(object) => remove_keys(object, tree),
        LazyJson::Array(items) => match &tree.each {
            Some(each) if each.leaf => {
                items.clear();
                Ok(())
            }
            Some(each) => items.iter_mut().try_for_each(|item| remove(item, each)),
            None => items.iter_mut().try_for_each(|item| remove(item, tree)),
        },
        LazyJson::Text(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> &'static str {
        check(json.as_bytes()).err().map_or("ok", |e| e.code())
    }

    #[test]
    fn only_one_object_is_a_payload() {
        for good in ["{}", " {\"a\":[1,null,true,1.5e3,\"x\"]} ", r#"{"a":{"a":1},"b":{"a":1}}"#, r#"{"":1}"#]
        {
            assert_eq!(code(good), "ok", "{good}");
        }
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{",
            "{}{}",
            "{} x",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{a:1}"#,
            r#"{"x":{"b":1,"b":1}}"#,
            // Trees of serde_json read these as something else than an object.
            r#"{"a":{"$serde_json::private::RawValue":1}}"#,
            r#"{"a":{"$serde_json::private::Number":"1"}}"#,
        ] {
            assert_eq!(code(bad), "invalid_payload", "{bad}");
        }
        assert!(check(b"{\"a\":\"\xff\"}").is_err());
        let e = check(br#"{"a":1,"a":2}"#).unwrap_err();
        assert!(e.to_string().contains("key \"a\" is repeated"), "{e}");
    }

    #[test]
    fn limits_hold_at_the_limit_and_refuse_one_more() {
        let deep = |n: usize| code(&format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n)));
        assert_eq!((deep(MAX_PAYLOAD_DEPTH), deep(MAX_PAYLOAD_DEPTH + 1)), ("ok", "limit_exceeded"));
        let arrays = |n: usize| code(&format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n)));
        assert_eq!((arrays(MAX_PAYLOAD_DEPTH - 1), arrays(MAX_PAYLOAD_DEPTH)), ("ok", "limit_exceeded"));
        assert_eq!(arrays(100_000), "limit_exceeded");
        let keys = |n: usize| {
            let fields: Vec<_> = (0..n).map(|i| format!("\"k{i}\":0")).collect();
            code(&format!("{{{}}}", fields.join(",")))
        };
        assert_eq!((keys(MAX_PAYLOAD_KEYS), keys(MAX_PAYLOAD_KEYS + 1)), ("ok", "limit_exceeded"));
        // The list itself is one.
        let values = |n: usize| code(&format!("{{\"a\":[{}]}}", vec!["1"; n - 1].join(",")));
        assert_eq!((values(MAX_PAYLOAD_VALUES), values(MAX_PAYLOAD_VALUES + 1)), ("ok", "limit_exceeded"));
        let long = |n: usize| code(&format!("{{\"a\":\"{}\"}}", "x".repeat(n - 8)));
        assert_eq!((long(MAX_PAYLOAD_BYTES), long(MAX_PAYLOAD_BYTES + 1)), ("ok", "limit_exceeded"));
    }

    #[test]
    fn a_late_duplicate_among_many_keys_is_found() {
        let mut fields: Vec<_> = (0..40).map(|i| format!("\"k{i}\":0")).collect();
        fields.push("\"k3\":1".to_owned());
        assert_eq!(code(&format!("{{{}}}", fields.join(","))), "invalid_payload");
    }

    fn projected(include: &[&str], exclude: &[&str]) -> String {
        let own = |paths: &[&str]| paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let payload = r#"{"z":1,"a":{"b":[{"c":1,"d":2},{"c":3}],"e":4},"n":null}"#;
        let out = Projection::new(&own(include), &own(exclude))
            .unwrap()
            .apply(Bytes::from_static(payload.as_bytes()))
            .unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn projections() {
        assert_eq!(projected(&["z"], &[]), r#"{"z":1}"#);
        assert_eq!(projected(&["a.b.c", "n"], &[]), r#"{"a":{"b":[{"c":1},{"c":3}]},"n":null}"#);
        assert_eq!(projected(&["a", "a.e"], &["a.b"]), r#"{"a":{"e":4}}"#);
        let without_d = r#"{"a":{"b":[{"c":1},{"c":3}],"e":4},"n":null}"#;
        assert_eq!(projected(&[], &["a.b.d", "z", "absent.x"]), without_d);
        assert_eq!(projected(&["absent"], &[]), "{}");
    }

    #[test]
    fn what_is_left_keeps_its_text() {
        let payload = br#"{"n":123456789012345678901234567890,"a":{"x":1.50,"y":18446744073709551616}}"#;
        let out =
            Projection::new(&[], &["a.x".to_owned()]).unwrap().apply(Bytes::from_static(payload)).unwrap();
        assert_eq!(out, r#"{"n":123456789012345678901234567890,"a":{"y":18446744073709551616}}"#);
    }

    #[test]
    fn brackets_look_into_arrays() {
        assert_eq!(projected(&["a.b[].c"], &[]), r#"{"a":{"b":[{"c":1},{"c":3}]}}"#);
        assert_eq!(projected(&["a.b[]"], &[]), r#"{"a":{"b":[{"c":1,"d":2},{"c":3}]}}"#);
        assert_eq!(projected(&["a.b[0]", "\"z\""], &[]), r#"{"z":1,"a":{"b":[]}}"#);
        assert_eq!(projected(&[], &["a.b[].c", "a.e"]), r#"{"z":1,"a":{"b":[{"d":2},{}]},"n":null}"#);
        assert_eq!(projected(&[], &["a.b[]", "a.e", "n"]), r#"{"z":1,"a":{"b":[]}}"#);
        assert_eq!(projected(&["z"], &["a.b[0]"]), r#"{"z":1}"#);
    }

    #[test]
    fn what_encloses_a_path_stays() {
        assert_eq!(projected(&["z.x", "a.absent.y"], &[]), r#"{"z":1,"a":{}}"#);
        assert_eq!(projected(&["a.b[].d"], &[]), r#"{"a":{"b":[{"d":2},{}]}}"#);
        assert!(Projection::new(&["a[".to_owned()], &[]).is_err());
    }
}
