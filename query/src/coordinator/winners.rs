//! Points of shards that ranked them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use engram_storage::point::PointId;

use super::{Fan, gather};
use crate::error::{QueryError, Result};
use crate::request::{Selection, StoredPoint};
use crate::searcher::{FetchRequest, Pin};

/// The points of these ids, each from the shard of that number in the fan; why some are missing.
pub(crate) async fn fetch_by_shard(
    fan: &Fan,
    ids: impl IntoIterator<Item = (usize, PointId)>,
    selection: &Arc<Selection>,
) -> Result<(HashMap<PointId, StoredPoint>, Option<QueryError>)> {
    let mut by_shard: Vec<Vec<PointId>> = vec![Vec::new(); fan.scopes.len()];
    for (shard, id) in ids {
        by_shard[shard].push(id);
    }
    let wanted: Vec<_> =
        by_shard.into_iter().zip(fan.scopes.iter()).filter(|(ids, _)| !ids.is_empty()).collect();
    let calls = wanted.into_iter().map(|(mut ids, scope)| {
        ids.sort_unstable();
        ids.dedup();
        let (scope, selection) = (scope.clone(), selection.clone());
        fan.searcher.fetch(FetchRequest { scope, ids, selection, pin: Pin::default() })
    });
    let gathered = gather(calls, fan.deadline).await?;
    let points = gathered.answers.into_iter().flat_map(|(_, points)| points);
    Ok((points.map(|point| (point.id, point)).collect(), gathered.late))
}

/// When ranking ends. Where a partial answer will do, a fifth of the time is kept for what comes after it: late shards must
/// not use up the time in which the points of the others are read.
pub(crate) fn rank_deadline(fan: &Fan, allow_partial: bool) -> Instant {
    let left = fan.deadline.saturating_duration_since(Instant::now());
    if allow_partial { fan.deadline.checked_sub(left / 5).unwrap_or(fan.deadline) } else { fan.deadline }
}

/// Whether an answer is partial: `changed` of its points are not what was ranked, or something is `late`.
///
/// # Errors
/// Why it is partial, where that will not do.
pub(crate) fn settle(allow_partial: bool, changed: usize, late: Option<QueryError>) -> Result<bool> {
    let partial = late.is_some() || changed > 0;
    match late {
        Some(e) if !allow_partial => Err(e),
        None if partial && !allow_partial => Err(QueryError::Unavailable {
            code: "changed_while_reading",
            message: format!(
                "{changed} of the nearest points kept changing while they were read; try again, or accept partial answers"
            ),
        }),
        _ => Ok(partial),
    }
}
