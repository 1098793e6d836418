//! Nearest neighbours of one shard.

use std::sync::Arc;

use engram_index::vector::SearchParams;
use engram_storage::shard::{RunView, ShardSnapshot};
use rayon::prelude::*;

use super::compute::{Work, check_deadline};
use super::rows::{Rows, Visibility};
use crate::error::Result;
use crate::merge::by_distance;
use crate::searcher::{ShardHit, ShardSearchRequest};

/// Vectors that a graph walk compares per candidate, about.
const COMPARED_PER_CANDIDATE: usize = 16;
/// What testing one row against a filter costs, in multiply-adds.
pub(super) const FILTER_WORK: usize = 1_000;

/// A search of one snapshot.
pub(super) struct SearchJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub request: ShardSearchRequest,
}

impl SearchJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let of = |view: &RunView| {
            let Some(set) = view.run.vector_set(self.request.field) else { return 0 };
            let scan = set.len().saturating_mul(set.dimension());
            let walk = self.request.ef.saturating_mul(COMPARED_PER_CANDIDATE * set.dimension());
            let graph = view.run.has_graph(self.request.field) && !self.request.exact;
            let filter = if self.request.filter.is_some() { view.run.len() * FILTER_WORK } else { 0 };
            filter.saturating_add(if graph { walk.min(scan) } else { scan })
        };
        Work(self.snapshot.runs.iter().map(of).fold(0, usize::saturating_add))
    }

    /// The nearest rows of all runs, ascending by (distance, id).
    pub fn run(&self, on_pool: bool) -> Result<Vec<ShardHit>> {
        let runs = self.snapshot.runs.as_slice();
        let mut lists: Vec<Vec<ShardHit>> = if on_pool && runs.len() > 1 {
            runs.par_iter().map(|view| self.search_run(view)).collect::<Result<_>>()?
        } else {
            runs.iter().map(|view| self.search_run(view)).collect::<Result<_>>()?
        };
        lists.retain(|list| !list.is_empty());
        if lists.len() <= 1 {
            return Ok(lists.pop().unwrap_or_default());
        }
        let mut all = lists.concat();
        all.sort_by(by_distance);
        all.truncate(self.request.k);
        Ok(all)
    }

    /// The nearest rows of one run. Rows are sorted by id, so the index's ties by ordinal are ties by id.
    fn search_run(&self, view: &RunView) -> Result<Vec<ShardHit>> {
        check_deadline(self.request.scope.deadline)?;
        let Some(index) = view.run.vector_index(self.request.field) else { return Ok(Vec::new()) };
        let mut rows = Rows::of(view, &self.shown, self.request.filter.as_deref())?;
        if let Some(ordinal) = self.request.without.and_then(|id| view.run.find(&id)) {
            rows = rows.without(ordinal);
        }
        if rows.count(view.run.len()) == 0 {
            return Ok(Vec::new());
        }
        let ShardSearchRequest { k, ef, exact, .. } = self.request;
        let params = SearchParams { k, ef, exact, recall: None };
        let neighbors = index.search(&self.request.vector, &params, rows.mask())?;
        let hit = |n: engram_index::vector::Neighbor| ShardHit {
            id: view.run.id(n.ordinal),
            distance: n.distance,
            version: view.run.meta(n.ordinal).version,
        };
        Ok(neighbors.into_iter().map(hit).collect())
    }
}
