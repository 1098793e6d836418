//! Queries in stages: what a stage ranks its points by, and what it takes them from.
//!
//! A stage without `prefetch` ranks the points of the collection. One with `prefetch` ranks what those stages found, each
//! point once. The shapes follow the query API of Qdrant, whose clients send them.

use engram_index::vector::VectorValue;
use engram_storage::point::PointId;
use serde_json::Value;

use super::{ReadOptions, Selection, StoredPoint};
use crate::filter::{Condition, Filter};

/// A query of one or more stages.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// Name or alias.
    pub collection: String,
    /// The last stage, which makes the answer.
    pub stage: Stage,
    /// 0 to 10,000 results to skip.
    pub offset: usize,
    /// What to return of each point.
    pub selection: Selection,
    /// Freshness and time.
    pub read: ReadOptions,
    /// Answer with what arrived in time instead of an error.
    pub allow_partial: bool,
}

/// One stage.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Stages whose results this one ranks; the whole collection where there are none.
    pub prefetch: Vec<Stage>,
    /// What to rank by; the order of ids where absent.
    pub query: Option<Query>,
    /// Vector field of `query`; "" is the default one.
    pub field: String,
    /// Which points.
    pub filter: Option<Filter>,
    /// How far graphs are walked.
    pub params: StageParams,
    /// Leave out what scores worse.
    pub score_threshold: Option<f32>,
    /// Results wanted, 1 to 10,000.
    pub limit: usize,
    /// Where the vectors of points named as examples come from, if not from this collection and field.
    pub lookup: Option<Lookup>,
}

/// How a stage is searched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageParams {
    /// Size of the candidate list. At most max(4,096, limit).
    pub ef: Option<usize>,
    /// Share of the true neighbours that is wanted, instead of `ef`.
    pub recall: Option<f32>,
    /// Compare with every matching vector.
    pub exact: bool,
    /// Leave out segments that have no graph yet.
    pub indexed_only: bool,
}

/// Collection and vector field where examples are looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Name or alias.
    pub collection: String,
    /// Vector field; that of the stage where absent.
    pub field: Option<String>,
}

/// A vector, or the point whose vector it is. A point that is an example is left out of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorInput {
    /// This one.
    Value(VectorValue),
    /// That of this point.
    Point(PointId),
}

/// What a stage ranks by.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Nearest first.
    Nearest(VectorInput),
    /// Nearest, but each unlike those before it (maximal marginal relevance, Carbonell and Goldstein 1998).
    NearestDiverse {
        /// What to look for.
        input: VectorInput,
        /// 0: by relevance alone, 1: by diversity alone.
        diversity: f32,
        /// Points it is chosen from; the limit (and offset) where absent.
        candidates: Option<usize>,
    },
    /// Like the positive examples and unlike the negative ones.
    Recommend {
        /// Like these.
        positive: Vec<VectorInput>,
        /// Unlike these.
        negative: Vec<VectorInput>,
        /// How examples make a score.
        strategy: RecommendStrategy,
    },
    /// Near the target, on the positive side of each pair.
    Discover {
        /// Near this.
        target: VectorInput,
        /// Pairs that split the space.
        context: Vec<ContextPair>,
    },
    /// On the positive side of each pair; no point is better than another that is too.
    Context(Vec<ContextPair>),
    /// By the value of a payload field.
    OrderBy(OrderBy),
    /// The lists of the prefetch stages made one.
    Fusion(Fusion),
    /// By an expression over the scores of the prefetch stages and the payload.
    Formula(Formula),
    /// Points at random.
    Sample,
    /// Words of a payload field that has a text index, by BM25.
    Text(TextQuery),
}

/// How examples make a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecommendStrategy {
    /// Nearest to `2 * mean(positive) - mean(negative)`, or `mean(positive)` without negative ones.
    #[default]
    AverageVector,
    /// By the best positive example, unless a negative one is nearer.
    BestScore,
    /// By the sum of the scores to the positive less those to the negative ones.
    SumScores,
}

/// Two examples that split the space: points nearer to `positive` are on the good side.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextPair {
    /// The good side.
    pub positive: VectorInput,
    /// The other one.
    pub negative: VectorInput,
}

/// Order by a payload field.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderBy {
    /// Dotted path.
    pub key: String,
    /// Largest first.
    pub descending: bool,
    /// First value of the page: a number, or an RFC 3339 date.
    pub start_from: Option<Value>,
}

/// How lists become one.
#[derive(Clone, Debug, PartialEq)]
pub enum Fusion {
    /// Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): the sum of `weight / (k + rank)`, ranks from 0.
    Rrf {
        /// 2 where absent.
        k: Option<usize>,
        /// One for each prefetch stage; 1 each where empty.
        weights: Vec<f32>,
    },
    /// Distribution-based score fusion: scores of each list from mean - 3 sigma to mean + 3 sigma become 0 to 1, and add up.
    Dbsf,
}

/// An expression with values for what a point has not.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    /// The expression.
    pub expression: Expression,
    /// Values of variables that a point has not.
    pub defaults: Vec<(String, Value)>,
}

