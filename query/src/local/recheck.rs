//! A search beside its exact form, on one snapshot, in pieces that no request has to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engram_index::Mask;
use engram_index::vector::SearchParams;
use engram_storage::shard::RunView;

use super::compute::{Compute, check_deadline};
use super::search::{SearchJob, hit};
use crate::error::{QueryError, Result};
use crate::merge::by_distance;
use crate::searcher::ShardHit;

/// Multiply-adds of one piece: about two milliseconds.
const PIECE_WORK: usize = 6_000_000;
/// Fewest rows of one piece.
const MIN_PIECE: usize = 256;
/// Most multiply-adds of the exact search of a shard, about two seconds: larger shards are not re-checked.
const MAX_WORK: usize = 6_000_000_000;
/// Time between two looks while requests are in work.
const PAUSE: Duration = Duration::from_millis(1);

/// What a search found, and what was there to be found; both ascending by (distance, id).
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rechecked {
    pub found: Vec<ShardHit>,
    pub truth: Vec<ShardHit>,
}

/// A search that runs twice.
pub(super) struct RecheckJob {
    pub search: SearchJob,
    pub compute: Arc<Compute>,
    pub stop: Arc<AtomicBool>,
}

impl RecheckJob {
    /// Both answers.
    pub fn run(&self) -> Result<Rechecked> {
        if self.exact_work() > MAX_WORK {
            return Err(unavailable(
                "too_large",
                "the shard is too large to be searched exactly in idle time",
            ));
        }
        self.wait_for_idleness()?;
        let found = self.search.run(false)?.0.into_iter().map(|placed| placed.hit).collect();
        let mut truth = Vec::new();
        for view in self.search.snapshot.runs.iter() {
            self.scan(view, &mut truth)?;
        }
        Ok(Rechecked { found, truth })
    }

    fn exact_work(&self) -> usize {
        let sets =
            self.search.snapshot.runs.iter().filter_map(|v| v.run.vector_set(self.search.request.field));
        sets.map(|set| set.len().saturating_mul(set.dimension())).fold(0, usize::saturating_add)
    }

    /// Adds the nearest rows of a run to `truth`, the nearest so far.
    fn scan(&self, view: &RunView, truth: &mut Vec<ShardHit>) -> Result<()> {
        let request = &self.search.request;
        // Only searches by graph are sampled, and those are of dense vectors.
        let found = view.run.vector_index(request.field).zip(request.vector.as_dense());
        let Some((index, vector)) = found else { return Ok(()) };
        let params = SearchParams { k: request.k, exact: true, ..SearchParams::default() };
        let rows = self.search.rows(view)?;
        let piece = (PIECE_WORK / index.vectors().dimension().max(1)).max(MIN_PIECE);
        for first in (0..view.run.len()).step_by(piece) {
            self.wait_for_idleness()?;
            let end = (first + piece).min(view.run.len());
            let ordinal = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
            let part = rows.part(ordinal(first)..ordinal(end));
            let nearest = index.search(vector, &params, Mask::Allow(&part))?;
            truth.extend(nearest.into_iter().map(|n| hit(view, n)));
            truth.sort_by(by_distance);
            truth.truncate(request.k);
        }
        Ok(())
    }

    /// Waits until no request is in work.
    fn wait_for_idleness(&self) -> Result<()> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(unavailable("stopped", "the re-check was stopped"));
            }
            check_deadline(self.search.request.scope.deadline)?;
            if self.compute.is_idle() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn unavailable(code: &'static str, message: &str) -> QueryError {
    QueryError::Unavailable { code, message: message.to_owned() }
}
