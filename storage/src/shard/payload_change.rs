//! Changing a stored payload. What a change does not touch keeps its text.

use std::collections::HashMap;

use bytes::Bytes;
use engram_index::payload::{Entries, LazyJson, PayloadPath, Segment, merge_keys};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Result, StorageError};
use crate::op::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_KEYS, MAX_PAYLOAD_VALUES, PayloadChange};

/// For up to so many paths the keys are looked through, for more they are hashed.
const FEW_PATHS: usize = 16;

/// The payload after `change`; `None` where it would pass a limit of payloads. With `bytes_only` as servers decided before
/// they kept texts: of trees that are printed, and held to the limit of bytes alone.
///
/// # Errors
/// `Corrupt` where a stored payload is no JSON object; the ways in refuse such payloads.
pub(super) fn changed(payload: &[u8], change: &PayloadChange, bytes_only: bool) -> Result<Option<Bytes>> {
    if !bytes_only {
        return changed_text(payload, change, false);
    }
    // The text of a printed tree is what printing it again gives, so a change of the text is the change of the tree.
    let change = match change {
        PayloadChange::Overwrite(_) | PayloadChange::Clear => return changed_text(payload, change, true),
        PayloadChange::Merge(update) => PayloadChange::Merge(printed_tree(update)?),
        PayloadChange::MergeAt { path, update } => {
            PayloadChange::MergeAt { path: path.clone(), update: printed_tree(update)? }
        }
        PayloadChange::DeleteKeys(paths) => PayloadChange::DeleteKeys(paths.clone()),
    };
    changed_text(&printed_tree(payload)?, &change, true)
}

/// An object as it prints once it was a tree: without whitespace, characters as themselves, numbers in one spelling.
fn printed_tree(json: &[u8]) -> Result<Bytes> {
    if json.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    print(&serde_json::from_slice::<Map<String, Value>>(json).map_err(corrupt)?)
}

