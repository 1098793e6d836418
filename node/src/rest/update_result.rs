//! What a write answers.

use engram_query::request::WriteAnswer;
use engram_storage::op::{MAX_PAYLOAD_BYTES, OpOutcome};
use serde::Serialize;

use super::error::RestError;

/// What became of a write.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UpdateResult {
    /// Place in a log.
    operation_id: u64,
    status: UpdateStatus,
}

/// How far a write came before it was answered.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpdateStatus {
    /// Durable.
    Acknowledged,
    /// Durable and seen by every read from now on.
    Completed,
}

impl UpdateResult {
    /// Of a write that waited, or not.
    ///
    /// # Errors
    /// A point whose payload would have become too large stayed as it was: that is no success.
    pub(crate) fn of(answer: &WriteAnswer, waited: bool) -> Result<Self, RestError> {
        let too_large = |outcome: &&Option<OpOutcome>| matches!(outcome, Some(OpOutcome::PayloadTooLarge));
        let refused = answer.outcomes.iter().filter(too_large).count();
        if refused > 0 {
            return Err(RestError::wrong(format!(
                "the payload of {refused} points would be larger than {MAX_PAYLOAD_BYTES} bytes; they stay as they are, the \
                 others are changed"
            )));
        }
        let offsets = answer.token.shards.iter().map(|(_, _, offset)| *offset);
        Ok(Self::at(offsets.max().unwrap_or(0), waited))
    }

    /// Of a change of a definition, which is seen at once.
    pub(crate) fn completed(revision: u64) -> Self {
        Self::at(revision, true)
    }

    fn at(operation_id: u64, waited: bool) -> Self {
        let status = if waited { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
        Self { operation_id, status }
    }
}
