//! What the database should hold, and what happens to it.

use std::collections::BTreeMap;

use engram_tests::corpus;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};

/// Ids are drawn from so many, so that they are written again and again.
pub const IDS: u64 = 600;
/// Components of a vector.
pub const DIMENSION: usize = 8;
/// Regions of the collection.
pub const REGIONS: [&str; 2] = ["eu", "us"];

/// A point as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Absent for points that are plain state.
    pub vector: Option<Vec<f32>>,
    /// Payload.
    pub payload: Value,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub expires_at: Option<i64>,
    /// Version the database answered, 0 where it is not known.
    pub version: u64,
}

/// Region of an id: a point never changes it.
pub fn region(id: u64) -> &'static str {
    REGIONS[usize::from(id.is_multiple_of(3))]
}

/// What the database should hold.
#[derive(Debug, Default)]
pub struct Truth {
    /// By id; expired points too, until they are replaced or erased.
    pub points: BTreeMap<u64, Held>,
    /// Now.
    pub now: i64,
}

impl Truth {
    /// The point as a reader sees it.
    pub fn visible(&self, id: u64) -> Option<&Held> {
        self.points.get(&id).filter(|h| h.expires_at.is_none_or(|at| at > self.now))
    }

    /// All points as a reader sees them.
    pub fn all(&self) -> impl Iterator<Item = (u64, &Held)> {
        self.points.keys().filter_map(|id| Some((*id, self.visible(*id)?)))
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes points; a repeated id: the last wins.
    Upsert(Vec<(u64, Held)>),
    /// Writes one point if its version is the right one, or with a wrong version.
    Conditional(u64, Held, bool),
    /// Deletes points.
    Delete(Vec<u64>),
    /// Deletes the points of one group.
    DeleteGroup(u64),
    /// Merges a key into payloads.
    Merge(Vec<u64>, u64),
    /// Replaces a payload.
    Overwrite(u64, Value),
    /// Removes the vectors of points, or sets a new one.
    Vector(u64, Option<Vec<f32>>),
    /// Time goes on.
    Advance(i64),
    /// Memtables become segments.
    Flush,
    /// Segments are merged.
    Compact,
    /// Points of a region older than this many milliseconds are erased.
    Purge(&'static str, i64),
    /// The process ends without a word and starts again.
    Restart,
    /// An exact or a normal search, perhaps of one group.
    Search(Vec<f32>, usize, bool, Option<u64>),
    /// Reads points.
    Get(Vec<u64>),
    /// Counts a group.
    Count(u64),
}

impl Step {
    /// A random operation.
    pub fn draw(truth: &Truth, rng: &mut StdRng) -> Self {
        let id = rng.random_range(0..IDS);
        let some = |rng: &mut StdRng, most| {
            let count = rng.random_range(1..=most);
            (0..count).map(|_| rng.random_range(0..IDS)).collect::<Vec<u64>>()
        };
        let vector = |rng: &mut StdRng| corpus::floats(rng, DIMENSION);
        match rng.random_range(0..1000) {
            0..300 => Self::Upsert(some(rng, 12).into_iter().map(|id| (id, held(truth.now, rng))).collect()),
            300..370 => Self::Conditional(id, held(truth.now, rng), rng.random_bool(0.5)),
            370..470 => Self::Delete(some(rng, 8)),
            470..475 => Self::DeleteGroup(rng.random_range(0..12)),
            475..560 => Self::Merge(some(rng, 4), rng.random()),
            560..600 => Self::Overwrite(id, payload(rng)),
            600..650 => Self::Vector(id, rng.random_bool(0.7).then(|| vector(rng))),
            650..690 => Self::Advance(rng.random_range(1..20_000)),
            690..702 => Self::Flush,
            702..705 => Self::Compact,
            705..707 => {
                Self::Purge(REGIONS.iter().choose(rng).unwrap(), rng.random_range(100_000..3_000_000))
            }
            707..709 => Self::Restart,
            709..850 => {
                let group = rng.random_bool(0.5).then(|| rng.random_range(0..12));
                Self::Search(vector(rng), rng.random_range(1..30), rng.random_bool(0.5), group)
            }
            850..960 => Self::Get(some(rng, 20)),
            _ => Self::Count(rng.random_range(0..12)),
        }
    }

    /// Its name in the summary.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Upsert(_) => "upsert",
            Self::Conditional(..) => "conditional",
            Self::Delete(_) | Self::DeleteGroup(_) => "delete",
            Self::Merge(..) | Self::Overwrite(..) => "payload",
            Self::Vector(..) => "vectors",
            Self::Advance(_) => "time",
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Purge(..) => "purge",
            Self::Restart => "restart",
            Self::Search(..) => "search",
            Self::Get(_) => "get",
            Self::Count(_) => "count",
        }
    }
}

fn payload(rng: &mut StdRng) -> Value {
    json!({"group": format!("g{}", rng.random_range(0..12)), "n": rng.random_range(-1000..1000), "tag": rng.random::<u32>()})
}

fn held(now: i64, rng: &mut StdRng) -> Held {
    Held {
        vector: rng.random_bool(0.9).then(|| corpus::floats(rng, DIMENSION)),
        payload: payload(rng),
        created_at: now - rng.random_range(0..3_000_000),
        expires_at: rng.random_bool(0.15).then(|| now + rng.random_range(1..200_000)),
        version: 0,
    }
}
