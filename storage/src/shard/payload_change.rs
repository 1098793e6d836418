//! Changing a stored payload.

use bytes::Bytes;
use engram_index::payload::PayloadPath;
use serde_json::{Map, Value};

use crate::error::{Result, StorageError};
use crate::op::{MAX_PAYLOAD_BYTES, PayloadChange};

/// The payload after `change`; `None` where it would be larger than a payload may be.
///
/// # Errors
/// `Corrupt` where a stored payload is no JSON object; the ways in refuse such payloads.
pub(super) fn changed(payload: &[u8], change: &PayloadChange) -> Result<Option<Bytes>> {
    let after = match change {
        PayloadChange::Overwrite(new) => Ok(new.clone()),
        PayloadChange::Clear => Ok(Bytes::from_static(b"{}")),
        PayloadChange::MergeAt { path, update } => {
            let path =
                PayloadPath::parse(path).map_err(|e| StorageError::corrupt("payload path", e.to_string()))?;
            let mut whole = Value::Object(parse(payload)?);
            if !path.merge(&mut whole, &parse(update)?, MAX_PAYLOAD_BYTES) {
                return Ok(None);
            }
            print(&whole)
        }
        PayloadChange::Merge(update) => {
            let mut object = parse(payload)?;
            object.extend(parse(update)?);
            print(&Value::Object(object))
        }
        PayloadChange::DeleteKeys(paths) => {
            let mut object = parse(payload)?;
            for path in paths {
                remove(&mut object, path);
            }
            print(&Value::Object(object))
        }
    };
    after.map(|json| (json.len() <= MAX_PAYLOAD_BYTES).then_some(json))
}

fn parse(json: &[u8]) -> Result<Map<String, Value>> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(json).map_err(|e| StorageError::corrupt("payload", e.to_string()))
}

fn print(object: &Value) -> Result<Bytes> {
    serde_json::to_vec(object).map(Bytes::from).map_err(|e| StorageError::Internal(e.to_string()))
}

/// Removes a dotted path; a literal key that contains the dots goes first.
fn remove(object: &mut Map<String, Value>, path: &str) {
    if object.shift_remove(path).is_some() {
        return;
    }
    if let Some((head, rest)) = path.split_once('.')
        && let Some(Value::Object(inner)) = object.get_mut(head)
    {
        remove(inner, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(payload: &str, change: &PayloadChange) -> String {
        String::from_utf8(changed(payload.as_bytes(), change).unwrap().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn changes_touch_what_they_name_and_nothing_else() {
        let payload = r#"{"a":1,"b":{"c":2,"d":3}}"#;
        let merge = PayloadChange::Merge(Bytes::from_static(br#"{"a":5,"e":null}"#));
        assert_eq!(after(payload, &merge), r#"{"a":5,"b":{"c":2,"d":3},"e":null}"#);
        let at = PayloadChange::MergeAt { path: "b.x".into(), update: Bytes::from_static(br#"{"e":1}"#) };
        assert_eq!(after(payload, &at), r#"{"a":1,"b":{"c":2,"d":3,"x":{"e":1}}}"#);
        let delete = PayloadChange::DeleteKeys(vec!["b.c".into(), "absent".into()]);
        assert_eq!(after(payload, &delete), r#"{"a":1,"b":{"d":3}}"#);
        assert_eq!(after(payload, &PayloadChange::Clear), "{}");
    }
}
