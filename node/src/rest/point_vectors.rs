//! Changes of vectors of points.

use engram_query::filter::Filter;
use engram_query::limits::{MAX_BATCH, MAX_VECTOR_FIELDS};
use engram_query::request::{Change, VectorUpdate, WriteAnswer, WriteOptions};
use serde::Deserialize;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::named::Named;
use super::point_id::Id;
use super::points::{Ids, apply, selector};
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::update_result::UpdateResult;
use super::vector::{self, JsonVectors};
use super::weight::Shape;

/// New vectors of points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateVectors {
    #[schema(value_type = Vec<PointVectors>)]
    points: UpTo<PointVectors, MAX_BATCH>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
    /// Only points that match.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    update_filter: Option<Given<Filter>>,
}

/// New vectors of one point.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointVectors {
    #[schema(value_type = super::openapi::PointIdSchema)]
    id: Id,
    #[serde(alias = "vectors")]
    #[schema(value_type = super::openapi::VectorsSchema)]
    vector: JsonVectors,
}

/// Vector fields to take out of points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteVectors {
    /// Names of vector fields.
    #[serde(alias = "vectors")]
    #[schema(value_type = Vec<String>)]
    vector: UpTo<String, MAX_VECTOR_FIELDS>,
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

pub(crate) async fn update(call: Call) -> Result<Answer, RestError> {
    let body: UpdateVectors = call.json(Shape::Points).await?;
    let options = call.write_options()?;
    let wait = options.wait;
    let answer = set(&call, body, options).await?;
    call.answer(&UpdateResult::of(&answer, wait)?).map(|a| a.with_token(&answer.token))
}

pub(crate) async fn delete(call: Call) -> Result<Answer, RestError> {
    let body: DeleteVectors = call.json(Shape::Points).await?;
    let options = call.write_options()?;
    let wait = options.wait;
    let answer = remove(&call, body, options).await?;
    call.answer(&UpdateResult::of(&answer, wait)?).map(|a| a.with_token(&answer.token))
}

/// Sets vectors.
pub(crate) async fn set(
    call: &Call,
    body: UpdateVectors,
    options: WriteOptions,
) -> Result<WriteAnswer, RestError> {
    let (filter, points) = (filter::filter(body.update_filter)?, body.points.list("points")?);
    if points.is_empty() {
        return Err(RestError::validation("points: there is no point to update: give at least one"));
    }
    let one = |point: PointVectors| {
        let set = vector::all_checked(point.vector)?;
        Ok(VectorUpdate { id: point.id.0, set, remove: Vec::new(), if_version: None })
    };
    let updates = points.into_iter().map(one).collect::<Result<Vec<_>, RestError>>()?;
    let named = Named::new(updates.iter().map(|update| update.id).collect(), &options);
    let (context, principal) = (call.context.clone(), call.principal);
    let collection = call.collection().to_owned();
    finish(async move {
        let (database, wait) = (&context.database, options.wait);
        let answer = match filter {
            None => database.update_vectors(principal, &collection, updates, options).await?,
            Some(filter) => {
                database.update_vectors_where(principal, &collection, (updates, filter), options).await?
            }
        };
        context.metrics.points_written.inc_by(answer.affected);
        if wait {
            named.all_there(database, (principal, &collection), &answer).await?;
        }
        Ok(answer)
    })
    .await
}

/// Takes vectors out.
pub(crate) async fn remove(
    call: &Call,
    body: DeleteVectors,
    options: WriteOptions,
) -> Result<WriteAnswer, RestError> {
    let points = selector(body.points, body.filter)?;
    let names = body.vector.list("vector names")?;
    apply(call, points, Change::RemoveVectors(names), options).await
}
