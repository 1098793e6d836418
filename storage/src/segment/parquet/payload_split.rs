//! Splits payloads into typed columns and the rest, and joins them again.
//!
//! The rest keeps its bytes as they were: a member leaves the JSON only where its typed value gives back the very same
//! text, so nothing is lost by numbers and escapes that can be written in several ways.

use std::ops::Range;

use engram_index::payload::PayloadIndexKind;
use serde_json::Value;

/// A typed value of a payload field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Typed {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Microseconds since the epoch.
    Datetime(i64),
}

impl Typed {
    /// The value in a column of this kind that JSON text `raw` has; `None` where it is of another kind.
    fn parse(kind: PayloadIndexKind, raw: &[u8]) -> Option<Self> {
        let value: Value = match raw.first()? {
            b'{' | b'[' => return None,
            _ => serde_json::from_slice(raw).ok()?,
        };
        match (kind, value) {
            (PayloadIndexKind::Keyword | PayloadIndexKind::Uuid, Value::String(s)) => Some(Self::Text(s)),
            (PayloadIndexKind::Integer, Value::Number(n)) => n.as_i64().map(Self::Integer),
            (PayloadIndexKind::Float, Value::Number(n)) => n.as_f64().map(Self::Float),
            (PayloadIndexKind::Bool, Value::Bool(b)) => Some(Self::Bool(b)),
            (PayloadIndexKind::Datetime, Value::String(s)) => {
                engram_index::payload::datetime::parse_datetime(&s).map(Self::Datetime)
            }
            _ => None,
        }
    }

    /// The JSON text this value gives back.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(s) => Value::from(s.as_str()).to_string(),
            Self::Integer(n) => n.to_string(),
            Self::Float(f) => Value::from(*f).to_string(),
            Self::Bool(b) => b.to_string(),
            Self::Datetime(us) => {
                let at = jiff::Timestamp::from_microsecond(*us).unwrap_or_default();
                Value::from(at.to_string()).to_string()
            }
        }
    }
}

/// One member of a JSON object, as spans of its text.
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// Members of the JSON object `text`, in order; `None` where it is no object that serde would read.
fn members(text: &[u8]) -> Option<Vec<Member>> {
    let blank = |mut at: usize| {
        while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            at += 1;
        }
        at
    };
    let mut found = Vec::new();
    let mut at = blank(0);
    (text.get(at) == Some(&b'{')).then_some(())?;
    at = blank(at + 1);
    if text.get(at) == Some(&b'}') {
        return Some(found);
    }
    loop {
        let key = at..string_end(text, at)?;
        at = blank(key.end);
        (text.get(at) == Some(&b':')).then_some(())?;
        at = blank(at + 1);
        let value = at..value_end(text, at)?;
        at = blank(value.end);
        found.push(Member { key, value });
        match text.get(at)? {
            b',' => at = blank(at + 1),
            b'}' => return Some(found),
            _ => return None,
        }
    }
}

/// Where the JSON string that begins at `at` ends.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    (text.get(at) == Some(&b'"')).then_some(())?;
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the JSON value that begins at `at` ends.
fn value_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            // Inside brackets separators are part of the value; a bare word or number ends before one.
            _ if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let rest = text.get(at..)?;
                let bare =
                    rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
                return bare.filter(|&n| n > 0).map(|n| at + n);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// A declared payload field that has a column of its own.
pub(super) struct Field {
    /// Dotted path.
    pub path: String,
    pub kind: PayloadIndexKind,
}

/// Values of `fields` in `payload`, and the payload without those that the values give back exactly.
pub(super) fn split(payload: &[u8], fields: &[Field]) -> (Vec<Option<Typed>>, Vec<u8>) {
    let whole =
        || (vec![None; fields.len()], if payload.is_empty() { b"{}".to_vec() } else { payload.to_vec() });
    if fields.is_empty() {
        return whole();
    }
    let Some(members) = members(payload) else { return whole() };
    let keys: Vec<Option<String>> =
        members.iter().map(|m| serde_json::from_slice(&payload[m.key.clone()]).ok()).collect();
    let is = |at: usize, name: &str| keys[at].as_deref() == Some(name);
    let mut leaves = vec![false; members.len()];
    let typed = fields.iter().map(|field| {
        let (top, rest) =
            field.path.split_once('.').map_or((field.path.as_str(), None), |(a, b)| (a, Some(b)));
        // Of a repeated key the last counts, and all of them stay where they are.
        let at = (0..members.len()).rfind(|&at| is(at, top))?;
        let raw = &payload[members[at].value.clone()];
        match rest {
            Some(rest) => nested(raw, rest, field.kind),
            None => {
                let typed = Typed::parse(field.kind, raw)?;
                let once = (0..members.len()).filter(|&at| is(at, top)).count() == 1;
                leaves[at] = once && typed.text().as_bytes() == raw;
                Some(typed)
            }
        }
    });
    let typed: Vec<Option<Typed>> = typed.collect();
    if !leaves.contains(&true) {
        return (typed, payload.to_vec());
    }
    let mut rest = vec![b'{'];
    for (member, _) in members.iter().zip(&leaves).filter(|(_, leaves)| !**leaves) {
        if rest.len() > 1 {
            rest.push(b',');
        }
        rest.extend_from_slice(&payload[member.key.clone()]);
        rest.push(b':');
        rest.extend_from_slice(&payload[member.value.clone()]);
    }
    rest.push(b'}');
    (typed, rest)
}

