//! A snapshot that a client sends, as a reader for a thread that may block.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::error::StorageError;

/// A client is waited for so long at most, all its pauses together, unless what it sends makes up for them.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that make up for a second: whoever sends fewer in the long run is too slow to hold a place.
const LEAST_BYTES: u64 = 16 << 10;

/// What is left of the time that a client is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    fn new(most: Duration) -> Self {
        Self { left: most, most }
    }

    fn after(self, waited: Duration, bytes: usize) -> Self {
        let earned = Duration::from_secs_f64(bytes as f64 / LEAST_BYTES as f64);
        Self { left: self.most.min(self.left.saturating_sub(waited).saturating_add(earned)), ..self }
    }
}

/// Bytes of a snapshot as they arrive; the end of the channel is the end of the file.
pub struct Upload {
    parts: mpsc::Receiver<Result<Bytes, StorageError>>,
    part: Bytes,
    runtime: Handle,
    patience: Patience,
    /// A purge of the tenant raises it.
    stop: Option<watch::Receiver<u32>>,
}

impl Upload {
    /// Reads what is sent through `parts`. Make it inside a runtime.
    pub fn new(parts: mpsc::Receiver<Result<Bytes, StorageError>>) -> Self {
        Self {
            parts,
            part: Bytes::new(),
            runtime: Handle::current(),
            patience: Patience::new(PATIENCE),
            stop: None,
        }
    }

    /// Ends with an error once `stop` is raised, also while the client sends nothing.
    pub(crate) fn until(mut self, stop: watch::Receiver<u32>) -> Self {
        self.stop = Some(stop);
        self
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let parts = &mut self.parts;
        let patience = &mut self.patience;
        let part = async {
            let begun = Instant::now();
            let Ok(part) = tokio::time::timeout(patience.left, parts.recv()).await else {
                return Err(too_slow(patience.most));
            };
            let part = part.transpose()?;
            *patience = patience.after(begun.elapsed(), part.as_ref().map_or(0, Bytes::len));
            // A timer of less than a millisecond may pass empty parts by for ever.
            if patience.left.is_zero() { Err(too_slow(patience.most)) } else { Ok(part) }
        };
        let Some(stop) = &mut self.stop else { return part.await };
        tokio::select! {
            biased;
            _ = stop.wait_for(|erasing| *erasing > 0) => Err(made_way()),
            part = part => part,
        }
    }
}

fn too_slow(most: Duration) -> StorageError {
    StorageError::DeadlineExceeded(format!(
        "the snapshot arrives too slowly: {LEAST_BYTES} bytes a second are the least, and pauses of {} s in all the most; \
         send it again over a faster connection",
        most.as_secs()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_make_up_for_time() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new(PATIENCE);
        for _ in 0..10_000 {
            patience = patience.after(second, LEAST_BYTES as usize);
        }
        assert!(PATIENCE - patience.left < second, "the least rate is enough: {patience:?}");
        // What was fast at first earns no more than the most.
        patience = patience.after(Duration::ZERO, 1 << 40);
        assert_eq!(patience.left, PATIENCE);
        let drips = (0..10_000).take_while(|_| {
            patience = patience.after(second, 1);
            // Otherwise the next byte comes too late.
            patience.left >= second
        });
        assert!((57..62).contains(&drips.count()), "a byte a second is as good as none");
    }

    #[tokio::test]
    async fn an_upload_that_drips_ends() {
        let (parts, received) = mpsc::channel(1);
        let mut upload = Upload::new(received);
        upload.patience = Patience::new(Duration::from_millis(50));
        let client = tokio::spawn(async move { while parts.send(Ok(Bytes::new())).await.is_ok() {} });
        let end = loop {
            match upload.next().await {
                Ok(Some(part)) => assert!(part.is_empty()),
                Ok(None) => panic!("the client goes on"),
                Err(e) => break e,
            }
        };
        assert!(matches!(end, StorageError::DeadlineExceeded(_)), "{end}");
        client.abort();
    }
}
