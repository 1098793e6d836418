//! A read-only column of fixed-size numbers: owned, or a view into mapped bytes.

use bytemuck::Pod;
use bytes::Bytes;

use crate::error::{IndexError, Result};

#[cfg(target_endian = "big")]
compile_error!("Engram's files are little-endian and are read in place");

/// A column of `T`, shared and immutable.
#[derive(Clone, Debug)]
pub struct Column<T: Pod> {
    source: Source<T>,
}

#[derive(Clone, Debug)]
enum Source<T> {
    Owned(std::sync::Arc<Vec<T>>),
    Mapped(Bytes),
}

impl<T: Pod> Column<T> {
    /// A column over `bytes`, which must be aligned for `T` and a whole number of them.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where they are not.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        match bytemuck::try_cast_slice::<u8, T>(&bytes) {
            Ok(_) => Ok(Self { source: Source::Mapped(bytes) }),
            Err(e) => Err(IndexError::corrupt("column", e.to_string())),
        }
    }

    /// As [`Column::from_bytes`], but bytes that lie at an address unfit for `T` are copied once instead of refused.
    /// Mapped files are page-aligned and never take that path; buffers from a network may.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where the length is not a whole number of `T`.
    pub fn view_or_copy(bytes: Bytes) -> Result<Self> {
        if !bytes.len().is_multiple_of(size_of::<T>().max(1)) {
            let why =
                format!("{} bytes are not a whole number of {}-byte values", bytes.len(), size_of::<T>());
            return Err(IndexError::corrupt("column", why));
        }
        if bytemuck::try_cast_slice::<u8, T>(&bytes).is_ok() {
            return Self::from_bytes(bytes);
        }
        let values: Vec<T> =
            bytes.chunks_exact(size_of::<T>().max(1)).map(bytemuck::pod_read_unaligned).collect();
        Ok(values.into())
    }

    /// The values.
    pub fn as_slice(&self) -> &[T] {
        match &self.source {
            Source::Owned(v) => v,
            // Checked in `from_bytes`; an immutable buffer does not move.
            Source::Mapped(b) => bytemuck::try_cast_slice(b).unwrap_or(&[]),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Owned(v) => v.len(),
            Source::Mapped(b) => b.len() / size_of::<T>().max(1),
        }
    }

    /// True when there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        match &self.source {
            Source::Owned(v) => v.capacity() * size_of::<T>(),
            Source::Mapped(_) => 0,
        }
    }
}

impl<T: Pod> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Self { source: Source::Owned(std::sync::Arc::new(values)) }
    }
}

impl<T: Pod> Default for Column<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Pod> std::ops::Deref for Column<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}
