//! `GET /metrics`: what the server counts, for a scraper. It tells of all tenants, so it asks for the root key, or for the key
//! that opens nothing else. It takes no place among the requests in work: a busy server is looked at most.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};

use super::{Rest, front};
use crate::access::required;

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) const PATH: &str = "/metrics";

pub(super) async fn metrics(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    if !rest.front.gate.opens_metrics(&head.headers)
        && let Err(error) = front::identify(&rest, required(Some(&Method::GET), PATH), &head)
    {
        return front::bare(&error);
    }
    let text = rest.front.metrics.render(&rest.context.database, &rest.front.admission);
    ([(header::CONTENT_TYPE, FORMAT)], text).into_response()
}
