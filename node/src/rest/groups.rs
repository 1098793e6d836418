//! `points/query/groups`.

use engram_query::filter::Filter;
use engram_query::request::Selection;
use engram_query::request::query::{GroupsRequest, QueryRequest, Stage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::name_or::NameOr;
use super::point::{RecordOut, ScoredOut, scored};
use super::query::{DEFAULT_LIMIT, LookupFrom, Prefetch, SearchParams, check_fits, limit, lookup, stages};
use super::query_input::{OneOrMany, QueryInput};
use super::selection::{WithPayload, WithVector, selection};
use super::shard_key::NoShardKey;
use super::weight::Shape;

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
    with_lookup: Option<NameOr<LookupBody>>,
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
    filter: Option<Given<Filter>>,
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

/// The collection to look points up in, and what to return of them.
fn lookup_of(given: NameOr<LookupBody>) -> (String, Selection) {
    let body = match given {
        NameOr::Name(collection) => LookupBody { collection, with_payload: None, with_vectors: None },
        NameOr::Full(body) => body,
    };
    (body.collection, selection(body.with_payload, body.with_vectors, true))
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
            params: self.params.unwrap_or_default().stage()?,
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
        let lookup = self.with_lookup.map(lookup_of);
        Ok(GroupsRequest { query, group_by: self.group_by, group_size, lookup })
    }
}

pub(crate) async fn groups(call: Call) -> Result<Answer, RestError> {
    let mut request = call.json::<GroupsBody>(Shape::Query).await?.request(&call)?;
    let budget = call.budget();
    request.query.selection.budget = budget.clone();
    request.lookup.iter_mut().for_each(|(_, selection)| selection.budget = budget.clone());
    let (selection, lookup) = (request.query.selection.clone(), request.lookup.clone());
    let groups = request.query.stage.limit;
    let count = groups.saturating_mul(request.group_size);
    let compared = call.context.database.compared_bytes(call.principal, [(&request.query, count)]);
    let part = (call.collection(), &selection, count);
    let looked_up = lookup.iter().map(|(collection, selection)| (collection.as_str(), selection, groups));
    let charged = call.room_beside(std::iter::once(part).chain(looked_up), compared).await?;
    let found = call.context.database.query_groups(call.principal, request).await?;
    let hits = found.iter().flat_map(|group| &group.hits).map(|hit| &hit.point);
    charged.settle(hits.chain(found.iter().filter_map(|group| group.lookup.as_ref())))?;
    let lookup_selection = lookup.map(|(_, selection)| selection).unwrap_or_default();
    call.context.metrics.searches.inc();
    let groups = found.iter().map(|group| GroupOut {
        hits: scored(&group.hits, &selection),
        id: &group.id,
        lookup: group.lookup.as_ref().map(|point| RecordOut { point, selection: &lookup_selection }),
    });
    call.answer(&Groups { groups: groups.collect() })
}
