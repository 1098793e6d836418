//! Changing a stored payload.

use bytes::Bytes;
use engram_index::payload::{PayloadPath, Segment, merge_keys};
use serde_json::{Map, Value};

use crate::error::{Result, StorageError};
use crate::op::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_KEYS, PayloadChange};

/// The payload after `change`; `None` where it would pass a limit of payloads. What a merge makes is held to that of bytes
/// alone where `bytes_only` says so.
///
/// # Errors
/// `Corrupt` where a stored payload is no JSON object; the ways in refuse such payloads.
pub(super) fn changed(payload: &[u8], change: &PayloadChange, bytes_only: bool) -> Result<Option<Bytes>> {
    let fits = |merged: &Value| bytes_only || fits(merged);
    let after = match change {
        PayloadChange::Overwrite(new) => Ok(new.clone()),
        PayloadChange::Clear => Ok(Bytes::from_static(b"{}")),
        PayloadChange::MergeAt { path, update } => {
            let path =
                PayloadPath::parse(path).map_err(|e| StorageError::corrupt("payload path", e.to_string()))?;
            let mut whole = Value::Object(parse(payload)?);
            if !path.merge(&mut whole, &parse(update)?, MAX_PAYLOAD_BYTES) || !fits(&whole) {
                return Ok(None);
            }
            print(&whole)
        }
        PayloadChange::Merge(update) => {
            let mut object = parse(payload)?;
            merge_keys(&mut object, parse(update)?);
            let whole = Value::Object(object);
            if !fits(&whole) {
                return Ok(None);
            }
            print(&whole)
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

/// Whether a payload has no more keys, and is no deeper, than one that is written whole may be.
fn fits(payload: &Value) -> bool {
    fn look(value: &Value, depth: usize, keys: &mut usize) -> bool {
        match value {
            Value::Object(object) => {
                *keys += object.len();
                depth < MAX_PAYLOAD_DEPTH
                    && *keys <= MAX_PAYLOAD_KEYS
                    && object.values().all(|value| look(value, depth + 1, keys))
            }
            Value::Array(items) => {
                depth < MAX_PAYLOAD_DEPTH && items.iter().all(|item| look(item, depth + 1, keys))
            }
            _ => true,
        }
    }
    look(payload, 0, &mut 0)
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

/// Removes what stands at a path; a literal key that contains its dots goes first. `a[].b` is removed from each element of
/// `a`, `a[]` empties it. One element alone stays, since those after it would take its place: a repeat would remove more.
fn remove(object: &mut Map<String, Value>, path: &str) {
    if object.shift_remove(path).is_some() {
        return;
    }
    if let Ok(path) = PayloadPath::parse(path)
        && let Some((Segment::Key(key), rest)) = path.segments().split_first()
    {
        remove_key(object, key, rest);
    }
}

/// As deep as a path may be.
fn remove_key(object: &mut Map<String, Value>, key: &str, rest: &[Segment]) {
    if rest.is_empty() {
        object.shift_remove(key);
    } else if let Some(value) = object.get_mut(key) {
        remove_inside(value, rest);
    }
}

fn remove_inside(value: &mut Value, path: &[Segment]) {
    match (path.split_first(), value) {
        (Some((Segment::Key(key), rest)), Value::Object(object)) => remove_key(object, key, rest),
        (Some((Segment::Each, [])), Value::Array(items)) => items.clear(),
        (Some((Segment::Each, rest)), Value::Array(items)) => {
            items.iter_mut().for_each(|item| remove_inside(item, rest));
        }
        (Some((Segment::At(n), rest)), Value::Array(items)) if !rest.is_empty() => {
            if let Some(item) = items.get_mut(*n) {
                remove_inside(item, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(payload: &str, change: &PayloadChange) -> String {
        String::from_utf8(changed(payload.as_bytes(), change, false).unwrap().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn what_a_merge_makes_is_held_to_the_limits_of_a_payload() {
        let object = |name: &str, keys: usize| {
            let keys: Vec<String> = (0..keys).map(|i| format!("\"{name}{i}\":0")).collect();
            format!("{{{}}}", keys.join(","))
        };
        let merged = |payload: &str, change: &PayloadChange, bytes_only| {
            changed(payload.as_bytes(), change, bytes_only).unwrap().is_some()
        };
        let merge = |json: String| PayloadChange::Merge(json.into());
        let at = |path: &str, json: String| PayloadChange::MergeAt { path: path.into(), update: json.into() };
        let half = MAX_PAYLOAD_KEYS / 2;
        assert!(merged(&object("a", half), &merge(object("b", half)), false), "as many keys as may be");
        assert!(!merged(&object("a", half), &merge(object("b", half + 1)), false));
        assert!(merged(&object("a", half), &merge(object("a", half)), false), "the same keys again");
        assert!(merged(&object("a", half), &at("b", object("b", half - 1)), false), "the path is a key");
        assert!(!merged(&object("a", half), &at("b", object("b", half)), false));
        let list = format!("{{\"l\":[{}]}}", vec!["{}"; 64].join(","));
        assert!(merged(&list, &at("l[]", object("b", 15)), false));
        assert!(!merged(&list, &at("l[]", object("b", 16)), false), "each element counts");
        let deep = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(merged("{}", &at("a", deep(MAX_PAYLOAD_DEPTH - 1)), false));
        assert!(!merged("{}", &at("a", deep(MAX_PAYLOAD_DEPTH)), false));
        // Records from before were decided by bytes alone.
        assert!(merged(&object("a", half), &merge(object("b", half + 1)), true));
        // What is beyond the limits since then can be made smaller.
        let over = object("a", MAX_PAYLOAD_KEYS + 2);
        assert!(merged(&over, &PayloadChange::DeleteKeys(vec!["a0".into()]), false));
    }

    #[test]
    fn changes_touch_what_they_name_and_nothing_else() {
        let payload = r#"{"a":1,"b":{"c":2,"d":3}}"#;
        let merge = PayloadChange::Merge(Bytes::from_static(br#"{"a":5,"e":{"f":null}}"#));
        assert_eq!(after(payload, &merge), r#"{"a":5,"b":{"c":2,"d":3},"e":{"f":null}}"#);
        let merge = PayloadChange::Merge(Bytes::from_static(br#"{"a":null,"e":null}"#));
        assert_eq!(after(payload, &merge), r#"{"b":{"c":2,"d":3}}"#, "null takes a key out");
        let at = PayloadChange::MergeAt { path: "b.x".into(), update: Bytes::from_static(br#"{"e":1}"#) };
        assert_eq!(after(payload, &at), r#"{"a":1,"b":{"c":2,"d":3,"x":{"e":1}}}"#);
        let delete = PayloadChange::DeleteKeys(vec!["b.c".into(), "absent".into()]);
        assert_eq!(after(payload, &delete), r#"{"a":1,"b":{"d":3}}"#);
        assert_eq!(after(payload, &PayloadChange::Clear), "{}");
    }

    #[test]
    fn keys_are_removed_inside_arrays_where_brackets_say_so() {
        let payload = r#"{"a.b":1,"l":[{"b":1,"c":2},3,{"b":4}],"m":[1,2],"a":{"b":5,"c":6}}"#;
        let without = |paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            after(payload, &PayloadChange::DeleteKeys(paths))
        };
        let rest = r#""m":[1,2],"a":{"b":5,"c":6}}"#;
        assert_eq!(without(&["l[].b"]), format!(r#"{{"a.b":1,"l":[{{"c":2}},3,{{}}],{rest}"#));
        assert_eq!(without(&["l[0].b"]), format!(r#"{{"a.b":1,"l":[{{"c":2}},3,{{"b":4}}],{rest}"#));
        assert_eq!(without(&["l.b", "m[0]", "l[].", "x[].y"]), payload);
        let emptied = r#"{"l":[{"b":1,"c":2},3,{"b":4}],"m":[],"a":{"c":6}}"#;
        assert_eq!(without(&["m[]", "\"a\".b", "a.b"]), emptied);
    }
}
