//! Why a snapshot is not taken.

use std::io;

use super::format::VERSION;
use crate::error::{ErrorKind, StorageError};

/// Why a file is refused. Nothing of it is visible then, and nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not begin as a snapshot does.
    #[error("the file is no snapshot; give one that `snapshots download` wrote")]
    NotASnapshot,
    /// Another version of the format.
    #[error(
        "the snapshot has format {0}; this server reads format {VERSION}: use a server of the version that wrote it"
    )]
    UnknownVersion(u32),
    /// It ends too early.
    #[error("the snapshot ends too early, in {0}; download it again")]
    Truncated(String),
    /// Bytes do not fit their checksum.
    #[error("the snapshot is damaged: {0}; take another copy")]
    Damaged(String),
    /// The checksums fit, but what they cover does not fit together: no server wrote this.
    #[error("the snapshot cannot be used: {0}")]
    Misfit(String),
    /// A later purge erased what it may hold.
    #[error(
        "the snapshot was made before purge {0}, which erased points of this collection: recovering it would bring them \
         back; use a snapshot that was made later"
    )]
    Purged(String),
}

impl SnapshotError {
    /// Coarse class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Purged(_) => ErrorKind::Conflict,
            _ => ErrorKind::Invalid,
        }
    }

    /// Stable word for this error: `snake_case`, never renamed.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotASnapshot => "not_a_snapshot",
            Self::UnknownVersion(_) => "snapshot_version",
            Self::Truncated(_) => "snapshot_truncated",
            Self::Damaged(_) => "snapshot_damaged",
            Self::Misfit(_) => "snapshot_misfit",
            Self::Purged(_) => "snapshot_purged",
        }
    }

    pub(super) fn misfit(why: impl Into<String>) -> StorageError {
        Self::Misfit(why.into()).into()
    }
}

/// What reading `part` of a snapshot failed with: an end that comes too early, an error of ours that travelled through
/// a reader, or one of the system.
pub(super) fn read_fault(part: &str, e: &io::Error) -> StorageError {
    if e.kind() == io::ErrorKind::UnexpectedEof {
        return SnapshotError::Truncated(part.to_owned()).into();
    }
    let ours = e.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>());
    ours.cloned().unwrap_or_else(|| StorageError::io(format!("read {part} of the snapshot"), e))
}
