//! `points/query/groups`.

use engram_query::request::Selection;
use engram_query::request::query::{GroupsRequest, QueryRequest, Stage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::filter;
use super::point::{RecordOut, ScoredOut, scored};
use super::query::{DEFAULT_LIMIT, LookupFrom, Prefetch, SearchParams, check_fits, limit, lookup, stages};
use super::query_input::{OneOrMany, QueryInput};
use super::selection::{WithPayload, WithVector, selection};
use super::shard_key::NoShardKey;

/// Results of a group that says no size.
const DEFAULT_GROUP_SIZE: usize = 3;

/// A query whose results are grouped by a payload field.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsBody {
    /// Payload field with keywords or whole numbers.
    group_by: String,
    /// Most results of a group; 3 where absent.
    #[serde(default)]
    group_size: Option<usize>,
    /// Most groups; 10 where absent.
    #[serde(default)]
    limit: Option<usize>,
    /// Collection whose points have the groups' values as ids.
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    with_lookup: Option<WithLookup>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Prefetch>>)]
    prefetch: Option<OneOrMany<Prefetch>>,
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    query: Option<QueryInput>,
    #[serde(default)]
    using: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    #[serde(default)]
    params: Option<SearchParams>,
    #[serde(default)]
    score_threshold: Option<f32>,
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

#[derive(Deserialize)]
#[serde(untagged)]
enum WithLookup {
    Collection(String),
    Full(LookupBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupBody {
    collection: String,
    #[serde(default)]
    with_payload: Option<WithPayload>,
    #[serde(default, alias = "with_vector")]
    with_vectors: Option<WithVector>,
}

#[derive(Serialize)]
struct Groups<'a> {
    groups: Vec<GroupOut<'a>>,
}

#[derive(Serialize)]
struct GroupOut<'a> {
    hits: Vec<ScoredOut<'a>>,
    id: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup: Option<RecordOut<'a>>,
}

impl WithLookup {
    fn parts(self) -> (String, Selection) {
        let body = match self {
            Self::Collection(collection) => LookupBody { collection, with_payload: None, with_vectors: None },
            Self::Full(body) => body,
        };
        (body.collection, selection(body.with_payload, body.with_vectors, true))
    }
}

impl GroupsBody {
    fn request(self, call: &Call) -> Result<GroupsRequest, RestError> {
        let field = self.using.unwrap_or_default();
        let query = self.query.map(|query| query.query(&field)).transpose()?;
        check_fits(query.as_ref(), &field, self.score_threshold)?;
        let stage = Stage {
            prefetch: stages(self.prefetch)?,
            query,
            filter: filter::filter(self.filter)?,
            params: self.params.unwrap_or_default().stage(),
            score_threshold: self.score_threshold,
            limit: limit(self.limit, DEFAULT_LIMIT)?,
            lookup: self.lookup_from.map(lookup),
            field,
        };
        let query = QueryRequest {
            collection: call.collection().to_owned(),
            stage,
            offset: 0,
            selection: selection(self.with_payload, self.with_vector, false),
            read: call.read_options()?,
            allow_partial: false,
        };
        let group_size = match self.group_size.unwrap_or(DEFAULT_GROUP_SIZE) {
            0 => return Err(RestError::validation("group_size: value 0 invalid, must be 1 or larger")),
            size => size,
        };
        let lookup = self.with_lookup.map(WithLookup::parts);
        Ok(GroupsRequest { query, group_by: self.group_by, group_size, lookup })
    }
}

pub(crate) async fn groups(call: Call) -> Result<Answer, RestError> {
    let request = call.json::<GroupsBody>()?.request(&call)?;
    let selection = request.query.selection.clone();
    let lookup_selection =
        request.lookup.as_ref().map(|(_, selection)| selection.clone()).unwrap_or_default();
    let count = request.query.stage.limit.saturating_mul(request.group_size);
    let compared = call.context.database.compared_bytes(call.principal, [(&request.query, count)]);
    let part = (call.collection(), &selection, count);
    let charged = call.room_beside(std::iter::once(part), compared).await?;
    let found = call.context.database.query_groups(call.principal, request).await?;
    charged.settle(found.iter().flat_map(|group| &group.hits).map(|hit| &hit.point))?;
    call.context.metrics.searches.inc();
    let groups = found.iter().map(|group| GroupOut {
        hits: scored(&group.hits, &selection),
        id: &group.id,
        lookup: group.lookup.as_ref().map(|point| RecordOut { point, selection: &lookup_selection }),
    });
    call.answer(&Groups { groups: groups.collect() })
}
