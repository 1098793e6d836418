//! An answer's body that keeps what the request holds until the last byte is out, and then counts the request.
//!
//! HTTP/2 asks for the next frame when the peer has room for one byte, and buffers what it then gets however long it
//! is. So a large answer is handed out in small pieces: what a slow reader does not take yet stays here, where it is
//! charged.
//!
//! A peer that takes nothing must not keep that for ever. HTTP/2 does not ask for a frame while the peer has no room,
//! so no timer of the body's own would run: one task for all answers looks whether what was handed out was followed by
//! another question, and lets go of the answer and of all that the request holds where it was not. What then stays is
//! one piece for each stream, until the peer resets the stream or the connection ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::HeaderMap;
use engram_storage::ErrorKind;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Code;
use tonic::body::Body;

use super::admission::InFlight;
use crate::metrics::Metrics;
use crate::status::status;

/// Longest piece handed out at once.
const PIECE: usize = 32 << 10;

/// A peer gets this long to take one piece.
const TAKE_TIME: Duration = Duration::from_secs(60);
/// The task looks so often in that time.
const LOOKS: u32 = 8;

/// What a request holds: its place and its bytes.
pub(crate) type Held = (Option<OwnedSemaphorePermit>, InFlight);

type Polled = Poll<Option<Result<Frame<Bytes>, tonic::Status>>>;

/// Counts one request when it is dropped.
pub(crate) struct Observation {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) method: &'static str,
    pub(crate) started: Instant,
    /// Where no code was ever seen, the caller went away.
    pub(crate) code: Code,
}

impl Observation {
    pub(crate) fn see(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Code::from_bytes(code.as_bytes());
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.metrics.request_done(self.method, self.code, self.started.elapsed());
    }
}

/// An answer; absent once the peer took nothing for too long.
type Open = Arc<Mutex<Option<Answer>>>;

/// Answers of which a piece was handed out. A task for each would cost every small answer more than the answer itself.
pub(crate) struct Watch {
    take_time: Duration,
    /// By the number of the answer's address, which no other has while it is here.
    open: Mutex<HashMap<usize, Open>>,
}

impl Watch {
    /// Looks until it is dropped; must be made on a runtime.
    pub(crate) fn start() -> Arc<Self> {
        Self::every(TAKE_TIME)
    }

    fn every(take_time: Duration) -> Arc<Self> {
        let watch = Arc::new(Self { take_time, open: Mutex::default() });
        tokio::spawn(look(Arc::downgrade(&watch), take_time / LOOKS));
        watch
    }

    fn begin(&self, answer: &Open) {
        self.open.lock().insert(Arc::as_ptr(answer).addr(), answer.clone());
    }

    fn end(&self, answer: &Open) {
        self.open.lock().remove(&Arc::as_ptr(answer).addr());
    }

    /// Drops answers of which nothing was taken for too long.
    fn look(&self) {
        let late = |answer: &&Open| answer.lock().as_ref().is_some_and(|open| open.is_late(self.take_time));
        let found: Vec<Open> = self.open.lock().values().filter(late).cloned().collect();
        found.iter().for_each(|answer| give_up(answer, self.take_time));
    }
}

async fn look(watch: Weak<Watch>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(watch) = watch.upgrade() else { return };
        watch.look();
    }
}

/// The body.
pub(crate) struct ObservedBody {
    answer: Open,
    watch: Arc<Watch>,
    /// A piece was handed out: the watch knows of it.
    watched: bool,
}

struct Answer {
    inner: Body,
    /// Came from `inner` and is not handed out yet.
    rest: Bytes,
    /// When a piece was handed out that was not followed by a question for more. Waiting for `inner` is not the peer's
    /// fault and does not count.
    offered: Option<Instant>,
    observation: Observation,
    /// Held, not read.
    _held: Held,
}

