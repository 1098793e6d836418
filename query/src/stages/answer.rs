//! The second phase: the points of what a plan found.

use std::sync::Arc;

use super::list::Candidate;
use super::plan::StagePlan;
use super::run::Runner;
use crate::coordinator::{Fan, SEARCH_ATTEMPTS, fetch_by_shard, rank_deadline, settle};
use crate::error::{QueryError, Result};
use crate::request::Selection;
use crate::request::query::{QueryAnswer, Scored};

/// Runs `plan` over the shards of `fan` and reads the points it finds, without the first `offset`. As a search does, it
/// runs again where a shard that keeps no state has other points by then.
pub(crate) async fn answer(
    runner: &Runner<'_>,
    fan: Fan,
    plan: &StagePlan,
    (offset, selection): (usize, Arc<Selection>),
) -> Result<QueryAnswer> {
    let mut left = SEARCH_ATTEMPTS;
    loop {
        left -= 1;
        let fan = fan.clone().hold().await?;
        let ranking = fan.until(rank_deadline(&fan, runner.allow_partial));
        let mut found = runner.run(&ranking, plan).await?;
        found.list.drain(..offset.min(found.list.len()));
        let wanted = found.list.len();
        let (hits, late) = scored(&fan, found.list, &selection).await?;
        let (changed, late) = (wanted - hits.len(), found.late.or(late));
        if changed == 0 || left == 0 || late.is_some() {
            let partial = settle(runner.allow_partial, changed, late)?;
            return Ok(QueryAnswer { hits, partial });
        }
    }
}

/// The candidates with their points, without those that are no longer what was ranked; why some are missing.
pub(crate) async fn scored(
    fan: &Fan,
    list: Vec<Candidate>,
    selection: &Arc<Selection>,
) -> Result<(Vec<Scored>, Option<QueryError>)> {
    let ids = list.iter().map(|candidate| (candidate.shard, candidate.id));
    let (points, late) = fetch_by_shard(fan, ids, selection).await?;
    let scored = |candidate: Candidate| {
        // A point may be there more than once: ordered by each of its values, or in several groups.
        let point = points.get(&candidate.id).filter(|point| point.version == candidate.version)?.clone();
        let order_value = candidate.order.map(|value| value.to_json());
        Some(Scored { point, score: candidate.score, order_value })
    };
    Ok((list.into_iter().filter_map(scored).collect(), late))
}
