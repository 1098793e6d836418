//! `facet`, and the two forms of a distance matrix.

use engram_query::filter::Filter;
use engram_query::limits::at_most;
use engram_query::request::query::{FacetRequest, Matrix, MatrixRequest};
use engram_storage::point::PointId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::query::{DEFAULT_LIMIT, limit};
use super::shard_key::NoShardKey;
use super::weight::Shape;

const DEFAULT_SAMPLE: usize = 10;
const DEFAULT_NEIGHBOURS: usize = 3;
/// Most pairs of one answer: some 40 MB of it.
const MAX_PAIRS: usize = 1_000_000;

/// Bytes of a value of a facet that nobody has seen yet.
const VALUE_GUESS: usize = 128;
/// Bytes of a pair of a matrix.
const PAIR_BYTES: usize = 24;

/// How often the values of a payload field occur.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FacetBody {
    /// Payload field.
    key: String,
    /// Most values; 10 where absent.
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    #[serde(default)]
    exact: Option<bool>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Values of a field.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct FacetHits {
    hits: Vec<FacetHit>,
}

/// One value of a field.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct FacetHit {
    #[schema(value_type = super::openapi::AnyJson)]
    value: Value,
    count: u64,
}

pub(crate) async fn facet(call: Call) -> Result<Answer, RestError> {
    let body: FacetBody = call.json(Shape::Query).await?;
    let request = FacetRequest {
        collection: call.collection().to_owned(),
        key: body.key,
        filter: filter::filter(body.filter)?,
        limit: limit(body.limit, DEFAULT_LIMIT)?,
        exact: body.exact.unwrap_or(false),
        read: call.read_options()?,
    };
    let charged = call.values_room(request.limit, VALUE_GUESS).await?;
    let values = call.context.database.facet(call.principal, request).await?;
    let bytes = values.iter().map(|found| found.value.as_str().map_or(0, str::len)).sum();
    charged.settle_bytes(bytes, values.len())?;
    let hits = values.into_iter().map(|found| FacetHit { value: found.value, count: found.count });
    call.answer(&FacetHits { hits: hits.collect() })
}

/// Nearest neighbours of each of a sample of points, among the sample.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct MatrixBody {
    /// Points sampled; 10 where absent.
    sample: Option<usize>,
    /// Neighbours of each; 3 where absent.
    limit: Option<usize>,
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    /// Vector field.
    using: Option<String>,
    #[serde(rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// A matrix as pairs.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct MatrixPairs {
    pairs: Vec<MatrixPair>,
}

/// Two points and how near they are.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct MatrixPair {
    #[schema(value_type = super::openapi::PointIdSchema)]
    a: PointId,
    #[schema(value_type = super::openapi::PointIdSchema)]
    b: PointId,
    score: f32,
}

/// A matrix as places in a list of ids.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct MatrixOffsets {
    offsets_row: Vec<usize>,
    offsets_col: Vec<usize>,
    scores: Vec<f32>,
    #[schema(value_type = Vec<super::openapi::PointIdSchema>)]
    ids: Vec<PointId>,
}

async fn matrix(call: &Call) -> Result<Matrix, RestError> {
    let body: MatrixBody = call.json_or_default(Shape::Query).await?;
    let pairs =
        body.sample.unwrap_or(DEFAULT_SAMPLE).saturating_mul(body.limit.unwrap_or(DEFAULT_NEIGHBOURS));
    at_most("sample x limit", pairs, MAX_PAIRS, "ask for a smaller sample or fewer neighbours")?;
    let request = MatrixRequest {
        collection: call.collection().to_owned(),
        field: body.using.unwrap_or_default(),
        filter: filter::filter(body.filter)?,
        sample: match body.sample.unwrap_or(DEFAULT_SAMPLE) {
            0 | 1 => return Err(RestError::validation("sample: must be 2 or larger")),
            sample => sample,
        },
        limit: limit(body.limit, DEFAULT_NEIGHBOURS)?,
        read: call.read_options()?,
    };
    call.values_room(pairs, PAIR_BYTES).await?;
    Ok(call.context.database.matrix(call.principal, request).await?)
}

pub(crate) async fn pairs(call: Call) -> Result<Answer, RestError> {
    let matrix = matrix(&call).await?;
    let pair = |(a, b, score): &(usize, usize, f32)| {
        Some(MatrixPair { a: *matrix.ids.get(*a)?, b: *matrix.ids.get(*b)?, score: *score })
    };
    call.answer(&MatrixPairs { pairs: matrix.pairs.iter().filter_map(pair).collect() })
}

pub(crate) async fn offsets(call: Call) -> Result<Answer, RestError> {
    let matrix = matrix(&call).await?;
    call.answer(&MatrixOffsets {
        offsets_row: matrix.pairs.iter().map(|pair| pair.0).collect(),
        offsets_col: matrix.pairs.iter().map(|pair| pair.1).collect(),
        scores: matrix.pairs.iter().map(|pair| pair.2).collect(),
        ids: matrix.ids,
    })
}
