//! A snapshot that a client sends, as a reader for a thread that may block.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::error::StorageError;

/// A client may be silent for so long.
const IDLE: Duration = Duration::from_secs(300);

/// Bytes of a snapshot as they arrive; the end of the channel is the end of the file.
pub struct Upload {
    parts: mpsc::Receiver<Result<Bytes, StorageError>>,
    part: Bytes,
    runtime: Handle,
    /// A purge of the tenant raises it.
    stop: Option<watch::Receiver<u32>>,
}

impl Upload {
    /// Reads what is sent through `parts`. Make it inside a runtime.
    pub fn new(parts: mpsc::Receiver<Result<Bytes, StorageError>>) -> Self {
        Self { parts, part: Bytes::new(), runtime: Handle::current(), stop: None }
    }

    /// Ends with an error once `stop` is raised, also while the client sends nothing.
    pub(crate) fn until(mut self, stop: watch::Receiver<u32>) -> Self {
        self.stop = Some(stop);
        self
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let parts = &mut self.parts;
        let part = async {
            match tokio::time::timeout(IDLE, parts.recv()).await {
                Ok(part) => part.transpose(),
                Err(_) => {
                    let why = format!("the rest of the snapshot did not arrive within {} s", IDLE.as_secs());
                    Err(StorageError::DeadlineExceeded(why))
                }
            }
        };
        let Some(stop) = &mut self.stop else { return part.await };
        tokio::select! {
            biased;
            _ = stop.wait_for(|erasing| *erasing > 0) => Err(made_way()),
            part = part => part,
        }
    }
}

impl Read for Upload {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            let runtime = self.runtime.clone();
            match runtime.block_on(self.next()) {
                Ok(Some(part)) => self.part = part,
                Ok(None) => return Ok(0),
                Err(e) => return Err(io::Error::other(e)),
            }
        }
        let now = into.len().min(self.part.len());
        self.part.copy_to_slice(&mut into[..now]);
        Ok(now)
    }
}

/// What work on a snapshot ends with when a purge of its tenant begins.
pub(crate) fn made_way() -> StorageError {
    StorageError::Unavailable(
        "the snapshot made way for a purge, or for the end of the server; try again later".into(),
    )
}

/// A reader that ends with an error once a purge of the tenant raises `stop`.
pub(crate) struct Interruptible<R> {
    input: R,
    stop: watch::Receiver<u32>,
}

impl<R> Interruptible<R> {
    pub(crate) fn new(input: R, stop: watch::Receiver<u32>) -> Self {
        Self { input, stop }
    }
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if *self.stop.borrow() > 0 {
            return Err(io::Error::other(made_way()));
        }
        self.input.read(into)
    }
}
