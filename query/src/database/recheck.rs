//! Live recall: sampled searches are run again beside their exact form.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engram_storage::schema::{CollectionId, CollectionSchema, TenantId};

use super::Database;
use crate::coordinator::{Fan, SearchPlan};
use crate::error::{QueryError, Result};
use crate::local::Rechecked;
use crate::merge::{Merged, merge_hits};
use crate::recall::Searched;
use crate::recheck::Sample;
use crate::request::ReadOptions;
use crate::searcher::{ShardHit, ShardSearchRequest};

/// Longest time of one re-check, over all shards and with all waiting for idleness.
const RECHECK_TIME: Duration = Duration::from_secs(5);

/// What re-checks of one collection counted since the start: recall is `hits / checked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecallCount {
    /// Owner.
    pub tenant: TenantId,
    /// Collection.
    pub collection: CollectionId,
    /// True neighbours that were looked for.
    pub checked: u64,
    /// Those that the searches had found.
    pub hits: u64,
}

impl Database {
    /// Runs one sampled search again, and its exact form, on the same fresh snapshots, and counts how much of the truth it
    /// finds. Does nothing while a request is in work, and stops soon after the future is dropped.
    ///
    /// Returns the time it took; `None` where there was nothing to do.
    pub async fn recheck(&self) -> Option<Duration> {
        let rechecks = &self.inner.rechecks;
        if !self.inner.local.is_idle() {
            rechecks.forget_old();
            return None;
        }
        let taken = rechecks.take()?;
        let started = Instant::now();
        match self.compare(&taken.sample).await {
            Ok((checked, hits)) => taken.count(checked, hits),
            Err(e) => tracing::debug!(collection = %taken.sample.collection, error = %e, "not re-checked"),
        }
        Some(started.elapsed())
    }

    /// What re-checks counted, by collection; only collections that are there.
    pub fn recall_counts(&self) -> Vec<RecallCount> {
        let tallies = self.inner.rechecks.tallies();
        if tallies.is_empty() {
            return Vec::new();
        }
        let there: HashSet<_> = self.inner.engine.all_collections().iter().map(|schema| schema.id).collect();
        let counts = tallies.into_iter().filter(|(id, _)| there.contains(id)).map(|(collection, tally)| {
            RecallCount { tenant: tally.tenant, collection, checked: tally.checked, hits: tally.hits }
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort_unstable_by_key(|count| (count.tenant, count.collection));
        counts
    }

    /// Keeps an answered search for a re-check, if it is one of those to be kept. Searches with a filter are not: what
    /// graphs promise is measured without one, and a filter may cost a look at every payload.
    pub(super) fn sample(
        &self,
        schema: &CollectionSchema,
        plan: &SearchPlan,
        searched: &Searched,
        regions: Vec<String>,
    ) {
        if !searched.by_graph || plan.filter.is_some() || !self.inner.rechecks.chooses() {
            return;
        }
        self.inner.rechecks.keep(Sample {
            tenant: schema.tenant,
            collection: schema.id,
            regions,
            field: plan.field,
            vector: plan.vector.clone(),
            k: plan.k + plan.offset,
            effort: plan.effort,
            without: plan.without,
            taken: Instant::now(),
            stop: Arc::default(),
        });
    }

    /// To be called when a collection is gone.
    pub(super) fn forget_samples_of_collection(&self, id: CollectionId) {
        self.inner.rechecks.forget_collection(id);
    }

    /// To be called around a purge.
    pub(super) fn forget_samples_of_tenant(&self, tenant: TenantId) {
        self.inner.rechecks.forget_tenant(tenant);
    }

    /// True neighbours of a sample, and how many of them a search finds now.
    async fn compare(&self, sample: &Sample) -> Result<(u64, u64)> {
        let mut schemas = self.inner.engine.collections(sample.tenant).into_iter();
        let Some(schema) = schemas.find(|schema| schema.id == sample.collection) else {
            return Err(QueryError::no_collection(&sample.collection.to_string()));
        };
        let read = ReadOptions { regions: sample.regions.clone(), ..ReadOptions::default() };
        let fan = Fan::new(self.inner.searcher.clone(), schema, &read, Instant::now() + RECHECK_TIME)?;
        let shards = fan.scopes.len();
        let mut both = Vec::with_capacity(shards);
        // One after the other, so that one snapshot is held at a time.
        for scope in fan.scopes.iter() {
            let request = ShardSearchRequest {
                scope: scope.clone(),
                field: sample.field,
                vector: sample.vector.clone(),
                filter: None,
                k: sample.k,
                effort: sample.effort,
                exact: false,
                indexed_only: false,
                without: sample.without,
                shards,
            };
            both.push(self.inner.local.recheck(request, sample.stop.clone()).await?);
        }
        let merged = |list: fn(&Rechecked) -> &[ShardHit]| {
            merge_hits(&both.iter().map(list).collect::<Vec<_>>(), sample.k)
        };
        Ok(compared(&merged(|both| &both.found), &merged(|both| &both.truth)))
    }
}

/// Number of true neighbours, and of those that were found: one at the distance of the farthest is as good as it.
fn compared(found: &[Merged], truth: &[Merged]) -> (u64, u64) {
    let Some(farthest) = truth.last().map(|m| m.hit.distance) else { return (0, 0) };
    let ids: HashSet<_> = truth.iter().map(|m| m.hit.id).collect();
    let right = found.iter().filter(|m| m.hit.distance <= farthest || ids.contains(&m.hit.id)).count();
    (truth.len() as u64, right.min(truth.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_storage::point::PointId;

    fn list(hits: &[(u64, f32)]) -> Vec<Merged> {
        let merged = |&(id, distance)| {
            let hit = ShardHit { id: PointId::Num(id), distance, version: 1 };
            Merged { hit, list: 0 }
        };
        hits.iter().map(merged).collect()
    }

    #[test]
    fn a_neighbour_at_the_distance_of_the_last_counts() {
        let truth = list(&[(1, 0.1), (2, 0.2), (3, 0.3)]);
        assert_eq!(compared(&truth, &truth), (3, 3));
        assert_eq!(compared(&list(&[(1, 0.1), (2, 0.2), (9, 0.3)]), &truth), (3, 3));
        assert_eq!(compared(&list(&[(1, 0.1), (3, 0.3), (8, 0.4)]), &truth), (3, 2));
        assert_eq!(compared(&list(&[]), &truth), (3, 0));
        assert_eq!(compared(&list(&[(1, 0.1)]), &[]), (0, 0));
    }
}
