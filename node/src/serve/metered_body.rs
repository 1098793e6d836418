//! A request body that takes memory from the budget before it hands a message on.
//!
//! A gRPC body is a row of messages, each with a head of five bytes: a flag and the length. The length is charged as
//! soon as the head is here, so a request either has room for its whole message or waits without holding any.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use engram_storage::ErrorKind;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;

use super::admission::{Admission, InFlight};
use crate::status::status;

const HEAD: usize = 5;

/// A peer gets this long to send one whole message; a stalled one must not keep its room.
const MESSAGE_TIME: Duration = Duration::from_secs(60);

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Status>> + Send>>;

/// The body.
pub(crate) struct MeteredBody {
    inner: Body,
    admission: Admission,
    in_flight: InFlight,
    max_message: usize,
    /// How long a message may wait for room; the usual time where absent.
    patience: Option<Duration>,
    head: [u8; HEAD],
    head_len: usize,
    /// Bytes of the current message still to come.
    remaining: usize,
    /// A frame that is here but not charged yet, and how much of it was looked at.
    held: Option<(Bytes, usize)>,
    waiting: Option<Waiting>,
    /// Runs while a message is incomplete.
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl MeteredBody {
    pub(crate) fn new(inner: Body, admission: Admission, in_flight: InFlight, max_message: usize) -> Self {
        Self {
            inner,
            admission,
            in_flight,
            max_message,
            patience: None,
            head: [0; HEAD],
            head_len: 0,
            remaining: 0,
            held: None,
            waiting: None,
            stalled: None,
        }
    }

    /// Lets messages wait longer: on a bulk stream, waiting is the flow control.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Looks at `frame` from `at` on; `Some(len)` when a head is complete whose message must be charged now.
    fn scan(&mut self, frame: &[u8], at: &mut usize) -> Option<usize> {
        while *at < frame.len() {
            if self.remaining > 0 {
                let step = self.remaining.min(frame.len() - *at);
                self.remaining -= step;
                *at += step;
                continue;
            }
            self.head[self.head_len] = frame[*at];
            self.head_len += 1;
            *at += 1;
            if self.head_len == HEAD {
                self.head_len = 0;
                let len =
                    u32::from_be_bytes([self.head[1], self.head[2], self.head[3], self.head[4]]) as usize;
                self.remaining = len;
                return Some(len);
            }
        }
        None
    }

    fn charge(&mut self, len: usize) -> Result<(), Status> {
        if len > self.max_message {
            return Err(status(
                ErrorKind::Invalid,
                "message_too_large",
                format!("a message of {len} bytes is larger than {}; send smaller batches", self.max_message),
            ));
        }
        match self.admission.try_message(len) {
            Some(charge) => self.in_flight.push(charge),
            None => self.waiting = Some(Box::pin(self.admission.clone().message(len, self.patience))),
        }
        Ok(())
    }

    /// Charges what the held frame announces; ready when the frame may be handed on.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let charge = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                self.in_flight.push(charge?);
            }
            let Some((frame, mut at)) = self.held.take() else { return Poll::Ready(Ok(None)) };
            match self.scan(&frame, &mut at) {
                Some(len) => {
                    self.charge(len)?;
                    self.held = Some((frame, at));
                }
                None => return Poll::Ready(Ok(Some(frame))),
            }
        }
    }

    /// Fails when a message has been incomplete for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        if self.remaining == 0 && self.head_len == 0 {
            self.stalled = None;
            return Ok(());
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(MESSAGE_TIME)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(status(
                ErrorKind::DeadlineExceeded,
                "message_stalled",
                format!("a message did not arrive whole within {} s", MESSAGE_TIME.as_secs()),
            )),
        }
    }
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::codegen::StdError>>> {
        loop {
            match ready!(self.poll_held(cx)) {
                Ok(Some(frame)) => {
                    if self.remaining == 0 && self.head_len == 0 {
                        self.stalled = None;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                Ok(None) => {}
                Err(refused) => return Poll::Ready(Some(Err(refused.into()))),
            }
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.held = Some((data, 0)),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(e))) => return Poll::Ready(Some(Err(e.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    return match self.poll_stalled(cx) {
                        Ok(()) => Poll::Pending,
                        Err(late) => Poll::Ready(Some(Err(late.into()))),
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.waiting.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    fn body() -> MeteredBody {
        let limits = NodeConfig::for_data_dir("x").unwrap().limits;
        MeteredBody::new(Body::empty(), Admission::new(&limits), InFlight::default(), 100)
    }

    #[test]
    fn heads_are_found_wherever_frames_are_cut() {
        let messages = [0usize, 1, 7, 30];
        let mut wire = Vec::new();
        for len in messages {
            wire.push(0);
            wire.extend((len as u32).to_be_bytes());
            wire.extend(std::iter::repeat_n(9u8, len));
        }
        for cut in 1..wire.len() {
            let (mut body, mut found) = (body(), Vec::new());
            for frame in wire.chunks(cut) {
                let mut at = 0;
                while let Some(len) = body.scan(frame, &mut at) {
                    found.push(len);
                }
            }
            assert_eq!(found, messages, "frames of {cut}");
        }
    }

    #[tokio::test]
    async fn a_message_above_the_limit_is_refused() {
        let mut body = body();
        assert!(body.charge(100).is_ok());
        assert_eq!(body.charge(101).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
