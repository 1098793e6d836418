//! Parts of a body that are made through a tree of JSON: filters, formulas.
//!
//! They are made as soon as their text is there, and the tree is gone again: a body of many filters has one tree in
//! memory at a time, and so have all bodies together where it is a large one.

use parking_lot::Mutex;
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::RestError;
use super::reading::INLINE;
use super::weight::{MAX_TREE_BYTES, Shape};

/// Trees that may be large are made one after the other.
static LARGE: Mutex<()> = Mutex::new(());

/// What is made of a tree. What is wrong with it is told when it is asked for, in the words of a request that was
/// understood.
#[derive(Debug)]
pub(crate) struct Given<T>(Result<T, RestError>);

/// Something that is made of a tree.
pub(crate) trait OfTree: Sized {
    /// Most bytes of the tree.
    const MAX: usize = MAX_TREE_BYTES;
    fn of_tree(json: Value) -> Result<Self, RestError>;
}

impl<T> Given<T> {
    pub(crate) fn get(self) -> Result<T, RestError> {
        self.0
    }
}

impl<'de, T: OfTree> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(make(<&RawValue>::deserialize(from)?.get())))
    }
}

fn make<T: OfTree>(text: &str) -> Result<T, RestError> {
    let bytes = Shape::Tree.weigh(text.as_bytes());
    if bytes > T::MAX {
        return Err(RestError::wrong(format!(
            "a filter or formula takes {bytes} bytes once it is read, the limit is {}: use fewer conditions and shorter \
             lists, or several requests",
            T::MAX
        )));
    }
    let _alone = (text.len() > INLINE).then(|| LARGE.lock());
    T::of_tree(serde_json::from_str(text).map_err(RestError::format)?)
}

/// Values by name, kept as they are.
impl OfTree for Map<String, Value> {
    const MAX: usize = 4 << 20;
    fn of_tree(json: Value) -> Result<Self, RestError> {
        match json {
            Value::Object(map) => Ok(map),
            _ => Err(RestError::format("an object is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use engram_query::filter::Filter;

    use super::*;

    fn read(json: &str) -> Result<Filter, String> {
        let given = serde_json::from_str::<Given<Filter>>(json).unwrap();
        given.get().map_err(|e| e.told("").1)
    }

    #[test]
    fn what_would_be_a_large_tree_is_refused_by_its_text() {
        let conditions = |n: usize| format!(r#"{{"must":[{}]}}"#, vec!["{}"; n].join(","));
        assert_eq!(read(&conditions(256)).unwrap().must.len(), 256);
        assert!(read(&conditions(257)).unwrap_err().contains("257 is above the limit of 256"));
        assert!(read(&conditions(1_000_000)).unwrap_err().contains("use fewer conditions"));
        let numbers =
            format!(r#"{{"must":{{"key":"a","match":{{"any":[{}]}}}}}}"#, vec!["1"; 1 << 20].join(","));
        assert!(read(&numbers).unwrap_err().contains("use fewer conditions"));
        // As many as a list may have, in several conditions.
        let ids: Vec<String> =
            (0..10_000).map(|i| format!("\"550e8400-e29b-41d4-a716-44665544{i:04}\"")).collect();
        let one = format!(r#"{{"key":"a","match":{{"any":[{}]}}}}"#, ids.join(","));
        assert_eq!(read(&format!(r#"{{"should":[{}]}}"#, vec![one; 20].join(","))).unwrap().should.len(), 20);
    }
}
