//! The log of one shard: ordered durable records.
//!
//! ```text
//!  first            checkpoint                 tail
//!    |  trimmable ->   |                        |
//!    [ 41 ][ 42 ][ 43 ][ 44 ][ 45 ][ 46 ][ 47 ] (48 is the next offset)
//! ```
//! Offsets count records: dense, ascending, starting at 1. Contract of every backend, checked by [`conformance`]:
//! 1. an offset that `append` returned is durable (synced) and readable;
//! 2. the order of offsets is the order of appends, and a batch is all or nothing;
//! 3. after `seal(e)`, and after a provider opened the log with epoch `e`, no append of a smaller epoch succeeds;
//! 4. `trim` is idempotent and never removes a record above its argument;
//! 5. reading below the trim point fails with [`LogError::Trimmed`];
//! 6. a record that was cut, changed or reordered on its way is never returned: reading stops with
//!    [`LogError::Corrupt`], or at recovery the torn tail is cut to an exact prefix and the cut is reported.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::ErrorKind;
use crate::schema::ShardKey;

pub mod conformance;
pub mod file;

/// Position of a record in the log of one shard; the first record has offset 1, 0 means "before all".
pub type Offset = u64;

/// Fencing number of a shard's owner.
pub type Epoch = u64;

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// Server time of the append, milliseconds since the epoch.
    pub appended_at: i64,
    /// The body that was appended.
    pub body: Bytes,
}

/// Where the log of a shard begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Smallest readable offset; `tail + 1` for an empty log.
    pub first: Offset,
    /// Largest durable offset, 0 if nothing was ever appended.
    pub tail: Offset,
    /// Bytes held on disk.
    pub bytes: u64,
}

/// Failures of a log.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum LogError {
    /// A newer owner has opened the log: stop writing.
    #[error("the log was taken over by epoch {newer}")]
    Fenced {
        /// The newer epoch.
        newer: Epoch,
    },
    /// The log was sealed for this epoch: open it with a newer one.
    #[error("the log is sealed up to epoch {epoch}")]
    Sealed {
        /// Largest sealed epoch.
        epoch: Epoch,
    },
    /// The offset is below the trim point: read the segments instead.
    #[error("offsets below {first} were trimmed")]
    Trimmed {
        /// Smallest readable offset.
        first: Offset,
    },
    /// `expected_tail` is not the tail.
    #[error("the tail of the log is {tail}, not what the writer expected")]
    WrongTail {
        /// The tail.
        tail: Offset,
    },
    /// No room: nothing was appended. Make room or wait.
    #[error("the log is full: {0}; nothing was written, make room and try again")]
    Full(String),
    /// The record is larger than a record may be. Split the batch.
    #[error("a record of {bytes} bytes is larger than {max}; split the batch")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// Largest size.
        max: usize,
    },
    /// The append may or may not have happened: read back before doing anything else.
    #[error("it is not known whether the append happened: {0}")]
    Ambiguous(String),
    /// The log cannot be reached now.
    #[error("the log cannot be reached: {0}")]
    Unavailable(String),
    /// A sync failed: this log takes no more appends until it is opened anew.
    #[error("the log is poisoned by a failed sync: {0}")]
    Poisoned(String),
    /// Stored bytes are damaged in the middle of the log.
    #[error("corrupt log {path} at byte {at}: {why}")]
    Corrupt {
        /// File.
        path: String,
        /// Byte position.
        at: u64,
        /// What did not fit.
        why: String,
    },
}

impl LogError {
    /// Coarse class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced { .. } | Self::Sealed { .. } => ErrorKind::Fenced,
            Self::Trimmed { .. } | Self::WrongTail { .. } => ErrorKind::Conflict,
            Self::Full(_) => ErrorKind::Exhausted,
            Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::Ambiguous(_) | Self::Unavailable(_) | Self::Poisoned(_) => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }
}

/// The log of one shard, opened by one owner.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends `bodies` after `expected_tail`, each as one record, all or nothing, and returns the new tail once
    /// they are durable.
    ///
    /// # Errors
    /// Any [`LogError`]; only [`LogError::Ambiguous`] leaves open whether the records are there.
    async fn append(&self, expected_tail: Offset, bodies: Vec<Bytes>) -> Result<Offset, LogError>;

    /// Records from offset `from` to the tail of this moment, in order.
    fn read(&self, from: Offset) -> BoxStream<'_, Result<(Offset, Record), LogError>>;

    /// Where the log begins and ends.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn extent(&self) -> Result<Extent, LogError>;

    /// Removes the records up to and including `through`, as far as the backend can: afterwards no live file holds
    /// their bytes.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; trimming again is harmless.
    async fn trim(&self, through: Offset) -> Result<(), LogError>;

    /// Makes sure that everything up to the present tail, which it returns, can be trimmed although later records come:
    /// backends that remove whole files begin a new one.
    ///
    /// # Errors
    /// As [`Log::append`].
    async fn rotate(&self) -> Result<Offset, LogError>;

    /// Refuses all later appends of `epoch` and smaller ones, durably.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn seal(&self, epoch: Epoch) -> Result<(), LogError>;
}

/// Opens the logs of shards.
#[async_trait]
pub trait LogProvider: Send + Sync {
    /// Name of the backend, as in the configuration.
    fn kind(&self) -> &'static str;
    /// Opens (or creates) the log of `shard` for the owner with `epoch`, which fences all smaller epochs.
    /// A torn tail is cut here and reported.
    ///
    /// # Errors
    /// [`LogError::Fenced`] for a smaller epoch than the log has seen, [`LogError::Corrupt`] for damage that is no
    /// torn tail.
    async fn open(
        &self,
        shard: &ShardKey,
        epoch: Epoch,
    ) -> Result<(std::sync::Arc<dyn Log>, OpenReport), LogError>;
    /// Makes the log of a shard that has none: it is empty, and its first record will have the offset after `after`.
    /// For shards that are made with what another one held.
    ///
    /// # Errors
    /// [`LogError::WrongTail`] where the shard has a log, those of appending.
    async fn begin(&self, shard: &ShardKey, epoch: Epoch, after: Offset) -> Result<(), LogError>;
    /// Removes the log of `shard` with all its files.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; deleting again is harmless.
    async fn delete(&self, shard: &ShardKey) -> Result<(), LogError>;
    /// Whether anything was ever written to the log of `shard` (cheap: opens nothing).
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn exists(&self, shard: &ShardKey) -> Result<bool, LogError>;
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenReport {
    /// File and byte position of a torn tail that was cut, with the number of bytes that went.
    pub cut: Option<(String, u64, u64)>,
}
