//! Predicates over the values of one payload field: the definition of what they mean.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::datetime::parse_datetime;
use super::geo::{Polygon, in_box};
use super::path::PayloadPath;
use crate::error::{IndexError, Result};
use crate::pace::Pace;
use crate::text::TextMatch;

/// A value that can be matched exactly.
///
/// A value equals a scalar of its own type only: `1` is not `1.0`, `"1"` or `true`. Two strings are equal when they
/// are the same text, or when both are text forms of one UUID (dashed, plain, braced, `urn:uuid:`, in either case).
/// That holds whichever index the field has, also none: clients send UUIDs without dashes and read them with dashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A string (also a UUID, also a date).
    Keyword(String),
}

/// A place on the earth, degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// -180 to 180.
    pub lon: f64,
    /// -90 to 90.
    pub lat: f64,
}

/// A predicate over the values that a payload has at one path. Unless said otherwise it holds when any one of the
/// values fulfils it.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldPredicate {
    /// Some value equals one of these.
    Any(Vec<Scalar>),
    /// Some value is a scalar (a string, a number of any kind, `true` or `false`) that equals none of these.
    Except(Vec<Scalar>),
    /// Some number lies in the range (bounds that are `None` are open). Every JSON number counts; it is compared as
    /// an `f64`, whole numbers beyond 2^53 thus by their nearest `f64`.
    Range {
        /// Less than.
        lt: Option<f64>,
        /// Less than or equal.
        lte: Option<f64>,
        /// Greater than.
        gt: Option<f64>,
        /// Greater than or equal.
        gte: Option<f64>,
    },
    /// Some RFC 3339 date lies in the range, in microseconds since the epoch.
    DatetimeRange {
        /// Less than.
        lt: Option<i64>,
        /// Less than or equal.
        lte: Option<i64>,
        /// Greater than.
        gt: Option<i64>,
        /// Greater than or equal.
        gte: Option<i64>,
    },
    /// Some place is within `radius_m` metres of `center` (haversine), the rim included.
    GeoRadius {
        /// Centre.
        center: GeoPoint,
        /// Metres.
        radius_m: f64,
    },
    /// Some place lies in the box, edges included; a box whose left side is east of its right side crosses the date
    /// line.
    GeoBox {
        /// North-west corner.
        top_left: GeoPoint,
        /// South-east corner.
        bottom_right: GeoPoint,
    },
    /// Some place lies in the polygon.
    GeoPolygon(Polygon),
    /// The number of values lies in the range (an array counts its elements, `null` and an absent field 0).
    ValuesCount {
        /// Less than.
        lt: Option<u64>,
        /// Less than or equal.
        lte: Option<u64>,
        /// Greater than.
        gt: Option<u64>,
        /// Greater than or equal.
        gte: Option<u64>,
    },
    /// The strings of the field have words; see [`TextMatch`].
    Text(TextMatch),
    /// The field is absent, `null` or `[]`.
    IsEmpty,
    /// The field is there and `null`.
    IsNull,
}

impl FieldPredicate {
    /// Checks the bounds and places of this predicate.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] for NaN bounds, for places off the globe, for a radius that is negative or
    /// not finite, for a box whose top is below its bottom, and for a ring that is not closed.
    pub fn validate(&self) -> Result<()> {
        let refuse = |why: String| Err(IndexError::InvalidParameter(why));
        match self {
            Self::Range { lt, lte, gt, gte }
                if [lt, lte, gt, gte].into_iter().flatten().any(|b| b.is_nan()) =>
            {
                return refuse("a bound of a range is not a number".into());
            }
            Self::GeoRadius { center, radius_m } => {
                if !center.is_valid() {
                    return refuse(off_the_globe("center", center));
                }
                if !(radius_m.is_finite() && *radius_m >= 0.0) {
                    return refuse(format!("a radius of {radius_m} metres is not 0 or more"));
                }
            }
            Self::GeoBox { top_left, bottom_right } => {
                for (name, corner) in [("top_left", top_left), ("bottom_right", bottom_right)] {
                    if !corner.is_valid() {
                        return refuse(off_the_globe(name, corner));
                    }
                }
                if top_left.lat < bottom_right.lat {
                    return refuse("`top_left` of a geo box lies south of its `bottom_right`".into());
                }
            }
            Self::GeoPolygon(polygon) => {
                for ring in polygon.rings() {
                    if ring.len() < 4 || ring.first() != ring.last() {
                        return refuse(
                            "a ring of a polygon has 4 points or more, and the last is the first".into(),
                        );
                    }
                    if let Some(off) = ring.iter().find(|place| !place.is_valid()) {
                        return refuse(off_the_globe("point", off));
                    }
                }
            }
            Self::Text(text) => text.validate()?,
            _ => {}
        }
        Ok(())
    }

    /// Whether the values of `payload` at `path` fulfil this predicate. To ask many payloads, make a [`Matcher`]
    /// once.
    pub fn matches(&self, payload: &Value, path: &PayloadPath) -> bool {
        Matcher { predicate: self, set: None, work: work(self) }.matches(payload, path)
    }
}

fn off_the_globe(name: &str, place: &GeoPoint) -> String {
    format!("`{name}` (lon {}, lat {}) is no place: lon is -180 to 180, lat -90 to 90", place.lon, place.lat)
}

/// A predicate made ready for many payloads: long lists are looked up instead of walked.
#[derive(Debug)]
pub struct Matcher<'a> {
    predicate: &'a FieldPredicate,
    set: Option<ScalarSet<'a>>,
    /// What asking one value costs, in nanoseconds or so.
    work: usize,
}

