//! Points by id, and deletions.

use engram_query::filter::Filter;
use engram_query::limits::{MAX_BATCH, at_most};
use engram_query::request::{Change, PointSelector, WriteAnswer, WriteOptions};
use engram_storage::point::PointId;
use serde::Deserialize;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::given::Given;
use super::metadata::PointFields;
use super::named::Named;
use super::point::{RecordOut, records};
use super::point_id::{Id, ids, uuid};
use super::selection::{WithPayload, WithVector, selection};
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::update_result::UpdateResult;
use super::weight::Shape;

/// Points to read.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetrievePoints {
    #[schema(value_type = Vec<super::openapi::PointIdSchema>)]
    ids: UpTo<Id, MAX_BATCH>,
    /// `true` (the default), a list of paths, `{"include": [..]}` or `{"exclude": [..]}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    with_payload: Option<WithPayload>,
    /// `false` (the default), or names of vector fields.
    #[serde(default, alias = "with_vectors")]
    #[schema(value_type = Option<Object>)]
    with_vector: Option<WithVector>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Points by ids or by a filter: one of them. A filter that constrains nothing means all points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointsSelector {
    #[serde(default)]
    #[schema(value_type = Option<Vec<super::openapi::PointIdSchema>>)]
    points: Option<Ids>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Ids of the points of one write.
pub(crate) type Ids = UpTo<Id, MAX_BATCH>;

/// Exactly one of ids and a filter.
pub(crate) fn selector(
    points: Option<Ids>,
    filter: Option<Given<Filter>>,
) -> Result<PointSelector, RestError> {
    match (points, filter) {
        (Some(points), None) if points.is_empty() => {
            Err(RestError::wrong("Empty update request: name at least one of the `points`"))
        }
        (Some(points), None) => {
            Ok(PointSelector::Ids(points.list("points")?.into_iter().map(|id| (id.0, None)).collect()))
        }
        (None, Some(filter)) => Ok(PointSelector::Filter(filter.get()?)),
        (Some(_), Some(_)) => Err(RestError::format("`filter` is given beside `points`: give one of them")),
        (None, None) => Err(RestError::format("give `points`, or a `filter`")),
    }
}

impl PointsSelector {
    pub(crate) fn selector(self) -> Result<PointSelector, RestError> {
        selector(self.points, self.filter)
    }
}

pub(crate) async fn retrieve(call: Call) -> Result<Answer, RestError> {
    let body: RetrievePoints = call.json(Shape::Query).await?;
    let mut selection = selection(body.with_payload, body.with_vector, true);
    selection.budget = call.budget();
    let ids = ids(body.ids.list("ids")?);
    let read = call.read_options()?;
    let charged = call.room(std::iter::once((call.collection(), &selection, ids.len()))).await?;
    let database = &call.context.database;
    let points = database.get(call.principal, call.collection(), (ids, selection.clone()), &read).await?;
    charged.settle(points.iter())?;
    call.answer(&records(&points, &selection))
}

pub(crate) async fn get_one(call: Call) -> Result<Answer, RestError> {
    let text = call.segment("id");
    let id = text.parse().map(PointId::Num).ok().or_else(|| uuid(text));
    let Some(id) = id else {
        let short: String = text.chars().take(64).collect();
        let what = format!("`{short}` is not a valid point ID: give an unsigned integer or a UUID");
        return Err(RestError::wrong(what));
    };
    let selection = selection(Some(WithPayload::All(true)), Some(WithVector::All(true)), true);
    let read = call.read_options()?;
    let database = &call.context.database;
    let points =
        database.get(call.principal, call.collection(), (vec![id], selection.clone()), &read).await?;
    match points.first() {
        Some(point) => call.answer(&RecordOut { point, selection: &selection }),
        None => Err(RestError::not_found(format!("Point with id {id} does not exists!"))),
    }
}

pub(crate) async fn delete(call: Call) -> Result<Answer, RestError> {
    let body: PointsSelector = call.json(Shape::Query).await?;
    changed(&call, body.selector()?, Change::Delete).await
}

/// Changes points and answers.
pub(crate) async fn changed(call: &Call, points: PointSelector, change: Change) -> Result<Answer, RestError> {
    let options = call.write_options()?;
    let wait = options.wait;
    let answer = apply(call, points, change, options).await?;
    call.answer(&UpdateResult::of(&answer, wait)?).map(|a| a.with_token(&answer.token))
}

/// Changes points and counts them.
///
/// # Errors
/// Also where a point that is named is not there, once all others are changed: that is told of all changes but deletions,
/// and only if they are waited for.
pub(crate) async fn apply(
    call: &Call,
    points: PointSelector,
    change: Change,
    options: WriteOptions,
) -> Result<WriteAnswer, RestError> {
    if let Change::Payload(change) = &change {
        PointFields::of(&*call.schema()?).keep(change)?;
    }
    let (context, principal) = (call.context.clone(), call.principal);
    let collection = call.collection().to_owned();
    let named = match (&points, &change) {
        (PointSelector::Ids(ids), Change::Payload(_) | Change::RemoveVectors(_)) if options.wait => {
            at_most("the number of ids", ids.len(), MAX_BATCH, "split the request into smaller batches")?;
            Named::new(ids.iter().map(|(id, _)| *id).collect(), &options)
        }
        _ => Named::default(),
    };
    finish(async move {
        let answer = context.database.change(principal, &collection, (points, change), options).await?;
        context.metrics.points_written.inc_by(answer.affected);
        named.all_there(&context.database, (principal, &collection), &answer).await?;
        Ok(answer)
    })
    .await
}
