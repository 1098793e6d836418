//! Operations as the log keeps them.
//!
//! One record of the log holds one [`OpBatch`], which is applied as a whole. Decisions that depend on the state of
//! the shard (`if_version`, repeats of an idempotency key) are taken when the batch is applied, in log order, so a
//! replay decides the same.

use bytes::Bytes;
use engram_index::vector::VectorValue;

use crate::point::{FieldId, Point, PointId};

mod codec;

pub use codec::MAX_OPS;

/// One change of one point, or of all points that a rule selects.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Writes the point, replacing one of the same id. `version` is ignored; the log offset becomes it.
    Upsert(Point),
    /// Removes the point.
    Delete(PointId),
    /// Changes the payload of an existing point.
    SetPayload {
        /// Whose payload.
        id: PointId,
        /// How.
        change: PayloadChange,
        /// Server time of the write.
        ingested_at: i64,
        /// Of a record from before changes kept the text of what they do not touch, and before merges were held to all
        /// limits of a payload: printed anew as a whole and held only to the limit of its bytes, so that a replay decides
        /// what was decided.
        bytes_only: bool,
    },
    /// Sets and removes vectors of an existing point.
    UpdateVectors {
        /// Whose vectors.
        id: PointId,
        /// Admitted vectors to set, ascending by field.
        set: Vec<(FieldId, VectorValue)>,
        /// Fields whose vector is removed.
        remove: Vec<FieldId>,
        /// Server time of the write.
        ingested_at: i64,
    },
    /// Removes every point created before this time (milliseconds since the epoch), and every point expired at `now`.
    DeleteOlderThan {
        /// Points with a smaller `created_at` go; `i64::MIN` for none.
        created_before: i64,
        /// Points with `expires_at` at or before this go.
        now: i64,
    },
}

/// A change of a payload.
#[derive(Clone, Debug, PartialEq)]
pub enum PayloadChange {
    /// Top-level keys of this JSON object replace those of the payload.
    Merge(Bytes),
    /// Keys of `update`, a JSON object, replace those of the object at `path`, which is made where it is absent.
    MergeAt {
        /// Dotted path.
        path: String,
        /// The object.
        update: Bytes,
    },
    /// This JSON object becomes the payload.
    Overwrite(Bytes),
    /// These dotted paths are removed.
    DeleteKeys(Vec<String>),
    /// The payload becomes `{}`.
    Clear,
}

/// An operation with its condition.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionalOp {
    /// What to do.
    pub op: Op,
    /// Only if the point's version is this one; 0: only if there is no such point.
    pub if_version: Option<u64>,
}

/// Operations that are applied as a whole, in order: a later one of the same id wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpBatch {
    /// The operations.
    pub ops: Vec<ConditionalOp>,
    /// Identity of the write that a client may repeat.
    pub idempotency: Option<Idempotency>,
}

/// Identity of a write that a client may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// First 16 bytes of BLAKE3 over tenant, collection and the client's key.
    pub key: [u8; 16],
    /// First 8 bytes of BLAKE3 over the content.
    pub content: [u8; 8],
    /// Server time of the first arrival, milliseconds since the epoch.
    pub at: i64,
}

/// Largest payload of a point, bytes of its JSON text.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Deepest nesting of a payload; the object itself is 1.
pub const MAX_PAYLOAD_DEPTH: usize = 32;
/// Most keys of a payload, all its objects together.
pub const MAX_PAYLOAD_KEYS: usize = 1_024;
/// Most values of a payload, those in its arrays and objects included: as a tree, which some filters read, a tiny one takes
/// many times its text.
pub const MAX_PAYLOAD_VALUES: usize = 1 << 18;

/// What became of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// It took effect; the point has this version now (0 for a delete). The count is that of points reached.
    Applied {
        /// New version.
        version: u64,
        /// Points reached.
        points: u64,
    },
    /// `if_version` did not hold; this is the current version, 0 for no point.
    VersionMismatch {
        /// Current version.
        current: u64,
    },
    /// There was no such point.
    NotFound,
    /// The payload after the change would have more than [`MAX_PAYLOAD_BYTES`], [`MAX_PAYLOAD_KEYS`] or
    /// [`MAX_PAYLOAD_VALUES`], or be deeper than [`MAX_PAYLOAD_DEPTH`]; the point stays as it is.
    PayloadTooLarge,
}
