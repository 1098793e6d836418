//! The value of a formula for one point.

use std::borrow::Cow;

use engram_index::Pace;
use engram_index::payload::{GeoPoint, parse_datetime};
use engram_storage::StorageError;
use engram_storage::point::PointId;
use serde_json::Value;

use super::check::{Checked, Node, Variable, seconds};
use crate::error::{QueryError, Result};
use crate::filter::Compiled;
use crate::request::query::DecayShape;

/// A formula that is evaluated for many points.
pub(crate) struct Scorer<'a> {
    formula: &'a Checked,
    conditions: Vec<Compiled<'a>>,
    pace: &'a Pace<'a>,
}

/// The point that is scored.
struct Point<'a> {
    id: PointId,
    scores: &'a [Option<f32>],
    payload: Value,
}

impl<'a> Scorer<'a> {
    /// Where `pace` says so scores have no meaning.
    pub fn new(formula: &'a Checked, pace: &'a Pace<'a>) -> Self {
        let conditions = formula.conditions.iter().map(|filter| filter.compile()).collect();
        Self { formula, conditions, pace }
    }

    /// The score of point `id`, given its scores by prefetch stage and its payload as JSON.
    ///
    /// # Errors
    /// `invalid_formula` where a value is missing, is of another kind, or makes a result that is not finite.
    pub fn score(&self, id: PointId, scores: &[Option<f32>], payload: &[u8]) -> Result<f32> {
        let payload = if self.formula.payload && !payload.is_empty() {
            serde_json::from_slice(payload).map_err(|e| StorageError::corrupt("payload", e.to_string()))?
        } else {
            Value::Null
        };
        let point = Point { id, scores, payload };
        let value = self.value(&self.formula.root, &point)?;
        let score = value as f32;
        if score.is_finite() { Ok(score) } else { Err(not_finite(&point, format!("the result is {value}"))) }
    }

    /// Refused where it is no number: a part around it might pick another one, and hide it.
    fn value(&self, node: &Node, point: &Point<'_>) -> Result<f64> {
        let value = self.any_value(node, point)?;
        if value.is_nan() { Err(not_finite(point, "a part of it is NaN".to_owned())) } else { Ok(value) }
    }

    /// Recursion is as deep as the formula was allowed to be.
    fn any_value(&self, node: &Node, point: &Point<'_>) -> Result<f64> {
        let of = |node: &Node| self.value(node, point);
        let finite = |value: f64, what: &str, of: f64| {
            if value.is_finite() {
                Ok(value)
            } else {
                Err(not_finite(point, format!("{what}({of}) is {value}")))
            }
        };
        Ok(match node {
            Node::Constant(x) => *x,
            Node::Score { stage, otherwise } => {
                point.scores.get(*stage).copied().flatten().map_or(*otherwise, f64::from)
            }
            Node::Number(variable) => point.number(variable)?,
            Node::Condition(number) => {
                let condition = self.conditions.get(*number);
                f64::from(u8::from(condition.is_some_and(|c| c.matches(point.id, &point.payload, self.pace))))
            }
            Node::Distance { origin, to } => origin.distance_m(&point.place(to)?),
            Node::Date(variable) => point.date(variable)?,
            Node::Mult(all) => self.product(all, point)?,
            Node::Sum(all) => all.iter().try_fold(0.0, |sum, one| Ok::<_, QueryError>(sum + of(one)?))?,
            Node::Max(all) => self.fold(all, point, f64::max)?,
            Node::Min(all) => self.fold(all, point, f64::min)?,
            Node::Neg(one) => -of(one)?,
            Node::Abs(one) => of(one)?.abs(),
            Node::Div { left, right, by_zero } => self.quotient(left, right, *by_zero, point)?,
            Node::Sqrt(one) => of(one).and_then(|x| finite(x.sqrt(), "sqrt", x))?,
            Node::Pow(base, exponent) => {
                let (base, exponent) = (of(base)?, of(exponent)?);
                finite(base.powf(exponent), &format!("{base} to the power of "), exponent)?
            }
            Node::Exp(one) => of(one).and_then(|x| finite(x.exp(), "exp", x))?,
            Node::Log10(one) => of(one).and_then(|x| finite(x.log10(), "log10", x))?,
            Node::Ln(one) => of(one).and_then(|x| finite(x.ln(), "ln", x))?,
            Node::Acosh(one) => of(one).and_then(|x| finite(x.acosh(), "acosh", x))?,
            Node::Decay { shape, x, target, lambda } => {
                let target = target.as_deref().map_or(Ok(0.0), of)?;
                decay(*shape, of(x)? - target, *lambda)
            }
        })
    }

