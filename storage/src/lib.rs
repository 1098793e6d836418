//! Durable state: points, logs, memtables, segments, manifests, the catalog, flush, compaction and erasure.
//!
//! The log is the truth, segments are derived, the manifest names the current set, the catalog says who may write.
//! This crate knows no queries, no servers and no wire types.

#![deny(missing_docs)]

pub mod catalog;
pub mod clock;
pub mod compaction;
pub mod engine;
pub mod error;
pub mod log;
pub mod manifest;
pub mod object;
pub mod op;
pub mod point;
pub mod private_dir;
pub mod schema;
pub mod segment;
pub mod shard;
pub mod snapshot;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{ErrorKind, Result, StorageError};
pub use op::{Op, OpBatch, OpOutcome};
pub use point::{Point, PointId};
pub use schema::{CollectionId, CollectionSchema, RegionName, ShardKey, TenantId};
