//! Nearest neighbours of one shard.

use std::sync::Arc;

use engram_index::Mask;
use engram_index::vector::{Neighbor, SearchParams, VectorValue};
use engram_storage::shard::{RunView, ShardSnapshot};
use rayon::prelude::*;

use super::compute::{Work, check_deadline};
use super::rows::{Place, Rows, Visibility};
use super::{multi, sparse};
use crate::error::Result;
use crate::merge::by_distance;
use crate::recall::{Effort, Searched};
use crate::searcher::{ShardHit, ShardSearchRequest};

/// Vectors that a graph walk compares per candidate, about.
const COMPARED_PER_CANDIDATE: usize = 16;
/// Candidates of a walk that goes as far as a recall needs: about 64 hops of 32 neighbours, or more for many results.
const CANDIDATES_FOR_RECALL: usize = 128;
/// What testing one row against a filter costs, in multiply-adds.
pub(super) const FILTER_WORK: usize = 1_000;

/// A hit and the row it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed {
    pub hit: ShardHit,
    pub place: Place,
}

/// Hits, and what was searched for them.
pub(super) type Ranked = (Vec<Placed>, Searched);

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
            if !view.run.has_vectors(self.request.field) {
                return 0;
            }
            let filter = if self.request.filter.is_some() { view.run.len() * FILTER_WORK } else { 0 };
            filter.saturating_add(self.work_of(view))
        };
        Work(self.snapshot.runs.iter().map(of).fold(0, usize::saturating_add))
    }

    /// Work of the comparisons in one run.
    fn work_of(&self, view: &RunView) -> usize {
        let request = &self.request;
        match &*request.vector {
            VectorValue::Dense(_) => {
                let Some(set) = view.run.vector_set(request.field) else { return 0 };
                let scan = set.len().saturating_mul(set.dimension());
                let candidates = match request.effort {
                    Effort::Candidates(ef) => ef,
                    Effort::Recall(_) => request.k.saturating_mul(2).max(CANDIDATES_FOR_RECALL),
                };
                let walk = candidates.saturating_mul(COMPARED_PER_CANDIDATE * set.dimension());
                let graph = view.run.has_graph(request.field) && !request.exact;
                if graph { walk.min(scan) } else { scan }
            }
            VectorValue::Sparse(query) => sparse::work(view, request.field, query),
            VectorValue::Multi(query) => multi::work(view, request.field, query),
        }
    }

    /// The nearest rows of all runs, ascending by (distance, id).
    pub fn run(&self, on_pool: bool) -> Result<Ranked> {
        let runs = self.snapshot.runs.as_slice();
        let found: Vec<Ranked> = if on_pool && runs.len() > 1 {
            (0..runs.len()).into_par_iter().map(|run| self.search_run(run, true)).collect::<Result<_>>()?
        } else {
            (0..runs.len()).map(|run| self.search_run(run, on_pool)).collect::<Result<_>>()?
        };
        let searched = found.iter().map(|run| run.1).fold(Searched::default(), Searched::and);
        let mut lists: Vec<Vec<Placed>> =
            found.into_iter().map(|run| run.0).filter(|list| !list.is_empty()).collect();
        if lists.len() <= 1 {
            return Ok((lists.pop().unwrap_or_default(), searched));
        }
        let mut all = lists.concat();
        all.sort_by(|a, b| by_distance(&a.hit, &b.hit));
        all.truncate(self.request.k);
        Ok((all, searched))
    }

    /// The nearest rows of one run. Rows are sorted by id, so the index's ties by ordinal are ties by id.
    fn search_run(&self, run: usize, on_pool: bool) -> Result<Ranked> {
        let Some(view) = self.snapshot.runs.get(run) else { return Ok(Ranked::default()) };
        check_deadline(self.request.scope.deadline)?;
        if !view.run.has_vectors(self.request.field)
            || self.request.indexed_only && self.waits_for_graph(view)
        {
            return Ok(Ranked::default());
        }
        let rows = self.rows(view)?;
        let count = rows.count(view.run.len());
        if count == 0 {
            return Ok(Ranked::default());
        }
        let (field, k) = (self.request.field, self.request.k);
        let exact = |neighbors| (neighbors, Searched::run(count, Some(1.0), false));
        let (neighbors, searched) = match &*self.request.vector {
            VectorValue::Dense(query) => self.search_dense(view, query, (rows.mask(), count))?,
            VectorValue::Sparse(query) => exact(sparse::search(view, field, query, (k, rows.mask()))),
            VectorValue::Multi(query) => {
                let scan = multi::Scan { query, k, mask: rows.mask(), deadline: self.request.scope.deadline };
                exact(scan.run(view, field, on_pool)?)
            }
        };
        let placed = |n: Neighbor| Placed { hit: hit(view, n), place: Place { run, ordinal: n.ordinal } };
        Ok((neighbors.into_iter().map(placed).collect(), searched))
    }

    fn search_dense(
        &self,
        view: &RunView,
        query: &[f32],
        (mask, count): (Mask<'_>, u64),
    ) -> Result<(Vec<Neighbor>, Searched)> {
        let Some(index) = view.run.vector_index(self.request.field) else { return Ok(Default::default()) };
        let params = self.params();
        let neighbors = index.search(query, &params, mask)?;
        let graph = view.run.has_graph(self.request.field) && !params.exact;
        let expected = if graph { index.expected_recall(&params) } else { Some(1.0) };
        Ok((neighbors, Searched::run(count, expected, graph)))
    }

    /// Whether a run has so many vectors that it is to have a graph, and has none.
    fn waits_for_graph(&self, view: &RunView) -> bool {
        let field = self.request.field;
        let least = self.request.scope.schema.vector_field_by_id(field).map_or(0, |f| f.graph_threshold);
        let vectors = view.run.vector_set(field).map_or(0, |set| set.len());
        !view.run.has_graph(field) && vectors >= least
    }

    /// Rows of a run that may be returned.
    pub fn rows<'a>(&self, view: &'a RunView) -> Result<Rows<'a>> {
        let rows = Rows::of(view, &self.shown, self.request.filter.as_deref())?;
        let without = self.request.without.and_then(|id| view.run.find(&id));
        Ok(match without {
            Some(ordinal) => rows.without(ordinal),
            None => rows,
        })
    }

    fn params(&self) -> SearchParams {
        let (ef, recall) = match self.request.effort {
            Effort::Candidates(ef) => (ef, None),
            Effort::Recall(recall) => (0, Some(recall)),
        };
        SearchParams { k: self.request.k, ef, recall, exact: self.request.exact }
    }
}

/// What an index found in a run, as the coordinator sees it.
pub(super) fn hit(view: &RunView, n: Neighbor) -> ShardHit {
    ShardHit { id: view.run.id(n.ordinal), distance: n.distance, version: view.run.meta(n.ordinal).version }
}
