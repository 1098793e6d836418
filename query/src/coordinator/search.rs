//! The two-phase search.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use engram_index::vector::{Metric, VectorValue};
use engram_storage::point::PointId;

use super::{Fan, SEARCH_ATTEMPTS, gather, rank_deadline, settle};
use crate::error::{QueryError, Result};
use crate::filter::Bound;
use crate::merge::{Merged, merge_hits};
use crate::recall::{Effort, Searched};
use crate::request::{Hit, SearchAnswer, Selection, StoredPoint};
use crate::searcher::{FetchRequest, ShardHits, ShardScope, ShardSearchRequest};

/// A search that was checked.
pub(crate) struct SearchPlan {
    pub field: u16,
    pub metric: Metric,
    /// Admitted, and weighed where its field asks for it.
    pub vector: Arc<VectorValue>,
    pub filter: Option<Bound>,
    pub k: usize,
    pub offset: usize,
    pub effort: Effort,
    pub exact: bool,
    pub without: Option<PointId>,
    pub score_threshold: Option<f32>,
    pub selection: Arc<Selection>,
    pub allow_partial: bool,
}

/// Runs a search over all shards of `fan`; tells also what was searched.
pub(crate) async fn search(fan: &Fan, plan: &SearchPlan) -> Result<(SearchAnswer, Searched)> {
    let mut left = SEARCH_ATTEMPTS;
    loop {
        left -= 1;
        let (shards, late) = rank(fan, plan).await?;
        let winners = winners(plan, &shards);
        let (points, fetch_late) = fetch(fan, &plan.selection, &shards, &winners).await?;
        let (hits, changed) = assemble(plan.metric, &winners, points);
        let partial = late.or(fetch_late);
        if changed == 0 || left == 0 || partial.is_some() {
            let searched = shards.iter().map(|shard| shard.searched).fold(Searched::default(), Searched::and);
            let partial = settle(plan.allow_partial, changed, partial)?;
            return Ok((
                SearchAnswer { hits, partial, expected_recall: searched.expected_recall() },
                searched,
            ));
        }
    }
}

/// First phase: what each shard ranks first. The list of a late shard is empty.
async fn rank(fan: &Fan, plan: &SearchPlan) -> Result<(Vec<ShardHits>, Option<QueryError>)> {
    let shards = fan.scopes.len();
    let deadline = rank_deadline(fan, plan.allow_partial);
    let calls = fan.scopes.iter().map(|scope| {
        fan.searcher.search(ShardSearchRequest {
            scope: ShardScope { deadline, ..scope.clone() },
            field: plan.field,
            vector: plan.vector.clone(),
            filter: plan.filter.clone(),
            k: plan.k + plan.offset,
            effort: plan.effort,
            exact: plan.exact,
            indexed_only: false,
            without: plan.without,
            shards,
        })
    });
    let gathered = gather(calls, deadline).await?;
    let mut lists = Vec::new();
    lists.resize_with(shards, ShardHits::default);
    for (number, hits) in gathered.answers {
        lists[number] = hits;
    }
    Ok((lists, gathered.late))
}

/// The hits that make up the answer, over all shards.
fn winners(plan: &SearchPlan, shards: &[ShardHits]) -> Vec<Merged> {
    let lists: Vec<_> = shards.iter().map(|shard| shard.hits.as_slice()).collect();
    let mut winners = merge_hits(&lists, plan.k + plan.offset);
    if let Some(threshold) = plan.score_threshold {
        let passes = |m: &Merged| {
            let score = plan.metric.score(m.hit.distance);
            if plan.metric.larger_is_closer() { score >= threshold } else { score <= threshold }
        };
        winners.truncate(winners.partition_point(passes));
    }
    winners.drain(..plan.offset.min(winners.len()));
    winners
}

/// Points of one shard in the order of its winners, without those that are gone.
pub(super) type Fetched = Peekable<IntoIter<StoredPoint>>;

/// Second phase: the winners' points, list by list, from the shards that ranked them.
pub(super) async fn fetch(
    fan: &Fan,
    selection: &Arc<Selection>,
    shards: &[ShardHits],
    winners: &[Merged],
) -> Result<(Vec<Fetched>, Option<QueryError>)> {
    let mut ids: Vec<Vec<PointId>> = vec![Vec::new(); shards.len()];
    for winner in winners {
        ids[winner.list].push(winner.hit.id);
    }
    let wanted: Vec<(usize, Vec<PointId>)> =
        ids.into_iter().enumerate().filter(|(_, ids)| !ids.is_empty()).collect();
    let lists: Vec<usize> = wanted.iter().map(|(list, _)| *list).collect();
    let calls = wanted.into_iter().map(|(list, ids)| {
        let mut scope = fan.scopes[list].clone();
        scope.min_offset = scope.min_offset.max(shards[list].served);
        let (selection, pin) = (selection.clone(), shards[list].pin.clone());
        fan.searcher.fetch(FetchRequest { scope, ids, selection, pin })
    });
    let gathered = gather(calls, fan.deadline).await?;
    let mut points: Vec<Fetched> = shards.iter().map(|_| Vec::new().into_iter().peekable()).collect();
    for (number, fetched) in gathered.answers {
        points[lists[number]] = fetched.into_iter().peekable();
    }
    Ok((points, gathered.late))
}

/// The hits whose points are still what was ranked, and the number of the others.
pub(super) fn assemble(metric: Metric, winners: &[Merged], mut points: Vec<Fetched>) -> (Vec<Hit>, usize) {
    let mut hits = Vec::with_capacity(winners.len());
    for Merged { hit, list } in winners {
        match points[*list].next_if(|point| point.id == hit.id) {
            Some(point) if point.version == hit.version => {
                hits.push(Hit { point, score: metric.score(hit.distance) });
            }
            _ => {}
        }
    }
    let changed = winners.len() - hits.len();
    (hits, changed)
}
