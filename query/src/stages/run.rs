//! Plans over the shards, from the inside out.

use std::collections::HashMap;
use std::sync::Arc;

use engram_index::Pace;
use engram_index::vector::{Metric, VectorValue};
use engram_storage::point::PointId;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::budget::Budget;
use super::examples::values_by_shard;
use super::formula::{Checked, Rescoring};
use super::likeness::Likeness;
use super::list::{Candidate, Found};
use super::plan::{By, Nearest, StagePlan, both};
use super::rank_by::RankBy;
use super::{diverse, fusion};
use crate::coordinator::{Fan, TextWords, rank_deadline, rank_text, scatter};
use crate::error::Result;
use crate::filter::Bound;
use crate::local::{Compute, Work, after};
use crate::merge::{Merged, merge_hits};
use crate::searcher::{RankedRow, ShardHits, ShardRankRequest, ShardRanked, ShardScope, ShardSearchRequest};
use crate::write::vector_field;

/// Prefetch stages of one stage that run side by side.
const STAGES_AT_ONCE: usize = 8;

/// Runs plans.
#[derive(Clone, Copy)]
pub(crate) struct Runner<'a> {
    /// Where work runs that is not one shard's.
    pub compute: &'a Compute,
    /// Answer with what arrived in time.
    pub allow_partial: bool,
    /// Components of stored vectors that were read for the plan.
    pub held: usize,
}

/// Points that a stage ranks, by the number of their shard; all points where absent.
type Among = Option<Vec<Vec<PointId>>>;

impl Runner<'_> {
    /// What `plan` finds, best first.
    pub async fn run(&self, fan: &Fan, plan: &StagePlan) -> Result<Found> {
        // What an earlier run held is let go.
        self.stage(fan, plan, &Budget::used(self.held)).await
    }

    fn stage<'b>(
        &'b self,
        fan: &'b Fan,
        plan: &'b StagePlan,
        budget: &'b Budget,
    ) -> BoxFuture<'b, Result<Found>> {
        async move {
            let sources = self.sources(fan, plan, budget).await?;
            let mut late = sources.iter().find_map(|source| source.late.clone());
            let lists: Vec<Vec<Candidate>> = sources.into_iter().map(|source| source.list).collect();
            let mut found = match &plan.by {
                By::Same => Found { list: lists.into_iter().flatten().collect(), late: None },
                By::Fusion(how) => Found { list: fusion::fuse(how, lists), late: None },
                By::Formula(formula) => rescore(fan, plan.limit, formula, &lists).await?,
                By::Nearest(nearest) => {
                    let among = among(fan, plan, &lists);
                    near(fan, plan, nearest, (among, plan.limit)).await?
                }
                By::Diverse { nearest, like, diversity, candidates } => {
                    let among = among(fan, plan, &lists);
                    let mut near = near(fan, plan, nearest, (among, *candidates)).await?;
                    near.list.retain(|candidate| plan.passes(candidate.score));
                    self.diversify(fan, (nearest, like, *diversity), plan.limit, (near, budget)).await?
                }
                By::Text(text) => self.text(fan, plan, text, among(fan, plan, &lists)).await?,
                By::Ranked(by) => ranked(fan, plan, by, among(fan, plan, &lists)).await?,
            };
            found.list.retain(|candidate| plan.passes(candidate.score));
            found.list.truncate(plan.limit);
            late = late.or(found.late);
            Ok(Found { list: found.list, late })
        }
        .boxed()
    }

    /// What the prefetch stages find, side by side.
    async fn sources(&self, fan: &Fan, plan: &StagePlan, budget: &Budget) -> Result<Vec<Found>> {
        if plan.prefetch.is_empty() {
            return Ok(Vec::new());
        }
        let inner = fan.until(rank_deadline(fan, self.allow_partial));
        let stages: Vec<_> = plan.prefetch.iter().map(|stage| self.stage(&inner, stage, budget)).collect();
        stream::iter(stages).buffered(STAGES_AT_ONCE).try_collect().await
    }

    /// The best points by the words of a text.
    async fn text(&self, fan: &Fan, plan: &StagePlan, text: &TextWords, among: Among) -> Result<Found> {
        let only = among.map(|ids| Bound::ids(ids.concat()));
        let filter = both(only, plan.filter.clone());
        let (shards, late) = rank_text(fan, text, (filter, plan.limit), self.allow_partial).await?;
        Ok(Found { list: merged(&shards, Metric::Dot, plan.limit), late })
    }

    /// Chooses among the nearest points those that are unlike each other.
    async fn diversify(
        &self,
        fan: &Fan,
        (nearest, query, diversity): (&Nearest, &Arc<VectorValue>, f32),
        limit: usize,
        (near, budget): (Found, &Budget),
    ) -> Result<Found> {
        let ids: Vec<_> = near.list.iter().map(|c| (c.shard, c.id)).collect();
        let field = vector_field(&fan.schema, &nearest.name)?;
        let (mut values, late) = values_by_shard(fan, &ids, field, ("the candidates of mmr", budget)).await?;
        let both: Vec<(Candidate, VectorValue)> =
            near.list.into_iter().filter_map(|c| Some((c, values.remove(&c.id)?))).collect();
        let components: usize = both.iter().map(|(_, value)| value.bytes() / size_of::<f32>()).sum();
        let work = components.saturating_mul(limit.min(both.len()));
        let (metric, query, deadline) = (nearest.metric, query.clone(), fan.deadline);
        let job = move |_| {
            let likeness = Likeness::new(metric);
            let late = after(deadline);
            let pace = Pace::new(&late);
            let relevance: Vec<f32> =
                both.iter().map(|(_, value)| likeness.of(&query, value, &pace)).collect();
            let alike = |a: usize, b: usize| likeness.of(&both[a].1, &both[b].1, &pace);
            let chosen = diverse::choose(&relevance, diversity, limit, alike, &pace)?;
            Ok(chosen.into_iter().map(|at| both[at].0).collect())
        };
        let list = self.compute.run(Work(work), (1, deadline), job).await?;
        Ok(Found { list, late: near.late.or(late) })
    }
}

