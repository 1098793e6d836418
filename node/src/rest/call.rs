//! One request, admitted and read, as handlers get it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use engram_query::limits::{MAX_TIMEOUT, MAX_TOKEN_BYTES};
use engram_query::request::{AnswerBudget, Principal, ReadOptions, Selection, WriteOptions};
use engram_query::token::ConsistencyToken;
use engram_storage::schema::CollectionSchema;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{Answer, TOKEN_HEADER};
use super::error::RestError;
use super::reading::{aside, away, read, weigh};
use super::weight::Shape;
use crate::grpc::{Context, to_the_end};
use crate::serve::answer_room::{AnswerRoom, Charged, Expected, expected_bytes};

/// Key under which a write may be repeated.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Longest name in a path.
const MAX_NAME_BYTES: usize = 255;
/// No read returns more: one that asks for more is refused, and must not take all room before that.
const MAX_EXPECTED: usize = 10_000;
/// No answer has more values, such as pairs of a matrix.
const MAX_VALUES: usize = 1_000_000;
/// Bytes of a file that are in memory while it is sent.
const FILE_BYTES: usize = 1 << 20;

/// A request.
pub(crate) struct Call {
    pub(crate) context: Arc<Context>,
    pub(crate) principal: Principal,
    pub(crate) started: Instant,
    pub(crate) body: Bytes,
    headers: HeaderMap,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    room: Option<AnswerRoom>,
    /// The body of a route that reads it as it comes.
    stream: Mutex<Option<Body>>,
}

/// A body as its route wants it.
pub(super) enum Received {
    Whole(Bytes),
    Stream(Body),
}

impl Call {
    /// A request whose credential was checked: the principal is in its extensions.
    pub(super) fn new(
        (context, started): (Arc<Context>, Instant),
        head: Parts,
        path: Vec<(String, String)>,
        body: Received,
    ) -> Result<Self, RestError> {
        let Some(principal) = head.extensions.get::<Principal>().copied() else {
            return Err(RestError::internal("a request reached its handler without a principal"));
        };
        let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        let query = query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let room = head.extensions.get::<AnswerRoom>().cloned();
        let (body, stream) = match body {
            Received::Whole(body) => (body, None),
            Received::Stream(body) => (Bytes::new(), Some(body)),
        };
        let stream = Mutex::new(stream);
        Ok(Self { context, principal, started, body, headers: head.headers, path, query, room, stream })
    }

    /// A part of the path.
    pub(crate) fn segment(&self, name: &str) -> &str {
        self.path.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The collection of the path.
    pub(crate) fn collection(&self) -> &str {
        self.segment("collection_name")
    }

    /// Definition of the collection of the path.
    pub(crate) fn schema(&self) -> Result<Arc<CollectionSchema>, RestError> {
        Ok(self.context.database.collection(self.principal, self.collection())?)
    }

    /// A parameter behind the path.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A header, where it is plain text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body of a route that reads it as it comes; an empty one the second time.
    pub(crate) fn take_body(&self) -> Body {
        self.stream.lock().take().unwrap_or_default()
    }

    /// The body as `T`; what it takes in memory is charged before it is read.
    pub(crate) async fn json<T>(&self, shape: Shape) -> Result<T, RestError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (body, context) = (self.body.clone(), self.context.clone());
        let bytes = away(&self.body, move || weigh(&body, shape, &context.config.limits)).await?;
        if let Some(room) = &self.room {
            room.take_read(bytes, self.body.len()).await?;
        }
        let body = self.body.clone();
        self.aside(move || read(&body)).await
    }

    /// As [`Call::json`], where no body stands for the default.
    pub(crate) async fn json_or_default<T>(&self, shape: Shape) -> Result<T, RestError>
    where
        T: DeserializeOwned + Default + Send + 'static,
    {
        if self.body.is_empty() { Ok(T::default()) } else { self.json(shape).await }
    }

