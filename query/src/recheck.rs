//! A sample of live searches, to be run again exactly in idle time, and what that came to.
//!
//! Queries are user data: they are kept in memory only, bounded in number, bytes and age, and forgotten when their
//! collection is dropped or something of their tenant is purged.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engram_index::vector::VectorValue;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionId, TenantId};
use parking_lot::Mutex;

use crate::recall::Effort;

/// Most samples that wait.
const MAX_SAMPLES: usize = 256;
/// Most bytes of all that wait.
const MAX_BYTES: usize = 1 << 20;
/// A sample that waited so long is forgotten.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Collections that counts are kept for; the one checked the longest ago makes room for another.
const MAX_TALLIES: usize = 1_024;

/// One search that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub tenant: TenantId,
    pub collection: CollectionId,
    /// As the request named them.
    pub regions: Vec<String>,
    pub field: u16,
    pub vector: Arc<VectorValue>,
    /// Neighbours that were looked for.
    pub k: usize,
    pub effort: Effort,
    pub without: Option<PointId>,
    pub taken: Instant,
    /// Raised when nobody wants the outcome any more.
    pub stop: Arc<AtomicBool>,
}

impl Sample {
    fn bytes(&self) -> usize {
        let regions: usize = self.regions.iter().map(|r| size_of::<String>() + r.len()).sum();
        size_of::<Self>() + self.vector.bytes() + regions
    }
}

/// Neighbours of one collection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub tenant: TenantId,
    /// True neighbours that were looked for.
    pub checked: u64,
    /// Those that the searches had found.
    pub hits: u64,
    /// Number of the check that counted last.
    last: u64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Sample>,
    bytes: usize,
    /// Samples that are checked now.
    running: Vec<Sample>,
    tallies: HashMap<CollectionId, Tally>,
    /// Checks counted.
    checks: u64,
}

impl State {
    fn pop(&mut self) -> Option<Sample> {
        let sample = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(sample.bytes());
        Some(sample)
    }

    fn forget(&mut self, goes: impl Fn(&Sample) -> bool) {
        self.waiting.retain(|sample| !goes(sample));
        self.bytes = self.waiting.iter().map(Sample::bytes).sum();
        for sample in self.running.iter().filter(|sample| goes(sample)) {
            sample.stop.store(true, Ordering::Relaxed);
        }
    }

    fn forget_old(&mut self) {
        while self.waiting.front().is_some_and(|sample| sample.taken.elapsed() > MAX_AGE) {
            self.pop();
        }
    }
}

/// Samples that wait and counts of those that were checked.
pub(crate) struct Rechecks {
    one_in: u64,
    seen: AtomicU64,
    state: Mutex<State>,
}

impl Rechecks {
    /// Keeps one in so many searches; none for 0.
    pub fn new(one_in: u64) -> Self {
        Self { one_in, seen: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Whether to keep this search. Scattered, so that searches that come in turns do not always meet the same turn.
    pub fn chooses(&self) -> bool {
        self.one_in > 0 && scattered(self.seen.fetch_add(1, Ordering::Relaxed)).is_multiple_of(self.one_in)
    }

    /// Keeps a sample; the oldest make room.
    pub fn keep(&self, sample: Sample) {
        let bytes = sample.bytes();
        if bytes > MAX_BYTES {
            return;
        }
        let mut state = self.state.lock();
        while state.waiting.len() >= MAX_SAMPLES || state.bytes + bytes > MAX_BYTES {
            if state.pop().is_none() {
                break;
            }
        }
        state.bytes += bytes;
        state.waiting.push_back(sample);
    }

    /// Forgets what waited too long.
    pub fn forget_old(&self) {
        self.state.lock().forget_old();
    }

    /// The sample that waited longest.
    pub fn take(&self) -> Option<Taken<'_>> {
        let mut state = self.state.lock();
        state.forget_old();
        let sample = state.pop()?;
        state.running.push(sample.clone());
        Some(Taken { rechecks: self, sample })
    }

    /// Forgets samples and counts of a collection.
    pub fn forget_collection(&self, id: CollectionId) {
        let mut state = self.state.lock();
        state.forget(|sample| sample.collection == id);
        state.tallies.remove(&id);
    }

    /// Forgets the samples of a tenant; its counts, which hold nothing of them, stay.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.state.lock().forget(|sample| sample.tenant == tenant);
    }

    /// All counts.
    pub fn tallies(&self) -> Vec<(CollectionId, Tally)> {
        self.state.lock().tallies.iter().map(|(id, tally)| (*id, *tally)).collect()
    }
}

/// A sample that is being checked. Dropping it stops the check.
pub(crate) struct Taken<'a> {
    rechecks: &'a Rechecks,
    pub sample: Sample,
}