/// An expression over scores and payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A number.
    Constant(f64),
    /// `$score` or `$score[i]`: the score of the only, or the i-th prefetch stage; otherwise the number at a dotted path.
    Variable(String),
    /// 1 where the condition holds, else 0.
    Condition(Box<Condition>),
    /// Metres from `origin` to the place at a dotted path.
    GeoDistance {
        /// Longitude and latitude, degrees.
        origin: (f64, f64),
        /// Dotted path.
        to: String,
    },
    /// This RFC 3339 date in seconds since the epoch.
    Datetime(String),
    /// The date at a dotted path in seconds since the epoch.
    DatetimeKey(String),
    /// Product.
    Mult(Vec<Expression>),
    /// Sum.
    Sum(Vec<Expression>),
    /// Largest.
    Max(Vec<Expression>),
    /// Smallest.
    Min(Vec<Expression>),
    /// Negation.
    Neg(Box<Expression>),
    /// Absolute value.
    Abs(Box<Expression>),
    /// Quotient.
    Div {
        /// Dividend.
        left: Box<Expression>,
        /// Divisor.
        right: Box<Expression>,
        /// Instead of a division by zero; an error where absent.
        by_zero_default: Option<f64>,
    },
    /// Square root.
    Sqrt(Box<Expression>),
    /// Power.
    Pow {
        /// Base.
        base: Box<Expression>,
        /// Exponent.
        exponent: Box<Expression>,
    },
    /// e to this.
    Exp(Box<Expression>),
    /// Decimal logarithm.
    Log10(Box<Expression>),
    /// Natural logarithm.
    Ln(Box<Expression>),
    /// Inverse hyperbolic cosine.
    Acosh(Box<Expression>),
    /// From 1 at `target` down to `midpoint` at `scale` from it.
    Decay {
        /// Along a line, an exponential or a bell.
        shape: DecayShape,
        /// Where.
        x: Box<Expression>,
        /// 0 where absent.
        target: Option<Box<Expression>>,
        /// 1 where absent; above 0.
        scale: Option<f64>,
        /// 0.5 where absent; between 0 and 1.
        midpoint: Option<f64>,
    },
}

/// Shape of a decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecayShape {
    /// A line, 0 beyond its end.
    Linear,
    /// An exponential.
    Exponential,
    /// A bell.
    Gauss,
}

/// Words to look for.
#[derive(Clone, Debug, PartialEq)]
pub struct TextQuery {
    /// Dotted path of a payload field with a text index.
    pub field: String,
    /// The words, split as the index splits its texts. Points with any of them are found.
    pub text: String,
}

/// A search for words, by BM25.
#[derive(Clone, Debug)]
pub struct TextSearchRequest {
    /// Name or alias.
    pub collection: String,
    /// What to look for, and where.
    pub query: TextQuery,
    /// Which points may be returned.
    pub filter: Option<Filter>,
    /// Results wanted, 1 to 10,000.
    pub limit: usize,
    /// 0 to 10,000 results to skip.
    pub offset: usize,
    /// Leave out what scores less.
    pub score_threshold: Option<f32>,
    /// What to return of each point.
    pub selection: Selection,
    /// Freshness and time.
    pub read: ReadOptions,
    /// Answer with what arrived in time instead of an error.
    pub allow_partial: bool,
}

/// One result of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The point, as selected.
    pub point: StoredPoint,
    /// By what it was ranked: similarity, distance for euclid and manhattan, a fused score, 1 where nothing scores.
    pub score: f32,
    /// Value of the field it was ordered by.
    pub order_value: Option<Value>,
}

/// Answer of a query, best first; ties by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryAnswer {
    /// The results.
    pub hits: Vec<Scored>,
    /// A shard did not answer in time.
    pub partial: bool,
}

/// A query whose results are grouped by a payload field.
#[derive(Clone, Debug)]
pub struct GroupsRequest {
    /// The query; its limit is the number of groups.
    pub query: QueryRequest,
    /// Dotted path of a field with keywords or whole numbers.
    pub group_by: String,
    /// Most results of a group.
    pub group_size: usize,
    /// Collection whose points have the groups' values as ids, and what to return of them.
    pub lookup: Option<(String, Selection)>,
}

/// Results with one value of the field.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The value: a keyword or a whole number.
    pub id: Value,
    /// Best first.
    pub hits: Vec<Scored>,
    /// The point of that id in the collection that was asked for it.
    pub lookup: Option<StoredPoint>,
}

/// How often the values of a payload field occur.
#[derive(Clone, Debug)]
pub struct FacetRequest {
    /// Name or alias.
    pub collection: String,
    /// Dotted path.
    pub key: String,
    /// Which points.
    pub filter: Option<Filter>,
    /// Most values returned, the most frequent ones.
    pub limit: usize,
    /// Count exactly.
    pub exact: bool,
    /// Freshness and time.
    pub read: ReadOptions,
}

/// One value of a facet: points that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct FacetValue {
    /// A keyword, a whole number, or a truth value.
    pub value: Value,
    /// Points.
    pub count: u64,
}

/// Nearest neighbours of each of a sample of points, among the sample.
#[derive(Clone, Debug)]
pub struct MatrixRequest {
    /// Name or alias.
    pub collection: String,
    /// Vector field; "" is the default one.
    pub field: String,
    /// Which points.
    pub filter: Option<Filter>,
    /// Points sampled.
    pub sample: usize,
    /// Neighbours of each.
    pub limit: usize,
    /// Freshness and time.
    pub read: ReadOptions,
}

/// A distance matrix, sparse.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// The sampled points, ascending.
    pub ids: Vec<PointId>,
    /// Row, column (places in `ids`) and score.
    pub pairs: Vec<(usize, usize, f32)>,
}
