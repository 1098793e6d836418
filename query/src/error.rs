//! What can go wrong with a request, and what the caller must do about it.

use engram_index::IndexError;
use engram_storage::log::LogError;
use engram_storage::{ErrorKind, StorageError};

use crate::filter::FilterError;

/// Result of this crate.
pub type Result<T, E = QueryError> = std::result::Result<T, E>;

/// Failures of a request.
///
/// [`QueryError::kind`] is the coarse class a server maps to status codes, [`QueryError::code`] the stable word a
/// client may branch on, `Display` the sentence a person reads.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The request is wrong; the sentence says what to mend. Nothing was changed.
    #[error("{message}")]
    Invalid {
        /// Stable word.
        code: &'static str,
        /// What to mend.
        message: String,
    },
    /// A limit is exceeded; the sentence names the limit. Nothing was changed. Split or shrink the request.
    #[error("{0}")]
    Limit(String),
    /// The thing named does not exist, or belongs to another tenant: the two are not told apart.
    #[error("{message}")]
    NotFound {
        /// Stable word.
        code: &'static str,
        /// What was looked for.
        message: String,
    },
    /// It exists already, or what is stored forbids the change. Read again, then decide.
    #[error("{message}")]
    Conflict {
        /// Stable word.
        code: &'static str,
        /// What is in the way.
        message: String,
    },
    /// The deadline passed. A write may or may not have happened: repeat it under its idempotency key.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// Try again later.
    #[error("{message}")]
    Unavailable {
        /// Stable word.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// The credential is no good, or not any more. Nothing was changed.
    #[error("the key is not valid, or not any more; use another one")]
    Unauthenticated,
    /// The credential does not allow it; the sentence names what would. Nothing was changed.
    #[error("{0}")]
    Forbidden(String),
    /// Storage refused or failed.
    #[error(transparent)]
    Storage(StorageError),
    /// A defect of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

impl QueryError {
    /// A [`QueryError::Invalid`].
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { code, message: message.into() }
    }

    /// A [`QueryError::NotFound`] for a collection; the same text whether it is absent or another tenant's.
    pub fn no_collection(name: &str) -> Self {
        let message = format!("there is no collection {name:?}: create it, or check the name");
        Self::NotFound { code: "collection_not_found", message }
    }

    /// A [`QueryError::Forbidden`] for a role that is too small.
    pub fn too_small(needs: &str, has: &str) -> Self {
        Self::Forbidden(format!("this needs a key with the role {needs}; the key has the role {has}"))
    }

    /// Coarse class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Limit(_) => ErrorKind::Invalid,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::DeadlineExceeded(_) => ErrorKind::DeadlineExceeded,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Unauthenticated => ErrorKind::Unauthenticated,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::Storage(e) => e.kind(),
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Stable word for this error: `snake_case`, never renamed.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { code, .. }
            | Self::NotFound { code, .. }
            | Self::Conflict { code, .. }
            | Self::Unavailable { code, .. } => code,
            Self::Limit(_) => "limit_exceeded",
            Self::DeadlineExceeded(_) => "deadline_exceeded",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::Storage(e) => storage_code(e),
            Self::Internal(_) => "internal",
        }
    }
}

fn storage_code(e: &StorageError) -> &'static str {
    match e {
        StorageError::IdempotencyMismatch => "idempotency_mismatch",
        StorageError::Poisoned { .. } => "shard_poisoned",
        StorageError::Log(LogError::TooLarge { .. }) => "limit_exceeded",
        StorageError::Log(LogError::Ambiguous(_)) => "ambiguous_write",
        StorageError::Io { no_space: true, .. } | StorageError::Log(LogError::Full(_)) => "no_space",
        StorageError::Snapshot(e) => e.code(),
        other => other.kind().code(),
    }
}

impl From<StorageError> for QueryError {
    fn from(e: StorageError) -> Self {
        match e {
            StorageError::DeadlineExceeded(m) => Self::DeadlineExceeded(m),
            other => Self::Storage(other),
        }
    }
}

impl From<IndexError> for QueryError {
    fn from(e: IndexError) -> Self {
        match e {
            IndexError::InvalidVector(message) => Self::Invalid { code: "invalid_vector", message },
            IndexError::InvalidParameter(message) => Self::Invalid { code: "invalid_argument", message },
            other => Self::Storage(other.into()),
        }
    }
}

impl From<FilterError> for QueryError {
    fn from(e: FilterError) -> Self {
        match e {
            FilterError::Limit { .. } => Self::Limit(e.to_string()),
            FilterError::Unsupported { .. } => {
                Self::Invalid { code: "not_supported", message: e.to_string() }
            }
            other => Self::Invalid { code: "invalid_filter", message: other.to_string() },
        }
    }
}
