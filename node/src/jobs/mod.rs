//! Work that no request waits for: the retention job, purges that were accepted to run later, and the re-check of
//! sampled searches.

use std::future::Future;
use std::sync::Arc;

use engram_query::Database;
use engram_storage::catalog::Receipt;
use tokio::sync::watch;
use tonic::Status;

use crate::metrics::Metrics;
use crate::status::from_query;

pub(crate) mod recheck;
pub(crate) mod retention;

/// Starts jobs and counts what they do.
#[derive(Clone)]
pub(crate) struct Jobs {
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
}

impl Jobs {
    pub(crate) fn new(metrics: Arc<Metrics>, stop: watch::Receiver<bool>) -> Self {
        Self { metrics, stop }
    }

    /// Runs an accepted purge on a task of its own; the future answers when it is done and need not be awaited.
    pub(crate) fn run_purge(
        &self,
        database: &Arc<Database>,
        accepted: Receipt,
    ) -> impl Future<Output = Result<Receipt, Status>> + Send + use<> {
        let (database, metrics) = (database.clone(), self.metrics.clone());
        let work = tokio::spawn(async move {
            let id = accepted.id.clone();
            let done = database.run_purge(accepted).await;
            match &done {
                Ok(receipt) => {
                    metrics.points_erased.inc_by(receipt.points_erased);
                    tracing::info!(receipt = %id, erased = receipt.points_erased, "purge complete");
                }
                Err(e) => tracing::error!(receipt = %id, error = %e, "purge failed"),
            }
            done
        });
        async move {
            match work.await {
                Ok(done) => done.map_err(|e| from_query(&e)),
                Err(e) => Err(Status::internal(format!("internal error: the purge died ({e})"))),
            }
        }
    }
}
