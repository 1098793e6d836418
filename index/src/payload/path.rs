//! Dotted paths into a payload.
//!
//! Grammar: keys joined by dots, each followed by any number of `[]` (every element) or `[n]` (one element):
//! `a.b`, `a[].b`, `a[0].b`, `"key.with.dots".b`. A key on an array looks into every element of it, so `a.b` finds
//! what `a[].b` finds; `[]` on anything but an array finds nothing.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{IndexError, Result};

/// Longest accepted path text, bytes.
pub const MAX_PATH_BYTES: usize = 512;
/// Most keys and brackets of one path. A payload is not nested deeper than this.
pub const MAX_PATH_SEGMENTS: usize = 32;

/// A dotted path into a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PayloadPath {
    segments: Vec<Segment>,
}

/// One part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The field of an object.
    Key(String),
    /// Every element of an array: `[]`.
    Each,
    /// One element of an array: `[n]`.
    At(usize),
}

/// What a payload has at a path, apart from the values themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldShape {
    /// Number of values: an array counts its elements, `null` and an absent field 0, anything else 1.
    pub count: u64,
    /// Whether some `null` stands at the path itself (a `null` inside a final array is a value of that array).
    pub null: bool,
}

impl PayloadPath {
    /// Parses a path.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] for text that is no path, and for one beyond [`MAX_PATH_BYTES`] or
    /// [`MAX_PATH_SEGMENTS`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_PATH_BYTES {
            return Err(IndexError::InvalidParameter(format!(
                "a payload path of {} bytes is longer than the limit of {MAX_PATH_BYTES}",
                text.len()
            )));
        }
        let refuse = |why: &str| IndexError::InvalidParameter(format!("`{text}` is no payload path: {why}"));
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (key, tail) = split_key(rest).map_err(refuse)?;
            segments.push(Segment::Key(key.to_owned()));
            rest = tail;
            while let Some(inner) = rest.strip_prefix('[') {
                let (index, tail) = inner.split_once(']').ok_or_else(|| refuse("`[` without `]`"))?;
                segments.push(match index {
                    "" => Segment::Each,
                    digits => {
                        Segment::At(parse_index(digits).ok_or_else(|| refuse("give `[]` or `[number]`"))?)
                    }
                });
                rest = tail;
            }
            if segments.len() > MAX_PATH_SEGMENTS {
                return Err(refuse(&format!("it has more than {MAX_PATH_SEGMENTS} parts")));
            }
            match rest.strip_prefix('.') {
                Some(tail) => rest = tail,
                None if rest.is_empty() => return Ok(Self { segments }),
                None => return Err(refuse("a key is followed by `.`, `[` or the end")),
            }
        }
    }

    /// The parts, from the outside in; the first one is a key.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The values at this path, those of a final array one by one. `null` is a value here.
    pub fn values<'a>(&self, payload: &'a Value) -> Vec<&'a Value> {
        let mut out = Vec::new();
        self.any_value(payload, |v| {
            out.push(v);
            false
        });
        out
    }

    /// The strings among [`Self::values`].
    pub fn strings<'a>(&self, payload: &'a Value) -> Vec<&'a str> {
        self.values(payload).into_iter().filter_map(Value::as_str).collect()
    }

    /// Whether `test` holds for one of [`Self::values`]; stops at the first.
    pub fn any_value<'a>(&self, payload: &'a Value, mut test: impl FnMut(&'a Value) -> bool) -> bool {
        walk(&self.segments, payload, &mut |found| match found {
            Value::Array(items) => items.iter().any(&mut test),
            one => test(one),
        })
    }

    /// How many values there are, and whether `null` is there: tells absent, `null` and `[]` apart.
    pub fn shape(&self, payload: &Value) -> FieldShape {
        let mut shape = FieldShape::default();
        walk(&self.segments, payload, &mut |found| {
            match found {
                Value::Null => shape.null = true,
                Value::Array(items) => shape.count += items.len() as u64,
                _ => shape.count += 1,
            }
            false
        });
        shape
    }

    /// Whether anything, also `null` or `[]`, stands at this path.
    pub fn exists(&self, payload: &Value) -> bool {
        walk(&self.segments, payload, &mut |_| true)
    }
}

