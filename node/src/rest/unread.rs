//! Whether a request's body was read to its end.
//!
//! A connection whose next request would begin in the middle of a body is closed by the server once the answer is out. A
//! client that is not told so sends its next request into it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Version;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// True once there is nothing left to read.
pub(super) struct Ended(Option<Arc<AtomicBool>>);

impl Ended {
    /// Whether the connection cannot be used for another request.
    pub(super) fn closes(&self) -> bool {
        self.0.as_ref().is_some_and(|ended| !ended.load(Ordering::Acquire))
    }
}

/// Watches the body of a request, where its connection carries one request after the other.
pub(super) fn watched(request: Request) -> (Request, Ended) {
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return (request, Ended(None));
    }
    let ended = Arc::new(AtomicBool::new(false));
    let (head, inner) = request.into_parts();
    let body = Body::new(Watched { inner, ended: ended.clone() });
    (Request::from_parts(head, body), Ended(Some(ended)))
}

struct Watched {
    inner: Body,
    ended: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.ended.store(true, Ordering::Release);
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
