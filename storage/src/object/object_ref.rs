//! References to objects, with what is needed to notice damage.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};

/// CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm has 32 bits, so nothing is cut off.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// An object that something refers to: whoever opens it compares length and checksum first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Path in the store.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// CRC-32C of the content.
    pub crc32c: u32,
}

impl ObjectRef {
    /// A reference to `content` at `path`.
    pub fn of(path: impl Into<String>, content: &[u8]) -> Self {
        Self { path: path.into(), bytes: content.len() as u64, crc32c: crc32c(content) }
    }

    /// Compares `content` with this reference.
    ///
    /// # Errors
    /// `Corrupt`, naming the object.
    pub fn verify(&self, content: &Bytes) -> Result<()> {
        self.verify_length(content)?;
        let found = crc32c(content);
        if found != self.crc32c {
            let why = format!("checksum is {found:08x}, should be {:08x}", self.crc32c);
            return Err(StorageError::corrupt(&self.path, why));
        }
        Ok(())
    }

    /// Compares the length alone: for content that compares checksums of its own parts before it uses them.
    ///
    /// # Errors
    /// `Corrupt`, naming the object.
    pub fn verify_length(&self, content: &Bytes) -> Result<()> {
        if content.len() as u64 == self.bytes {
            return Ok(());
        }
        let why = format!("{} bytes long, should be {}", content.len(), self.bytes);
        Err(StorageError::corrupt(&self.path, why))
    }
}
