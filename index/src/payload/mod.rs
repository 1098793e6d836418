//! Payload fields: the values a JSON payload has at a path, predicates over them, and index structures that answer
//! the same predicates with bitmaps.
//!
//! A predicate means the same with and without an index: [`FieldPredicate::matches`] over the JSON value is the
//! definition, [`FieldIndex::matching`] the fast way.

use serde::{Deserialize, Serialize};

pub mod datetime;
pub mod field_index;
pub mod geo;
mod lazy;
mod merge;
pub mod path;
pub mod predicate;

pub use datetime::parse_datetime;
pub use field_index::{FieldIndex, FieldIndexBuilder, IndexedValue, Probe, ValueRows, Values};
pub use geo::Polygon;
pub use lazy::{Entries, LazyJson};
pub use merge::merge_keys;
pub use path::{FieldShape, PayloadPath, Segment};
pub use predicate::{FieldPredicate, GeoPoint, Matcher, Scalar, canonical_keyword};

/// Kind of the values that a payload index holds; values of other kinds are not in it and match nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadIndexKind {
    /// Strings, compared exactly.
    Keyword,
    /// Whole numbers that fit an `i64`.
    Integer,
    /// Numbers.
    Float,
    /// `true` and `false`.
    Bool,
    /// RFC 3339 dates, kept in microseconds since the epoch.
    Datetime,
    /// UUIDs in any of their text forms.
    Uuid,
    /// Objects with `lat` and `lon` in degrees.
    Geo,
    /// Words of strings; see [`crate::text`].
    Text,
}
