//! Objects that are too large to hold in memory: written as they are made.

use std::io::{self, Write};

use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload};

use super::fault::translate;
use super::object_ref::ObjectRef;
use super::staging::UploadMark;
use crate::error::{Result, StorageError};

/// Bytes of one part: S3 wants 5 MiB at least.
const PART_BYTES: usize = 8 << 20;

/// Writes one object part by part, with its checksum on the way; one part is in memory at a time.
///
/// The object appears only when [`DurableStore::write_blocking`](super::DurableStore::write_blocking) returns it;
/// what was written of one that failed is removed. Blocks: use it on a thread that may block.
pub struct ObjectSink {
    path: String,
    upload: Option<Box<dyn MultipartUpload>>,
    part: Vec<u8>,
    crc: crc_fast::Digest,
    bytes: u64,
    error: Option<StorageError>,
    runtime: Option<tokio::runtime::Handle>,
    _mark: Option<UploadMark>,
}

impl ObjectSink {
    pub(super) fn new(path: String, upload: Box<dyn MultipartUpload>, mark: Option<UploadMark>) -> Self {
        Self {
            path,
            upload: Some(upload),
            part: Vec::new(),
            crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi),
            bytes: 0,
            error: None,
            runtime: tokio::runtime::Handle::try_current().ok(),
            _mark: mark,
        }
    }

    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.bytes
    }

    /// Writes zeros up to the next multiple of `alignment`.
    ///
    /// # Errors
    /// Those of writing.
    pub fn align(&mut self, alignment: u64) -> io::Result<()> {
        let gap = self.bytes.next_multiple_of(alignment) - self.bytes;
        io::copy(&mut io::Read::take(io::repeat(0), gap), self).map(drop)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            None => futures::executor::block_on(work),
        }
    }

    fn send(&mut self) -> Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.part));
        let Some(upload) = &mut self.upload else {
            return Err(StorageError::Internal(format!("{} was written after its end", self.path)));
        };
        let sent = upload.put_part(PutPayload::from_bytes(part));
        self.wait(sent).map_err(|e| translate("write", &self.path, &e))
    }

    /// Makes the object durable and visible; nothing is left of it where that fails.
    pub(super) fn finish(mut self) -> Result<ObjectRef> {
        match self.complete() {
            Ok(()) => {
                let crc32c = self.crc.finalize() as u32;
                Ok(ObjectRef { path: std::mem::take(&mut self.path), bytes: self.bytes, crc32c })
            }
            Err(e) => {
                self.abort();
                Err(e)
            }
        }
    }

    fn complete(&mut self) -> Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.send()?;
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        let done = self.wait(upload.complete()).map(drop);
        done.map_err(|e| translate("write", &self.path, &e))
    }

    /// Removes what was written; the sink takes no more.
    pub(super) fn abort(&mut self) {
        if let Some(mut upload) = self.upload.take()
            && let Err(e) = self.wait(upload.abort())
        {
            // Left for the sweep of staging files.
            tracing::warn!(path = %self.path, error = %e, "could not remove a partial object");
        }
    }

    /// The error of the store that made a write fail, if one did: an [`io::Error`] cannot carry its class.
    pub(super) fn take_error(&mut self) -> Option<StorageError> {
        self.error.take()
    }
}

impl Write for ObjectSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.capacity() == 0 {
            self.part.reserve_exact(PART_BYTES);
        }
        let taken = bytes.len().min(PART_BYTES - self.part.len());
        let taken_bytes = &bytes[..taken];
        self.part.extend_from_slice(taken_bytes);
        self.crc.update(taken_bytes);
        self.bytes += taken as u64;
        if self.part.len() == PART_BYTES
            && let Err(e) = self.send()
        {
            let error = io::Error::other(e.to_string());
            self.error = Some(e);
            return Err(error);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