/// The points of the prefetch stages, each in the shard it was found in.
fn among(fan: &Fan, plan: &StagePlan, lists: &[Vec<Candidate>]) -> Among {
    if plan.prefetch.is_empty() {
        return None;
    }
    let mut ids: Vec<Vec<PointId>> = vec![Vec::new(); fan.scopes.len()];
    for candidate in lists.iter().flatten() {
        ids[candidate.shard].push(candidate.id);
    }
    for ids in &mut ids {
        ids.sort_unstable();
        ids.dedup();
    }
    Some(ids)
}

/// The filter of each shard: that of the stage, and the points it ranks where that are not all.
fn filters(fan: &Fan, plan: &StagePlan, among: Among) -> Vec<Option<Bound>> {
    match among {
        None => vec![plan.filter.clone(); fan.scopes.len()],
        Some(ids) => ids.into_iter().map(|ids| both(Some(Bound::ids(ids)), plan.filter.clone())).collect(),
    }
}

async fn near(fan: &Fan, plan: &StagePlan, nearest: &Nearest, (among, k): (Among, usize)) -> Result<Found> {
    let rescores = among.is_some();
    let filters = filters(fan, plan, among);
    let shards = fan.scopes.len();
    let call = |number: usize, scope: ShardScope| {
        let filter = filters.get(number).cloned().flatten();
        fan.searcher.search(ShardSearchRequest {
            scope,
            field: nearest.field,
            vector: nearest.vector.clone(),
            filter,
            k,
            effort: nearest.effort,
            // Few points, and all of them are to be ranked.
            exact: nearest.exact || rescores,
            indexed_only: nearest.indexed_only && !rescores,
            without: None,
            shards,
        })
    };
    let (answers, late): (Vec<ShardHits>, _) = scatter(fan, call).await?;
    Ok(Found { list: merged(&answers, nearest.metric, k), late })
}

/// The `k` nearest of all shards.
fn merged(shards: &[ShardHits], metric: Metric, k: usize) -> Vec<Candidate> {
    let lists: Vec<_> = shards.iter().map(|shard| shard.hits.as_slice()).collect();
    let candidate = |merged: Merged| Candidate {
        id: merged.hit.id,
        score: metric.score(merged.hit.distance),
        version: merged.hit.version,
        shard: merged.list,
        order: None,
    };
    merge_hits(&lists, k).into_iter().map(candidate).collect()
}

async fn ranked(fan: &Fan, plan: &StagePlan, by: &Arc<RankBy>, among: Among) -> Result<Found> {
    rank(fan, by, filters(fan, plan, among), plan.limit).await
}

/// The first `k` rows of all shards.
pub(crate) async fn rank(
    fan: &Fan,
    by: &Arc<RankBy>,
    filters: Vec<Option<Bound>>,
    k: usize,
) -> Result<Found> {
    let shards = fan.scopes.len();
    let call = |number: usize, scope: ShardScope| {
        let filter = filters.get(number).cloned().flatten();
        fan.searcher.rank_by(ShardRankRequest { scope, by: by.clone(), filter, k, shards })
    };
    let (answers, late): (Vec<ShardRanked>, _) = scatter(fan, call).await?;
    let rows = answers.into_iter().enumerate();
    let mut rows: Vec<(RankedRow, usize)> =
        rows.flat_map(|(shard, answer)| answer.rows.into_iter().map(move |row| (row, shard))).collect();
    // A stable sort finds the sorted runs it is made of and merges them.
    rows.sort_by(|a, b| by.compare(&a.0, &b.0));
    rows.truncate(k);
    let candidate = |(row, shard): (RankedRow, usize)| Candidate {
        id: row.id,
        score: row.score,
        version: row.version,
        shard,
        order: row.order,
    };
    Ok(Found { list: rows.into_iter().map(candidate).collect(), late })
}

async fn rescore(fan: &Fan, k: usize, formula: &Arc<Checked>, lists: &[Vec<Candidate>]) -> Result<Found> {
    let mut scores: HashMap<PointId, Vec<Option<f32>>> = HashMap::new();
    for (stage, list) in lists.iter().enumerate() {
        for candidate in list {
            let of = scores.entry(candidate.id).or_insert_with(|| vec![None; lists.len()]);
            of[stage] = Some(candidate.score);
        }
    }
    if scores.is_empty() {
        return Ok(Found::default());
    }
    let rescoring = Rescoring { formula: formula.clone(), scores: Arc::new(scores) };
    rank(fan, &Arc::new(RankBy::Formula(rescoring)), Vec::new(), k).await
}