    /// Does work that takes as long as the body is long.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RestError> + Send + 'static,
    ) -> Result<T, RestError> {
        aside(&self.body, self.context.config.limits.queue_wait, work).await
    }

    /// Whether a write is to be answered after it is applied.
    pub(crate) fn wait(&self) -> Result<bool, RestError> {
        match self.parameter("wait") {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(RestError::parameter(format!("wait: {other:?} is neither true nor false"))),
        }
    }

    /// As [`Call::wait`], for work that is waited for unless the caller says otherwise.
    pub(crate) fn waits(&self) -> Result<bool, RestError> {
        if self.parameter("wait").is_none() { Ok(true) } else { self.wait() }
    }

    pub(crate) fn write_options(&self) -> Result<WriteOptions, RestError> {
        let key = self.headers.get(IDEMPOTENCY_HEADER).map(|value| value.to_str());
        let key = key.transpose().map_err(|_| RestError::parameter("idempotency-key: is no plain text"))?;
        Ok(WriteOptions { idempotency_key: key.map(str::to_owned), wait: self.wait()?, skip_invalid: false })
    }

    /// Freshness and time of a read.
    pub(crate) fn read_options(&self) -> Result<ReadOptions, RestError> {
        let token = match self.headers.get(TOKEN_HEADER) {
            None => None,
            Some(value) if value.len() <= MAX_TOKEN_BYTES => {
                let text = value.to_str().map_err(|_| RestError::parameter("engram-token: is no token"))?;
                Some(text.parse::<ConsistencyToken>()?)
            }
            Some(_) => return Err(RestError::parameter("engram-token: is too long")),
        };
        Ok(ReadOptions { token, timeout: self.timeout()?, regions: Vec::new() })
    }

    /// `timeout` in seconds.
    fn timeout(&self) -> Result<Option<Duration>, RestError> {
        let Some(text) = self.parameter("timeout") else { return Ok(None) };
        let longest = MAX_TIMEOUT.as_secs();
        match text.parse::<u64>() {
            // Clients say the time after which they give up, which may be far longer than a request may take.
            Ok(seconds @ 1..) => Ok(Some(Duration::from_secs(seconds.min(longest)))),
            _ => Err(RestError::parameter(format!(
                "timeout: {text:?} is no whole number of seconds from 1 on"
            ))),
        }
    }

    /// Room for answers of up to so many points of a collection each.
    pub(crate) async fn room<'a>(
        &self,
        parts: impl Iterator<Item = (&'a str, &'a Selection, usize)>,
    ) -> Result<Charged, RestError> {
        self.room_beside(parts, 0).await
    }

    /// As [`Call::room`], with room for so many bytes that are held meanwhile.
    pub(crate) async fn room_beside<'a>(
        &self,
        parts: impl Iterator<Item = (&'a str, &'a Selection, usize)>,
        bytes: usize,
    ) -> Result<Charged, RestError> {
        let part = |(collection, selection, count): (&str, &Selection, usize)| {
            // One that is not there is told by the read itself.
            let schema = self.context.database.collection(self.principal, collection).ok()?;
            Some(expected_bytes(&schema, selection, count.min(MAX_EXPECTED)))
        };
        let expected =
            parts.filter_map(part).fold(Expected { beside: bytes, ..Expected::default() }, Expected::and);
        Ok(Charged::take(self.room.clone(), expected).await?)
    }

    /// Bytes that the points of the answer may have together.
    pub(crate) fn budget(&self) -> AnswerBudget {
        AnswerBudget::new(self.context.config.limits.message_bytes)
    }

    /// Room for an answer of so many values.
    pub(crate) async fn values_room(&self, count: usize, each: usize) -> Result<Charged, RestError> {
        let expected = Expected { likely: count.min(MAX_VALUES).saturating_mul(each), ..Expected::default() };
        Ok(Charged::take(self.room.clone(), expected).await?)
    }

    /// Room for the parts of a file that is sent.
    pub(crate) async fn file_room(&self) -> Result<Charged, RestError> {
        let expected = Expected { likely: FILE_BYTES, ..Expected::default() };
        Ok(Charged::take(self.room.clone(), expected).await?)
    }

    /// `result` in the envelope.
    pub(crate) fn answer(&self, result: &impl Serialize) -> Result<Answer, RestError> {
        Answer::of(self.started, result)
    }
}

/// Runs a write to its end even if the caller goes away.
pub(crate) async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, RestError>> + Send + 'static,
) -> Result<T, RestError> {
    to_the_end(async move { Ok(work.await) }).await?
}

/// Names of paths are bounded before anything is done with them.
pub(super) fn check_names(path: &[(String, String)]) -> Result<(), RestError> {
    match path.iter().find(|(_, value)| value.is_empty() || value.len() > MAX_NAME_BYTES) {
        Some((name, _)) => Err(RestError::parameter(format!("{name}: use 1 to {MAX_NAME_BYTES} bytes"))),
        None => Ok(()),
    }
}
