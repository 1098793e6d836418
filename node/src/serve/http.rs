//! The HTTP listener: health, metrics and the server's name, which need no credential. The REST interface is beside them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use engram_query::Database;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;

use super::admission::Admission;
use super::listener::Connection;
use crate::metrics::Metrics;
use crate::rest::title::title;

/// Time without a word after which an HTTP/2 peer is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A peer gets this long to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: u32 = 16 << 10;
const READ_BUFFER: usize = 32 << 10;

/// What the routes read.
#[derive(Clone)]
pub(crate) struct HttpState {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) database: Arc<Database>,
    pub(crate) admission: Admission,
    /// `GET /` has the title of Qdrant.
    pub(crate) qdrant_title: bool,
    /// False while the node stops.
    pub(crate) ready: Arc<AtomicBool>,
}

/// The routes that need no credential.
pub(crate) fn router(state: HttpState) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn root(State(state): State<HttpState>) -> impl IntoResponse {
    title(state.qdrant_title)
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(state): State<HttpState>) -> (StatusCode, String) {
    if !state.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    let poisoned =
        state.database.engine().open_shards().iter().filter(|shard| shard.poisoned().is_some()).count();
    if poisoned > 0 {
        let why = format!("{poisoned} shards refuse writes since a sync failed; mend the disk and restart\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    (StatusCode::OK, "ok\n".into())
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    let text = state.metrics.render(&state.database, &state.admission);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// Serves connections until their source ends, then lets those in work finish within `drain`.
pub(crate) async fn serve(
    router: Router,
    mut connections: mpsc::Receiver<io::Result<Connection>>,
    drain: Duration,
) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(READ_BUFFER);
    server.http2().timer(TokioTimer::new()).max_header_list_size(MAX_HEADERS).max_concurrent_streams(64);
    // A peer that is gone or silent loses its connection.
    server.http2().keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(HEAD_TIME);
    let graceful = GracefulShutdown::new();
    while let Some(connection) = connections.recv().await {
        let Ok(connection) = connection else { continue };
        let service = TowerToHyperService::new(router.clone());
        let served = server.serve_connection(TokioIo::new(connection), service).into_owned();
        let served = graceful.watch(served);
        tokio::spawn(async move {
            if let Err(e) = served.await {
                tracing::debug!(error = %e, "an HTTP connection ended");
            }
        });
    }
    let _ = tokio::time::timeout(drain, graceful.shutdown()).await;
}
