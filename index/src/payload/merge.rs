//! Setting keys at a path of a payload.

use std::collections::HashMap;

use serde_json::{Result, Value};

use super::lazy::{Entries, FEW_KEYS, LazyJson};
use super::path::{PayloadPath, Segment};

/// Sets the keys of `update` in an object; as in a merge patch (RFC 7396), null takes a key out.
pub fn merge_keys<'a>(object: &mut Entries<'a>, update: Entries<'a>) {
    if update.0.len() > FEW_KEYS {
        return merge_many(object, update);
    }
    for (key, value) in update.0 {
        if value.is_null() {
            object.remove(&key);
        } else {
            object.insert(key, value);
        }
    }
}

/// As that, without looking through the object once a key.
fn merge_many<'a>(object: &mut Entries<'a>, update: Entries<'a>) {
    let places: HashMap<&str, usize> =
        object.0.iter().enumerate().map(|(n, (key, _))| (key.as_str(), n)).collect();
    let places: Vec<_> = update.0.iter().map(|(key, _)| places.get(key.as_str()).copied()).collect();
    let mut gone = vec![false; object.0.len()];
    for ((key, value), place) in update.0.into_iter().zip(places) {
        match place {
            Some(n) if value.is_null() => gone[n] = true,
            Some(n) => object.0[n].1 = value,
            None if value.is_null() => {}
            None => object.0.push((key, value)),
        }
    }
    object.drop_marked(&gone);
}

impl PayloadPath {
    /// Sets the keys of `update` in the object at this path. What is absent on the way is made; what is something else
    /// than the path says gives way to it: an object for a key, an empty array for `[]` and `[n]`. An element that an
    /// array has not is not made.
    ///
    /// False once more than `budget` bytes were added: `[]` may name many elements. Nothing of use is left then.
    ///
    /// # Errors
    /// For a payload that is not JSON.
    pub fn merge<'a>(&self, payload: &mut LazyJson<'a>, update: &Entries<'a>, budget: usize) -> Result<bool> {
        let names: usize =
            self.segments().iter().map(|s| if let Segment::Key(key) = s { key.len() + 5 } else { 1 }).sum();
        let cost = names + serde_json::to_string(update)?.len();
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

struct Merge<'m, 'a> {
    update: &'m Entries<'a>,
    /// Bytes that each place takes.
    cost: usize,
    left: usize,
}

impl<'a> Merge<'_, 'a> {
    fn at(&mut self, value: &mut LazyJson<'a>, path: &[Segment]) -> Result<bool> {
        let Some((head, rest)) = path.split_first() else { return self.here(value) };
        match (head, value.open()?) {
            (Segment::Key(key), LazyJson::Object(object)) => {
                if object.get_mut(key).is_none() {
                    object.0.push((key.clone(), LazyJson::Object(Entries::default())));
                }
                object.get_mut(key).map_or(Ok(true), |inner| self.at(inner, rest))
            }
            (Segment::Key(key), other) => {
                *other = LazyJson::Object(Entries(vec![(key.clone(), LazyJson::Object(Entries::default()))]));
                self.at(other, path)
            }
            (Segment::Each, LazyJson::Array(items)) => {
                for item in items {
                    if !self.at(item, rest)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Segment::At(n), LazyJson::Array(items)) => {
                items.get_mut(*n).map_or(Ok(true), |item| self.at(item, rest))
            }
            (Segment::Each | Segment::At(_), other) => {
                *other = LazyJson::Array(Vec::new());
                Ok(true)
            }
        }
    }

    fn here(&mut self, value: &mut LazyJson<'a>) -> Result<bool> {
        let Some(left) = self.left.checked_sub(self.cost) else { return Ok(false) };
        self.left = left;
        if !matches!(value.open()?, LazyJson::Object(_)) {
            *value = LazyJson::Object(Entries::default());
        }
        if let LazyJson::Object(object) = value {
            merge_keys(object, self.update.clone());
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `payload` after the merge; `None` where it is too large.
    fn merged(path: &str, payload: &str, update: &str, budget: usize) -> Option<String> {
        let mut whole = LazyJson::Object(Entries::read(payload.as_bytes()).unwrap());
        let update = Entries::read(update.as_bytes()).unwrap();
        let fits = PayloadPath::parse(path).unwrap().merge(&mut whole, &update, budget).unwrap();
        fits.then(|| serde_json::to_string(&whole).unwrap())
    }

    #[test]
    fn keys_are_set_where_the_path_leads() {
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
            assert_eq!(merged(path, before, r#"{"x":1}"#, 1_000).unwrap(), after, "{path} of {before}");
        }
        let without = merged("a", r#"{"a":{"x":1}}"#, r#"{"x":null,"y":1}"#, 1_000).unwrap();
        assert_eq!(without, r#"{"a":{"y":1}}"#, "null takes a key out");
        assert_eq!(PayloadPath::parse("a[].\"b\\\".c").unwrap().around("{}"), r#"{"a":[{"b\\":{"c":{}}}]}"#);
    }

    #[test]
    fn many_keys_are_merged_as_few_are() {
        let object = |keys: std::ops::Range<usize>, value: &dyn Fn(usize) -> String| {
            let keys: Vec<String> = keys.map(|n| format!("\"k{n}\":{}", value(n))).collect();
            format!("{{{}}}", keys.join(","))
        };
        let payload = object(0..40, &|_| "[1]".to_owned());
        let update = object(20..60, &|n| if n % 3 == 0 { "null".to_owned() } else { n.to_string() });
        let mut many = Entries::read(payload.as_bytes()).unwrap();
        merge_keys(&mut many, Entries::read(update.as_bytes()).unwrap());
        let mut one_by_one = Entries::read(payload.as_bytes()).unwrap();
        for entry in Entries::read(update.as_bytes()).unwrap().0 {
            merge_keys(&mut one_by_one, Entries(vec![entry]));
        }
        let many = serde_json::to_string(&many).unwrap();
        assert_eq!(many, serde_json::to_string(&one_by_one).unwrap());
        assert!(many.contains("\"k20\":20,\"k22\":22") && many.ends_with("\"k58\":58,\"k59\":59}"), "{many}");
    }

    #[test]
    fn a_merge_into_many_elements_is_bounded() {
        let update = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000));
        let payload = format!(r#"{{"a":[{}]}}"#, vec!["0"; 100_000].join(","));
        assert!(merged("a[]", &payload, &update, 1 << 20).is_none());
    }
}
