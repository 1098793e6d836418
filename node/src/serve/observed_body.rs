//! An answer's body that keeps what the request holds until the last byte is out, and then counts the request.
//!
//! HTTP/2 asks for the next frame when the peer has room for one byte, and buffers what it then gets however long it
//! is. So a large answer is handed out in small pieces: what a slow reader does not take yet stays here, where it is
//! charged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Code;
use tonic::body::Body;

use super::admission::InFlight;
use crate::metrics::Metrics;

/// Longest piece handed out at once.
const PIECE: usize = 32 << 10;

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

/// The body.
pub(crate) struct ObservedBody {
    pub(crate) inner: Body,
    /// Came from `inner` and is not handed out yet.
    pub(crate) rest: Bytes,
    pub(crate) observation: Observation,
    /// Held, not read.
    pub(crate) _held: (Option<OwnedSemaphorePermit>, InFlight),
}

impl ObservedBody {
    fn piece(&mut self) -> Bytes {
        let len = self.rest.len().min(PIECE);
        self.rest.split_to(len)
    }
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
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

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
