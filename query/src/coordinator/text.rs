//! The text search: counting, ranking, fetching.
//!
//! BM25 weighs a word by how rare it is in the whole collection. So all shards count first; each of them then ranks the
//! very state that it counted, with what all of them counted. Scores thus do not depend on where a point lies.

use std::sync::Arc;

use engram_index::text::{TextStatistics, WeightedWord};
use engram_index::vector::Metric;

use super::search::{answer, assemble, fetch, rank_deadline};
use super::{Fan, SEARCH_ATTEMPTS, gather};
use crate::error::{QueryError, Result};
use crate::filter::Filter;
use crate::merge::{Merged, merge_hits};
use crate::request::{SearchAnswer, Selection};
use crate::searcher::{Pin, ShardHits, ShardScope, ShardTextRequest, ShardTextStatisticsRequest};

/// A score is an inner product: larger is better, and the distance is its negative.
const METRIC: Metric = Metric::Dot;

/// A text search that was checked.
pub(crate) struct TextPlan {
    /// Dotted path in its one form.
    pub field: Arc<str>,
    /// The words of the query, each once, ascending.
    pub words: Arc<[String]>,
    /// How often the query has each.
    pub repeats: Vec<u32>,
    pub filter: Option<Arc<Filter>>,
    pub limit: usize,
    pub offset: usize,
    pub score_threshold: Option<f32>,
    pub selection: Arc<Selection>,
    pub allow_partial: bool,
}

/// Runs a text search over all shards of `fan`.
pub(crate) async fn search_text(fan: &Fan, plan: &TextPlan) -> Result<SearchAnswer> {
    if plan.words.is_empty() {
        return Ok(SearchAnswer::default());
    }
    let mut left = SEARCH_ATTEMPTS;
    loop {
        left -= 1;
        let (statistics, pins, uncounted) = count(fan, plan).await?;
        let words = statistics.weigh(&plan.words, &plan.repeats);
        let (shards, late) = rank(fan, plan, (words.into(), statistics.average_length()), pins).await?;
        let winners = winners(plan, &shards);
        let (points, fetch_late) = fetch(fan, &plan.selection, &shards, &winners).await?;
        let (hits, changed) = assemble(METRIC, &winners, points);
        let partial = uncounted.or(late).or(fetch_late);
        if changed == 0 || left == 0 || partial.is_some() {
            return answer(plan.allow_partial, hits, changed, partial);
        }
    }
}

/// What all shards have of the words; a shard that was late has no pin, and is not ranked.
async fn count(fan: &Fan, plan: &TextPlan) -> Result<(TextStatistics, Vec<Option<Pin>>, Option<QueryError>)> {
    let shards = fan.scopes.len();
    let deadline = rank_deadline(fan, plan.allow_partial);
    let calls = fan.scopes.iter().map(|scope| {
        fan.searcher.text_statistics(ShardTextStatisticsRequest {
            scope: ShardScope { deadline, ..scope.clone() },
            field: plan.field.clone(),
            words: plan.words.clone(),
            shards,
        })
    });
    let gathered = gather(calls, deadline).await?;
    let none = vec![0; plan.words.len()];
    let mut sum = TextStatistics { frequencies: none, ..TextStatistics::default() };
    let mut pins: Vec<Option<Pin>> = vec![None; shards];
    for (number, counted) in gathered.answers {
        sum.add(&counted.statistics);
        pins[number] = Some(counted.pin);
    }
    match gathered.late {
        Some(e) if !plan.allow_partial => Err(e),
        late => Ok((sum, pins, late)),
    }
}

/// The best points of each shard that was counted.
async fn rank(
    fan: &Fan,
    plan: &TextPlan,
    (words, average_length): (Arc<[WeightedWord]>, f64),
    pins: Vec<Option<Pin>>,
) -> Result<(Vec<ShardHits>, Option<QueryError>)> {
    let shards = fan.scopes.len();
    let deadline = rank_deadline(fan, plan.allow_partial);
    let counted: Vec<(usize, Pin)> =
        pins.into_iter().enumerate().filter_map(|(number, pin)| Some((number, pin?))).collect();
    let numbers: Vec<usize> = counted.iter().map(|(number, _)| *number).collect();
    let calls = counted.into_iter().map(|(number, pin)| {
        fan.searcher.search_text(ShardTextRequest {
            scope: ShardScope { deadline, ..fan.scopes[number].clone() },
            field: plan.field.clone(),
            words: words.clone(),
            average_length,
            filter: plan.filter.clone(),
            k: plan.limit + plan.offset,
            shards,
            pin,
        })
    });
    let gathered = gather(calls, deadline).await?;
    let mut lists = Vec::new();
    lists.resize_with(shards, ShardHits::default);
    for (call, hits) in gathered.answers {
        lists[numbers[call]] = hits;
    }
    Ok((lists, gathered.late))
}

/// The hits that make up the answer, over all shards.
fn winners(plan: &TextPlan, shards: &[ShardHits]) -> Vec<Merged> {
    let lists: Vec<_> = shards.iter().map(|shard| shard.hits.as_slice()).collect();
    let mut winners = merge_hits(&lists, plan.limit + plan.offset);
    if let Some(threshold) = plan.score_threshold {
        winners.truncate(winners.partition_point(|m| METRIC.score(m.hit.distance) >= threshold));
    }
    winners.drain(..plan.offset.min(winners.len()));
    winners
}
