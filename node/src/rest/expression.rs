//! Formulas. The depth of the tree is bounded by the JSON reader before; their length here.

use engram_query::request::query::{DecayShape, Expression, Formula};
use serde_json::{Map, Value};

use super::error::RestError;
use super::filter;
use super::given::{Given, OfTree};

/// Most parts of a formula.
const MAX_PARTS: usize = 1_024;
/// Deepest nesting of a formula.
const MAX_DEPTH: usize = 32;

/// A formula with values for what points have not.
pub(crate) fn formula(
    given: Given<Expression>,
    defaults: Option<Given<Map<String, Value>>>,
) -> Result<Formula, RestError> {
    let defaults = defaults.map(Given::get).transpose()?.unwrap_or_default();
    Ok(Formula { expression: given.get()?, defaults: defaults.into_iter().collect() })
}

impl OfTree for Expression {
    fn of_tree(json: Value) -> Result<Self, RestError> {
        Reader { parts: 0 }.expression(&json, 1)
    }
}

struct Reader {
    parts: usize,
}

fn wrong(what: impl std::fmt::Display) -> RestError {
    RestError::wrong(format!("formula: {what}"))
}

fn text(json: &Value, what: &str) -> Result<String, RestError> {
    json.as_str().map(str::to_owned).ok_or_else(|| wrong(format!("{what} is a string")))
}

fn number(map: &Map<String, Value>, key: &str) -> Result<Option<f64>, RestError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| wrong(format!("`{key}` is a number"))),
    }
}

fn object<'a>(json: &'a Value, what: &str, keys: &[&str]) -> Result<&'a Map<String, Value>, RestError> {
    let map = json.as_object().ok_or_else(|| wrong(format!("`{what}` is an object")))?;
    match map.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(_) => Err(wrong(format!("`{what}` takes {}", keys.join(", ")))),
        None => Ok(map),
    }
}

impl Reader {
    fn expression(&mut self, json: &Value, depth: usize) -> Result<Expression, RestError> {
        self.parts += 1;
        if self.parts > MAX_PARTS || depth > MAX_DEPTH {
            return Err(wrong(format!(
                "it has more than {MAX_PARTS} parts or {MAX_DEPTH} levels: make it shorter"
            )));
        }
        match json {
            Value::Number(n) => {
                n.as_f64().map(Expression::Constant).ok_or_else(|| wrong("a number is too large"))
            }
            Value::String(name) => Ok(Expression::Variable(name.clone())),
            Value::Object(map) => match (map.iter().next(), map.len()) {
                (Some((key, value)), 1) => match self.operation(key, value, depth + 1)? {
                    Some(expression) => Ok(expression),
                    None => condition(json),
                },
                _ => condition(json),
            },
            _ => Err(wrong(
                "a number, a variable, a condition or an operation such as {\"sum\": [..]} is expected",
            )),
        }
    }

    /// `None` where `key` is no operation.
    fn operation(&mut self, key: &str, json: &Value, depth: usize) -> Result<Option<Expression>, RestError> {
        Ok(Some(match key {
            "mult" => Expression::Mult(self.list(json, depth)?),
            "sum" => Expression::Sum(self.list(json, depth)?),
            "max" => Expression::Max(self.list(json, depth)?),
            "min" => Expression::Min(self.list(json, depth)?),
            "neg" => Expression::Neg(self.boxed(json, depth)?),
            "abs" => Expression::Abs(self.boxed(json, depth)?),
            "sqrt" => Expression::Sqrt(self.boxed(json, depth)?),
            "exp" => Expression::Exp(self.boxed(json, depth)?),
            "log10" => Expression::Log10(self.boxed(json, depth)?),
            "ln" => Expression::Ln(self.boxed(json, depth)?),
            "acosh" => Expression::Acosh(self.boxed(json, depth)?),
            "datetime" => Expression::Datetime(text(json, "`datetime`")?),
            "datetime_key" => Expression::DatetimeKey(text(json, "`datetime_key`")?),
            "geo_distance" => geo_distance(json)?,
            "div" => {
                let map = object(json, key, &["left", "right", "by_zero_default"])?;
                Expression::Div {
                    left: self.part(map, "left", depth)?,
                    right: self.part(map, "right", depth)?,
                    by_zero_default: number(map, "by_zero_default")?,
                }
            }
            "pow" => {
                let map = object(json, key, &["base", "exponent"])?;
                Expression::Pow {
                    base: self.part(map, "base", depth)?,
                    exponent: self.part(map, "exponent", depth)?,
                }
            }
            "lin_decay" => self.decay(DecayShape::Linear, json, depth)?,
            "exp_decay" => self.decay(DecayShape::Exponential, json, depth)?,
            "gauss_decay" => self.decay(DecayShape::Gauss, json, depth)?,
            _ => return Ok(None),
        }))
    }