impl ObservedBody {
    pub(crate) fn new(inner: Body, observation: Observation, held: Held, watch: Arc<Watch>) -> Self {
        let answer = Answer { inner, rest: Bytes::new(), offered: None, observation, _held: held };
        Self { answer: Arc::new(Mutex::new(Some(answer))), watch, watched: false }
    }
}

impl Drop for ObservedBody {
    fn drop(&mut self) {
        if self.watched {
            self.watch.end(&self.answer);
        }
    }
}

fn give_up(answer: &Mutex<Option<Answer>>, limit: Duration) {
    let mut open = answer.lock();
    // The peer may have asked since we looked.
    if !open.as_ref().is_some_and(|open| open.is_late(limit)) {
        return;
    }
    let dropped = open.take();
    // What drops may take locks of its own.
    drop(open);
    if let Some(mut answer) = dropped {
        answer.observation.code = Code::DeadlineExceeded;
    }
}

impl Answer {
    /// Whether what was handed out was not followed by a question for so long.
    fn is_late(&self, limit: Duration) -> bool {
        self.offered.is_some_and(|since| since.elapsed() >= limit)
    }

    fn piece(&mut self) -> Bytes {
        let len = self.rest.len().min(PIECE);
        self.rest.split_to(len)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.piece()))));
        }
        let polled = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    return Poll::Ready(Some(Ok(Frame::data(self.piece()))));
                }
                Err(other) => Poll::Ready(Some(Ok(other))),
            },
            other => other,
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.observation.see(trailers);
        }
        polled
    }
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let polled = {
            let mut open = self.answer.lock();
            let Some(answer) = open.as_mut() else {
                return Poll::Ready(Some(Err(not_taken(self.watch.take_time))));
            };
            let polled = answer.poll_frame(cx);
            answer.offered = matches!(polled, Poll::Ready(Some(Ok(_)))).then(Instant::now);
            polled
        };
        if !self.watched && matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.watch.begin(&self.answer);
            self.watched = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let open = self.answer.lock();
        open.as_ref().is_some_and(|answer| answer.rest.is_empty() && answer.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let open = self.answer.lock();
        let Some(answer) = open.as_ref() else { return SizeHint::default() };
        let (mut hint, rest) = (answer.inner.size_hint(), answer.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

fn not_taken(limit: Duration) -> tonic::Status {
    status(
        ErrorKind::DeadlineExceeded,
        "answer_not_taken",
        format!("nothing of the answer was taken for {} s", limit.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    fn body(place: OwnedSemaphorePermit, len: usize, take_time: Duration) -> ObservedBody {
        let observation = Observation {
            metrics: Arc::new(Metrics::new("test")),
            method: "test",
            started: Instant::now(),
            code: Code::Cancelled,
        };
        let inner = Body::new(axum::body::Body::from(vec![1u8; len]));
        let watch = Watch::every(take_time);
        ObservedBody::new(inner, observation, (Some(place), InFlight::default()), watch)
    }

    async fn next(body: &mut ObservedBody) -> Option<Result<Frame<Bytes>, tonic::Status>> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_loses_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let mut body = body(places.clone().try_acquire_owned().unwrap(), 3 * PIECE, SHORT);
        next(&mut body).await.unwrap().unwrap();
        // Not asked again, as where the peer has no room.
        drop(places.acquire().await.unwrap());
        assert_eq!(next(&mut body).await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_slow_peer_gets_all_of_it() {
        let places = Arc::new(Semaphore::new(1));
        let mut body =
            body(places.clone().try_acquire_owned().unwrap(), 40 * PIECE, Duration::from_millis(500));
        for _ in 0..40 {
            next(&mut body).await.unwrap().unwrap();
            // The time that the peer takes is what is tested; nothing is waited for.
            tokio::time::sleep(SHORT).await;
        }
        assert!(next(&mut body).await.is_none());
        let watch = body.watch.clone();
        assert_eq!(watch.open.lock().len(), 1);
        drop(body);
        assert_eq!((places.available_permits(), watch.open.lock().len()), (1, 0));
    }
}
