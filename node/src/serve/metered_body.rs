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
use crate::status::{invalid, status};

const HEAD: usize = 5;

/// A peer gets this long to send one whole message; a stalled one must not keep its room. Where there is only one
/// message, this is the time from the request's headers to its end.
const MESSAGE_TIME: Duration = Duration::from_secs(60);

/// A peer may be silent for this long between two messages of a stream. Generous, since a loader may gather its next
/// batch meanwhile; but one that is gone for good must not keep its place.
const IDLE_TIME: Duration = Duration::from_secs(600);

/// Longest message of a caller that showed no credential. Such messages are charged nothing: a caller that nobody knows
/// could announce messages only to use up the room of those who have a key.
const UNCHARGED_MESSAGE: usize = 1 << 10;

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Status>> + Send>>;

/// The body.
pub(crate) struct MeteredBody {
    inner: Body,
    admission: Admission,
    in_flight: InFlight,
    max_message: usize,
    /// How long a message may wait for room; the usual time where absent.
    patience: Option<Duration>,
    charged: bool,
    /// The client may send more than one message.
    streaming: bool,
    /// A message began.
    begun: bool,
    message_time: Duration,
    idle_time: Duration,
    head: [u8; HEAD],
    head_len: usize,
    /// Bytes of the current message still to come.
    remaining: usize,
    /// A frame that is here but not charged yet, and how much of it was looked at.
    held: Option<(Bytes, usize)>,
    waiting: Option<Waiting>,
    /// Runs while the peer owes something: the rest of a message, its only message, or its next one.
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
            charged: true,
            streaming: false,
            begun: false,
            message_time: MESSAGE_TIME,
            idle_time: IDLE_TIME,
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

    /// Lets the client send any number of messages, with pauses between them.
    pub(crate) fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    /// Takes short messages only, and no room for them.
    pub(crate) fn uncharged(mut self) -> Self {
        self.charged = false;
        self.max_message = UNCHARGED_MESSAGE;
        self
    }

    fn between_messages(&self) -> bool {
        self.remaining == 0 && self.head_len == 0
    }

    /// A message begins: it gets its own time on a stream, and there is only one elsewhere.
    fn begin(&mut self, len: usize) -> Result<(), Status> {
        if self.streaming {
            self.stalled = None;
        } else if self.begun {
            return Err(invalid("message", "is the second one; this method takes one"));
        }
        self.begun = true;
        self.charge(len)
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
                format!("a message of {len} bytes is larger than {}; send less at once", self.max_message),
            ));
        }
        if !self.charged {
            return Ok(());
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
                // The peer could not send while it was us it waited for.
                self.stalled = None;
                self.in_flight.push(charge?);
            }
            let Some((frame, mut at)) = self.held.take() else { return Poll::Ready(Ok(None)) };
            match self.scan(&frame, &mut at) {
                Some(len) => {
                    self.begin(len)?;
                    self.held = Some((frame, at));
                }
                None => return Poll::Ready(Ok(Some(frame))),
            }
        }
    }

    /// Fails when the peer has owed something for too long. Asked while nothing is here to be read.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        let idle = self.streaming && self.between_messages();
        let limit = if idle { self.idle_time } else { self.message_time };
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) if idle => Err(late("stream_idle", "the next message did not begin", limit)),
            Poll::Ready(()) => Err(late("message_stalled", "a request did not arrive whole", limit)),
        }
    }
}

fn late(code: &str, what: &str, limit: Duration) -> Status {
    status(ErrorKind::DeadlineExceeded, code, format!("{what} within {} s", limit.as_secs()))
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
                    // The only message ends with the request: until then its time runs on.
                    if self.streaming && self.between_messages() {
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

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn around(inner: Body) -> MeteredBody {
        let limits = NodeConfig::for_data_dir("x").unwrap().limits;
        MeteredBody::new(inner, Admission::new(&limits), InFlight::default(), 100)
    }

    fn body() -> MeteredBody {
        around(Body::empty())
    }

    /// Reads a body of these frames, after which the peer sends nothing and does not end, until it fails; then the
    /// frames that came and the details of the error.
    async fn read(
        frames: &[&'static [u8]],
        edit: impl FnOnce(MeteredBody) -> MeteredBody,
    ) -> (usize, String) {
        let frames: Vec<_> =
            frames.iter().map(|f| Ok::<_, Status>(Frame::data(Bytes::from_static(f)))).collect();
        let endless = futures::StreamExt::chain(futures::stream::iter(frames), futures::stream::pending());
        let mut body = edit(around(Body::new(Frames(Box::pin(endless)))));
        let mut count = 0;
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap() {
                Ok(_) => count += 1,
                Err(e) => {
                    let status = e.downcast::<Status>().unwrap();
                    return (count, crate::status::detail_of(&status).unwrap().code);
                }
            }
        }
    }

    struct Frames(Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Status>> + Send>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.as_mut().poll_next(cx)
        }
    }

    fn times(mut body: MeteredBody, message: Duration, idle: Duration) -> MeteredBody {
        (body.message_time, body.idle_time) = (message, idle);
        body
    }

    const EMPTY: &[u8] = &[0; HEAD];
    const PART: &[u8] = &[0, 0, 0, 0, 9, 1];

    #[tokio::test]
    async fn a_request_must_end_in_time_also_where_it_sends_nothing() {
        for (frames, count) in [(&[][..], 0), (&[PART], 1), (&[EMPTY], 1)] {
            let (came, code) = read(frames, |body| times(body, SHORT, LONG)).await;
            assert_eq!((came, code.as_str()), (count, "message_stalled"));
        }
    }

    #[tokio::test]
    async fn a_stream_may_pause_between_messages_but_not_for_ever() {
        let idle = read(&[EMPTY, EMPTY], |body| times(body.streaming(), LONG, SHORT)).await;
        assert_eq!(idle, (2, "stream_idle".to_owned()));
        let stalled = read(&[EMPTY, PART], |body| times(body.streaming(), SHORT, LONG)).await;
        assert_eq!(stalled, (2, "message_stalled".to_owned()));
    }

    #[tokio::test]
    async fn a_second_message_is_refused_where_one_is_expected() {
        assert_eq!(read(&[EMPTY, EMPTY], |body| body).await, (1, "invalid_argument".to_owned()));
    }

    #[tokio::test]
    async fn a_stranger_is_charged_nothing_and_sends_little() {
        let mut body = body().uncharged();
        let before = body.admission.bytes_held();
        body.begin(UNCHARGED_MESSAGE).unwrap();
        assert_eq!(body.admission.bytes_held(), before);
        let mut body = super::tests::body().uncharged();
        assert_eq!(body.begin(UNCHARGED_MESSAGE + 1).unwrap_err().code(), tonic::Code::InvalidArgument);
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