    /// Ends at a factor of 0: what comes after it need not have a value.
    fn product(&self, factors: &[Node], point: &Point<'_>) -> Result<f64> {
        let mut product = 1.0;
        for factor in factors {
            let value = self.value(factor, point)?;
            if value == 0.0 {
                return Ok(0.0);
            }
            product *= value;
        }
        Ok(product)
    }

    fn fold(&self, nodes: &[Node], point: &Point<'_>, pick: fn(f64, f64) -> f64) -> Result<f64> {
        let mut picked: Option<f64> = None;
        for node in nodes {
            let value = self.value(node, point)?;
            picked = Some(picked.map_or(value, |before| pick(before, value)));
        }
        Ok(picked.unwrap_or(0.0))
    }

    /// A dividend of 0 is the result, whatever it is divided by.
    fn quotient(&self, left: &Node, right: &Node, by_zero: Option<f64>, point: &Point<'_>) -> Result<f64> {
        let left = self.value(left, point)?;
        if left == 0.0 {
            return Ok(0.0);
        }
        let right = self.value(right, point)?;
        match by_zero {
            Some(instead) if right == 0.0 => Ok(instead),
            _ if (left / right).is_finite() => Ok(left / right),
            _ => Err(not_finite(point, format!("{left} / {right} is {}", left / right))),
        }
    }
}

/// 1 at a difference of 0, `midpoint` at one of `scale`.
fn decay(shape: DecayShape, difference: f64, lambda: f64) -> f64 {
    match shape {
        // What is no number stays that, where `max` would pick the 0.
        DecayShape::Linear => match 1.0 - lambda * difference.abs() {
            below if below < 0.0 => 0.0,
            rest => rest,
        },
        DecayShape::Exponential => (lambda * difference.abs()).exp(),
        DecayShape::Gauss => (lambda * difference * difference).exp(),
    }
}

impl Point<'_> {
    /// The value of a variable: the only one at its path, else its default.
    fn find<'b>(&'b self, variable: &'b Variable) -> Result<Cow<'b, Value>> {
        let values = variable.path.values(&self.payload);
        match (values.as_slice(), &variable.otherwise) {
            ([one], _) => Ok(Cow::Borrowed(*one)),
            ([], Some(Value::Array(list))) if list.len() == 1 => Ok(Cow::Borrowed(&list[0])),
            ([], Some(value)) => Ok(Cow::Borrowed(value)),
            ([], None) => self.fail(variable, "has no value, and the formula no default for it".to_owned()),
            (many, _) => self.fail(variable, format!("has {} values, a formula takes one", many.len())),
        }
    }

    fn number(&self, variable: &Variable) -> Result<f64> {
        let value = self.find(variable)?;
        match value.as_f64() {
            Some(number) => Ok(number),
            None => self.fail(variable, format!("is {}, not a number", kind(&value))),
        }
    }

    fn place(&self, variable: &Variable) -> Result<GeoPoint> {
        let value = self.find(variable)?;
        match GeoPoint::from_json(&value) {
            Some(place) => Ok(place),
            None => self.fail(variable, format!("is {}, not an object with `lon` and `lat`", kind(&value))),
        }
    }

    fn date(&self, variable: &Variable) -> Result<f64> {
        let value = self.find(variable)?;
        match value.as_str().and_then(parse_datetime) {
            Some(micros) => Ok(seconds(micros)),
            None => self.fail(variable, format!("is {}, not an RFC 3339 date", kind(&value))),
        }
    }

    fn fail<T>(&self, variable: &Variable, why: String) -> Result<T> {
        let message = format!("formula: `{}` of point {} {why}", variable.path, self.id);
        Err(QueryError::invalid("invalid_formula", message))
    }
}

