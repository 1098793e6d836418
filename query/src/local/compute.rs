//! Where the work of a local search runs: on the caller's thread when it is short, on a bounded pool otherwise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, oneshot};

use crate::error::{QueryError, Result};

/// Multiply-adds that take about a millisecond: a 12 GB/s stream of f32 is 3 a nanosecond.
const INLINE_WORK: usize = 3_000_000;
/// Jobs that may run or wait on the pool, per thread; beyond it a search is refused at once.
const JOBS_PER_THREAD: usize = 256;

/// Estimated work, in multiply-adds of vector components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work(pub usize);

/// Threads for work that would block the async runtime.
pub(crate) struct Compute {
    pool: rayon::ThreadPool,
    room: Arc<Semaphore>,
    /// Jobs that somebody waits for.
    busy: AtomicUsize,
}

/// Counts a job while somebody waits for it.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(busy: &'a AtomicUsize) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Compute {
    /// A pool of `threads`.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("engram-search-{i}"))
            .build()
            .map_err(|e| QueryError::Internal(format!("cannot start the search threads: {e}")))?;
        let room = Arc::new(Semaphore::new(threads * JOBS_PER_THREAD));
        Ok(Self { pool, room, busy: AtomicUsize::new(0) })
    }

    /// Whether nobody waits for a job now.
    pub fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// Runs `job`. `shards` jobs of one request share what may run inline. The job is told whether it is on the
    /// pool, where it may split itself.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        shards: usize,
        job: impl FnOnce(bool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _busy = Busy::new(&self.busy);
        if work.0.saturating_mul(shards.max(1)) <= INLINE_WORK {
            return job(false);
        }
        let room = self.room.clone().try_acquire_owned().map_err(|_| QueryError::Unavailable {
            code: "overloaded",
            message: "too many searches are waiting for a processor; try again in a second".to_owned(),
        })?;
        let (answer, answered) = oneshot::channel();
        self.pool.spawn(move || {
            // Held until the job is done, so that the queue stays bounded.
            let _room = room;
            if answer.is_closed() {
                return;
            }
            // A panic on a rayon thread would end the process.
            let outcome = catch_unwind(AssertUnwindSafe(|| job(true)))
                .unwrap_or_else(|_| Err(QueryError::Internal("a search panicked".to_owned())));
            // The caller may have given up meanwhile.
            let _ = answer.send(outcome);
        });
        answered.await.map_err(|_| QueryError::Internal("a search was dropped".to_owned()))?
    }
}

/// Refuses to go on after the deadline.
pub(crate) fn check_deadline(deadline: Instant) -> Result<()> {
    if Instant::now() < deadline {
        return Ok(());
    }
    let message = "the deadline passed while the shard was searched; allow more time or ask for less";
    Err(QueryError::DeadlineExceeded(message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_idle_while_nobody_waits() {
        let compute = Arc::new(Compute::new(1).unwrap());
        assert!(compute.is_idle());
        for work in [Work(0), Work(usize::MAX)] {
            let inner = compute.clone();
            let busy = compute.run(work, 1, move |_| Ok(!inner.is_idle())).await.unwrap();
            assert!(busy && compute.is_idle());
        }
        let failed: Result<()> = compute.run(Work(0), 1, |_| Err(QueryError::Internal(String::new()))).await;
        assert!(failed.is_err() && compute.is_idle());
    }
}
