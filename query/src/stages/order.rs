//! The order of the values of a payload field: numbers and dates.

use std::cmp::Ordering;

use engram_index::payload::{PayloadPath, parse_datetime};
use serde_json::Value;

use crate::error::{QueryError, Result};
use crate::filter::reason;
use crate::request::query::OrderBy;

/// A value that points are ordered by: a number, or a date in microseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub enum OrderValue {
    /// A whole number, or a date.
    Int(i64),
    /// Another number.
    Float(f64),
}

impl OrderValue {
    /// The place of a JSON value in the order; `None` for what is neither a number nor an RFC 3339 date.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(n) => n.as_i64().map(Self::Int).or_else(|| n.as_f64().map(Self::Float)),
            Value::String(text) => parse_datetime(text).map(Self::Int),
            _ => None,
        }
    }

    /// As clients read it.
    pub fn to_json(self) -> Value {
        match self {
            Self::Int(n) => Value::from(n),
            Self::Float(x) => Value::from(x),
        }
    }
}

impl Ord for OrderValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Int(a), Self::Float(b)) => compare(a, b),
            (Self::Float(a), Self::Int(b)) => compare(b, a).reverse(),
        }
    }
}

/// A whole number beside another one, without rounding either.
fn compare(a: i64, b: f64) -> Ordering {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() || b >= BEYOND {
        return Ordering::Less;
    }
    if b < -BEYOND {
        return Ordering::Greater;
    }
    // Within the range of i64, so cutting the fraction off is exact.
    let whole = b.trunc() as i64;
    a.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(b.fract() + 0.0)))
}

impl PartialOrd for OrderValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for OrderValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OrderValue {}

/// An order that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Where the values are. A point is ordered by each of its values, and left out without any.
    pub path: PayloadPath,
    /// Largest first.
    pub descending: bool,
    /// Values before this one are left out.
    pub start: Option<OrderValue>,
}

impl Order {
    /// Checks a request's order.
    ///
    /// # Errors
    /// `invalid_argument` for what is no path, and for a start that is neither a number nor a date.
    pub fn new(order_by: &OrderBy) -> Result<Self> {
        let start = match &order_by.start_from {
            None | Some(Value::Null) => None,
            Some(value) => Some(OrderValue::of(value).ok_or_else(|| {
                let message = format!(
                    "order_by: start_from is {value}: give a number, or an RFC 3339 date such as \
                     \"2024-05-01T12:00:00Z\""
                );
                QueryError::invalid("invalid_argument", message)
            })?),
        };
        Ok(Self { path: path("order_by", &order_by.key)?, descending: order_by.descending, start })
    }

    /// Which of two values comes first.
    pub fn compare(&self, a: &OrderValue, b: &OrderValue) -> Ordering {
        if self.descending { b.cmp(a) } else { a.cmp(b) }
    }

    /// Whether a value is on the page or after it.
    pub fn shows(&self, value: &OrderValue) -> bool {
        self.start.is_none_or(|start| self.compare(value, &start).is_ge())
    }
}

/// Parses the path of a request's field; `what` names it.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn path(what: &str, text: &str) -> Result<PayloadPath> {
    PayloadPath::parse(text)
        .map_err(|e| QueryError::invalid("invalid_argument", format!("{what}: {}", reason(e))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_numbers_and_others_compare_exactly() {
        let of = |v: Value| OrderValue::of(&v).unwrap();
        let ascending = [
            of(json!(-1e300)),
            of(json!(i64::MIN)),
            of(json!(-2.5)),
            of(json!(-2)),
            of(json!(0)),
            of(json!(0.5)),
            of(json!(9_007_199_254_740_992_i64)),
            of(json!(9_007_199_254_740_993_i64)),
            of(json!(i64::MAX)),
            of(json!(9_223_372_036_854_775_808_u64)),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        assert_eq!(of(json!(2)), of(json!(2.0)));
        assert_eq!(of(json!(-0.0)), of(json!(0)));
        assert_eq!(of(json!("1970-01-01T00:00:01Z")), OrderValue::Int(1_000_000));
        assert!(
            [json!(true), json!("x"), json!(null), json!([1])].iter().all(|v| OrderValue::of(v).is_none())
        );
    }

    #[test]
    fn a_start_is_a_number_or_a_date() {
        let order = |start: Value, descending| {
            Order::new(&OrderBy { key: "n".into(), descending, start_from: Some(start) })
        };
        let up = order(json!(5), false).unwrap();
        assert!(up.shows(&OrderValue::Int(5)) && !up.shows(&OrderValue::Float(4.9)));
        let down = order(json!("1970-01-01T00:00:01Z"), true).unwrap();
        assert!(down.shows(&OrderValue::Int(1_000_000)) && !down.shows(&OrderValue::Int(1_000_001)));
        assert_eq!(order(json!("soon"), true).unwrap_err().code(), "invalid_argument");
        let bad = Order::new(&OrderBy { key: "a..b".into(), descending: false, start_from: None });
        assert!(bad.unwrap_err().to_string().starts_with("order_by: "));
    }
}
