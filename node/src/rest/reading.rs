//! Reading of bodies: weighed before, and away from the threads that answer others where they are large.

use std::sync::LazyLock;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::sync::Semaphore;

use super::error::RestError;
use super::weight::{MAX_DEFINITION_BYTES, Shape};
use crate::config::Limits;
use crate::serve::admission::COPIES;
use crate::status::exhausted;

/// Smaller bodies are read where they are.
pub(super) const INLINE: usize = 64 << 10;
/// A query may take this many times the longest message in memory.
const QUERY_RATIO: usize = 8;

/// Bodies that are read at once: no more than there are processors to read them.
static READERS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(2, usize::from)));

/// Bytes that `body` takes once it is read.
pub(super) fn weigh(body: &[u8], shape: Shape, limits: &Limits) -> Result<usize, RestError> {
    let (bytes, message) = (shape.weigh(body), limits.message_bytes);
    let max = match shape {
        Shape::Tree => MAX_DEFINITION_BYTES,
        Shape::Query => (QUERY_RATIO * message).min(limits.inflight_bytes.max(COPIES * message)),
        // Its lists are bounded one by one.
        Shape::Points => usize::MAX,
    };
    if bytes <= max {
        return Ok(bytes);
    }
    Err(RestError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "Payload error: the body has so many JSON values that it takes {bytes} bytes once it is read, the limit is \
             {max}; send less at once"
        ),
    ))
}

/// Does what takes milliseconds where `body` is long.
pub(super) async fn away<T: Send + 'static>(
    body: &Bytes,
    work: impl FnOnce() -> Result<T, RestError> + Send + 'static,
) -> Result<T, RestError> {
    if body.len() <= INLINE {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(RestError::internal)?
}

/// Does what takes as long as `body` is long, in its turn; `wait` is how long it waits for that.
pub(super) async fn aside<T: Send + 'static>(
    body: &Bytes,
    wait: Duration,
    work: impl FnOnce() -> Result<T, RestError> + Send + 'static,
) -> Result<T, RestError> {
    if body.len() <= INLINE {
        return work();
    }
    let turn = tokio::time::timeout(wait, READERS.acquire()).await;
    let turn =
        turn.map_err(|_| exhausted("large bodies wait for a processor"))?.map_err(RestError::internal)?;
    // Held until the work is done, even where nobody waits for it any more.
    let work = move || {
        let _turn = turn;
        work()
    };
    away(body, work).await
}

/// Reads JSON. Every refusal is the caller's to mend.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|e| match e.classify() {
        Category::Eof if body.is_empty() => RestError::format("the body is empty: send a JSON object"),
        _ => RestError::format(e),
    })
}
