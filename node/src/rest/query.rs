//! `points/query` and its batch.

use engram_query::filter::Filter;
use engram_query::limits::{MAX_SEARCH_BATCH, MAX_SEARCH_BATCH_RESULTS, at_most};
use engram_query::request::query::{Lookup, Query, QueryRequest, Scored, Stage, StageParams};
use engram_query::request::{ReadOptions, Selection};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::plain::Plain;
use super::point::{ScoredOut, scored};
use super::query_input::{OneOrMany, QueryInput};
use super::selection::{WithPayload, WithVector, selection};
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::weight::Shape;

/// Results of a query that says no limit.
pub(crate) const DEFAULT_LIMIT: usize = 10;

/// A query of one or more stages.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBody {
    /// Stages whose results this one ranks.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Prefetch>>)]
    prefetch: Option<OneOrMany<Prefetch>>,
    /// A vector, a point ID, or one of `nearest`, `recommend`, `discover`, `context`, `order_by`, `fusion`, `rrf`,
    /// `formula`, `sample` and `text`; the order of ids where absent.
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    query: Option<QueryInput>,
    /// Vector field; the default one where absent.
    #[serde(default)]
    using: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    #[serde(default)]
    params: Option<SearchParams>,
    /// Leave out what scores worse.
    #[serde(default)]
    score_threshold: Option<f32>,
    /// 10 where absent.
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default, alias = "with_vectors")]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    with_vector: Option<WithVector>,
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    with_payload: Option<WithPayload>,
    #[serde(default)]
    lookup_from: Option<LookupFrom>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// A stage before the last one.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prefetch {
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    prefetch: Option<OneOrMany<Prefetch>>,
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    query: Option<QueryInput>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    #[serde(default)]
    params: Option<SearchParams>,
    #[serde(default)]
    score_threshold: Option<f32>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    lookup_from: Option<LookupFrom>,
}

/// How far a search goes.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchParams {
    /// Size of the candidate list.
    hnsw_ef: Option<usize>,
    /// Share of the true neighbours that is wanted, instead of `hnsw_ef`; an addition of Engram.
    recall: Option<f32>,
    /// Compare with every matching vector.
    exact: Option<bool>,
    /// Leave out segments that have no graph yet.
    indexed_only: Option<bool>,
    /// Taken and not needed: codes are always re-scored.
    #[schema(value_type = Option<Object>)]
    #[serde(rename = "quantization")]
    _quantization: Option<IgnoredAny>,
    /// Taken and not needed: walks are always aware of the filter.
    #[schema(value_type = Option<Object>)]
    #[serde(rename = "acorn")]
    _acorn: Option<IgnoredAny>,
    /// `global`, which is what frequencies of words and terms always are here.
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    idf: Option<Plain>,
}

/// Where the vectors of points that are named as examples come from.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupFrom {
    collection: String,
    #[serde(default)]
    vector: Option<String>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Queries that are answered together.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBatch {
    #[schema(value_type = Vec<QueryBody>)]
    searches: UpTo<QueryBody, MAX_SEARCH_BATCH>,
}

/// Results of one query.
#[derive(Serialize)]
struct Points<'a> {
    points: Vec<ScoredOut<'a>>,
}

impl SearchParams {
    pub(crate) fn stage(self) -> Result<StageParams, RestError> {
        if self.idf.is_some_and(|scope| scope.0 != "global") {
            return Err(RestError::not_supported("`params.idf` other than `global`"));
        }
        Ok(StageParams {
            ef: self.hnsw_ef,
            recall: self.recall,
            exact: self.exact.unwrap_or(false),
            indexed_only: self.indexed_only.unwrap_or(false),
        })
    }
}

/// The number of results asked for.
pub(crate) fn limit(given: Option<usize>, default: usize) -> Result<usize, RestError> {
    match given.unwrap_or(default) {
        0 => Err(RestError::validation("limit: value 0 invalid, must be 1 or larger")),
        limit => Ok(limit),
    }
}

/// Refuses what would be ignored: it stands for something else than what is asked.
pub(crate) fn check_fits(
    query: Option<&Query>,
    field: &str,
    threshold: Option<f32>,
) -> Result<(), RestError> {
    match query {
        None if threshold.is_some() => Err(RestError::wrong("A query is needed to use the score_threshold")),
        Some(Query::OrderBy(_)) if threshold.is_some() => {
            Err(RestError::wrong("Can't use score_threshold with an order_by query"))
        }
        Some(Query::Fusion(_)) if !field.is_empty() => {
            Err(RestError::wrong("Fusion queries cannot be combined with the 'using' field"))
        }
        _ => Ok(()),
    }
}