impl Taken<'_> {
    /// Counts the outcome, unless the sample was forgotten meanwhile.
    pub fn count(self, checked: u64, hits: u64) {
        let mut state = self.rechecks.state.lock();
        if self.sample.stop.load(Ordering::Relaxed) {
            return;
        }
        state.checks += 1;
        let (last, tenant, id) = (state.checks, self.sample.tenant, self.sample.collection);
        if state.tallies.len() >= MAX_TALLIES && !state.tallies.contains_key(&id) {
            let oldest = state.tallies.iter().min_by_key(|(_, tally)| tally.last).map(|(id, _)| *id);
            oldest.map(|oldest| state.tallies.remove(&oldest));
        }
        let tally = state.tallies.entry(id).or_insert(Tally { tenant, checked: 0, hits: 0, last });
        *tally = Tally { checked: tally.checked + checked, hits: tally.hits + hits, last, ..*tally };
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.sample.stop.store(true, Ordering::Relaxed);
        self.rechecks.state.lock().running.retain(|other| !Arc::ptr_eq(&other.stop, &self.sample.stop));
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn sample(tenant: u32, collection: u128, dimension: usize) -> Sample {
        Sample {
            tenant: TenantId(tenant),
            collection: CollectionId(Uuid::from_u128(collection)),
            regions: vec!["eu".into()],
            field: 0,
            vector: Arc::new(vec![0.0; dimension].into()),
            k: 10,
            effort: Effort::Recall(0.9),
            without: None,
            taken: Instant::now(),
            stop: Arc::default(),
        }
    }

    #[test]
    fn one_in_so_many_is_chosen() {
        let chosen = |one_in| {
            let rechecks = Rechecks::new(one_in);
            (0..64_000).filter(|_| rechecks.chooses()).count()
        };
        assert_eq!((chosen(0), chosen(1)), (0, 64_000));
        assert!((900..1_100).contains(&chosen(64)), "{}", chosen(64));
    }

    #[test]
    fn samples_are_bounded_in_number_and_bytes_and_the_newest_stay() {
        let rechecks = Rechecks::new(1);
        (0..1_000).for_each(|n| rechecks.keep(sample(1, n, 8)));
        assert_eq!(rechecks.state.lock().waiting.len(), MAX_SAMPLES);
        assert_eq!(rechecks.take().unwrap().sample.collection.0.as_u128(), 1_000 - MAX_SAMPLES as u128);
        (0..1_000).for_each(|n| rechecks.keep(sample(1, n, 16_384)));
        let state = rechecks.state.lock();
        assert!(state.bytes <= MAX_BYTES && state.waiting.len() < 16 && !state.waiting.is_empty());
        assert_eq!(state.bytes, state.waiting.iter().map(Sample::bytes).sum::<usize>());
        drop(state);
        rechecks.keep(sample(1, 7, MAX_BYTES));
        assert!(rechecks.state.lock().waiting.iter().all(|s| s.vector.bytes() == 4 * 16_384));
    }

    #[test]
    fn old_samples_are_forgotten() {
        let Some(long_ago) = Instant::now().checked_sub(2 * MAX_AGE) else { return };
        let rechecks = Rechecks::new(1);
        rechecks.keep(Sample { taken: long_ago, ..sample(1, 1, 8) });
        rechecks.keep(sample(1, 2, 8));
        assert_eq!(rechecks.take().unwrap().sample.collection.0.as_u128(), 2);
        rechecks.keep(Sample { taken: long_ago, ..sample(1, 1, 8) });
        rechecks.forget_old();
        let state = rechecks.state.lock();
        assert_eq!((state.waiting.len(), state.bytes, state.running.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_dropped_or_purged_is_forgotten_also_while_it_is_checked() {
        let rechecks = Rechecks::new(1);
        let id = |n| CollectionId(Uuid::from_u128(n));
        for (tenant, collection) in [(1, 1), (1, 2), (1, 1), (2, 3)] {
            rechecks.keep(sample(tenant, collection, 8));
        }
        rechecks.take().unwrap().count(10, 9);
        rechecks.keep(sample(1, 1, 8));
        assert_eq!(rechecks.tallies().len(), 1);
        let taken = rechecks.take().unwrap();
        assert_eq!(taken.sample.collection, id(2));
        rechecks.forget_collection(id(1));
        assert!(rechecks.tallies().is_empty() && !taken.sample.stop.load(Ordering::Relaxed));
        rechecks.forget_tenant(TenantId(1));
        assert!(taken.sample.stop.load(Ordering::Relaxed));
        taken.count(10, 9);
        assert!(rechecks.tallies().is_empty(), "what was forgotten must not count");
        let last = rechecks.take().unwrap();
        assert_eq!(last.sample.tenant, TenantId(2));
        assert!(rechecks.take().is_none());
        last.count(10, 8);
        let all = rechecks.tallies();
        assert_eq!((all[0].0, all[0].1.checked, all[0].1.hits), (id(3), 10, 8));
    }

    #[test]
    fn counts_are_kept_for_so_many_collections() {
        let rechecks = Rechecks::new(1);
        for n in 0..MAX_TALLIES as u128 + 1 {
            rechecks.keep(sample(1, n, 1));
            rechecks.take().unwrap().count(1, 1);
        }
        let all = rechecks.tallies();
        assert_eq!(all.len(), MAX_TALLIES);
        assert!(all.iter().all(|(id, _)| id.0.as_u128() != 0), "the one checked the longest ago leaves");
    }
}
