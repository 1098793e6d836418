//! `wait=false` of work that takes long: it is answered at once, and goes on.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use engram_storage::schema::TenantId;
use parking_lot::Mutex;
use serde::Serialize;
use tracing::Instrument;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;

/// Most pieces of such work at once.
const PLACES: usize = 4;
/// Of those, the ones of one tenant.
const OF_A_TENANT: usize = 2;

/// Places for such work, by the tenant that has them.
#[derive(Default)]
pub(crate) struct Background(Mutex<HashMap<TenantId, usize>>);

/// One of them.
struct Place {
    all: Arc<Background>,
    tenant: TenantId,
}

impl Background {
    /// Takes a place, if there is one for this tenant.
    fn place(self: &Arc<Self>, tenant: TenantId) -> Option<Place> {
        let mut taken = self.0.lock();
        let own = taken.get(&tenant).copied().unwrap_or_default();
        if own == OF_A_TENANT || taken.values().sum::<usize>() == PLACES {
            return None;
        }
        taken.insert(tenant, own + 1);
        Some(Place { all: self.clone(), tenant })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.all.0.lock();
        match taken.get_mut(&self.tenant) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.tenant)),
        }
    }
}

impl Call {
    /// Runs `work` to its end and answers with what it gives, or answers at once where the caller does not wait. Why it
    /// failed then stands in the log alone, so `work` holds whatever place it needs before it gets here.
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
        let Some(place) = self.context.background.place(self.principal.tenant) else {
            let message = format!(
                "Rate limit exceeded: {OF_A_TENANT} operations of yours, or {PLACES} in all, that nobody waits for are under \
                 way; try again later, or wait"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_leaves_places_to_the_others() {
        let all = Arc::new(Background::default());
        let mut places = Vec::new();
        for tenant in 1..=2 {
            places.extend((0..OF_A_TENANT).map(|_| all.place(TenantId(tenant)).unwrap()));
            assert!(all.place(TenantId(tenant)).is_none());
        }
        assert!(places.len() == PLACES && all.place(TenantId(3)).is_none());
        places.pop();
        assert!(all.place(TenantId(1)).is_none());
        places.push(all.place(TenantId(3)).unwrap());
        drop(places);
        assert!(all.0.lock().is_empty());
    }
}
