//! A bound on the requests in work and on the bytes they hold, for the whole server.
//!
//! What does not fit waits in order for a short time and is then told to try later: a queue that grows with the load
//! would end as an out-of-memory kill, which helps nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::config::Limits;
use crate::status::exhausted;

/// Bytes are counted in units of this many, since semaphores count in `u32`.
const UNIT: usize = 1024;

/// A message in work is held about this many times: as received, as vectors, as a log record, compressed.
pub(crate) const COPIES: usize = 4;

const FULL: &str = "requests in work hold as much memory as they may";

/// The bound.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    total_units: u32,
    queue_wait: Duration,
    /// The place of the one request that waits for more bytes while it holds a whole message.
    growing: Arc<Semaphore>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let total_units = u32::try_from(limits.inflight_bytes / UNIT).unwrap_or(u32::MAX >> 2).max(1);
        Self {
            requests: Arc::new(Semaphore::new(limits.requests)),
            bytes: Arc::new(Semaphore::new(total_units as usize)),
            total_units,
            queue_wait: limits.queue_wait,
            growing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Room for one more request.
    pub(crate) async fn request(&self) -> Result<OwnedSemaphorePermit, Status> {
        let wait = self.requests.clone().acquire_owned();
        match tokio::time::timeout(self.queue_wait, wait).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(exhausted("the server works on as many requests as it may")),
        }
    }

    /// Room for a message of `len` bytes, if there is some right now.
    pub(crate) fn try_message(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        self.try_beside(0, len)
    }

    /// As [`Admission::try_message`], for a request that keeps `held` units meanwhile.
    pub(crate) fn try_beside(&self, held: u32, len: usize) -> Option<OwnedSemaphorePermit> {
        self.bytes.clone().try_acquire_many_owned(self.units(held, len)).ok()
    }

    /// Room for a message of `len` bytes, waiting up to `patience` or, if there is none, the usual time.
    pub(crate) async fn message(
        self,
        len: usize,
        patience: Option<Duration>,
    ) -> Result<OwnedSemaphorePermit, Status> {
        self.beside(0, len, patience).await
    }

    /// As [`Admission::message`], for a request that keeps `held` units meanwhile.
    pub(crate) async fn beside(
        self,
        held: u32,
        len: usize,
        patience: Option<Duration>,
    ) -> Result<OwnedSemaphorePermit, Status> {
        let wait = self.bytes.clone().acquire_many_owned(self.units(held, len));
        match tokio::time::timeout(patience.unwrap_or(self.queue_wait), wait).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(exhausted(FULL)),
        }
    }

    /// As [`Admission::beside`], for a request that holds a whole message. One of them waits; the others give way at once,
    /// and what they held may be what it waits for: if all waited, none of them could end.
    pub(crate) async fn grow(self, held: u32, len: usize) -> Result<OwnedSemaphorePermit, Status> {
        let growing = self.growing.clone();
        let _place = growing.try_acquire().map_err(|_| exhausted(FULL))?;
        self.beside(held, len, None).await
    }

    /// Requests in work may hold this many bytes together, and hold this many.
    pub(crate) fn bytes_held(&self) -> (u64, u64) {
        let total = u64::from(self.total_units) * UNIT as u64;
        (total, total.saturating_sub(self.bytes.available_permits() as u64 * UNIT as u64))
    }

    /// One message may need more than the whole budget: it then gets all of it, beside what its request holds already.
    /// Waiting for that too would be waiting for oneself.
    fn units(&self, held: u32, len: usize) -> u32 {
        let units = len.saturating_mul(COPIES).div_ceil(UNIT) + 1;
        u32::try_from(units).unwrap_or(u32::MAX).min(self.total_units.saturating_sub(held))
    }
}

/// What one request holds: one charge per message, in the order of the messages. Dropped with the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<Mutex<VecDeque<OwnedSemaphorePermit>>>);

impl InFlight {
    pub(crate) fn push(&self, charge: OwnedSemaphorePermit) {
        self.0.lock().push_back(charge);
    }

    /// The charge of the oldest message that has none taken yet; a stream holds it until that message is done.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.0.lock().pop_front()
    }

    /// Units held.
    pub(crate) fn units(&self) -> u32 {
        let units = self.0.lock().iter().map(OwnedSemaphorePermit::num_permits).sum::<usize>();
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    fn admission() -> Admission {
        let mut limits = NodeConfig::for_data_dir("x").unwrap().limits;
        limits.requests = 1;
        limits.inflight_bytes = 1 << 20;
        limits.queue_wait = Duration::from_millis(10);
        Admission::new(&limits)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told_to_try_later() {
        let admission = admission();
        let one = admission.request().await.unwrap();
        assert_eq!(admission.request().await.unwrap_err().code(), tonic::Code::ResourceExhausted);
        drop(one);
        drop(admission.request().await.unwrap());
    }

    #[tokio::test]
    async fn a_message_larger_than_the_budget_gets_all_of_it() {
        let admission = admission();
        let all = admission.clone().message(64 << 20, None).await.unwrap();
        assert_eq!(admission.bytes_held(), (1 << 20, 1 << 20));
        assert!(admission.try_message(1).is_none());
        assert!(admission.clone().message(1, None).await.is_err());
        drop(all);
        assert!(admission.try_message(1).is_some());
    }
}
