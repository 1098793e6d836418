//! Whether the payload of a row can be read later on.
//!
//! The limits of keys and values are not asked for here: a server of before had others, and what it stored comes back. But
//! no server stores what only some readers take, or what each would read in its own way.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Keys by which `serde_json` marks raw values and numbers inside its own trees: with one of them a payload is read as
/// something else, or not at all.
const RESERVED_KEYS: &str = "$serde_json::private::";

/// Why `json` is no payload: it must be one object, no deeper than readers of trees go, without a repeated key.
pub(super) fn check(json: &[u8]) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.deserialize_map(Object)?;
    reader.end()
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys: Vec<String> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key.starts_with(RESERVED_KEYS) {
                return Err(A::Error::custom(format_args!("key {key:?} is reserved")));
            }
            keys.push(key);
            map.next_value_seed(Any)?;
        }
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(A::Error::custom(format_args!("key {:?} is repeated", pair[0]))),
            None => Ok(()),
        }
    }
}

/// Any value; the reader refuses what is too deep.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
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
        while seq.next_element_seed(Any)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_KEYS, MAX_PAYLOAD_VALUES};

    fn deep(depth: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn what_readers_of_a_payload_take_is_recovered_and_nothing_else() {
        let keys: Vec<String> = (0..=MAX_PAYLOAD_KEYS).map(|n| format!(r#""k{n}":null"#)).collect();
        let values = format!(r#"{{"l":[{}]}}"#, vec!["1"; MAX_PAYLOAD_VALUES + 1].join(","));
        let good = [
            "{}".to_owned(),
            r#" {"a": [1.50, -1, true, "\u00e9", {"a": 123456789012345678901234567890}], "b": {"a": {}}} "#
                .to_owned(),
            format!("{{{}}}", keys.join(",")),
            values,
            deep(2 * MAX_PAYLOAD_DEPTH),
            deep(127),
        ];
        for json in good {
            check(json.as_bytes()).unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        }
        for (json, why) in [
            (r#"{"a":1,"a":2}"#.to_owned(), "key \"a\" is repeated"),
            (r#"{"b":[{"a":1,"c":3,"\u0061":2}]}"#.to_owned(), "key \"a\" is repeated"),
            (deep(128), "recursion limit"),
            (format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)), "recursion limit"),
            (r#"{"$serde_json::private::RawValue":"x"}"#.to_owned(), "reserved"),
            (r#"{"a":1e999}"#.to_owned(), "out of range"),
            ("[]".to_owned(), "an object"),
            ("{} x".to_owned(), "trailing"),
        ] {
            let error = check(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}, not {why}");
        }
    }
}
