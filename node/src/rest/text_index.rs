//! Options of a text index, as clients write them.

use engram_index::text::TextOptions;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::RestError;

/// Options that say where an index lies, which means nothing here.
const IGNORED: [&str; 4] = ["type", "on_disk", "enable_hnsw", "memory"];

/// The options in `{"type": "text", ..}`. A stemmer is `{"type": "snowball", "language": ..}` or none; stop words are a
/// language, or `{"languages": [..], "custom": [..]}`.
pub(crate) fn options(params: &Map<String, Value>) -> Result<TextOptions, RestError> {
    let mut plain = Map::new();
    for (key, value) in
        params.iter().filter(|(key, value)| !IGNORED.contains(&key.as_str()) && !value.is_null())
    {
        let value = match (key.as_str(), value) {
            ("stemmer", Value::Object(stemmer)) => match stemmer.get("type").and_then(Value::as_str) {
                Some("snowball") => stemmer.get("language").cloned().unwrap_or_default(),
                Some("none" | "disabled") => continue,
                _ => return Err(RestError::format("field_schema.stemmer: the only type is `snowball`")),
            },
            ("stopwords", Value::String(language)) => json!({ "languages": [language] }),
            ("stopwords", Value::Object(lists)) => Value::Object(
                lists.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect(),
            ),
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
        assert!(read(json!({ "tokenizer": "magic" })).is_err());
        assert!(read(json!({ "stemmer": { "type": "porter" } })).is_err());
    }
}
