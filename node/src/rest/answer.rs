//! Answers in the envelope of the dialect: `{"result": .., "status": "ok", "time": seconds}`.

use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use engram_query::token::ConsistencyToken;
use serde::Serialize;

use super::error::RestError;

/// Answers of writes carry the token of what they wrote; reads that send it back see it.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("engram-token");
/// Longer tokens do not fit a header that clients and proxies take.
const MAX_TOKEN_HEADER: usize = 4 << 10;

/// An answer that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Body,
}

impl Answer {
    /// `result` in the envelope.
    pub(crate) fn of(started: Instant, result: &impl Serialize) -> Result<Self, RestError> {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(br#"{"result":"#);
        serde_json::to_writer(&mut body, result).map_err(RestError::internal)?;
        body.extend_from_slice(format!(r#","status":"ok","time":{}}}"#, seconds(started)).as_bytes());
        Ok(Self::json(StatusCode::OK, body))
    }

    /// Of work that has only begun.
    pub(crate) fn accepted(started: Instant) -> Self {
        let body = format!(r#"{{"status":"accepted","time":{}}}"#, seconds(started));
        Self::json(StatusCode::ACCEPTED, body)
    }

    /// A refusal in the envelope.
    pub(crate) fn refusal(started: Instant, error: &RestError, collection: &str) -> Self {
        let (status, message, retry_after) = error.told(collection);
        let mut answer = if status == StatusCode::UNAUTHORIZED {
            let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
            Self { status, headers, body: message.into() }
        } else {
            let message = serde_json::Value::String(message);
            let body = format!(r#"{{"status":{{"error":{message}}},"time":{}}}"#, seconds(started));
            Self::json(status, body)
        };
        if let Some(seconds) = retry_after {
            answer.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        answer
    }

    /// JSON as it is.
    pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { status, headers, body: body.into() }
    }

    /// Adds what a write was acknowledged at.
    pub(crate) fn with_token(mut self, token: &ConsistencyToken) -> Self {
        let text = token.to_string();
        if let Some(value) =
            (text.len() <= MAX_TOKEN_HEADER).then(|| HeaderValue::from_str(&text).ok()).flatten()
        {
            self.headers.push((TOKEN_HEADER, value));
        }
        self
    }
}

fn seconds(started: Instant) -> f64 {
    // Nanoseconds say enough, and never print as an exponent that a reader might not know.
    (started.elapsed().as_secs_f64() * 1e9).round() / 1e9
}
