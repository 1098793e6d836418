//! Shard keys, which this server has none of.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny};

/// A `shard_key` that is absent or null. One that names anything is refused: passed over, the request would reach
/// points that its sender keeps apart by such keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoShardKey;

impl<'de> Deserialize<'de> for NoShardKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(D::Error::custom(
                "`shard_key`: this server has no shard keys; leave it out, and keep tenants apart by API keys or a filter",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_none_is_taken() {
        assert!(serde_json::from_str::<NoShardKey>("null").is_ok());
        for named in [r#""a""#, "1", r#"["a","b"]"#, r#"{"target":"a","fallback":"b"}"#] {
            assert!(serde_json::from_str::<NoShardKey>(named).is_err(), "{named}");
        }
    }
}
