//! Keeping the memtable in few runs: small batches are merged into larger ones, tier by tier, so that a search meets
//! O(log n) of them and a write is copied O(log n) times.

use std::ops::Range;

use super::state::{Place, RunState, ShardState};
use crate::error::Result;
use crate::schema::CollectionSchema;
use crate::segment::run::Run;

/// So many neighbouring runs of one tier become one of the next.
const FAN_IN: usize = 8;
/// Runs of this size are left alone: copying them would hold up the writer.
const LARGE_ROWS: usize = 4096;

/// Tier of a run: runs of one tier differ in size by less than the fan-in.
fn tier(rows: usize) -> u32 {
    rows.max(1).ilog(FAN_IN)
}

/// The newest runs that should be merged now.
fn due(runs: &[RunState]) -> Option<Range<usize>> {
    let end = runs.len();
    let mut start = end;
    let mut highest = 0;
    while start > 0 {
        let run = &runs[start - 1];
        if run.place != Place::Memtable || run.run.len() >= LARGE_ROWS {
            break;
        }
        let tier = tier(run.run.len());
        // A smaller run before a larger one is merged along; a larger tier begins a new stretch.
        if start < end && tier > highest {
            break;
        }
        highest = highest.max(tier);
        start -= 1;
    }
    (end - start >= FAN_IN).then_some(start..end)
}

/// Merges what is due, until nothing is.
pub(super) fn coalesce(state: &mut ShardState, schema: &CollectionSchema) -> Result<()> {
    while let Some(range) = due(&state.runs) {
        let inputs: Vec<_> = state.runs[range.clone()].iter().map(|r| (&r.run, &*r.dead)).collect();
        let (run, _) = Run::merge(schema, &inputs)?;
        state.runs.truncate(range.start);
        if !run.is_empty() {
            state.runs.push(RunState { run, dead: Default::default(), place: Place::Memtable });
        }
    }
    Ok(())
}
