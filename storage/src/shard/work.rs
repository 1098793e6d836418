//! What shards did since the start of the node, for its metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Work of one kind: how often, and how long in all.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Tally {
    /// Counts one piece of work that began at `start` and ends now.
    pub(super) fn add(&self, start: Instant) {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Pieces of work.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Seconds of all of them together.
    pub fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// The work of all shards of a node.
#[derive(Debug, Default)]
pub struct Work {
    /// Appends to logs, each with one sync.
    pub log_appends: Tally,
    /// Memtables written to segments.
    pub flushes: Tally,
    /// Segments merged, or written anew without their dead rows.
    pub rewrites: Tally,
    /// Graphs built from nothing.
    pub graphs: Tally,
    /// Graphs made from that of an earlier segment.
    pub graph_merges: Tally,
    /// Graphs that met damaged bytes and were built anew.
    pub damaged_graphs: AtomicU64,
    /// Flushes and rewrites that failed and are tried again.
    pub failures: AtomicU64,
}