/// Calls `visit` with everything at the path until it answers true. The depth is that of the path and the JSON
/// parser's own limit.
fn walk<'a>(segments: &[Segment], value: &'a Value, visit: &mut dyn FnMut(&'a Value) -> bool) -> bool {
    let Some((head, tail)) = segments.split_first() else {
        return visit(value);
    };
    match (head, value) {
        (Segment::Key(key), Value::Object(map)) => map.get(key).is_some_and(|v| walk(tail, v, visit)),
        (Segment::Key(_), Value::Array(items)) => items.iter().any(|v| walk(segments, v, visit)),
        (Segment::Each, Value::Array(items)) => items.iter().any(|v| walk(tail, v, visit)),
        (Segment::At(i), Value::Array(items)) => items.get(*i).is_some_and(|v| walk(tail, v, visit)),
        _ => false,
    }
}

/// The key that `text` starts with and what follows it.
fn split_key(text: &str) -> std::result::Result<(&str, &str), &'static str> {
    if let Some(inner) = text.strip_prefix('"') {
        return inner.split_once('"').ok_or("a quoted key has no closing quote");
    }
    let end = text.find(['.', '[', ']', '"']).unwrap_or(text.len());
    if end == 0 {
        return Err("a key is empty");
    }
    Ok(text.split_at(end))
}

/// Digits only: `usize::from_str` would take a `+` too.
fn parse_index(text: &str) -> Option<usize> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl FromStr for PayloadPath {
    type Err = IndexError;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The canonical text: keys are quoted only where they must be. It parses to the same path.
impl fmt::Display for PayloadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    let dot = if i == 0 { "" } else { "." };
                    let quote = if key.is_empty() || key.contains(['.', '[', ']']) { "\"" } else { "" };
                    write!(f, "{dot}{quote}{key}{quote}")?;
                }
                Segment::Each => f.write_str("[]")?,
                Segment::At(n) => write!(f, "[{n}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(path: &str, payload: &Value) -> Vec<Value> {
        PayloadPath::parse(path).unwrap().values(payload).into_iter().cloned().collect()
    }

    #[test]
    fn walks_objects_and_arrays() {
        let p = json!({"a": {"b": 1}, "l": [{"b": [2, 3]}, {"b": 4}, {"c": 5}], "x.y": {"z": 6}, "n": null, "": 7});
        assert_eq!(values("a.b", &p), [json!(1)]);
        assert_eq!(values("l[].b", &p), [json!(2), json!(3), json!(4)]);
        assert_eq!(values("l.b", &p), values("l[].b", &p));
        assert_eq!(values("l[0].b[1]", &p), [json!(3)]);
        assert_eq!(values("a[].b", &p), Vec::<Value>::new());
        assert_eq!(values("\"x.y\".z", &p), [json!(6)]);
        assert_eq!(values("\"\"", &p), [json!(7)]);
        assert_eq!(values("n", &p), [Value::Null]);
        assert_eq!(values("missing", &p), Vec::<Value>::new());
    }

    #[test]
    fn shape_tells_absent_null_and_empty_apart() {
        let p = json!({"n": null, "e": [], "m": [null, 1], "o": {}});
        let shape = |s: &str| {
            let path = PayloadPath::parse(s).unwrap();
            (path.exists(&p), path.shape(&p).null, path.shape(&p).count)
        };
        assert_eq!(shape("absent"), (false, false, 0));
        assert_eq!(shape("n"), (true, true, 0));
        assert_eq!(shape("e"), (true, false, 0));
        assert_eq!(shape("m"), (true, false, 2));
        assert_eq!(shape("m[]"), (true, true, 1));
        assert_eq!(shape("o"), (true, false, 1));
    }

    #[test]
    fn refuses_bad_paths_and_prints_good_ones() {
        for bad in [
            "", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[+1]", "a]b", "\"a", "\"a\"b", "a\"b\"", "[]",
            "a[]b",
        ] {
            assert!(PayloadPath::parse(bad).is_err(), "{bad}");
        }
        for good in ["a", "a.b[].c[3]", "\"a.b\".c", "\"\".x", "with space.ü/-", "\"[]\""] {
            let path = PayloadPath::parse(good).unwrap();
            assert_eq!(path.to_string(), good);
            assert_eq!(path.to_string().parse::<PayloadPath>().unwrap(), path);
        }
        assert_eq!(PayloadPath::parse("\"a\".b").unwrap().to_string(), "a.b");
        assert!(PayloadPath::parse(&"k".repeat(MAX_PATH_BYTES)).is_ok());
        assert!(PayloadPath::parse(&"k".repeat(MAX_PATH_BYTES + 1)).is_err());
        assert!(PayloadPath::parse(&vec!["k"; MAX_PATH_SEGMENTS].join(".")).is_ok());
        assert!(PayloadPath::parse(&vec!["k"; MAX_PATH_SEGMENTS + 1].join(".")).is_err());
    }
}
