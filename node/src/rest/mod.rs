//! The REST interface: Qdrant's dialect on the HTTP listener, over the same core as gRPC.
//!
//! ```text
//!   listener -> sign -> front (credential, admission, body) -> one file per kind of request -> engram_query::Database
//! ```
//! [`routes`] is the table of all routes: the router, the metrics and the description under `/openapi.json` are made of it.
//! What Engram has more than the dialect comes by the collection's metadata ([`metadata`]), by headers ([`call`],
//! [`answer`]) and by paths of its own ([`engram`]).

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, get, on};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::config::RestSettings;
use crate::grpc::Context;
use crate::serve::front::Front;

mod absent;
pub(crate) mod accepted;
mod aliases;
mod answer;
mod batch;
mod browser;
mod call;
mod cluster;
mod collection_info;
mod collections;
mod dashboard;
mod engram;
mod error;
mod expression;
mod facet;
mod filter;
mod front;
mod given;
mod groups;
mod index;
mod metadata;
mod metrics;
mod name_or;
mod named;
mod openapi;
mod payload;
mod plain;
mod point;
mod point_id;
mod point_vectors;
mod points;
mod query;
mod query_input;
mod reading;
mod route;
mod routes;
mod scroll;
mod search;
mod selection;
mod shard_key;
mod snapshot_checksum;
mod snapshot_file;
mod snapshot_location;
mod snapshots;
mod text_index;
pub(crate) mod title;
mod unread;
mod up_to;
mod update_result;
mod upsert;
mod vector;
mod vector_params;
mod weight;

/// Shorter answers are sent as they are: packing them takes longer than sending them.
const PACK_ABOVE: u64 = 8 << 10;

/// What all requests share.
pub(crate) struct Rest {
    pub(crate) context: Arc<Context>,
    pub(crate) front: Arc<Front>,
}

/// All routes of the interface, and those of `open`, which need no credential.
pub(crate) fn router(rest: Arc<Rest>, open: Router) -> Router {
    let settings = rest.context.config.rest.clone();
    let mut router = Router::new();
    for route in routes::ROUTES {
        let handler = move |State(rest): State<Arc<Rest>>,
                            path: Result<RawPathParams, _>,
                            request: Request| async move {
            let Ok(path) = path else {
                let what =
                    error::RestError::new(StatusCode::BAD_REQUEST, "Wrong input: the path is no UTF-8");
                return front::bare(&what);
            };
            let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            front::run(rest, route, path, request).await
        };
        router = router.route(route.path, on(filter_of(route), handler));
    }
    let router = router.route(metrics::PATH, get(metrics::metrics));
    let described =
        Router::new().route("/openapi.json", get(openapi::json)).route("/docs", get(openapi::page));
    let all = router.with_state(rest).merge(described).merge(dashboard::router()).merge(open);
    finish(all, &settings)
}

fn filter_of(route: &route::Route) -> MethodFilter {
    MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET)
}

fn finish(router: Router, settings: &RestSettings) -> Router {
    // Files are sent as they are, with their length.
    let worth = SizeAbove::new(PACK_ABOVE).and(NotForContentType::const_new("application/octet-stream"));
    let packed = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth);
    let router = router
        .fallback(front::no_route)
        .method_not_allowed_fallback(front::no_method)
        .layer(packed)
        .layer(from_fn(front::sign));
    match cors(settings) {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

fn cors(settings: &RestSettings) -> Option<CorsLayer> {
    let origins = &settings.cors_origins;
    if origins.is_empty() {
        return None;
    }
    let allowed = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    Some(CorsLayer::new().allow_origin(allowed).allow_methods(Any).allow_headers(Any).expose_headers(Any))
}
