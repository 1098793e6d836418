//! `POST /collections/{collection_name}/points/batch`: several writes, one after the other.

use engram_query::request::{Change, WriteAnswer};
use engram_query::token::ConsistencyToken;
use engram_storage::op::PayloadChange;
use serde::Deserialize;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::payload::{DeletePayload, SetPayload};
use super::point_vectors::{self, DeleteVectors, UpdateVectors};
use super::points::{PointsSelector, apply};
use super::up_to::UpTo;
use super::update_result::UpdateResult;
use super::upsert::{self, UpsertPoints};
use super::weight::Shape;

/// Most operations of one request.
const MAX_OPERATIONS: usize = 1_000;

/// Writes, in their order. One that fails ends the batch; those before it have happened.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateOperations {
    #[schema(value_type = Vec<UpdateOperation>)]
    operations: UpTo<UpdateOperation, MAX_OPERATIONS>,
}

/// One write.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpdateOperation {
    Upsert(UpsertPoints),
    Delete(PointsSelector),
    SetPayload(SetPayload),
    OverwritePayload(SetPayload),
    DeletePayload(DeletePayload),
    ClearPayload(PointsSelector),
    UpdateVectors(UpdateVectors),
    DeleteVectors(DeleteVectors),
}

pub(crate) async fn batch(call: Call) -> Result<Answer, RestError> {
    let body: UpdateOperations = call.json(Shape::Points).await?;
    let operations = body.operations.list("operations")?;
    let wait = call.wait()?;
    let mut results = Vec::with_capacity(operations.len());
    let mut token = ConsistencyToken::default();
    for (number, operation) in operations.into_iter().enumerate() {
        let answer = run(&call, number, operation).await?;
        token.merge(&answer.token);
        results.push(UpdateResult::of(&answer, wait)?);
    }
    call.answer(&results).map(|a| a.with_token(&token))
}

async fn run(call: &Call, number: usize, operation: UpdateOperation) -> Result<WriteAnswer, RestError> {
    let mut options = call.write_options()?;
    // Each operation is a write of its own.
    options.idempotency_key = options.idempotency_key.map(|key| format!("{key}#{number}"));
    let (points, change) = match operation {
        UpdateOperation::Upsert(body) => return upsert::write(call, body, options).await,
        UpdateOperation::UpdateVectors(body) => return point_vectors::set(call, body, options).await,
        UpdateOperation::DeleteVectors(body) => return point_vectors::remove(call, body, options).await,
        UpdateOperation::Delete(body) => (body.selector()?, Change::Delete),
        UpdateOperation::SetPayload(body) => body.merge()?,
        UpdateOperation::OverwritePayload(body) => body.overwrite()?,
        UpdateOperation::DeletePayload(body) => body.change()?,
        UpdateOperation::ClearPayload(body) => (body.selector()?, Change::Payload(PayloadChange::Clear)),
    };
    apply(call, points, change, options).await
}
