//! `wait=false` of work that takes long: it is answered at once, and goes on.

use axum::http::StatusCode;
use serde::Serialize;
use tracing::Instrument;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;

/// Most pieces of such work at once.
pub(crate) const PLACES: usize = 4;

impl Call {
    /// Runs `work` to its end and answers with what it gives, or answers at once where the caller does not wait. Why it
    /// failed then stands in the log alone.
    ///
    /// # Errors
    /// Those of the work, where the caller waits, and "try later" where too much of it goes on already.
    pub(crate) async fn run_or_accept<T: Serialize + Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, RestError>> + Send + 'static,
    ) -> Result<Answer, RestError> {
        if self.waits()? {
            return self.answer(&finish(work).await?);
        }
        let Ok(place) = self.context.background.clone().try_acquire_owned() else {
            let message = format!(
                "Rate limit exceeded: {PLACES} operations that nobody waits for are under way; try again later, or wait"
            );
            return Err(RestError::new(StatusCode::TOO_MANY_REQUESTS, message));
        };
        let collection = self.collection().to_owned();
        let work = async move {
            if let Err(e) = work.await {
                let (_, error, _) = e.told(&collection);
                tracing::warn!(what, collection, error, "work that nobody waited for failed");
            }
            drop(place);
        };
        tokio::spawn(work.in_current_span());
        Ok(Answer::accepted(self.started))
    }
}