fn changed_text(payload: &[u8], change: &PayloadChange, bytes_only: bool) -> Result<Option<Bytes>> {
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
            remove(&mut object, paths).map_err(corrupt)?;
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

/// Removes what stands at each path, one after the other; a literal key that contains its dots goes first. `a[].b` is
/// removed from each element of `a`, `a[]` empties it. One element alone stays, since those after it would take its place:
/// a repeat would remove more.
fn remove(object: &mut Entries<'_>, paths: &[String]) -> serde_json::Result<()> {
    let (keys, values): (Vec<String>, Vec<LazyJson<'_>>) = std::mem::take(&mut object.0).into_iter().unzip();
    // What is gone is none; the others keep their places until the end.
    let mut values: Vec<_> = values.into_iter().map(Some).collect();
    let many = paths.len() > FEW_PATHS;
    let places: HashMap<&str, usize> = if many {
        keys.iter().enumerate().map(|(n, key)| (key.as_str(), n)).collect()
    } else {
        HashMap::new()
    };
    let place = |key: &str| {
        if many { places.get(key).copied() } else { keys.iter().position(|name| name == key) }
    };
    for path in paths {
        if place(path).and_then(|n| values[n].take()).is_some() {
            continue;
        }
        let Ok(path) = PayloadPath::parse(path) else { continue };
        let Some((Segment::Key(key), rest)) = path.segments().split_first() else { continue };
        match place(key).map(|n| &mut values[n]) {
            Some(value) if rest.is_empty() => *value = None,
            Some(Some(value)) => remove_inside(value, rest)?,
            _ => {}
        }
    }
    object.0 = keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect();
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
        let list = |n: usize| format!("{{\"l\":[[ ]{}]}}", ",[]".repeat(n - 1));
        assert!(merged("{}", &merge(list(MAX_PAYLOAD_VALUES - 1)), false), "as many values as may be");
        assert!(!merged("{}", &merge(list(MAX_PAYLOAD_VALUES)), false));
        // Records from before were decided by bytes alone.
        assert!(merged(&object("a", half), &merge(object("b", half + 1)), true));
        // What is beyond the limits since then can be made smaller.
        let over = object("a", MAX_PAYLOAD_KEYS + 2);
        assert!(merged(&over, &PayloadChange::DeleteKeys(vec!["a0".into()]), false));
    }

    /// What servers decided when a payload was a tree: written with trees, as they did.
    fn decided_before(payload: &str, update: &str) -> Option<String> {
        let parse = |json| serde_json::from_str::<Map<String, Value>>(json).unwrap();
        let mut object = parse(payload);
        object.extend(parse(update));
        Some(Value::Object(object).to_string()).filter(|json| json.len() <= MAX_PAYLOAD_BYTES)
    }

    #[test]
    fn older_records_decide_as_when_payloads_were_trees() {
        let changed = |payload: &str, change: &PayloadChange, bytes_only| {
            changed(payload.as_bytes(), change, bytes_only)
                .unwrap()
                .map(|json| String::from_utf8(json.to_vec()).unwrap())
        };
        let merge = |update: &str| PayloadChange::Merge(Bytes::copy_from_slice(update.as_bytes()));
        let at = |path: &str, update: &str| PayloadChange::MergeAt {
            path: path.into(),
            update: Bytes::copy_from_slice(update.as_bytes()),
        };
        let long = format!(r#"{{"t":"{}"}}"#, "x".repeat(200_000));
        let escaped = format!(r#"{{"s":"{}"}}"#, r"\u00e9".repeat(150_000));
        let spaced = format!(r#"{{"s":{}1}}"#, " ".repeat(900_000));
        let zeros = format!(r#"{{"s":1.5{}}}"#, "0".repeat(900_000));
        // Printed from a tree it is more than three times as long.
        let numbers = format!(r#"{{"s":[{}]}}"#, vec!["1e14"; 60_000].join(","));
        for (payload, fits, fits_as_text) in
            [(&escaped, true, false), (&spaced, true, true), (&zeros, true, false), (&numbers, false, true)]
        {
            let start = &payload[..20];
            let wanted = decided_before(payload, &long);
            assert_eq!(wanted.is_some(), fits, "{start}");
            assert!(changed(payload, &merge(&long), true) == wanted, "{start}");
            assert_eq!(changed(payload, &merge(&long), false).is_some(), fits_as_text, "{start}");
            // The update counts as it prints, too, at each of its places.
            let into_list = changed(r#"{"l":[{}]}"#, &at("l[]", payload), true);
            assert_eq!(into_list.is_some(), payload != &numbers, "{start}");
        }
        let two_places = changed(r#"{"l":[{},{}]}"#, &at("l[]", &escaped), true);
        assert!(two_places.is_some(), "each takes what it prints as");
        let payload = r#"{ "a": 1.50, "b": 1e3, "o": {"x": "\u00e9", "y": 2 } }"#;
        assert_eq!(
            changed(payload, &merge(r#"{"c": 2.50, "o": null}"#), true).unwrap(),
            r#"{"a":1.5,"b":1000.0,"c":2.5}"#
        );
        let delete = PayloadChange::DeleteKeys(vec!["o.y".into()]);
        assert_eq!(changed(payload, &delete, true).unwrap(), r#"{"a":1.5,"b":1000.0,"o":{"x":"é"}}"#);
        assert_eq!(changed(payload, &delete, false).unwrap(), r#"{"a":1.50,"b":1e3,"o":{"x":"\u00e9"}}"#);
        assert_eq!(
            changed(payload, &at("o", r#"{"y": 1e1}"#), true).unwrap(),
            r#"{"a":1.5,"b":1000.0,"o":{"x":"é","y":10.0}}"#
        );
        assert_eq!(changed("", &delete, true).unwrap(), "{}");
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
    fn many_paths_are_removed_as_few_are() {
        let keys: Vec<String> = (0..60).map(|n| format!(r#""k{n}":{{"a":1,"b":2}},"k{n}.a":0"#)).collect();
        let payload = format!("{{{}}}", keys.join(","));
        // Literal keys before what is inside others; what is absent and what is gone already does no harm.
        let paths: Vec<String> = (0..90)
            .flat_map(|n| match n % 4 {
                0 => vec![format!("k{n}.a")],
                1 => vec![format!("k{n}.a"), format!("k{n}.a"), format!("k{n}.a.x")],
                2 => vec![format!("k{n}"), format!("k{n}.b"), format!("k{n}")],
                _ => vec![format!("\"k{n}.a\""), format!("k{n}.b")],
            })
            .collect();
        let all = after(&payload, &PayloadChange::DeleteKeys(paths.clone()));
        let one_by_one = paths
            .into_iter()
            .fold(payload, |payload, path| after(&payload, &PayloadChange::DeleteKeys(vec![path])));
        assert_eq!(all, one_by_one);
        assert!(all.starts_with(r#"{"k0":{"a":1,"b":2},"k1":{"b":2},"k2.a":0,"k3":{"a":1},"k4""#), "{all}");
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
