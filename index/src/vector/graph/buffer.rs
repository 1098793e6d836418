//! Large arrays of a build, in mappings of their own.
//!
//! They are in huge pages where the system has them, since a build reads them here and there, and go back to the system
//! when they are dropped. What comes from the heap, the allocator may keep: a server held up to 130 MB for each 100,000
//! vectors of 384 components after a build.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use bytemuck::Pod;
use bytes::Bytes;
use memmap2::MmapMut;

use crate::{IndexError, Result};

/// An array whose length is given once.
#[derive(Debug)]
pub struct Buffer<T> {
    map: MmapMut,
    /// Bytes in use; a mapping cannot be empty.
    used: usize,
    of: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`IndexError::Internal`] where there is no memory.
    pub fn zeroed(len: usize) -> Result<Self> {
        let used = len.checked_mul(size_of::<T>());
        let used = used.ok_or_else(|| IndexError::Internal(format!("memory for {len} items of a graph")))?;
        let no_memory = |e: std::io::Error| IndexError::Internal(format!("memory for a graph: {e}"));
        let map = MmapMut::map_anon(used.max(1)).map_err(no_memory)?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, used, of: PhantomData })
    }

    /// The bytes, to be shared.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.map).slice(..self.used)
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.used])
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map[..self.used])
    }
}
