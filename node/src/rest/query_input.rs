//! What a query ranks by, in all forms of the dialect. A vector is read as a vector; only formulas and filters are trees.

use std::fmt;
use std::marker::PhantomData;

use engram_index::text::bm25::{B, K1};
use engram_index::vector::VectorValue;
use engram_query::request::query::{
    ContextPair, Expression, Fusion, OrderBy, Query, RecommendStrategy, TextQuery, VectorInput,
};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::error::RestError;
use super::expression;
use super::given::Given;
use super::name_or::NameOr;
use super::plain::Plain;
use super::point_id::Id;
use super::vector::{self, SparseParts, from_list};

/// A vector, the id of a point that has one, or what a query ranks by.
pub(crate) enum QueryInput {
    Nearest(Input),
    By(Box<QueryObject>),
}

/// A vector, or the id of a point that has one.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Vector(VectorValue),
    Point(Id),
}

/// An object that stands for a query: exactly one kind of it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueryObject {
    nearest: Option<Input>,
    mmr: Option<Mmr>,
    recommend: Option<Recommend>,
    discover: Option<Discover>,
    context: Option<OneOrMany<Pair>>,
    order_by: Option<NameOr<OrderByObject>>,
    fusion: Option<FusionKind>,
    rrf: Option<Rrf>,
    formula: Option<Given<Expression>>,
    defaults: Option<Given<serde_json::Map<String, Value>>>,
    sample: Option<SampleKind>,
    text: Option<NameOr<TextObject>>,
    indices: Option<Vec<u32>>,
    values: Option<Vec<f32>>,
    relevance_feedback: Option<IgnoredAny>,
    /// Texts and pictures in place of vectors.
    model: Option<IgnoredAny>,
    options: Option<IgnoredAny>,
    image: Option<IgnoredAny>,
    object: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mmr {
    #[serde(default)]
    diversity: Option<f32>,
    #[serde(default)]
    candidates_limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recommend {
    #[serde(default)]
    positive: Option<Vec<Input>>,
    #[serde(default)]
    negative: Option<Vec<Input>>,
    #[serde(default)]
    strategy: Option<Strategy>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    AverageVector,
    BestScore,
    SumScores,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Discover {
    target: Input,
    #[serde(default)]
    context: Option<OneOrMany<Pair>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    positive: Input,
    negative: Input,
}

/// A list of objects, or one object where a list of them is expected. Read without a tree in between: there are vectors
/// in them.
pub(crate) struct OneOrMany<T>(Vec<T>);

impl<T> OneOrMany<T> {
    pub(crate) fn list(self) -> Vec<T> {
        self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or a list of objects")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = seq.next_element()? {
                    list.push(one);
                }
                Ok(OneOrMany(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
            }
        }
        from.deserialize_any(Either(PhantomData))
    }
}

/// A path with a direction.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderByObject {
    key: String,
    #[serde(default)]
    direction: Option<Direction>,
    #[serde(default)]
    start_from: Option<Plain>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Asc,
    Desc,
}

