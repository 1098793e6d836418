//! Setting keys at a path of a payload.

use serde_json::{Map, Value};

use super::path::{PayloadPath, Segment};

/// Sets the keys of `update` in an object; as in a merge patch (RFC 7396), null takes a key out.
pub fn merge_keys(object: &mut Map<String, Value>, update: Map<String, Value>) {
    for (key, value) in update {
        if value.is_null() {
            object.shift_remove(&key);
        } else {
            object.insert(key, value);
        }
    }
}

impl PayloadPath {
    /// Sets the keys of `update` in the object at this path. What is absent on the way is made; what is something else
    /// than the path says gives way to it: an object for a key, an empty array for `[]` and `[n]`. An element that an
    /// array has not is not made.
    ///
    /// False once more than `budget` bytes were added: `[]` may name many elements. Nothing of use is left then.
    pub fn merge(&self, payload: &mut Value, update: &Map<String, Value>, budget: usize) -> bool {
        let names: usize =
            self.segments().iter().map(|s| if let Segment::Key(key) = s { key.len() + 5 } else { 1 }).sum();
        let cost = names + Value::Object(update.clone()).to_string().len();
        let mut merge = Merge { update, cost, left: budget };
        merge.at(payload, self.segments())
    }

    /// `json` as it is after a merge into an empty payload, with arrays of one element.
    pub fn around(&self, json: &str) -> String {
        let mut text = String::new();
        for segment in self.segments() {
            match segment {
                Segment::Key(key) => text += &format!("{{{}:", Value::String(key.clone())),
                Segment::Each | Segment::At(_) => text.push('['),
            }
        }
        text += json;
        for segment in self.segments().iter().rev() {
            text.push(if matches!(segment, Segment::Key(_)) { '}' } else { ']' });
        }
        text
    }
}

struct Merge<'a> {
    update: &'a Map<String, Value>,
    /// Bytes that each place takes.
    cost: usize,
    left: usize,
}

impl Merge<'_> {
    fn at(&mut self, value: &mut Value, path: &[Segment]) -> bool {
        let Some((head, rest)) = path.split_first() else { return self.here(value) };
        match (head, value) {
            (Segment::Key(key), Value::Object(object)) => {
                self.at(object.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), rest)
            }
            (Segment::Key(key), other) => {
                *other = Value::Object(Map::from_iter([(key.clone(), Value::Object(Map::new()))]));
                self.at(other, path)
            }
            (Segment::Each, Value::Array(items)) => items.iter_mut().all(|item| self.at(item, rest)),
            (Segment::At(n), Value::Array(items)) => items.get_mut(*n).is_none_or(|item| self.at(item, rest)),
            (Segment::Each | Segment::At(_), other) => {
                *other = Value::Array(Vec::new());
                true
            }
        }
    }

    fn here(&mut self, value: &mut Value) -> bool {
        let Some(left) = self.left.checked_sub(self.cost) else { return false };
        self.left = left;
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        if let Value::Object(object) = value {
            merge_keys(object, self.update.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_where_the_path_leads() {
        let update = Map::from_iter([("x".to_owned(), Value::from(1))]);
        for (path, before, after) in [
            ("a", r#"{}"#, r#"{"a":{"x":1}}"#),
            ("a", r#"{"a":{"x":0,"y":2},"b":3}"#, r#"{"a":{"x":1,"y":2},"b":3}"#),
            ("a", r#"{"a":[1]}"#, r#"{"a":{"x":1}}"#),
            ("a.b.c", r#"{"a":{"d":1}}"#, r#"{"a":{"d":1,"b":{"c":{"x":1}}}}"#),
            ("a.b", r#"{"a":5}"#, r#"{"a":{"b":{"x":1}}}"#),
            ("\"a.b\"", r#"{"a":{"b":1}}"#, r#"{"a":{"b":1},"a.b":{"x":1}}"#),
            ("a[1]", r#"{"a":[{"y":1},{"y":2}]}"#, r#"{"a":[{"y":1},{"y":2,"x":1}]}"#),
            ("a[9]", r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            ("a[].b", r#"{"a":[{},7]}"#, r#"{"a":[{"b":{"x":1}},{"b":{"x":1}}]}"#),
            ("a[]", r#"{"a":5}"#, r#"{"a":[]}"#),
            ("a[0][]", r#"{"a":[5]}"#, r#"{"a":[[]]}"#),
        ] {
            let mut payload: Value = serde_json::from_str(before).unwrap();
            let path = PayloadPath::parse(path).unwrap();
            assert!(path.merge(&mut payload, &update, 1_000), "{path}");
            assert_eq!(payload.to_string(), after, "{path} of {before}");
        }
        let update = Map::from_iter([("x".to_owned(), Value::Null), ("y".to_owned(), Value::from(1))]);
        let mut payload = serde_json::json!({ "a": { "x": 1 } });
        assert!(PayloadPath::parse("a").unwrap().merge(&mut payload, &update, 1_000));
        assert_eq!(payload, serde_json::json!({ "a": { "y": 1 } }), "null takes a key out");
        assert_eq!(PayloadPath::parse("a[].\"b\\\".c").unwrap().around("{}"), r#"{"a":[{"b\\":{"c":{}}}]}"#);
    }

    #[test]
    fn a_merge_into_many_elements_is_bounded() {
        let update = Map::from_iter([("x".to_owned(), Value::from("x".repeat(1_000)))]);
        let mut payload = serde_json::json!({ "a": vec![0; 100_000] });
        assert!(!PayloadPath::parse("a[]").unwrap().merge(&mut payload, &update, 1 << 20));
        assert!(payload.to_string().len() < 2 << 20);
    }
}