impl Prefetch {
    fn stage(self) -> Result<Stage, RestError> {
        let field = self.using.unwrap_or_default();
        let query = self.query.map(|query| query.query(&field)).transpose()?;
        check_fits(query.as_ref(), &field, self.score_threshold)?;
        Ok(Stage {
            prefetch: stages(self.prefetch)?,
            query,
            filter: filter::filter(self.filter)?,
            params: self.params.unwrap_or_default().stage()?,
            score_threshold: self.score_threshold,
            limit: limit(self.limit, DEFAULT_LIMIT)?,
            lookup: self.lookup_from.map(lookup),
            field,
        })
    }
}

pub(crate) fn stages(list: Option<OneOrMany<Prefetch>>) -> Result<Vec<Stage>, RestError> {
    list.map(OneOrMany::list).unwrap_or_default().into_iter().map(Prefetch::stage).collect()
}

pub(crate) fn lookup(from: LookupFrom) -> Lookup {
    Lookup { collection: from.collection, field: from.vector }
}

impl QueryBody {
    fn request(self, collection: &str, read: ReadOptions) -> Result<QueryRequest, RestError> {
        let selection = selection(self.with_payload, self.with_vector, false);
        let (collection, offset) = (collection.to_owned(), self.offset.unwrap_or(0));
        let last = Prefetch {
            prefetch: self.prefetch,
            query: self.query,
            using: self.using,
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            lookup_from: self.lookup_from,
        };
        let stage = last.stage()?;
        Ok(QueryRequest { collection, stage, offset, selection, read, allow_partial: false })
    }
}

pub(crate) async fn query(call: Call) -> Result<Answer, RestError> {
    let body: QueryBody = call.json(Shape::Query).await?;
    let request = body.request(call.collection(), call.read_options()?)?;
    let (hits, selection) = run(&call, request).await?;
    call.answer(&Points { points: scored(&hits, &selection) })
}

/// Runs one query.
pub(crate) async fn run(
    call: &Call,
    mut request: QueryRequest,
) -> Result<(Vec<Scored>, Selection), RestError> {
    request.selection.budget = call.budget();
    let selection = request.selection.clone();
    let database = &call.context.database;
    let compared = database.compared_bytes(call.principal, [(&request, request.stage.limit)]);
    let part = (call.collection(), &selection, request.stage.limit);
    let charged = call.room_beside(std::iter::once(part), compared).await?;
    let answer = database.query(call.principal, request).await?;
    charged.settle(answer.hits.iter().map(|hit| &hit.point))?;
    call.context.metrics.searches.inc();
    Ok((answer.hits, selection))
}

/// Runs queries together.
pub(crate) async fn run_all(
    call: &Call,
    mut requests: Vec<QueryRequest>,
) -> Result<Vec<(Vec<Scored>, Selection)>, RestError> {
    let budget = call.budget();
    requests.iter_mut().for_each(|request| request.selection.budget = budget.clone());
    let results = requests.iter().map(|request| request.stage.limit).fold(0, usize::saturating_add);
    at_most("the number of results of all searches", results, MAX_SEARCH_BATCH_RESULTS, "split the batch")?;
    let selections: Vec<Selection> = requests.iter().map(|request| request.selection.clone()).collect();
    let parts = requests.iter().map(|request| (call.collection(), &request.selection, request.stage.limit));
    let database = &call.context.database;
    let of_each = requests.iter().map(|request| (request, request.stage.limit));
    let charged = call.room_beside(parts, database.compared_bytes(call.principal, of_each)).await?;
    let answers = database.query_batch(call.principal, requests).await?;
    charged.settle(answers.iter().flat_map(|answer| &answer.hits).map(|hit| &hit.point))?;
    call.context.metrics.searches.inc_by(answers.len() as u64);
    Ok(answers.into_iter().map(|answer| answer.hits).zip(selections).collect())
}

pub(crate) async fn batch(call: Call) -> Result<Answer, RestError> {
    let body: QueryBatch = call.json(Shape::Query).await?;
    let (searches, read) = (body.searches.list("searches")?, call.read_options()?);
    let requests = searches.into_iter().map(|query| query.request(call.collection(), read.clone()));
    let results = run_all(&call, requests.collect::<Result<_, _>>()?).await?;
    let points: Vec<Points<'_>> =
        results.iter().map(|(hits, selection)| Points { points: scored(hits, selection) }).collect();
    call.answer(&points)
}
