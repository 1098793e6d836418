//! The distinct values of an index in order, each with its rows.

use std::borrow::Cow;

use roaring::RoaringBitmap;
use uuid::Uuid;

use super::keys::Keys;
use super::postings::Postings;
use super::{FieldIndex, Table};
use crate::payload::{PayloadIndexKind, Scalar};

/// One value of an index.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexedValue<'a> {
    /// A keyword, a whole number, `true` or `false`, or a UUID in its dashed form: what a predicate can equal.
    Scalar(Scalar),
    /// A number of an index that does not tell whole numbers from others.
    Number(f64),
    /// A date, microseconds since the epoch.
    Datetime(i64),
    /// Bytes that are no text, which only a damaged index has.
    Unreadable(&'a [u8]),
}

/// The rows of one value.
#[derive(Clone, Copy, Debug)]
pub enum ValueRows<'a> {
    /// Ascending.
    List(&'a [u32]),
    /// Many.
    Many(&'a RoaringBitmap),
}

impl ValueRows<'_> {
    /// Number of these rows that are in `rows`.
    pub fn count_in(&self, rows: &RoaringBitmap) -> u64 {
        match self {
            Self::List(list) => list.iter().filter(|row| rows.contains(**row)).count() as u64,
            Self::Many(bitmap) => bitmap.intersection_len(rows),
        }
    }

    /// Those of these rows that are in `rows`, ascending.
    pub fn in_rows<'b>(&'b self, rows: &'b RoaringBitmap) -> Box<dyn Iterator<Item = u32> + 'b> {
        match self {
            Self::List(list) => Box::new(list.iter().copied().filter(|row| rows.contains(*row))),
            Self::Many(bitmap) => Box::new(bitmap.iter().filter(|row| rows.contains(*row))),
        }
    }
}

/// The distinct values of an index, ascending, by rank.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    kind: PayloadIndexKind,
    keys: &'a Keys,
    postings: &'a Postings,
}

impl FieldIndex {
    /// The distinct values of the index's kind, each with its rows; `None` for places and words, which have no order. Values of other
    /// kinds are not among them: rows that have some are told by [`FieldIndex::others`].
    pub fn values(&self) -> Option<Values<'_>> {
        match &self.table {
            Table::Keyed { keys, postings } => Some(Values { kind: self.kind, keys, postings }),
            Table::Places(_) | Table::Words(_) => None,
        }
    }
}

impl<'a> Values<'a> {
    /// Number of distinct values.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `rank` (0 to `len - 1`).
    pub fn value(&self, rank: usize) -> Option<IndexedValue<'a>> {
        Some(match self.keys {
            Keys::Text(keys) => {
                let bytes = keys.get(rank);
                match String::from_utf8_lossy(bytes) {
                    Cow::Borrowed(text) => IndexedValue::Scalar(Scalar::Keyword(text.to_owned())),
                    Cow::Owned(_) => IndexedValue::Unreadable(bytes),
                }
            }
            Keys::Int(keys) => {
                let key = *keys.get(rank)?;
                match self.kind {
                    PayloadIndexKind::Bool => IndexedValue::Scalar(Scalar::Bool(key != 0)),
                    PayloadIndexKind::Datetime => IndexedValue::Datetime(key),
                    _ => IndexedValue::Scalar(Scalar::Integer(key)),
                }
            }
            Keys::Float(keys) => IndexedValue::Number(*keys.get(rank)?),
            Keys::Uuid(keys) => {
                let uuid = Uuid::from_bytes(*keys.get(rank)?);
                IndexedValue::Scalar(Scalar::Keyword(uuid.as_hyphenated().to_string()))
            }
        })
    }

    /// The rows that have the value at `rank`.
    pub fn rows(&self, rank: usize) -> ValueRows<'a> {
        self.postings.rows_of(rank)
    }
}
