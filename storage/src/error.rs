//! What can go wrong in storage, and what the caller must do about it.

use crate::log::LogError;
use crate::snapshot::SnapshotError;

/// Result of this crate.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Coarse class of an error; the only thing other layers branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: mend it.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// It exists already, or changed meanwhile.
    Conflict,
    /// Another owner has taken over.
    Fenced,
    /// Try again later.
    Unavailable,
    /// The deadline passed.
    DeadlineExceeded,
    /// A limit or the disk is full: wait, or make room.
    Exhausted,
    /// No valid credential.
    Unauthenticated,
    /// The credential does not allow it.
    Forbidden,
    /// Stored bytes are damaged.
    Corrupt,
    /// A defect of ours.
    Internal,
}

impl ErrorKind {
    /// Stable word for errors that have none of their own: `snake_case`, never renamed.
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Exhausted => "exhausted",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

/// Failures of storage.
#[derive(Debug, thiserror::Error, Clone)]
pub enum StorageError {
    /// The request is wrong; the text says what to mend. Nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// There is no such collection, alias, receipt or object.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken, or the state changed since it was read.
    #[error("{0}")]
    Conflict(String),
    /// An idempotency key came back with other content. Use a new key.
    #[error("idempotency key was used before with different content; use a new key")]
    IdempotencyMismatch,
    /// Another process owns this shard or data directory now.
    #[error("{0}")]
    Fenced(String),
    /// Try again later; nothing is known to be lost.
    #[error("{0}")]
    Unavailable(String),
    /// The deadline passed before the answer was there.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// A queue, a limit or the disk is full.
    #[error("{0}")]
    Exhausted(String),
    /// The first failed fsync poisons a shard: it refuses writes until the server restarts on a healthy disk.
    #[error(
        "shard {shard} refuses writes after a failure that leaves its files in doubt ({why}); mend the disk and restart the server"
    )]
    Poisoned {
        /// The shard.
        shard: String,
        /// Error of the failed sync.
        why: String,
    },
    /// Stored bytes do not match their checksum or their header.
    #[error("corrupt {path}: {why}")]
    Corrupt {
        /// File or object.
        path: String,
        /// What did not fit.
        why: String,
    },
    /// Input or output failed.
    #[error("{context}: {why}")]
    Io {
        /// What was being done.
        context: String,
        /// The system's error.
        why: String,
        /// True when the disk is full.
        no_space: bool,
    },
    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A snapshot is not taken. Nothing was changed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A defect of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

impl StorageError {
    /// Coarse class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) | Self::IdempotencyMismatch => ErrorKind::Conflict,
            Self::Fenced(_) => ErrorKind::Fenced,
            Self::Unavailable(_) | Self::Poisoned { .. } => ErrorKind::Unavailable,
            Self::DeadlineExceeded(_) => ErrorKind::DeadlineExceeded,
            Self::Exhausted(_) | Self::Io { no_space: true, .. } => ErrorKind::Exhausted,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Io { .. } | Self::Internal(_) => ErrorKind::Internal,
            Self::Log(e) => e.kind(),
            Self::Snapshot(e) => e.kind(),
        }
    }

    /// An input or output error while doing `context`.
    pub fn io(context: impl Into<String>, e: &std::io::Error) -> Self {
        use std::io::ErrorKind as Cause;
        // A file that may not grow meets the same end as one on a full disk.
        let no_space = matches!(e.kind(), Cause::StorageFull | Cause::QuotaExceeded | Cause::FileTooLarge);
        let why =
            if no_space { format!("the disk is full ({e}); make room and try again") } else { e.to_string() };
        Self::Io { context: context.into(), why, no_space }
    }

    /// A [`StorageError::Corrupt`] in one word.
    pub fn corrupt(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), why: why.into() }
    }
}

impl From<engram_index::IndexError> for StorageError {
    fn from(e: engram_index::IndexError) -> Self {
        use engram_index::IndexError;
        match e {
            IndexError::InvalidVector(m) | IndexError::InvalidParameter(m) => Self::Invalid(m),
            IndexError::Corrupt { what, why } => Self::Corrupt { path: what.to_owned(), why },
            IndexError::Cancelled => {
                Self::Unavailable("the index build made way for an erasure; it begins again by itself".into())
            }
            other => Self::Internal(other.to_string()),
        }
    }
}
