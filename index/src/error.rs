//! What can go wrong in an index.

/// Result of this crate.
pub type Result<T, E = IndexError> = std::result::Result<T, E>;

/// Failures of building, opening and searching an index.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum IndexError {
    /// The caller's vector does not fit the field. Mend the vector; nothing was changed.
    #[error("{0}")]
    InvalidVector(String),
    /// The caller's parameters are outside their documented range.
    #[error("{0}")]
    InvalidParameter(String),
    /// Bytes that were handed in are not what their header says. Rebuild them from their source.
    #[error("corrupt {what}: {why}")]
    Corrupt {
        /// Kind of the blob.
        what: &'static str,
        /// First thing that did not fit.
        why: String,
    },
    /// The caller's cancel flag was raised before the work was done. Nothing was kept; start again when wanted.
    #[error("cancelled")]
    Cancelled,
    /// A library under us failed in a way it should not.
    #[error("index internal error: {0}")]
    Internal(String),
}

impl IndexError {
    /// A [`IndexError::Corrupt`] in one word.
    pub fn corrupt(what: &'static str, why: impl Into<String>) -> Self {
        Self::Corrupt { what, why: why.into() }
    }
}