fn nested(raw: &[u8], path: &str, kind: PayloadIndexKind) -> Option<Typed> {
    let value: Value = serde_json::from_slice(raw).ok()?;
    let found = path.split('.').try_fold(&value, |value, name| value.get(name))?;
    Typed::parse(kind, found.to_string().as_bytes())
}

/// The payload of which [`split`] made `rest` and `typed` (by dotted path). The order of members may differ.
pub(super) fn join(rest: &[u8], typed: &[(String, Typed)]) -> Vec<u8> {
    let Some(there) = members(rest) else { return rest.to_vec() };
    let keys: Vec<String> =
        there.iter().filter_map(|m| serde_json::from_slice(&rest[m.key.clone()]).ok()).collect();
    let missing: Vec<_> =
        typed.iter().filter(|(path, _)| !path.contains('.') && !keys.contains(path)).collect();
    let Some(end) = rest.iter().rposition(|&b| b == b'}').filter(|_| !missing.is_empty()) else {
        return rest.to_vec();
    };
    let mut joined = rest[..end].to_vec();
    for (n, (path, typed)) in missing.iter().enumerate() {
        if n > 0 || !there.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(format!("{}:{}", Value::from(path.as_str()), typed.text()).as_bytes());
    }
    joined.push(b'}');
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        use PayloadIndexKind::*;
        let kinds =
            [("k", Keyword), ("i", Integer), ("f", Float), ("b", Bool), ("d", Datetime), ("a.x", Integer)];
        kinds.into_iter().map(|(path, kind)| Field { path: path.to_owned(), kind }).collect()
    }

    fn check(payload: &str, rest: &str) -> Vec<Option<Typed>> {
        let (typed, left) = split(payload.as_bytes(), &fields());
        assert_eq!(String::from_utf8_lossy(&left), rest);
        let values = fields().into_iter().map(|f| f.path).zip(typed.clone());
        let values: Vec<_> = values.filter_map(|(p, t)| t.map(|t| (p, t))).collect();
        let joined: Value = serde_json::from_slice(&join(&left, &values)).unwrap();
        assert_eq!(
            joined,
            serde_json::from_str::<Value>(if payload.is_empty() { "{}" } else { payload }).unwrap()
        );
        typed
    }

    #[test]
    fn segment_payload_split_takes_out_what_it_can_give_back() {
        let typed = check(
            r#"{ "k" : "x\"y", "i":-7,"f":1.5,"b":true,"o":[1,{"k":"]}"}], "d":"2024-05-01T00:00:00Z" }"#,
            r#"{"o":[1,{"k":"]}"}]}"#,
        );
        assert_eq!(typed[0], Some(Typed::Text("x\"y".to_owned())));
        assert_eq!(typed[4], Some(Typed::Datetime(1_714_521_600_000_000)));
    }

    #[test]
    fn segment_payload_split_keeps_what_it_cannot_give_back() {
        for kept in [
            r#"{"i":1.0}"#,
            r#"{"i":99999999999999999999}"#,
            r#"{"f":1}"#,
            r#"{"f":0.10}"#,
            r#"{"k":"\u0041"}"#,
            r#"{"k":["a","b"]}"#,
            r#"{"k":null}"#,
            r#"{"k":"a","k":"b"}"#,
            r#"{"d":"2024-05-01T00:00:00+02:00"}"#,
            r#"{"d":"yesterday"}"#,
            r#"{"a":{"x":5}}"#,
            r#"{"a":[{"x":5}]}"#,
            "{}",
            r#"{"":""}"#,
        ] {
            check(kept, kept);
        }
        assert_eq!(check(r#"{"a":{"x":5}}"#, r#"{"a":{"x":5}}"#)[5], Some(Typed::Integer(5)));
        assert_eq!(check("", "{}")[0], None);
    }
}
