//! No panic of the library beneath leaves this module, and no damaged file makes one that others see.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{IndexError, Result};

/// Runs `work`; a panic in it becomes an error.
pub(super) fn guarded<T>(what: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(IndexError::corrupt("text index", format!("{what} panicked"))))
}

/// An error of the library.
pub(super) fn failed(e: impl std::fmt::Display) -> IndexError {
    IndexError::corrupt("text index", e.to_string())
}
