//! `points/scroll` and `points/count`.

use engram_query::filter::Filter;
use engram_query::request::ScrollRequest;
use engram_storage::point::PointId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::name_or::NameOr;
use super::point::{RecordOut, records};
use super::point_id::Id;
use super::query::{DEFAULT_LIMIT, limit};
use super::query_input::{OrderByObject, order};
use super::selection::{WithPayload, WithVector, selection};
use super::shard_key::NoShardKey;
use super::weight::Shape;

/// A page of points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[derive(Default)]
pub(crate) struct ScrollBody {
    /// First id of the page.
    #[schema(value_type = Option<super::openapi::PointIdSchema>)]
    #[serde(default)]
    offset: Option<Id>,
    /// 10 where absent.
    #[serde(default)]
    limit: Option<usize>,
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    filter: Option<Given<Filter>>,
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    #[serde(default)]
    with_payload: Option<WithPayload>,
    #[serde(default, alias = "with_vectors")]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    with_vector: Option<WithVector>,
    /// A payload field to order by, in place of the ids; then there is no next page.
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    #[serde(default)]
    order_by: Option<NameOr<OrderByObject>>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

#[derive(Serialize)]
struct Page<T> {
    points: Vec<T>,
    next_page_offset: Option<PointId>,
}

pub(crate) async fn scroll(call: Call) -> Result<Answer, RestError> {
    let body: ScrollBody = call.json_or_default(Shape::Query).await?;
    let limit = limit(body.limit, DEFAULT_LIMIT)?;
    let mut selection = selection(body.with_payload, body.with_vector, true);
    selection.budget = call.budget();
    let (filter, read) = (filter::filter(body.filter)?, call.read_options()?);
    if body.order_by.is_some() && body.offset.is_some() {
        return Err(RestError::wrong("`offset` does not go with `order_by`: use `start_from`"));
    }
    let charged = call.room(std::iter::once((call.collection(), &selection, limit))).await?;
    let request = ScrollRequest {
        collection: call.collection().to_owned(),
        filter,
        from: body.offset.map(|id| id.0),
        limit,
        selection: selection.clone(),
        read,
        order_by: body.order_by.map(order),
    };
    let page = call.context.database.scroll(call.principal, request).await?;
    charged.settle(page.points.iter())?;
    if page.order_values.is_empty() {
        return call.answer(&Page { points: records(&page.points, &selection), next_page_offset: page.next });
    }
    let points = page.points.iter().zip(&page.order_values).map(|(point, value)| Ordered {
        record: RecordOut { point, selection: &selection },
        order_value: value,
    });
    call.answer(&Page { points: points.collect(), next_page_offset: None })
}

#[derive(Serialize)]
struct Ordered<'a> {
    #[serde(flatten)]
    record: RecordOut<'a>,
    order_value: &'a Value,
}

/// Which points to count.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CountBody {
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    /// Counts are always exact.
    #[serde(rename = "exact")]
    _exact: Option<bool>,
    #[serde(rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Number of points.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct CountResult {
    count: u64,
}

pub(crate) async fn count(call: Call) -> Result<Answer, RestError> {
    let body: CountBody = call.json_or_default(Shape::Query).await?;
    let (filter, read) = (filter::filter(body.filter)?, call.read_options()?);
    let count = call.context.database.count(call.principal, call.collection(), filter, &read).await?;
    call.answer(&CountResult { count })
}
