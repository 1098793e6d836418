//! The text search: counting, ranking, fetching.
//!
//! BM25 weighs a word by how rare it is in the whole collection. So all shards count first, those of regions that are not
//! searched too; each that is searched then ranks the very state that it counted, with what all of them counted. Scores
//! thus depend neither on where a point lies nor on where else a request looks.

use std::sync::Arc;
use std::time::Instant;

use engram_index::text::{TextStatistics, WeightedWord};
use engram_index::vector::Metric;

use super::search::{assemble, fetch};
use super::{Fan, SEARCH_ATTEMPTS, gather, rank_deadline, settle};
use crate::error::{QueryError, Result};
use crate::filter::Bound;
use crate::merge::{Merged, merge_hits};
use crate::request::{SearchAnswer, Selection};
use crate::searcher::{Pin, ShardHits, ShardScope, ShardTextRequest, ShardTextStatisticsRequest};
use crate::text_field::TextField;

/// A score is an inner product: larger is better, and the distance is its negative.
const METRIC: Metric = Metric::Dot;

/// Words to look for.
#[derive(Clone, Debug)]
pub(crate) struct TextWords {
    pub field: Arc<TextField>,
    /// The words of the query, each once, ascending.
    pub words: Arc<[String]>,
    /// How often the query has each.
    pub repeats: Vec<u32>,
}

/// A text search that was checked.
pub(crate) struct TextPlan {
    pub text: TextWords,
    pub filter: Option<Bound>,
    pub limit: usize,
    pub offset: usize,
    pub score_threshold: Option<f32>,
    pub selection: Arc<Selection>,
    pub allow_partial: bool,
}

/// Runs a text search over all shards of `fan`.
pub(crate) async fn search_text(fan: &Fan, plan: &TextPlan) -> Result<SearchAnswer> {
    let k = plan.limit + plan.offset;
    let mut left = SEARCH_ATTEMPTS;
    loop {
        left -= 1;
        let (shards, late) = rank_text(fan, &plan.text, (plan.filter.clone(), k), plan.allow_partial).await?;
        let winners = winners(plan, &shards);
        let (points, fetch_late) = fetch(fan, &plan.selection, &shards, &winners).await?;
        let (hits, changed) = assemble(METRIC, &winners, points);
        let partial = late.or(fetch_late);
        if changed == 0 || left == 0 || partial.is_some() {
            let partial = settle(plan.allow_partial, changed, partial)?;
            return Ok(SearchAnswer { hits, partial, expected_recall: None });
        }
    }
}

/// The `k` best points of each shard.
pub(crate) async fn rank_text(
    fan: &Fan,
    text: &TextWords,
    (filter, k): (Option<Bound>, usize),
    allow_partial: bool,
) -> Result<(Vec<ShardHits>, Option<QueryError>)> {
    if text.words.is_empty() {
        return Ok((fan.scopes.iter().map(|_| ShardHits::default()).collect(), None));
    }
    let (statistics, pins, uncounted) = count(fan, text, allow_partial).await?;
    let words = Weighed {
        words: statistics.weigh(&text.words, &text.repeats).into(),
        average_length: statistics.average_length(),
    };
    let deadline = rank_deadline(fan, allow_partial);
    let call = |number: usize, pin: Pin| {
        fan.searcher.search_text(ShardTextRequest {
            scope: ShardScope { deadline, ..fan.scopes[number].clone() },
            field: text.field.clone(),
            words: words.words.clone(),
            average_length: words.average_length,
            filter: filter.clone(),
            k,
            shards: fan.scopes.len(),
            pin,
        })
    };
    let (lists, late) = rank(fan.scopes.len(), deadline, pins, call).await?;
    Ok((lists, uncounted.or(late)))
}

/// What the words of a query weigh in the whole collection.
struct Weighed {
    words: Arc<[WeightedWord]>,
    average_length: f64,
}

/// What all shards have of the words; a shard that was late has no pin, and is not ranked.
async fn count(
    fan: &Fan,
    text: &TextWords,
    allow_partial: bool,
) -> Result<(TextStatistics, Vec<Option<Pin>>, Option<QueryError>)> {
    let shards = fan.scopes.len() + fan.others.len();
    let deadline = rank_deadline(fan, allow_partial);
    let call = |scope: &ShardScope| {
        fan.searcher.text_statistics(ShardTextStatisticsRequest {
            scope: ShardScope { deadline, ..scope.clone() },
            field: text.field.clone(),
            words: text.words.clone(),
            shards,
        })
    };
    let scopes = fan.scopes.iter().chain(fan.others.iter()).collect::<Vec<_>>();
    let gathered = gather(scopes.into_iter().map(call), deadline).await?;
    let none = vec![0; text.words.len()];
    let mut sum = TextStatistics { frequencies: none, ..TextStatistics::default() };
    let mut pins: Vec<Option<Pin>> = vec![None; fan.scopes.len()];
    for (number, counted) in gathered.answers {
        sum.add(&counted.statistics);
        if let Some(pin) = pins.get_mut(number) {
            *pin = Some(counted.pin);
        }
    }
    match gathered.late {
        Some(e) if !allow_partial => Err(e),
        late => Ok((sum, pins, late)),
    }
}

/// Calls each shard that was counted; the list of another one is empty.
async fn rank<C>(
    shards: usize,
    deadline: Instant,
    pins: Vec<Option<Pin>>,
    call: impl Fn(usize, Pin) -> C,
) -> Result<(Vec<ShardHits>, Option<QueryError>)>
where
    C: Future<Output = Result<ShardHits>> + Send,
{
    let counted: Vec<(usize, Pin)> =
        pins.into_iter().enumerate().filter_map(|(number, pin)| Some((number, pin?))).collect();
    let numbers: Vec<usize> = counted.iter().map(|(number, _)| *number).collect();
    let gathered = gather(counted.into_iter().map(|(number, pin)| call(number, pin)), deadline).await?;
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
