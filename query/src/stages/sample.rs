//! Points at random: those whose hashed ids come first.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use engram_storage::point::PointId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Steps of the seeds: 2^64 divided by the golden ratio, so that no two are near each other.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Seeds of samples, one for each.
#[derive(Debug)]
pub(crate) struct Seeds(AtomicU64);

impl Seeds {
    /// The same seeds for the same `first`; others each time where it is absent.
    pub fn new(first: Option<u64>) -> Self {
        Self(AtomicU64::new(first.unwrap_or_else(|| std::hash::RandomState::new().hash_one(STEP))))
    }

    /// The next one.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(STEP, Ordering::Relaxed)
    }
}

/// Place of a point in the sample of this seed. Every shard finds the same order, so that the first of all shards are a
/// sample of all points, each as likely as any other.
pub(crate) fn place(seed: u64, id: &PointId) -> u64 {
    xxh3_64_with_seed(&id.canonical(), seed)
}
