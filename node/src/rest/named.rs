//! Points that a change names: the first one that is not there is told.

use std::collections::HashSet;

use engram_query::database::Database;
use engram_query::request::{Principal, ReadOptions, Selection, WriteAnswer, WriteOptions};
use engram_storage::op::OpOutcome;
use engram_storage::point::PointId;

use super::error::RestError;

/// The points of a change that is waited for.
#[derive(Default)]
pub(crate) struct Named {
    /// In the order of the outcomes.
    ids: Vec<PointId>,
    /// Where the write repeats an earlier one, its outcomes are not known any more.
    keyed: bool,
}

impl Named {
    pub(crate) fn new(ids: Vec<PointId>, options: &WriteOptions) -> Self {
        Self { ids, keyed: options.idempotency_key.is_some() }
    }

    /// Tells the first one that was not there. A repeat is told what is not there now: it must not look like a success
    /// where the first try was none.
    ///
    /// # Errors
    /// A point that is not there, and those of reads.
    pub(crate) async fn all_there(
        &self,
        database: &Database,
        (principal, collection): (Principal, &str),
        answer: &WriteAnswer,
    ) -> Result<(), RestError> {
        let outcomes = || self.ids.iter().zip(&answer.outcomes);
        let unknown: Vec<PointId> =
            outcomes().filter(|(_, outcome)| self.keyed && outcome.is_none()).map(|(id, _)| *id).collect();
        let mut absent: HashSet<PointId> = unknown.iter().copied().collect();
        if !unknown.is_empty() {
            let read = ReadOptions { token: Some(answer.token.clone()), ..ReadOptions::default() };
            let wanted = (unknown, Selection::default());
            for point in database.get(principal, collection, wanted, &read).await? {
                absent.remove(&point.id);
            }
        }
        let mut outcomes = outcomes();
        let missing = outcomes.find(|(id, outcome)| match outcome {
            Some(outcome) => *outcome == OpOutcome::NotFound,
            None => absent.contains(*id),
        });
        match missing {
            None => Ok(()),
            Some((id, _)) => Err(RestError::not_found(format!(
                "No point with id {id} found; those of the request that are there are changed"
            ))),
        }
    }
}
