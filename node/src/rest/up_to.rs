//! Lists of bounded length.

use std::fmt;
use std::marker::PhantomData;

use engram_query::limits::at_most;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::error::RestError;

/// A list of which no more than `MAX` elements are kept. All are counted, so that a longer one is refused by its length.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UpTo<T, const MAX: usize> {
    list: Vec<T>,
    len: usize,
}

impl<T, const MAX: usize> UpTo<T, MAX> {
    /// The elements; `what` they are.
    pub(crate) fn list(self, what: &str) -> Result<Vec<T>, RestError> {
        at_most(&format!("the number of {what}"), self.len, MAX, "split the request")?;
        Ok(self.list)
    }
}

impl<T, const MAX: usize> Default for UpTo<T, MAX> {
    fn default() -> Self {
        Self { list: Vec::new(), len: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for UpTo<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = UpTo<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while list.len() < MAX {
                    match seq.next_element()? {
                        Some(one) => list.push(one),
                        None => return Ok(UpTo { len: list.len(), list }),
                    }
                }
                let mut len = MAX;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(UpTo { list, len })
            }
        }
        from.deserialize_seq(Items(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_lists_are_counted_and_not_kept() {
        let read = |json: &str| serde_json::from_str::<UpTo<u8, 2>>(json).unwrap();
        assert!(read("[]").list("ids").unwrap().is_empty());
        assert_eq!(read("[1,2]").list("ids").unwrap(), [1, 2]);
        let long = read("[1,2,3,null,{}]");
        assert_eq!(long.list, [1, 2]);
        assert!(long.list("ids").unwrap_err().told("").1.contains("the number of ids is 5, the limit is 2"));
        assert!(serde_json::from_str::<UpTo<u8, 2>>("[1,2,3").is_err());
    }
}
