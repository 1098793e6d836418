//! What every REST request passes through: credential, admission, metering, counting. In this order: an unknown caller
//! costs nothing.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use engram_query::request::Principal;
use tonic::Code;
use tracing::Instrument;
use uuid::Uuid;

use super::Rest;
use super::answer::Answer;
use super::browser;
use super::call::{Call, Received, check_names};
use super::error::{RestError, counted_as};
use super::route::Route;
use super::unread::watched;
use crate::VERSION;
use crate::access::Access;
use crate::auth;
use crate::serve::admission::InFlight;
use crate::serve::answer_room::AnswerRoom;
use crate::serve::collected_body::{BodyError, Collector};
use crate::serve::observed_body::{Held, Observation, ObservedBody};

const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 128;

/// Identity of a request, the caller's own or one made here.
#[derive(Clone, Debug)]
struct RequestId(HeaderValue);

/// Gives every request of the listener its identity, and every answer that and the name of the server.
pub(super) async fn sign(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let (request, ended) = watched(request);
    let mut answer = next.run(request).await;
    if ended.closes() {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer.headers_mut().insert(REQUEST_ID, id);
    answer.headers_mut().insert(header::SERVER, server());
    answer
}

fn server() -> HeaderValue {
    HeaderValue::from_str(&format!("engram/{VERSION}")).unwrap_or(HeaderValue::from_static("engram"))
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let made = || HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("-"));
    headers.get(REQUEST_ID).filter(usable).cloned().unwrap_or_else(made)
}

/// Runs a request of `route`.
pub(super) async fn run(
    rest: Arc<Rest>,
    route: &'static Route,
    path: Vec<(String, String)>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let mut observation = Observation {
        metrics: rest.front.metrics.clone(),
        method: route.label(),
        started,
        code: Code::Cancelled,
    };
    let id = request.extensions().get::<RequestId>().cloned();
    let id = id.as_ref().and_then(|id| id.0.to_str().ok()).unwrap_or("-");
    let span = tracing::info_span!("rest", route = route.name, request = id);
    let (mut head, body) = request.into_parts();
    let mut held: Held = (None, InFlight::default());
    let collection = path.iter().find(|(name, _)| name == "collection_name");
    let collection = collection.map(|(_, value)| value.clone()).unwrap_or_default();
    let outcome = async {
        let principal = identify(&rest, Some(route.access), &head)?;
        auth::strip(&mut head.headers);
        head.extensions.insert(principal);
        check_names(&path)?;
        let call = admit(&rest, (route, started), (head, path), body, &mut held).await?;
        (route.handler)(call).await
    };
    let answer = match outcome.instrument(span.clone()).await {
        Ok(answer) => answer,
        Err(error) => Answer::refusal(started, &error, &collection),
    };
    observation.code = counted_as(answer.status);
    span.in_scope(|| tracing::debug!(status = answer.status.as_u16(), "answered"));
    respond(&rest, answer, observation, held)
}

/// Who asks, from the credential; the one place that looks at it.
pub(super) fn identify(rest: &Rest, needs: Option<Access>, head: &Parts) -> Result<Principal, RestError> {
    if rest.front.gate.is_open() {
        let config = &rest.context.config;
        browser::check(head, &config.rest, config.http.ip().is_loopback())?;
    }
    Ok(rest.front.gate.allow(needs, &head.headers).map_err(tonic::Status::from)?)
}

/// Takes a place among the requests in work and room for the body, and reads it.
async fn admit(
    rest: &Rest,
    (route, started): (&Route, Instant),
    (mut head, path): (Parts, Vec<(String, String)>),
    body: Body,
    held: &mut Held,
) -> Result<Call, RestError> {
    let (front, in_flight) = (&rest.front, held.1.clone());
    held.0 = Some(front.admission.request().await?);
    let collector = Collector { admission: &front.admission, in_flight: &in_flight, max: front.max_message };
    let body = match route.file_body {
        true => Received::Stream(collector.pass(&head.headers, body).await.map_err(refused)?),
        false => Received::Whole(collector.collect(&head.headers, body).await.map_err(refused)?),
    };
    head.extensions.insert(AnswerRoom::new(front.admission.clone(), in_flight, front.max_message));
    Call::new((rest.context.clone(), started), head, path, body)
}

fn refused(e: BodyError) -> RestError {
    match e {
        BodyError::TooLarge { limit } => RestError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "Payload error: the JSON payload is larger than allowed (limit: {limit} bytes); send less at once"
            ),
        ),
        BodyError::Ratio => RestError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload error: the body unpacks to more than 50 times its length; send it less packed",
        ),
        BodyError::Encoding(encoding) => RestError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Wrong input: content-encoding `{encoding}` is not known; use gzip, zstd or br"),
        ),
        BodyError::Broken(why) => RestError::wrong(format!("the body cannot be read ({why})")),
        BodyError::Stalled(limit) => RestError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("Timeout: the body did not arrive whole within {} s", limit.as_secs()),
        ),
        BodyError::Busy(status) => (*status).into(),
    }
}

fn respond(rest: &Rest, answer: Answer, observation: Observation, held: Held) -> Response {
    let body = tonic::body::Body::new(answer.body);
    let body = ObservedBody::new(body, observation, held, rest.front.watch.clone());
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers);
    response
}

/// An answer where there is no route.
pub(super) async fn no_route(request: Request) -> Response {
    let why = format!("there is nothing at {}; /docs names what there is", shorten(request.uri().path()));
    bare(&RestError::not_found(why))
}

/// An answer where there is a route, but not with this method.
pub(super) async fn no_method(request: Request) -> Response {
    let what = format!(
        "Method not allowed: {} {}; /docs names what there is",
        request.method(),
        shorten(request.uri().path())
    );
    bare(&RestError::new(StatusCode::METHOD_NOT_ALLOWED, what))
}

fn shorten(path: &str) -> String {
    path.chars().take(100).collect()
}

pub(super) fn bare(error: &RestError) -> Response {
    let answer = Answer::refusal(Instant::now(), error, "");
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers);
    response
}
