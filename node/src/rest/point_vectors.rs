//! Changes of vectors of points.

use std::sync::Arc;

use engram_query::filter::Filter;
use engram_query::limits::{MAX_BATCH, MAX_PAGE, MAX_VECTOR_FIELDS};
use engram_query::request::{
    PointSelector, Principal, ReadOptions, ScrollRequest, Selection, VectorUpdate, WriteAnswer, WriteOptions,
};
use serde::Deserialize;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::point_id::Id;
use super::points::{Ids, selector};
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::update_result::UpdateResult;
use super::vector::{self, JsonVectors};
use super::weight::Shape;
use crate::grpc::Context;

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
    let target = Target::of(call);
    finish(async move { target.write(updates, filter, options).await }).await
}

/// Takes vectors out.
pub(crate) async fn remove(
    call: &Call,
    body: DeleteVectors,
    options: WriteOptions,
) -> Result<WriteAnswer, RestError> {
    let points = selector(body.points, body.filter)?;
    let names = body.vector.list("vector names")?;
    // Names are copied for each point: before that, all is small and there.
    call.schema()?;
    let target = Target::of(call);
    finish(async move {
        match points {
            PointSelector::Ids(ids) => {
                target.write(removals(ids.into_iter().map(|(id, _)| id), &names), None, options).await
            }
            PointSelector::Filter(filter) => target.remove_matching(filter, &names, options).await,
        }
    })
    .await
}

fn removals(
    ids: impl Iterator<Item = engram_storage::point::PointId>,
    names: &[String],
) -> Vec<VectorUpdate> {
    ids.map(|id| VectorUpdate { id, set: Vec::new(), remove: names.to_vec(), if_version: None }).collect()
}

/// Owned, so that a write can outlive its caller.
struct Target {
    context: Arc<Context>,
    principal: Principal,
    collection: String,
}

impl Target {
    fn of(call: &Call) -> Self {
        Self {
            context: call.context.clone(),
            principal: call.principal,
            collection: call.collection().to_owned(),
        }
    }

    async fn write(
        &self,
        updates: Vec<VectorUpdate>,
        filter: Option<Filter>,
        options: WriteOptions,
    ) -> Result<WriteAnswer, RestError> {
        let database = &self.context.database;
        let (who, collection) = (self.principal, &self.collection);
        let answer = match filter {
            None => database.update_vectors(who, collection, updates, options).await?,
            Some(filter) => {
                database.update_vectors_where(who, collection, (updates, filter), options).await?
            }
        };
        self.context.metrics.points_written.inc_by(answer.affected);
        Ok(answer)
    }

    /// Page by page: matching points are looked up, then changed by id.
    async fn remove_matching(
        &self,
        filter: Filter,
        names: &[String],
        options: WriteOptions,
    ) -> Result<WriteAnswer, RestError> {
        if options.idempotency_key.is_some() {
            return Err(RestError::wrong("an idempotency key goes with a list of points, not with a filter"));
        }
        let mut all = WriteAnswer::default();
        let mut from = None;
        loop {
            let page = ScrollRequest {
                collection: self.collection.clone(),
                filter: Some(filter.clone()),
                from,
                limit: MAX_PAGE.min(MAX_BATCH),
                selection: Selection::default(),
                read: ReadOptions::default(),
                order_by: None,
            };
            let page = self.context.database.scroll(self.principal, page).await?;
            let updates = removals(page.points.iter().map(|point| point.id), names);
            if !updates.is_empty() {
                let answer = self.write(updates, None, options.clone()).await?;
                all.affected += answer.affected;
                all.token.merge(&answer.token);
            }
            from = page.next;
            if from.is_none() {
                return Ok(all);
            }
        }
    }
}
