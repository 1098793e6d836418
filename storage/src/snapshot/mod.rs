//! Snapshots: one collection as one flat file with checksums, for copies elsewhere and for going back.
//!
//! ```text
//!  magic, version, length | header (JSON) | BLAKE3
//!  one entry a shard: its segments and its checkpoint (JSON)          entry = kind, length | content | BLAKE3
//!  one entry an object of a segment, byte for byte, in their order
//!  magic | BLAKE3 of everything before
//! ```
//! There are no names of files in it that anything is written under, no links and no archive: an object goes where the
//! shard it belongs to would have put it. Every length is compared with what the header leaves for it before anything
//! is read, and content is never in memory as a whole.
//!
//! **What a snapshot shows.** Of each shard the state at one offset of its log, in which all writes are that were
//! acknowledged when the snapshot was asked for. Shards stand at moments of their own, all before the answer: a write
//! beside the snapshot may be in it for some shards and not for others.
//!
//! **Regions.** A file holds all regions of its collection, so it is made, and recovered, only on a node that holds all
//! of them (see [`EngineOptions::local_regions`](crate::engine::EngineOptions)).
//!
//! **Purges.** A purge removes every snapshot of the collections it visits, unless each file in it is still a file of the
//! shard afterwards; then it holds nothing that was purged, and the receipt names it as kept. What was downloaded before
//! is refused when it comes back: a snapshot carries the purges that it has seen, and recovery compares them with the
//! receipts ([`purged`]).

pub mod error;
pub mod format;

mod content;
mod folder;
mod purged;
mod restore;
mod row_payload;
mod rows;
mod save;
mod upload;

use serde::{Deserialize, Serialize};

use crate::schema::{CollectionId, CollectionSchema, RegionName};

pub use error::SnapshotError;
pub use upload::Upload;

pub(crate) use content::ShardContent;
pub(crate) use folder::Folder;
pub(crate) use purged::{is_reached_by, seen_purges};
pub(crate) use restore::{check_count, restore_objects, segments_of};
pub(crate) use rows::{OpenedSegment, check_rows};
pub(crate) use save::{SavedShard, save};
pub(crate) use upload::{Interruptible, made_way};

/// Most snapshots of one collection.
pub const MAX_SNAPSHOTS: usize = 256;

/// What a snapshot says about itself, first of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotHeader {
    /// Made by the server: `{collection id}-{time}-{random}.snapshot`.
    pub name: String,
    /// Server time, milliseconds since the epoch.
    pub created_at: i64,
    /// Version of the server.
    pub server_version: String,
    /// Definition of the collection.
    pub schema: CollectionSchema,
    /// Receipts of the purges that were complete before the snapshot was begun and concern it.
    pub purges: Vec<String>,
    /// All shards of the collection, region by region.
    pub shards: Vec<ShardSummary>,
    /// Bytes between the header and the trailer.
    pub body_bytes: u64,
}

/// A shard of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSummary {
    /// Its region.
    pub region: RegionName,
    /// Its bucket.
    pub bucket: u32,
    /// Points in it.
    pub points: u64,
    /// Objects of its segments.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A snapshot in the listing of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Name, by which it is downloaded, recovered and deleted.
    pub name: String,
    /// Length of the file.
    pub bytes: u64,
    /// Server time when it was begun, milliseconds since the epoch.
    pub created_at: i64,
    /// Points in it.
    pub points: u64,
    /// Collection it was made of.
    pub collection: CollectionId,
    /// The checksum in its trailer: BLAKE3 (hex) of everything before the last 40 bytes.
    pub blake3: String,
    /// Version of the server that made it.
    pub server_version: String,
}

impl SnapshotHeader {
    /// Points of all shards.
    pub fn points(&self) -> u64 {
        self.shards.iter().fold(0u64, |sum, shard| sum.saturating_add(shard.points))
    }
}
