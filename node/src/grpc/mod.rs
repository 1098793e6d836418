//! The gRPC services: convert, call, convert back.

use std::sync::Arc;
use std::time::Duration;

use engram_query::Database;
use engram_query::request::Principal;
use engram_storage::ErrorKind;
use engram_storage::engine::Engine;
use tonic::{Request, Status};

use crate::config::NodeConfig;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::rest::accepted::Background;
use crate::serve::answer_room::AnswerRoom;
use crate::serve::front::CallTimeout;
use crate::status::status;

pub(crate) mod admin;
pub(crate) mod bulk;
pub(crate) mod collections;
pub(crate) mod keys;
pub(crate) mod points;
pub(crate) mod retention;
pub(crate) mod snapshots;

/// What all services share.
pub(crate) struct Context {
    pub(crate) database: Arc<Database>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) jobs: Jobs,
    pub(crate) config: NodeConfig,
    /// Places for work that goes on after its answer.
    pub(crate) background: Arc<Background>,
    pub(crate) started: std::time::Instant,
}

/// Who asks; set by the front from the credential.
pub(crate) fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    let found = request.extensions().get::<Principal>().copied();
    // Without the front there is no principal, and without a principal nothing is answered.
    found.ok_or_else(|| {
        status(ErrorKind::Unauthenticated, "unauthenticated", "the request carries no credential")
    })
}

/// How long the caller waits, if it says so.
pub(crate) fn call_timeout<T>(request: &Request<T>) -> Option<Duration> {
    request.extensions().get::<CallTimeout>().map(|t| t.0)
}

/// Where the memory of the answer is charged.
pub(crate) fn answer_room<T>(request: &Request<T>) -> Option<AnswerRoom> {
    request.extensions().get::<AnswerRoom>().cloned()
}

/// Runs a write to its end even if the caller goes away in the middle: half a write must not depend on a connection.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(e) => {
            tracing::error!(error = %e, "a request died");
            Err(status(
                ErrorKind::Internal,
                "internal",
                "internal error: the request died; the server's log says why",
            ))
        }
    }
}