/// Names of values for messages, which never show payloads.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn not_finite(point: &Point<'_>, what: String) -> QueryError {
    let message = format!("formula: {what} for point {}, which is no finite number", point.id);
    QueryError::invalid("invalid_formula", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::limits::{MAX_FORMULA_DEPTH, MAX_FORMULA_NODES};
    use crate::request::query::Expression as E;
    use crate::request::query::Formula;
    use serde_json::json;

    fn evaluate_with(expression: E, defaults: Value) -> Result<f32> {
        let payload = json!({
            "n": 4, "x": 2.5, "list": [7], "many": [1, 2], "at": "1970-01-02T00:00:00Z", "null": null, "text": "t",
            "home": {"lon": 13.4050, "lat": 52.5200}, "inner": {"n": 10},
        });
        let defaults = defaults.as_object().unwrap().clone().into_iter().collect();
        let checked = Checked::new(&Formula { expression, defaults }, 3)?;
        let payload = serde_json::to_vec(&payload).unwrap();
        Scorer::new(&checked, &Pace::endless()).score(
            PointId::Num(1),
            &[Some(0.5), None, Some(3.0)],
            &payload,
        )
    }

    fn evaluate(expression: E) -> Result<f32> {
        evaluate_with(expression, json!({}))
    }

    fn var(name: &str) -> E {
        E::Variable(name.into())
    }

    fn number(x: f64) -> Box<E> {
        Box::new(E::Constant(x))
    }

    fn fails(expression: E, words: &str) {
        let e = evaluate(expression).unwrap_err();
        assert_eq!(e.code(), "invalid_formula");
        assert!(e.to_string().contains(words), "{e}");
    }

    #[test]
    fn variables_are_scores_payload_or_defaults() {
        for (name, wanted) in [
            ("$score", 0.5),
            ("$score[0]", 0.5),
            ("$score[1]", 0.0),
            ("$score[2]", 3.0),
            ("n", 4.0),
            ("list", 7.0),
            ("inner.n", 10.0),
        ] {
            assert_eq!(evaluate(var(name)).unwrap(), wanted, "{name}");
        }
        let defaults = json!({"$score[1]": 9, "absent": 8, "n": 1, "other": [6]});
        for (name, wanted) in [("$score[1]", 9.0), ("absent", 8.0), ("n", 4.0), ("other", 6.0)] {
            assert_eq!(evaluate_with(var(name), defaults.clone()).unwrap(), wanted, "{name}");
        }
        for bad in [json!("x"), json!(null), json!([1]), json!({})] {
            let e = evaluate_with(var("$score[1]"), json!({ "$score[1]": bad })).unwrap_err();
            assert!(e.to_string().contains("the default of `$score[1]` is no number"), "{e}");
        }
        fails(var("absent"), "`absent` of point 1 has no value");
        fails(var("many"), "has 2 values");
        fails(var("null"), "is null, not a number");
        fails(var("text"), "is a string");
        fails(var("$score[3]"), "there are 3");
        for bad in ["$score[x]", "$score[1].a", "$scores", "$other", "$score[]"] {
            fails(var(bad), "is no variable");
        }
    }

    #[test]
    fn arithmetic() {
        for (expression, wanted) in [
            (E::Sum(vec![var("n"), var("x"), E::Constant(-1.0)]), 5.5),
            (E::Sum(vec![]), 0.0),
            (E::Mult(vec![var("n"), var("x")]), 10.0),
            // The rest of a product with a 0 is not looked at.
            (E::Mult(vec![E::Constant(0.0), var("absent")]), 0.0),
            (E::Max(vec![var("n"), var("x"), E::Constant(-9.0)]), 4.0),
            (E::Min(vec![var("n"), var("x"), E::Constant(-9.0)]), -9.0),
            (E::Neg(Box::new(var("n"))), -4.0),
            (E::Abs(number(-3.0)), 3.0),
            (E::Sqrt(Box::new(var("n"))), 2.0),
            (E::Pow { base: number(2.0), exponent: number(10.0) }, 1024.0),
            (E::Pow { base: number(-2.0), exponent: number(3.0) }, -8.0),
            (E::Exp(number(0.0)), 1.0),
            (E::Log10(number(1000.0)), 3.0),
            (E::Ln(number(std::f64::consts::E)), 1.0),
            (E::Acosh(number(1.0)), 0.0),
            (E::Div { left: number(1.0), right: number(8.0), by_zero_default: None }, 0.125),
            (E::Div { left: number(1.0), right: number(0.0), by_zero_default: Some(5.0) }, 5.0),
            (E::Div { left: number(0.0), right: number(0.0), by_zero_default: Some(5.0) }, 0.0),
        ] {
            assert!((evaluate(expression.clone()).unwrap() - wanted).abs() < 1e-6, "{expression:?}");
        }
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        fails(E::Div { left: number(1.0), right: number(0.0), by_zero_default: None }, "1 / 0 is inf");
        fails(E::Sqrt(number(-1.0)), "sqrt(-1) is NaN");
        fails(E::Ln(number(0.0)), "ln(0) is -inf");
        fails(E::Log10(number(-1.0)), "log10(-1)");
        fails(E::Acosh(number(0.5)), "acosh(0.5)");
        fails(E::Exp(number(1000.0)), "exp(1000)");
        fails(E::Pow { base: number(-2.0), exponent: number(0.5) }, "-2 to the power of (0.5)");
        fails(E::Mult(vec![E::Constant(1e30), E::Constant(1e30)]), "the result is ");
        fails(E::Constant(f64::NAN), "a constant is NaN");
        fails(E::Max(vec![]), "`max` of nothing");
        let huge = || E::Mult(vec![E::Constant(1e300), E::Constant(1e300)]);
        let nan = || E::Sum(vec![huge(), E::Neg(Box::new(huge()))]);
        fails(nan(), "a part of it is NaN");
        // Operations that would pick, or answer without, what is no number.
        fails(E::Max(vec![E::Constant(1.0), nan()]), "a part of it is NaN");
        fails(E::Min(vec![nan(), E::Constant(1.0)]), "a part of it is NaN");
        fails(E::Pow { base: Box::new(nan()), exponent: number(0.0) }, "a part of it is NaN");
        fails(
            E::Div { left: Box::new(nan()), right: number(0.0), by_zero_default: Some(5.0) },
            "a part of it is NaN",
        );
        let decay =
            |x| E::Decay { shape: DecayShape::Linear, x, target: None, scale: None, midpoint: Some(1.0) };
        fails(decay(Box::new(huge())), "a part of it is NaN");
    }

    #[test]
    fn conditions_places_and_dates() {
        let condition = |text: &str| {
            let filter = Filter::from_json(&serde_json::from_str(text).unwrap()).unwrap();
            E::Condition(Box::new(filter.must[0].clone()))
        };
        let holds = condition(r#"{"must":[{"key":"n","match":{"value":4}}]}"#);
        let fails_ = condition(r#"{"must":[{"key":"n","match":{"value":5}}]}"#);
        let id = condition(r#"{"must":[{"has_id":[1]}]}"#);
        assert_eq!(evaluate(E::Sum(vec![holds, fails_, id])).unwrap(), 2.0);
        let paris = E::GeoDistance { origin: (2.3522, 48.8566), to: "home".into() };
        assert!((evaluate(paris).unwrap() - 877_464.6).abs() < 100.0);
        fails(E::GeoDistance { origin: (2.0, 95.0), to: "home".into() }, "is no place");
        fails(E::GeoDistance { origin: (2.0, 5.0), to: "n".into() }, "not an object with");
        assert_eq!(evaluate(E::DatetimeKey("at".into())).unwrap(), 86_400.0);
        assert_eq!(evaluate(E::Datetime("1970-01-01T00:00:01.5Z".into())).unwrap(), 1.5);
        fails(E::Datetime("soon".into()), "is no RFC 3339 date");
        fails(E::DatetimeKey("text".into()), "not an RFC 3339 date");
    }

    #[test]
    fn decays_are_one_at_the_target_and_the_midpoint_at_the_scale() {
        let decay = |shape, x: f64, target: Option<f64>, scale, midpoint| {
            evaluate(E::Decay { shape, x: number(x), target: target.map(number), scale, midpoint })
        };
        for shape in [DecayShape::Linear, DecayShape::Exponential, DecayShape::Gauss] {
            let at = |x, target, scale, midpoint| decay(shape, x, target, scale, midpoint).unwrap();
            assert_eq!(at(0.0, None, None, None), 1.0);
            assert!((at(1.0, None, None, None) - 0.5).abs() < 1e-6);
            assert!((at(7.0, Some(10.0), Some(3.0), Some(0.2)) - 0.2).abs() < 1e-6);
            assert!((at(13.0, Some(10.0), Some(3.0), Some(0.2)) - 0.2).abs() < 1e-6);
            for (scale, midpoint) in [(0.0, 0.5), (-1.0, 0.5), (f64::NAN, 0.5), (1.0, -0.1), (1.0, 1.1)] {
                assert!(decay(shape, 1.0, None, Some(scale), Some(midpoint)).is_err());
            }
        }
        // Two scales away: a line is at its end, an exponential at 0.5^2, a bell at 0.5^4.
        let far = |shape| decay(shape, 2.0, None, None, None).unwrap();
        assert_eq!(far(DecayShape::Linear), 0.0);
        assert!((far(DecayShape::Exponential) - 0.25).abs() < 1e-6);
        assert!((far(DecayShape::Gauss) - 0.0625).abs() < 1e-6);
        assert!(decay(DecayShape::Linear, 1.0, None, None, Some(0.0)).is_ok());
        assert!(decay(DecayShape::Gauss, 1.0, None, None, Some(0.0)).is_err());
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let wide = |n: usize| evaluate(E::Sum(vec![E::Constant(1.0); n - 1]));
        assert_eq!(wide(MAX_FORMULA_NODES).unwrap(), 999.0);
        assert_eq!(wide(MAX_FORMULA_NODES + 1).unwrap_err().code(), "limit_exceeded");
        let deep = |n: usize| evaluate((1..n).fold(E::Constant(1.0), |inner, _| E::Neg(Box::new(inner))));
        assert!(deep(MAX_FORMULA_DEPTH).is_ok());
        assert_eq!(deep(MAX_FORMULA_DEPTH + 1).unwrap_err().code(), "limit_exceeded");
    }
}
