//! Many requests over the processor's cores.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::error::{QueryError, Result};

/// Requests with their numbers.
type Numbered<R> = std::iter::Enumerate<std::vec::IntoIter<R>>;

/// Runs `requests` on so many tasks, this one among them; each takes the next one when it is free. Dropped with the caller.
/// Answers in the order of the requests.
///
/// # Errors
/// That of the first request that failed.
pub(super) async fn spread<R, A, F, Fut>(requests: Vec<R>, workers: usize, run: F) -> Result<Vec<A>>
where
    R: Send + 'static,
    A: Send + 'static,
    F: Fn(R) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<A>> + Send + 'static,
{
    let total = requests.len();
    let queue = Arc::new(Mutex::new(requests.into_iter().enumerate()));
    let work = |run: F, queue: Arc<Mutex<Numbered<R>>>| async move {
        let mut answers = Vec::new();
        loop {
            let Some((number, request)) = next(&queue) else { return answers };
            answers.push((number, run(request).await));
        }
    };
    let mut tasks = JoinSet::new();
    for _ in 1..workers.clamp(1, total.max(1)) {
        tasks.spawn(work(run.clone(), queue.clone()));
    }
    let mut numbered = work(run, queue).await;
    while let Some(done) = tasks.join_next().await {
        numbered.extend(done.map_err(|e| QueryError::Internal(format!("a search was stopped: {e}")))?);
    }
    let mut answers: Vec<Option<Result<A>>> = Vec::new();
    answers.resize_with(total, || None);
    for (number, answer) in numbered {
        answers[number] = Some(answer);
    }
    let missing = || Err(QueryError::Internal("a search of the batch was lost".to_owned()));
    answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
}

/// The lock is held for no longer than this.
fn next<R>(queue: &Mutex<Numbered<R>>) -> Option<(usize, R)> {
    queue.lock().next()
}
