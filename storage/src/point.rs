//! Points: what a collection holds.

use bytes::Bytes;
use engram_index::vector::VectorValue;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identity of a point. Numbers sort before UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PointId {
    /// An unsigned number.
    Num(u64),
    /// A UUID.
    Uuid(Uuid),
}

impl PointId {
    /// Canonical bytes: a tag and 16 big-endian bytes; their order is the order of ids.
    pub fn canonical(&self) -> [u8; 17] {
        let mut out = [0u8; 17];
        match self {
            Self::Num(n) => out[9..].copy_from_slice(&n.to_be_bytes()),
            Self::Uuid(u) => {
                out[0] = 1;
                out[1..].copy_from_slice(u.as_bytes());
            }
        }
        out
    }

    /// The id whose canonical bytes these are, `None` for other bytes.
    pub fn from_canonical(bytes: &[u8; 17]) -> Option<Self> {
        let mut low = [0u8; 8];
        low.copy_from_slice(&bytes[9..]);
        match bytes[0] {
            0 if bytes[1..9] == [0; 8] => Some(Self::Num(u64::from_be_bytes(low))),
            1 => Uuid::from_slice(&bytes[1..]).ok().map(Self::Uuid),
            _ => None,
        }
    }

    /// Bucket of this id among `shards`: xxh3 of the canonical bytes modulo their number.
    pub fn bucket(&self, shards: u32) -> u32 {
        let hash = xxhash_rust::xxh3::xxh3_64(&self.canonical());
        u32::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
    }
}

impl std::fmt::Display for PointId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Num(n) => n.fmt(f),
            Self::Uuid(u) => u.fmt(f),
        }
    }
}

impl std::str::FromStr for PointId {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if let Ok(n) = s.parse() {
            return Ok(Self::Num(n));
        }
        Uuid::parse_str(s)
            .map(Self::Uuid)
            .map_err(|_| format!("`{s}` is no point id: give an unsigned number or a UUID"))
    }
}

/// Stable number of a vector field inside its collection's schema.
pub type FieldId = u16;

/// A point as it is stored: the region is its shard's.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Identity.
    pub id: PointId,
    /// Admitted values of vector fields, ascending by field, each field once.
    pub vectors: Vec<(FieldId, VectorValue)>,
    /// One JSON object, UTF-8.
    pub payload: Bytes,
    /// Milliseconds since the epoch; never later than `ingested_at`.
    pub created_at: i64,
    /// Server time of the write that made this version.
    pub ingested_at: i64,
    /// Milliseconds since the epoch after which no path returns the point.
    pub expires_at: Option<i64>,
    /// Offset of the write that made this version.
    pub version: u64,
}
