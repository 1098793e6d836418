//! Point ids as JSON: unsigned numbers, and UUIDs in any of their forms.

use std::fmt;

use engram_storage::point::PointId;
use serde::Deserialize;
use serde::de::{Deserializer, Unexpected, Visitor};
use uuid::Uuid;

/// An id of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) PointId);

const EXPECTED: &str = "a point ID, valid values are either an unsigned integer or a UUID";

/// An id in text: in a path, or a string of JSON.
pub(crate) fn uuid(text: &str) -> Option<PointId> {
    Uuid::parse_str(text).ok().map(PointId::Uuid)
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_u64<E>(self, n: u64) -> Result<Id, E> {
                Ok(Id(PointId::Num(n)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                // The text is the client's: an error must not grow with it.
                let short = || text.chars().take(64).collect::<String>();
                uuid(text).map(Id).ok_or_else(|| E::invalid_value(Unexpected::Str(&short()), &self))
            }
        }
        from.deserialize_any(Any)
    }
}

/// Ids of a list.
pub(crate) fn ids(list: Vec<Id>) -> Vec<PointId> {
    list.into_iter().map(|id| id.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_and_uuids_in_any_form() {
        let read = |json: &str| serde_json::from_str::<Id>(json).map(|id| id.0);
        assert_eq!(read("18446744073709551615").unwrap(), PointId::Num(u64::MAX));
        let dashed = read(r#""550e8400-e29b-41d4-a716-446655440000""#).unwrap();
        assert_eq!(read(r#""550e8400e29b41d4a716446655440000""#).unwrap(), dashed);
        assert_eq!(serde_json::to_string(&dashed).unwrap(), r#""550e8400-e29b-41d4-a716-446655440000""#);
        for bad in ["-1", "1.5", "\"x\"", "\"1\"", "null", "[]", "{}", "true", "18446744073709551616"] {
            assert!(read(bad).unwrap_err().to_string().contains("unsigned integer or a UUID"), "{bad}");
        }
    }
}
