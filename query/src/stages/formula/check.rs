//! A formula made ready.

use std::collections::HashMap;
use std::sync::Arc;

use engram_index::payload::{GeoPoint, PayloadPath, parse_datetime};
use engram_storage::schema::CollectionSchema;
use serde_json::Value;

use crate::error::{QueryError, Result};
use crate::filter::{Bound, Filter};
use crate::limits::{MAX_FORMULA_DEPTH, MAX_FORMULA_NODES, at_most};
use crate::request::query::{DecayShape, Expression, Formula};
use crate::stages::order::path;

/// A formula that was checked.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(super) root: Node,
    /// Conditions by number, each as a filter.
    pub(super) conditions: Vec<Arc<Filter>>,
    /// Whether the payload is looked at.
    pub(super) payload: bool,
}

/// A part of a formula.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(f64),
    /// Score of a prefetch stage, and what stands for it where the stage has not found the point.
    Score {
        stage: usize,
        otherwise: f64,
    },
    Number(Variable),
    /// Number of a condition.
    Condition(usize),
    Distance {
        origin: GeoPoint,
        to: Variable,
    },
    Date(Variable),
    Mult(Vec<Node>),
    Sum(Vec<Node>),
    Max(Vec<Node>),
    Min(Vec<Node>),
    Neg(Box<Node>),
    Abs(Box<Node>),
    Div {
        left: Box<Node>,
        right: Box<Node>,
        by_zero: Option<f64>,
    },
    Sqrt(Box<Node>),
    Pow(Box<Node>, Box<Node>),
    Exp(Box<Node>),
    Log10(Box<Node>),
    Ln(Box<Node>),
    Acosh(Box<Node>),
    Decay {
        shape: DecayShape,
        x: Box<Node>,
        target: Option<Box<Node>>,
        lambda: f64,
    },
}

/// A value of the payload.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub path: PayloadPath,
    /// Where the payload has none.
    pub otherwise: Option<Value>,
}

impl Checked {
    /// The same formula, whose text conditions know the text indexes of the collection.
    ///
    /// # Errors
    /// For a text of too many words.
    pub fn bound(self, schema: &CollectionSchema) -> Result<Self> {
        let conditions =
            self.conditions.into_iter().map(|filter| Ok(Bound::new(filter, schema)?.into_inner()));
        Ok(Self { conditions: conditions.collect::<engram_index::Result<_>>()?, ..self })
    }

    /// Checks a formula over so many prefetch stages.
    ///
    /// # Errors
    /// [`QueryError::Limit`] for too many parts or too deep ones; `invalid_formula` and `invalid_filter` for what has no
    /// meaning.
    pub fn new(formula: &Formula, stages: usize) -> Result<Self> {
        if stages == 0 {
            return refuse("it needs prefetch stages: give the queries whose results it scores".to_owned());
        }
        // Before anything is built for them.
        let mut nodes = 0;
        measure(&formula.expression, 1, &mut nodes)?;
        at_most(
            "the number of defaults of the formula",
            formula.defaults.len(),
            MAX_FORMULA_NODES,
            "give fewer",
        )?;
        let mut builder =
            Builder { stages, defaults: HashMap::new(), conditions: Vec::new(), payload: false };
        for (name, value) in &formula.defaults {
            let key = match score_index(name)? {
                Some(_) if !value.is_number() => {
                    return refuse(format!("the default of `{name}` is no number: give one"));
                }
                Some(stage) => Key::Score(stage),
                None => Key::Payload(path("formula: defaults", name)?.to_string()),
            };
            builder.defaults.insert(key, value);
        }
        let root = builder.node(&formula.expression)?;
        Ok(Self { root, conditions: builder.conditions, payload: builder.payload })
    }
}

pub(super) fn refuse<T>(why: String) -> Result<T> {
    Err(QueryError::invalid("invalid_formula", format!("formula: {why}")))
}

