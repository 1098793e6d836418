//! Changing a stored payload. What a change does not touch keeps its text.

use bytes::Bytes;
use engram_index::payload::{Entries, LazyJson, PayloadPath, Segment, merge_keys};
use serde::Serialize;

use crate::error::{Result, StorageError};
use crate::op::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_KEYS, MAX_PAYLOAD_VALUES, PayloadChange};

/// The payload after `change`; `None` where it would pass a limit of payloads. What a merge makes is held to that of bytes
/// alone where `bytes_only` says so.
///
/// # Errors
/// `Corrupt` where a stored payload is no JSON object; the ways in refuse such payloads.
pub(super) fn changed(payload: &[u8], change: &PayloadChange, bytes_only: bool) -> Result<Option<Bytes>> {
    let merges = matches!(change, PayloadChange::Merge(_) | PayloadChange::MergeAt { .. });
    let fits = |json: &[u8]| json.len() <= MAX_PAYLOAD_BYTES && (bytes_only || !merges || fits(json));
    let after = match change {
        PayloadChange::Overwrite(new) => Ok(new.clone()),
        PayloadChange::Clear => Ok(Bytes::from_static(b"{}")),
        PayloadChange::MergeAt { path, update } => {
            let path =
                PayloadPath::parse(path).map_err(|e| StorageError::corrupt("payload path", e.to_string()))?;
            let mut whole = LazyJson::Object(parse(payload)?);
            if !path.merge(&mut whole, &parse(update)?, MAX_PAYLOAD_BYTES).map_err(corrupt)? {
                return Ok(None);
            }
            print(&whole)
        }
        PayloadChange::Merge(update) => {
            let mut object = parse(payload)?;
            merge_keys(&mut object, parse(update)?);
            print(&object)
        }
        PayloadChange::DeleteKeys(paths) => {
            let mut object = parse(payload)?;
            for path in paths {
                remove(&mut object, path).map_err(corrupt)?;
            }
            print(&object)
        }
    };
    after.map(|json| fits(&json).then_some(json))
}

/// Whether a payload has no more keys and values, and is no deeper, than one that is written whole may be.
fn fits(json: &[u8]) -> bool {
    let (mut depth, mut keys, mut values) = (0, 0, 0);
    let (mut in_string, mut escaped) = (false, false);
    let mut before = b' ';
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                // Its first; the others follow a comma.
                values += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                values -= usize::from(matches!(before, b'{' | b'['));
            }
            b':' => keys += 1,
            b',' => values += 1,
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        if depth > MAX_PAYLOAD_DEPTH || keys > MAX_PAYLOAD_KEYS {
            return false;
        }
    }
    values <= MAX_PAYLOAD_VALUES
}

fn corrupt(e: serde_json::Error) -> StorageError {
    StorageError::corrupt("payload", e.to_string())
}

fn parse(json: &[u8]) -> Result<Entries<'_>> {
    Entries::read(json).map_err(corrupt)
}

fn print(object: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(object).map(Bytes::from).map_err(|e| StorageError::Internal(e.to_string()))
}

/// Removes what stands at a path; a literal key that contains its dots goes first. `a[].b` is removed from each element of
/// `a`, `a[]` empties it. One element alone stays, since those after it would take its place: a repeat would remove more.
fn remove(object: &mut Entries<'_>, path: &str) -> serde_json::Result<()> {
    if object.remove(path) {
        return Ok(());
    }
    if let Ok(path) = PayloadPath::parse(path)
        && let Some((Segment::Key(key), rest)) = path.segments().split_first()
    {
        return remove_key(object, key, rest);
    }
    Ok(())
}

/// As deep as a path may be.
fn remove_key(object: &mut Entries<'_>, key: &str, rest: &[Segment]) -> serde_json::Result<()> {
    if rest.is_empty() {
        object.remove(key);
    } else if let Some(value) = object.get_mut(key) {
        remove_inside(value, rest)?;
    }
    Ok(())
}

fn remove_inside(value: &mut LazyJson<'_>, path: &[Segment]) -> serde_json::Result<()> {
    match (path.split_first(), value.open()?) {
        (Some((Segment::Key(key), rest)), LazyJson::Object(object)) => remove_key(object, key, rest),
        (Some((Segment::Each, [])), LazyJson::Array(items)) => {
            items.clear();
            Ok(())
        }
        (Some((Segment::Each, rest)), LazyJson::Array(items)) => {
            items.iter_mut().try_for_each(|item| remove_inside(item, rest))
        }
        (Some((Segment::At(n), rest)), LazyJson::Array(items)) if !rest.is_empty() => {
            items.get_mut(*n).map_or(Ok(()), |item| remove_inside(item, rest))
        }
        _ => Ok(()),
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
        let list = |n: usize| format!("{{\"l\":[{}]}}", vec!["[ ]"; n].join(","));
        assert!(merged("{}", &merge(list(MAX_PAYLOAD_VALUES - 1)), false), "as many values as may be");
        assert!(!merged("{}", &merge(list(MAX_PAYLOAD_VALUES)), false));
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
    fn what_a_change_does_not_touch_keeps_its_text() {
        let payload = r#"{"n":123456789012345678901234567890,"o":{"x":18446744073709551616,"y":1.50},"z":1}"#;
        let merge = PayloadChange::Merge(Bytes::from_static(br#"{"z":-9223372036854775809}"#));
        let wanted = r#"{"n":123456789012345678901234567890,"o":{"x":18446744073709551616,"y":1.50},"z":-9223372036854775809}"#;
        assert_eq!(after(payload, &merge), wanted);
        let at = PayloadChange::MergeAt {
            path: "o".into(),
            update: Bytes::from_static(br#"{"y":99999999999999999999}"#),
        };
        let wanted = r#"{"n":123456789012345678901234567890,"o":{"x":18446744073709551616,"y":99999999999999999999},"z":1}"#;
        assert_eq!(after(payload, &at), wanted);
        let delete = PayloadChange::DeleteKeys(vec!["o.y".into(), "z".into()]);
        let wanted = r#"{"n":123456789012345678901234567890,"o":{"x":18446744073709551616}}"#;
        assert_eq!(after(payload, &delete), wanted);
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
