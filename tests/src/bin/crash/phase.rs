//! What the server is doing when it is killed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use engram_tests::Client;
use rand::Rng;
use rand::rngs::StdRng;

/// Kinds of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Writes under way and nothing else.
    Write,
    /// A memtable becomes a segment.
    Flush,
    /// Segments are merged, or a graph is built.
    Compaction,
    /// A purge is under way.
    Purge,
    /// The server is starting after another kill.
    Recovery,
}

impl Phase {
    /// Those that can be aimed at.
    pub const ALL: [Self; 4] = [Self::Write, Self::Flush, Self::Compaction, Self::Purge];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::Purge => "purge",
            Self::Recovery => "recovery",
        })
    }
}

#[derive(Default)]
struct Counters {
    writing: AtomicU32,
    flushing: AtomicU32,
    compacting: AtomicU32,
    purging: AtomicU32,
    /// States that the server told last.
    told_flush: AtomicBool,
    told_compact: AtomicBool,
    told_erase: AtomicBool,
    answered: AtomicU32,
}

/// Sees requests under way and the states that the server tells.
#[derive(Clone)]
pub struct Watch {
    /// What the kill is aimed at: load tasks do only what leads there.
    pub target: Phase,
    counters: Arc<Counters>,
}

/// A request under way, until dropped.
pub struct Busy(Arc<Counters>, Phase);

impl Drop for Busy {
    fn drop(&mut self) {
        counter(&self.0, self.1).fetch_sub(1, Ordering::SeqCst);
    }
}

fn counter(c: &Counters, phase: Phase) -> &AtomicU32 {
    match phase {
        Phase::Write | Phase::Recovery => &c.writing,
        Phase::Flush => &c.flushing,
        Phase::Compaction => &c.compacting,
        Phase::Purge => &c.purging,
    }
}

impl Watch {
    /// Nothing seen yet.
    pub fn new(target: Phase) -> Self {
        Self { target, counters: Arc::default() }
    }

    /// Notes a request until the answer is dropped.
    pub fn busy(&self, phase: Phase) -> Busy {
        counter(&self.counters, phase).fetch_add(1, Ordering::SeqCst);
        Busy(self.counters.clone(), phase)
    }

    /// Notes an answered write.
    pub fn answered(&self) {
        self.counters.answered.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks the server for its states until it is gone.
    pub async fn follow(self, client: Client) {
        while let Ok(stats) = client.stats("").await {
            let shards = || stats.collections.iter().flat_map(|c| &c.shards);
            let any = |states: &[&str]| shards().any(|s| states.contains(&s.state.as_str()));
            self.counters.told_flush.store(any(&["flushing"]), Ordering::SeqCst);
            self.counters.told_compact.store(any(&["compacting", "indexing"]), Ordering::SeqCst);
            self.counters.told_erase.store(any(&["erasing"]), Ordering::SeqCst);
            // Often enough to see short phases, seldom enough to leave the server its time.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The phase of this moment, the rarest first.
    fn now(&self) -> Phase {
        let c = &self.counters;
        let seen =
            |n: &AtomicU32, told: &AtomicBool| n.load(Ordering::SeqCst) > 0 || told.load(Ordering::SeqCst);
        if seen(&c.purging, &c.told_erase) {
            Phase::Purge
        } else if seen(&c.compacting, &c.told_compact) {
            Phase::Compaction
        } else if seen(&c.flushing, &c.told_flush) {
            Phase::Flush
        } else {
            Phase::Write
        }
    }

    /// Waits until some writes are answered and the target phase is there (or does not come), then a random moment
    /// longer, and says what the phase is now.
    pub async fn await_target(&self, rng: &mut StdRng) -> Phase {
        let deadline = Instant::now() + Duration::from_secs(5);
        let enough = rng.random_range(20..200);
        while Instant::now() < deadline {
            let warm = self.counters.answered.load(Ordering::SeqCst) >= enough;
            if warm && self.now() == self.target {
                break;
            }
            // A look at the counters, with a deadline: phases are as short as a millisecond, so a longer step would miss them.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        // Phases last from a millisecond to a second: both scales are hit. The kill comes at any moment of them; nothing is
        // waited for.
        let longest = if rng.random_bool(0.5) { 2_000 } else { 40_000 };
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..longest))).await;
        self.now()
    }
}
