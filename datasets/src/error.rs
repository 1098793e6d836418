//! What can go wrong with a file of vectors.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = ReadError> = std::result::Result<T, E>;

/// Failures of reading files and preparing sets.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused. Mend the path or the permissions and try again.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not what the file's name or header says: truncated, damaged or hostile. Make the file anew.
    #[error("{} cannot be read: {why}", path.display())]
    BadFile {
        /// File.
        path: PathBuf,
        /// First thing that did not fit.
        why: String,
    },
    /// The file is readable but its columns do not fit what was asked. Name the right columns.
    #[error("{}: {why}", path.display())]
    Columns {
        /// File.
        path: PathBuf,
        /// What is missing or ambiguous, and how to say it.
        why: String,
    },
    /// A named set is not here and cannot be made here. The sentence says how to get it.
    #[error("{0}")]
    Unavailable(String),
    /// A computation over a set failed.
    #[error("{0}")]
    Compute(String),
}

impl ReadError {
    /// Wraps an error of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// A damaged file.
    pub fn bad(path: &Path, why: impl Into<String>) -> Self {
        Self::BadFile { path: path.to_owned(), why: why.into() }
    }

    /// Columns that do not fit.
    pub fn columns(path: &Path, why: impl Into<String>) -> Self {
        Self::Columns { path: path.to_owned(), why: why.into() }
    }
}