    fn list(&mut self, json: &Value, depth: usize) -> Result<Vec<Expression>, RestError> {
        let items = json.as_array().ok_or_else(|| wrong("a list of expressions is expected"))?;
        items.iter().map(|item| self.expression(item, depth)).collect()
    }

    fn boxed(&mut self, json: &Value, depth: usize) -> Result<Box<Expression>, RestError> {
        self.expression(json, depth).map(Box::new)
    }

    fn part(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        depth: usize,
    ) -> Result<Box<Expression>, RestError> {
        self.boxed(map.get(key).ok_or_else(|| wrong(format!("`{key}` is missing")))?, depth)
    }

    fn decay(&mut self, shape: DecayShape, json: &Value, depth: usize) -> Result<Expression, RestError> {
        let map = object(json, "decay", &["x", "target", "scale", "midpoint"])?;
        let target = match map.get("target") {
            None | Some(Value::Null) => None,
            Some(target) => Some(self.boxed(target, depth)?),
        };
        let x = self.part(map, "x", depth)?;
        Ok(Expression::Decay {
            shape,
            x,
            target,
            scale: number(map, "scale")?,
            midpoint: number(map, "midpoint")?,
        })
    }
}

fn condition(json: &Value) -> Result<Expression, RestError> {
    Ok(Expression::Condition(Box::new(filter::condition(json)?)))
}

fn geo_distance(json: &Value) -> Result<Expression, RestError> {
    let map = object(json, "geo_distance", &["origin", "to"])?;
    let origin = map.get("origin").unwrap_or(&Value::Null);
    let origin = object(origin, "origin", &["lon", "lat"])?;
    let (Some(lon), Some(lat)) = (number(origin, "lon")?, number(origin, "lat")?) else {
        return Err(wrong("`origin` has `lon` and `lat`"));
    };
    let to = text(map.get("to").unwrap_or(&Value::Null), "`to`")?;
    Ok(Expression::GeoDistance { origin: (lon, lat), to })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Value, defaults: Option<&str>) -> Result<Formula, RestError> {
        let given = serde_json::from_str(&json.to_string()).unwrap();
        formula(given, defaults.map(|json| serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn formulas_of_the_dialect_are_read() {
        let json = json!({"sum": ["$score", {"mult": [0.5, {"key": "tag", "match": {"any": ["h1"]}}]},
            {"gauss_decay": {"x": {"geo_distance": {"origin": {"lon": 1, "lat": 2}, "to": "geo"}}, "scale": 5000}}]});
        let Formula { expression, defaults } = read(&json, Some(r#"{"geo": 1}"#)).unwrap();
        assert_eq!(defaults.len(), 1);
        let Expression::Sum(parts) = expression else { panic!("{expression:?}") };
        assert_eq!(parts[0], Expression::Variable("$score".into()));
        assert!(matches!(&parts[1], Expression::Mult(m) if matches!(m[1], Expression::Condition(_))));
        assert!(matches!(&parts[2], Expression::Decay { scale: Some(s), .. } if *s == 5000.0));
    }

    #[test]
    fn formulas_are_bounded_and_checked() {
        let mut deep = json!("$score");
        for _ in 0..MAX_DEPTH {
            deep = json!({ "neg": deep });
        }
        read(&deep, None).unwrap_err();
        read(&json!({ "sum": vec![1; MAX_PARTS] }), None).unwrap_err();
        for bad in [
            json!([]),
            json!(null),
            json!({"div": {"left": 1}}),
            json!({"nope": 1}),
            json!({"div": {"x": 1}}),
        ] {
            read(&bad, None).unwrap_err();
        }
    }
}
