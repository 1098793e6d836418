//! `POST /collections/{collection_name}/points/batch`: several writes, one after the other.

use engram_query::limits::{MAX_IDEMPOTENCY_KEY_BYTES, check_idempotency_key};
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

/// Each operation is a write of its own.
fn key_of(key: &str, number: usize) -> Result<String, RestError> {
    check_idempotency_key(key)?;
    let own = format!("{key}#{number}");
    if own.len() <= MAX_IDEMPOTENCY_KEY_BYTES {
        return Ok(own);
    }
    Ok(format!("{}#{number}", blake3::hash(key.as_bytes()).to_hex()))
}

async fn run(call: &Call, number: usize, operation: UpdateOperation) -> Result<WriteAnswer, RestError> {
    let mut options = call.write_options()?;
    options.idempotency_key = options.idempotency_key.map(|key| key_of(&key, number)).transpose()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_length_that_may_be_is_good_for_all_operations() {
        assert_eq!(key_of("k", 7).unwrap(), "k#7");
        let longest = "k".repeat(MAX_IDEMPOTENCY_KEY_BYTES);
        let (first, last) = (key_of(&longest, 0).unwrap(), key_of(&longest, MAX_OPERATIONS - 1).unwrap());
        assert!(first != last && last.len() <= MAX_IDEMPOTENCY_KEY_BYTES);
        assert_eq!(first, key_of(&longest, 0).unwrap());
        let other = format!("{}x", &longest[1..]);
        assert_ne!(first, key_of(&other, 0).unwrap());
        assert!(key_of(&format!("{longest}k"), 0).is_err() && key_of("", 0).is_err());
    }
}
