//! What every gRPC request passes through: credential, admission, metering, counting. In this order: an unknown caller
//! costs nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Request, Response};
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};

use super::admission::{Admission, InFlight};
use super::answer_room::AnswerRoom;
use super::metered_body::MeteredBody;
use super::observed_body::{Observation, ObservedBody, Watch};
use crate::auth::{Gate, HEALTH_PATH, strip};
use crate::metrics::Metrics;

/// A stream on which waiting for room is normal: the client is slowed down, not refused.
const BULK_PATH: &str = "/engram.v1.Points/BulkUpsert";
const BULK_PATIENCE: Duration = Duration::from_secs(60);

/// A snapshot that a client sends, in parts.
const UPLOAD_PATH: &str = "/engram.v1.Snapshots/UploadSnapshot";

/// The other one on which clients send more than one message.
const REFLECTION_PATH: &str = "/grpc.reflection.";

/// When the caller stops waiting, from `grpc-timeout`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTimeout(pub(crate) Duration);

/// Shared by all requests.
pub(crate) struct Front {
    pub(crate) gate: Gate,
    pub(crate) admission: Admission,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) max_message: usize,
    /// Time a read gets that names none.
    pub(crate) search_timeout: Duration,
    pub(crate) watch: Arc<Watch>,
}

impl Front {
    async fn admit<S>(
        self: Arc<Self>,
        request: Request<Body>,
        mut inner: S,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let path = request.uri().path();
        let method = self.metrics.method(path);
        let observation = Observation {
            metrics: self.metrics.clone(),
            method,
            started: Instant::now(),
            code: Code::Cancelled,
        };
        let principal = match self.gate.principal(None, path, request.headers()) {
            Ok(principal) => principal,
            Err(refused) => return Ok(refuse(refused.into(), observation)),
        };
        // Health is asked for when the server is busy, so it waits for nothing.
        let health = path.starts_with(HEALTH_PATH);
        let permit = if health {
            None
        } else {
            match self.admission.request().await {
                Ok(permit) => Some(permit),
                Err(refused) => return Ok(refuse(refused, observation)),
            }
        };
        let bulk = [BULK_PATH, UPLOAD_PATH].contains(&path);
        let reflection = path.starts_with(REFLECTION_PATH);
        let in_flight = InFlight::default();
        let (mut head, body) = request.into_parts();
        strip(&mut head.headers);
        let mut body = MeteredBody::new(body, self.admission.clone(), in_flight.clone(), self.max_message);
        if health {
            body = body.uncharged();
        }
        if bulk || reflection {
            body = body.streaming();
        }
        if bulk {
            body = body.patient(BULK_PATIENCE);
        }
        // A longer patience than the default changes nothing.
        if let Some(timeout) = grpc_timeout(&head.headers).filter(|t| *t < self.search_timeout) {
            head.extensions.insert(CallTimeout(timeout));
        }
        head.extensions.insert(principal);
        head.extensions.insert(in_flight.clone());
        head.extensions.insert(AnswerRoom::new(self.admission.clone(), in_flight.clone(), self.max_message));
        let answer = inner.call(Request::from_parts(head, Body::new(body))).await?;
        let (head, body) = answer.into_parts();
        let mut observation = observation;
        observation.see(&head.headers);
        let body = ObservedBody::new(body, observation, (permit, in_flight), self.watch.clone());
        Ok(Response::from_parts(head, Body::new(body)))
    }
}

fn refuse(refused: tonic::Status, mut observation: Observation) -> Response<Body> {
    observation.code = refused.code();
    refused.into_http()
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Puts a [`Front`] before a service.
#[derive(Clone)]
pub(crate) struct FrontLayer(pub(crate) Arc<Front>);

impl<S> Layer<S> for FrontLayer {
    type Service = FrontService<S>;

    fn layer(&self, inner: S) -> FrontService<S> {
        FrontService { inner, front: self.0.clone() }
    }
}

/// A service behind a [`Front`].
#[derive(Clone)]
pub(crate) struct FrontService<S> {
    inner: S,
    front: Arc<Front>,
}

impl<S> Service<Request<Body>> for FrontService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The instance that was polled ready must be the one that is called.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        Box::pin(self.front.clone().admit(request, ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&headers)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "m", "1x", "123456789m", "-1m", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