#[derive(Debug, Default)]
struct ScalarSet<'a> {
    bools: [bool; 2],
    integers: HashSet<i64>,
    keywords: HashSet<Cow<'a, str>>,
}

/// Lists up to this length are walked.
const SHORT_LIST: usize = 8;

impl<'a> Matcher<'a> {
    /// Makes `predicate` ready.
    pub fn new(predicate: &'a FieldPredicate) -> Self {
        let set = match predicate {
            FieldPredicate::Any(list) | FieldPredicate::Except(list) if list.len() > SHORT_LIST => {
                Some(ScalarSet::new(list))
            }
            _ => None,
        };
        Self { predicate, set, work: work(predicate) }
    }

    /// As [`FieldPredicate::matches`].
    pub fn matches(&self, payload: &Value, path: &PayloadPath) -> bool {
        self.matches_while(payload, path, &Pace::endless())
    }

    /// As [`FieldPredicate::matches`]; ends without a meaning where `pace` says so.
    pub fn matches_while(&self, payload: &Value, path: &PayloadPath, pace: &Pace<'_>) -> bool {
        match self.predicate {
            FieldPredicate::IsEmpty => path.shape(payload).count == 0,
            FieldPredicate::IsNull => path.shape(payload).null,
            FieldPredicate::ValuesCount { lt, lte, gt, gte } => {
                within(path.shape(payload).count, *lt, *lte, *gt, *gte)
            }
            FieldPredicate::Text(text) => text.holds_while(path.strings(payload).into_iter(), pace),
            // A walk over values ends at the first that holds.
            _ => path.any_value(payload, |v| !pace.go_on(self.work) || self.holds(v)),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match self.predicate {
            FieldPredicate::Any(list) => self.listed(list, value),
            FieldPredicate::Except(list) => is_scalar(value) && !self.listed(list, value),
            FieldPredicate::Range { lt, lte, gt, gte } => {
                value.as_f64().is_some_and(|v| within(v, *lt, *lte, *gt, *gte))
            }
            FieldPredicate::DatetimeRange { lt, lte, gt, gte } => {
                value.as_str().and_then(parse_datetime).is_some_and(|v| within(v, *lt, *lte, *gt, *gte))
            }
            FieldPredicate::GeoRadius { center, radius_m } => {
                GeoPoint::from_json(value).is_some_and(|p| center.distance_m(&p) <= *radius_m)
            }
            FieldPredicate::GeoBox { top_left, bottom_right } => {
                GeoPoint::from_json(value).is_some_and(|p| in_box(&p, top_left, bottom_right))
            }
            FieldPredicate::GeoPolygon(polygon) => {
                GeoPoint::from_json(value).is_some_and(|p| polygon.contains(&p))
            }
            // About the field as a whole: answered in `matches`.
            FieldPredicate::ValuesCount { .. }
            | FieldPredicate::Text(_)
            | FieldPredicate::IsEmpty
            | FieldPredicate::IsNull => false,
        }
    }

    fn listed(&self, list: &[Scalar], value: &Value) -> bool {
        match &self.set {
            Some(set) => set.contains(value),
            None => list.iter().any(|s| s.equals(value)),
        }
    }
}

fn work(predicate: &FieldPredicate) -> usize {
    match predicate {
        FieldPredicate::GeoPolygon(polygon) => polygon.rings().map(|ring| ring.len() * 4).sum::<usize>() + 50,
        _ => 50,
    }
}

impl<'a> ScalarSet<'a> {
    fn new(list: &'a [Scalar]) -> Self {
        let mut set = Self::default();
        for scalar in list {
            match scalar {
                Scalar::Bool(b) => set.bools[usize::from(*b)] = true,
                Scalar::Integer(i) => drop(set.integers.insert(*i)),
                Scalar::Keyword(s) => drop(set.keywords.insert(canonical_keyword(s))),
            }
        }
        set
    }

    fn contains(&self, value: &Value) -> bool {
        match value {
            Value::Bool(b) => self.bools[usize::from(*b)],
            Value::Number(n) => n.as_i64().is_some_and(|i| self.integers.contains(&i)),
            Value::String(s) => self.keywords.contains(canonical_keyword(s).as_ref()),
            _ => false,
        }
    }
}

impl Scalar {
    /// Whether a JSON value is this scalar.
    pub fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Integer(a), Value::Number(b)) => b.as_i64() == Some(*a),
            (Self::Keyword(a), Value::String(b)) => {
                a == b || (as_uuid(a).is_some() && as_uuid(a) == as_uuid(b))
            }
            _ => false,
        }
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// The text that stands for all strings equal to `text`: the dashed lower-case form of a UUID, else `text` itself.
pub fn canonical_keyword(text: &str) -> Cow<'_, str> {
    match as_uuid(text) {
        Some(uuid) => Cow::Owned(uuid.as_hyphenated().to_string()),
        None => Cow::Borrowed(text),
    }
}

/// The UUID that `text` is a form of.
pub(super) fn as_uuid(text: &str) -> Option<Uuid> {
    // Lengths of the plain, dashed, braced and URN forms: most strings are told apart by that alone.
    if !matches!(text.len(), 32 | 36 | 38 | 45) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

/// Whether `v` fulfils every given bound.
pub(super) fn within<T: PartialOrd + Copy>(
    v: T,
    lt: Option<T>,
    lte: Option<T>,
    gt: Option<T>,
    gte: Option<T>,
) -> bool {
    lt.is_none_or(|b| v < b)
        && lte.is_none_or(|b| v <= b)
        && gt.is_none_or(|b| v > b)
        && gte.is_none_or(|b| v >= b)
}