/// An order by a path, or by a path with a direction.
pub(crate) fn order(given: NameOr<OrderByObject>) -> OrderBy {
    match given {
        NameOr::Name(key) => OrderBy { key, descending: false, start_from: None },
        NameOr::Full(OrderByObject { key, direction, start_from }) => {
            let start_from = start_from.map(|start| start.0);
            OrderBy { key, descending: direction == Some(Direction::Desc), start_from }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum FusionKind {
    Rrf,
    Dbsf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rrf {
    #[serde(default)]
    k: Option<usize>,
    #[serde(default)]
    weights: Option<Vec<f32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SampleKind {
    Random,
}

/// Words, and how points are scored by them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextObject {
    query: String,
    #[serde(default)]
    scoring: Option<Scoring>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scoring {
    bm25: Bm25,
}

/// Parameters that cannot be others here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bm25 {
    #[serde(default, alias = "k1")]
    k: Option<f64>,
    #[serde(default)]
    b: Option<f64>,
}

impl Bm25 {
    fn is_ours(&self) -> bool {
        self.k.is_none_or(|k| k == K1) && self.b.is_none_or(|b| b == B)
    }
}

impl<'de> Deserialize<'de> for QueryInput {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = QueryInput;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, a point ID (an unsigned integer or a UUID), or an object such as {\"nearest\": ..}")
            }
            fn visit_u64<E>(self, n: u64) -> Result<QueryInput, E> {
                Ok(QueryInput::Nearest(Input::Point(Id(engram_storage::point::PointId::Num(n)))))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<QueryInput, E> {
                Id::deserialize(StrDeserializer::new(text)).map(|id| QueryInput::Nearest(Input::Point(id)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QueryInput, A::Error> {
                from_list(seq).map(|vector| QueryInput::Nearest(Input::Vector(vector)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QueryInput, A::Error> {
                let object = QueryObject::deserialize(MapAccessDeserializer::new(map))?;
                Ok(QueryInput::By(Box::new(object)))
            }
        }
        from.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match QueryInput::deserialize(from)? {
            QueryInput::Nearest(input) => Ok(input),
            QueryInput::By(object) => match *object {
                QueryObject { indices: Some(indices), values: Some(values), .. } => {
                    Ok(Self::Vector(SparseParts::value(indices, values)))
                }
                _ => Err(D::Error::custom(
                    "a vector or the id of a point is expected; this server makes no embeddings of texts or pictures",
                )),
            },
        }
    }
}

impl Input {
    pub(crate) fn input(self) -> Result<VectorInput, RestError> {
        Ok(match self {
            Self::Vector(value) => VectorInput::Value(vector::checked(value)?),
            Self::Point(id) => VectorInput::Point(id.0),
        })
    }
}

fn inputs(list: Option<Vec<Input>>) -> Result<Vec<VectorInput>, RestError> {
    list.unwrap_or_default().into_iter().map(Input::input).collect()
}

fn pairs(list: OneOrMany<Pair>) -> Result<Vec<ContextPair>, RestError> {
    let pair =
        |pair: Pair| Ok(ContextPair { positive: pair.positive.input()?, negative: pair.negative.input()? });
    list.list().into_iter().map(pair).collect()
}

impl QueryInput {
    /// The query; `using` is the payload field of a query for words.
    pub(crate) fn query(self, using: &str) -> Result<Query, RestError> {
        match self {
            Self::Nearest(input) => Ok(Query::Nearest(input.input()?)),
            Self::By(object) => object.query(using),
        }
    }
}

impl QueryObject {
    fn query(self, using: &str) -> Result<Query, RestError> {
        if self.model.is_some() || self.image.is_some() || self.object.is_some() || self.options.is_some() {
            return Err(RestError::not_supported("making embeddings of texts or pictures"));
        }
        if self.relevance_feedback.is_some() {
            return Err(RestError::not_supported("`relevance_feedback`"));
        }
        let alone = |what: bool, name: &str| match what {
            true => {
                Err(RestError::format(format!("query: `{name}` stands alone or with another kind of query")))
            }
            false => Ok(()),
        };
        let (mmr, defaults) = (self.mmr, self.defaults);
        let (has_mmr, has_defaults) = (mmr.is_some(), defaults.is_some());
        let mut found = Vec::new();
        if let Some(input) = self.nearest {
            found.push(nearest(input, mmr)?);
        } else {
            alone(has_mmr, "mmr")?;
        }
        match (self.indices, self.values) {
            (Some(indices), Some(values)) => {
                let value = vector::checked(SparseParts::value(indices, values))?;
                found.push(Query::Nearest(VectorInput::Value(value)));
            }
            (None, None) => {}
            _ => return Err(RestError::format("query: a sparse vector has `indices` and `values`")),
        }
        if let Some(body) = self.recommend {
            found.push(recommend(body)?);
        }
        if let Some(body) = self.discover {
            let context = body.context.map(pairs).transpose()?.unwrap_or_default();
            found.push(Query::Discover { target: body.target.input()?, context });
        }
        if let Some(body) = self.context {
            found.push(Query::Context(pairs(body)?));
        }
        found.extend(self.order_by.map(|by| Query::OrderBy(order(by))));
        found.extend(self.fusion.map(|kind| {
            Query::Fusion(match kind {
                FusionKind::Rrf => Fusion::Rrf { k: None, weights: Vec::new() },
                FusionKind::Dbsf => Fusion::Dbsf,
            })
        }));
        found
            .extend(self.rrf.map(|rrf| {
                Query::Fusion(Fusion::Rrf { k: rrf.k, weights: rrf.weights.unwrap_or_default() })
            }));
        if let Some(formula) = self.formula {
            found.push(Query::Formula(expression::formula(formula, defaults)?));
        } else {
            alone(has_defaults, "defaults")?;
        }
        found.extend(self.sample.map(|SampleKind::Random| Query::Sample));
        if let Some(text) = self.text {
            found.push(Query::Text(TextQuery { field: using.to_owned(), text: words(text)? }));
        }
        match (found.pop(), found.is_empty()) {
            (Some(query), true) => Ok(query),
            (None, _) => Err(RestError::format("query: give a vector, a point ID or one kind of query")),
            (Some(_), false) => {
                Err(RestError::format("query: more than one kind of query: give one of them"))
            }
        }
    }
}

fn words(given: NameOr<TextObject>) -> Result<String, RestError> {
    match given {
        NameOr::Name(text) => Ok(text),
        NameOr::Full(TextObject { query, scoring }) => match scoring {
            Some(Scoring { bm25 }) if !bm25.is_ours() => Err(RestError::not_supported(&format!(
                "`scoring` of a text query by other numbers than k {K1} and b {B}"
            ))),
            _ => Ok(query),
        },
    }
}

fn nearest(input: Input, mmr: Option<Mmr>) -> Result<Query, RestError> {
    let input = input.input()?;
    let Some(Mmr { diversity, candidates_limit }) = mmr else { return Ok(Query::Nearest(input)) };
    let diversity = diversity.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&diversity) {
        return Err(RestError::validation(format!("mmr.diversity: {diversity} is not between 0 and 1")));
    }
    Ok(Query::NearestDiverse { input, diversity, candidates: candidates_limit })
}

fn recommend(body: Recommend) -> Result<Query, RestError> {
    Ok(Query::Recommend {
        positive: inputs(body.positive)?,
        negative: inputs(body.negative)?,
        strategy: match body.strategy.unwrap_or(Strategy::AverageVector) {
            Strategy::AverageVector => RecommendStrategy::AverageVector,
            Strategy::BestScore => RecommendStrategy::BestScore,
            Strategy::SumScores => RecommendStrategy::SumScores,
        },
    })
}
