//! An answer's body that keeps what the request holds until the last byte is out, and then counts the request.

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
    pub(crate) observation: Observation,
    /// Held, not read.
    pub(crate) _held: (Option<OwnedSemaphorePermit>, InFlight),
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.observation.see(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
