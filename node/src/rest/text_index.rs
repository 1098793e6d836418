//! Options of a text index, as clients write them.

use engram_index::text::TextOptions;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::RestError;

/// Options that say where an index lies, which means nothing here.
const IGNORED: [&str; 4] = ["type", "on_disk", "enable_hnsw", "memory"];

/// All options of its own.
pub(super) const KEYS: [&str; 9] = [
    "tokenizer",
    "lowercase",
    "min_token_len",
    "max_token_len",
    "phrase_matching",
    "stemmer",
    "stopwords",
    "ascii_folding",
    "scoring",
];

/// Refuses keys of `{..}` other than these.
fn only(what: &str, object: &Map<String, Value>, keys: &[&str]) -> Result<(), RestError> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(_) => Err(RestError::format(format!("field_schema.{what}: takes {}", keys.join(", ")))),
        None => Ok(()),
    }
}

/// How points are ranked by words: all text indexes rank by BM25.
fn check_scoring(value: &Value) -> Result<(), RestError> {
    let known = match value {
        Value::Bool(_) => true,
        Value::Object(params) => params.len() == 1 && params.get("type").is_some_and(|kind| kind == "bm25"),
        _ => false,
    };
    match known {
        true => Ok(()),
        false => Err(RestError::format("field_schema.scoring: give true, or {\"type\": \"bm25\"}")),
    }
}

/// The options in `{"type": "text", ..}`. A stemmer is `{"type": "snowball", "language": ..}` or none; stop words are a
/// language, or `{"languages": [..], "custom": [..]}`.
pub(crate) fn options(params: &Map<String, Value>) -> Result<TextOptions, RestError> {
    let mut plain = Map::new();
    for (key, value) in
        params.iter().filter(|(key, value)| !IGNORED.contains(&key.as_str()) && !value.is_null())
    {
        let value = match (key.as_str(), value) {
            ("scoring", scoring) => {
                check_scoring(scoring)?;
                continue;
            }
            ("stemmer", Value::Object(stemmer)) => match stemmer.get("type").and_then(Value::as_str) {
                Some("snowball") => {
                    only("stemmer", stemmer, &["type", "language"])?;
                    stemmer.get("language").cloned().unwrap_or_default()
                }
                Some("none" | "disabled") => continue,
                _ => return Err(RestError::format("field_schema.stemmer: the only type is `snowball`")),
            },
            ("stopwords", Value::String(language)) => json!({ "languages": [language] }),
            ("stopwords", Value::Object(lists)) => {
                only("stopwords", lists, &["languages", "custom"])?;
                let given = lists.iter().filter(|(_, list)| !list.is_null());
                Value::Object(given.map(|(name, list)| (name.clone(), list.clone())).collect())
            }
            (_, value) => value.clone(),
        };
        plain.insert(key.clone(), value);
    }
    let options = TextOptions::deserialize(Value::Object(plain))
        .map_err(|e| RestError::format(format!("field_schema: {e}")))?;
    options.validate().map_err(|e| RestError::validation(format!("field_schema: {e}")))?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<TextOptions, RestError> {
        options(value.as_object().unwrap())
    }

    #[test]
    fn options_of_clients_are_read() {
        let all = read(json!({
            "type": "text", "tokenizer": "prefix", "min_token_len": 2, "lowercase": true, "on_disk": null,
            "stemmer": { "type": "snowball", "language": "english" }, "stopwords": "english",
        }))
        .unwrap();
        assert_eq!(all.min_token_len, Some(2));
        assert!(all.stemmer.is_some() && all.stopwords.languages.len() == 1);
        let custom = read(json!({ "stopwords": { "languages": null, "custom": ["foo"] } })).unwrap();
        assert_eq!(custom.stopwords.custom, ["foo"]);
        assert!(
            read(json!({ "scoring": true })).is_ok()
                && read(json!({ "scoring": { "type": "bm25" } })).is_ok()
        );
        for bad in [
            json!({ "scoring": "bm25" }),
            json!({ "scoring": { "type": "tfidf" } }),
            json!({ "scoring": {} }),
        ] {
            assert!(read(bad).is_err());
        }
        assert!(read(json!({ "stopwords": { "langs": ["english"] } })).is_err());
        assert!(read(json!({ "stemmer": { "type": "snowball", "language": "english", "x": 1 } })).is_err());
        assert!(read(json!({ "tokenizer": "magic" })).is_err());
        assert!(read(json!({ "stemmer": { "type": "porter" } })).is_err());
    }
}