/// Parts inside `expression`, counted without going deeper than allowed.
fn measure(expression: &Expression, depth: usize, nodes: &mut usize) -> Result<()> {
    *nodes += 1;
    at_most("the number of parts of the formula", *nodes, MAX_FORMULA_NODES, "simplify it")?;
    at_most("the depth of the formula", depth, MAX_FORMULA_DEPTH, "simplify it")?;
    let mut inside = |e: &Expression| measure(e, depth + 1, nodes);
    match expression {
        Expression::Mult(all) | Expression::Sum(all) | Expression::Max(all) | Expression::Min(all) => {
            all.iter().try_for_each(inside)
        }
        Expression::Neg(one)
        | Expression::Abs(one)
        | Expression::Sqrt(one)
        | Expression::Exp(one)
        | Expression::Log10(one)
        | Expression::Ln(one)
        | Expression::Acosh(one) => inside(one),
        Expression::Div { left: a, right: b, .. } | Expression::Pow { base: a, exponent: b } => {
            inside(a)?;
            inside(b)
        }
        Expression::Decay { x, target, .. } => {
            inside(x)?;
            target.as_deref().map_or(Ok(()), inside)
        }
        Expression::Constant(_)
        | Expression::Variable(_)
        | Expression::Condition(_)
        | Expression::GeoDistance { .. }
        | Expression::Datetime(_)
        | Expression::DatetimeKey(_) => Ok(()),
    }
}

/// What a default is for.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Score(usize),
    Payload(String),
}

/// `$score` or `$score[i]`; `None` for the path of a payload field.
fn score_index(name: &str) -> Result<Option<usize>> {
    let Some(reserved) = name.strip_prefix('$') else { return Ok(None) };
    let index = match reserved.strip_prefix("score") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')).and_then(|digits| {
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        }),
        None => None,
    };
    match index {
        Some(index) => Ok(Some(index)),
        None => {
            refuse(format!("`{name}` is no variable: write `$score`, `$score[0]`, or the path of a field"))
        }
    }
}

struct Builder<'a> {
    stages: usize,
    defaults: HashMap<Key, &'a Value>,
    conditions: Vec<Arc<Filter>>,
    payload: bool,
}

