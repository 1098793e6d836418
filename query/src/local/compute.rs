//! Where the work of a local search runs: on the caller's thread when it is short, on a bounded pool otherwise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engram_index::Pace;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::coordinator::CALLS_AT_ONCE;
use crate::error::{QueryError, Result};
use crate::limits::MAX_STAGES;

/// Multiply-adds that take about a millisecond: a 12 GB/s stream of f32 is 3 a nanosecond.
const INLINE_WORK: usize = 3_000_000;
/// Jobs that may run or wait on the pool, per thread.
const JOBS_PER_THREAD: usize = 256;
/// Jobs that may wait for a place there until their deadline, per thread; beyond it a search is refused at once.
const WAITING_PER_THREAD: usize = 16_384;
/// Requests are split over as many tasks as there are threads, and each of these runs one query: no request is refused
/// because of itself.
const _: () = assert!(MAX_STAGES * CALLS_AT_ONCE <= WAITING_PER_THREAD);

/// Estimated work, in multiply-adds of vector components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work(pub usize);

/// Threads for work that would block the async runtime.
pub(crate) struct Compute {
    pool: rayon::ThreadPool,
    room: Arc<Semaphore>,
    /// Places of those that wait for room.
    queue: Semaphore,
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
        let queue = Semaphore::new(threads * WAITING_PER_THREAD);
        Ok(Self { pool, room, queue, busy: AtomicUsize::new(0) })
    }

    /// Whether nobody waits for a job now.
    pub fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// Runs `job`. `shards` jobs of one request share what may run inline. The job is told whether it is on the
    /// pool, where it may split itself; it waits for a place there until the deadline.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        (shards, deadline): (usize, Instant),
        job: impl FnOnce(bool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _busy = Busy::new(&self.busy);
        if work.0.saturating_mul(shards.max(1)) <= INLINE_WORK {
            return job(false);
        }
        let room = match self.room.clone().try_acquire_owned() {
            Ok(room) => room,
            Err(_) => self.wait(deadline).await?,
        };
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

    /// A place on the pool, in turn.
    async fn wait(&self, deadline: Instant) -> Result<OwnedSemaphorePermit> {
        let _place = self.queue.try_acquire().map_err(|_| overloaded())?;
        let room = tokio::time::timeout_at(deadline.into(), self.room.clone().acquire_owned()).await;
        room.map_err(|_| overloaded())?
            .map_err(|_| QueryError::Internal("the search pool is closed".to_owned()))
    }
}

fn overloaded() -> QueryError {
    QueryError::Unavailable {
        code: "overloaded",
        message: "too many searches are waiting for a processor; try again in a second".to_owned(),
    }
}

/// Refuses to go on after the deadline.
pub(crate) fn check_deadline(deadline: Instant) -> Result<()> {
    if Instant::now() < deadline { Ok(()) } else { Err(late()) }
}

/// What a [`Pace`] asks.
pub(crate) fn after(deadline: Instant) -> impl Fn() -> bool {
    move || Instant::now() >= deadline
}

/// Refuses to begin `work` after the deadline.
pub(crate) fn spend(pace: &Pace<'_>, work: usize) -> Result<()> {
    if pace.go_on(work) { Ok(()) } else { Err(late()) }
}

fn late() -> QueryError {
    let message = "the deadline passed while the shard was searched; allow more time or ask for less";
    QueryError::DeadlineExceeded(message.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::FutureExt;
    use futures::future::{BoxFuture, join_all};

    use super::*;

    const ANY: Work = Work(usize::MAX);

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    /// A full pool of one thread: `open` lets its jobs go on.
    fn full(compute: &Compute) -> (mpsc::Sender<()>, Vec<BoxFuture<'_, Result<()>>>) {
        let (open, gate) = mpsc::channel::<()>();
        let mut first = Some(gate);
        let mut jobs = Vec::new();
        for _ in 0..JOBS_PER_THREAD {
            let gate = first.take();
            let job = move |_| {
                gate.map(|gate| gate.recv());
                Ok(())
            };
            let mut job = compute.run(ANY, (1, later()), job).boxed();
            assert!((&mut job).now_or_never().is_none());
            jobs.push(job);
        }
        (open, jobs)
    }

    #[tokio::test]
    async fn what_finds_no_room_waits_for_it() {
        let compute = Compute::new(1).unwrap();
        let (open, jobs) = full(&compute);
        let mut waiting: Vec<_> =
            (0..1_000).map(|i| compute.run(ANY, (1, later()), move |_| Ok(i)).boxed()).collect();
        assert!(waiting.iter_mut().all(|job| job.now_or_never().is_none()), "nobody is refused");
        open.send(()).unwrap();
        assert!(join_all(jobs).await.into_iter().all(|done| done.is_ok()));
        let answers: Vec<usize> = join_all(waiting).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (0..1_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn waiting_ends_at_the_deadline_and_in_a_full_queue_at_once() {
        let compute = Compute::new(1).unwrap();
        let (open, jobs) = full(&compute);
        let late = compute.run(ANY, (1, Instant::now()), |_| Ok(())).await.unwrap_err();
        assert_eq!(late.code(), "overloaded");
        let mut waiting: Vec<_> =
            (0..WAITING_PER_THREAD).map(|_| compute.run(ANY, (1, later()), |_| Ok(())).boxed()).collect();
        assert!(waiting.iter_mut().all(|job| job.now_or_never().is_none()));
        let refused = compute.run(ANY, (1, later()), |_| Ok(())).now_or_never().unwrap().unwrap_err();
        assert_eq!(refused.code(), "overloaded");
        assert!(refused.to_string().contains("try again"));
        // Whoever gives up leaves a place.
        drop(waiting.pop());
        assert!(compute.run(ANY, (1, later()), |_| Ok(())).now_or_never().is_none());
        drop(waiting);
        open.send(()).unwrap();
        assert!(join_all(jobs).await.into_iter().all(|done| done.is_ok()));
    }

    #[tokio::test]
    async fn it_is_idle_while_nobody_waits() {
        let compute = Arc::new(Compute::new(1).unwrap());
        assert!(compute.is_idle());
        for work in [Work(0), Work(usize::MAX)] {
            let inner = compute.clone();
            let busy = compute.run(work, (1, later()), move |_| Ok(!inner.is_idle())).await.unwrap();
            assert!(busy && compute.is_idle());
        }
        let failed: Result<()> =
            compute.run(Work(0), (1, later()), |_| Err(QueryError::Internal(String::new()))).await;
        assert!(failed.is_err() && compute.is_idle());
    }
}