impl Builder<'_> {
    /// Recursion is as deep as `measure` allows.
    fn node(&mut self, expression: &Expression) -> Result<Node> {
        Ok(match expression {
            Expression::Constant(x) => Node::Constant(finite("a constant", *x)?),
            Expression::Variable(name) => self.variable(name)?,
            Expression::Condition(condition) => {
                self.payload = true;
                let filter = Filter::only(condition.as_ref().clone());
                filter.validate()?;
                if filter.asks_for_vectors() {
                    return refuse(
                        "`has_vector` is not known in a formula: filter the prefetch stage by it".to_owned(),
                    );
                }
                self.conditions.push(Arc::new(filter));
                Node::Condition(self.conditions.len() - 1)
            }
            Expression::GeoDistance { origin: (lon, lat), to } => {
                let origin = GeoPoint { lon: *lon, lat: *lat };
                if !origin.is_valid() {
                    return refuse(format!(
                        "the origin (lon {lon}, lat {lat}) is no place: lon is -180 to 180, lat -90 to 90"
                    ));
                }
                Node::Distance { origin, to: self.payload_value(to)? }
            }
            Expression::Datetime(text) => match parse_datetime(text) {
                Some(micros) => Node::Constant(seconds(micros)),
                None => return refuse(format!("{text:?} is no RFC 3339 date such as 2024-05-01T12:00:00Z")),
            },
            Expression::DatetimeKey(key) => Node::Date(self.payload_value(key)?),
            Expression::Mult(all) => Node::Mult(self.nodes(all)?),
            Expression::Sum(all) => Node::Sum(self.nodes(all)?),
            Expression::Max(all) => Node::Max(self.some_nodes("max", all)?),
            Expression::Min(all) => Node::Min(self.some_nodes("min", all)?),
            Expression::Neg(one) => Node::Neg(self.boxed(one)?),
            Expression::Abs(one) => Node::Abs(self.boxed(one)?),
            Expression::Div { left, right, by_zero_default } => Node::Div {
                left: self.boxed(left)?,
                right: self.boxed(right)?,
                by_zero: by_zero_default.map(|x| finite("by_zero_default", x)).transpose()?,
            },
            Expression::Sqrt(one) => Node::Sqrt(self.boxed(one)?),
            Expression::Pow { base, exponent } => Node::Pow(self.boxed(base)?, self.boxed(exponent)?),
            Expression::Exp(one) => Node::Exp(self.boxed(one)?),
            Expression::Log10(one) => Node::Log10(self.boxed(one)?),
            Expression::Ln(one) => Node::Ln(self.boxed(one)?),
            Expression::Acosh(one) => Node::Acosh(self.boxed(one)?),
            Expression::Decay { shape, x, target, scale, midpoint } => Node::Decay {
                shape: *shape,
                x: self.boxed(x)?,
                target: target.as_deref().map(|t| self.boxed(t)).transpose()?,
                lambda: lambda(*shape, scale.unwrap_or(1.0), midpoint.unwrap_or(0.5))?,
            },
        })
    }

    fn boxed(&mut self, expression: &Expression) -> Result<Box<Node>> {
        self.node(expression).map(Box::new)
    }

    fn nodes(&mut self, expressions: &[Expression]) -> Result<Vec<Node>> {
        expressions.iter().map(|e| self.node(e)).collect()
    }

    fn some_nodes(&mut self, what: &str, expressions: &[Expression]) -> Result<Vec<Node>> {
        if expressions.is_empty() {
            return refuse(format!("`{what}` of nothing has no value: give at least one expression"));
        }
        self.nodes(expressions)
    }

    fn variable(&mut self, name: &str) -> Result<Node> {
        let Some(stage) = score_index(name)? else { return Ok(Node::Number(self.payload_value(name)?)) };
        if stage >= self.stages {
            return refuse(format!(
                "`{name}` is the score of prefetch stage {stage}, but there are {}: they count from 0",
                self.stages
            ));
        }
        let otherwise = self.defaults.get(&Key::Score(stage)).and_then(|v| v.as_f64()).unwrap_or(0.0);
        Ok(Node::Score { stage, otherwise })
    }

    fn payload_value(&mut self, name: &str) -> Result<Variable> {
        self.payload = true;
        let path = path("formula", name)?;
        let otherwise = self.defaults.get(&Key::Payload(path.to_string())).map(|v| (*v).clone());
        Ok(Variable { path, otherwise })
    }
}

fn finite(what: &str, x: f64) -> Result<f64> {
    if x.is_finite() { Ok(x) } else { refuse(format!("{what} is {x}: give a finite number")) }
}

/// Seconds since the epoch.
pub(super) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// The factor of a decay that is `midpoint` at `scale` from its target.
fn lambda(shape: DecayShape, scale: f64, midpoint: f64) -> Result<f64> {
    if !(scale.is_finite() && scale > 0.0) {
        return refuse(format!("the scale of a decay is {scale}: give a number above 0"));
    }
    // A line may reach 0 at the scale, or not fall at all.
    let open = midpoint > 0.0 && midpoint < 1.0;
    if !(open || shape == DecayShape::Linear && (0.0..=1.0).contains(&midpoint)) {
        return refuse(format!("the midpoint of a decay is {midpoint}: give a number between 0 and 1"));
    }
    let lambda = match shape {
        DecayShape::Linear => (1.0 - midpoint) / scale,
        DecayShape::Exponential => midpoint.ln() / scale,
        DecayShape::Gauss => midpoint.ln() / scale / scale,
    };
    finite("the slope of a decay", lambda)
}
