//! Purges and their receipts: checked here, done by the engine.

use engram_storage::catalog::{Receipt, Role};
use engram_storage::engine::{PurgePlan, PurgeRequest};
use engram_storage::schema::{RegionName, TenantId};

use super::Database;
use crate::error::{QueryError, Result};
use crate::limits::at_most;
use crate::request::Principal;

/// Most receipts of one answer.
const MAX_RECEIPTS: usize = 1_000;
/// Most files that the receipts of one answer name, where it is more than one receipt.
const MAX_RECEIPT_FILES: usize = 100_000;
/// Longest id of a receipt.
const MAX_RECEIPT_ID: usize = 64;

/// What a purge erases, inside one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeScope {
    /// Only this collection; all of the tenant where absent.
    pub collection: Option<String>,
    /// Only this region; all where absent.
    pub region: Option<String>,
    /// Points created before this time (milliseconds since the epoch); what the retention rules say where absent.
    pub created_before: Option<i64>,
}

impl Database {
    /// Counts what a purge would erase; changes nothing.
    ///
    /// # Errors
    /// `collection_not_found`, `unknown_region`.
    pub async fn plan_purge(&self, principal: Principal, scope: PurgeScope) -> Result<PurgePlan> {
        Ok(self.inner.engine.plan_purge(&self.purge_request(principal, scope)?).await?)
    }

    /// Erases and answers once no live file holds the bytes.
    ///
    /// # Errors
    /// `collection_not_found`, `unknown_region`, and those of storage.
    pub async fn purge(&self, principal: Principal, scope: PurgeScope) -> Result<Receipt> {
        let accepted = self.accept_purge(principal, scope).await?;
        self.run_purge(accepted).await
    }

    /// Records the intent of a purge; [`Database::run_purge`] does the work.
    ///
    /// # Errors
    /// As [`Database::purge`].
    pub async fn accept_purge(&self, principal: Principal, scope: PurgeScope) -> Result<Receipt> {
        Ok(self.inner.engine.accept_purge(&self.purge_request(principal, scope)?).await?)
    }

    /// Erases what an accepted purge names.
    ///
    /// # Errors
    /// Those of storage; the receipt then says why.
    pub async fn run_purge(&self, accepted: Receipt) -> Result<Receipt> {
        let tenant = TenantId(accepted.tenant);
        self.forget_samples_of_tenant(tenant);
        let done = self.inner.engine.run_purge(accepted).await;
        // Until the points were hidden, searches could still be like them.
        self.forget_samples_of_tenant(tenant);
        Ok(done?)
    }

    /// The newest receipts of the tenant, newest first; for a key of some collections those of these.
    ///
    /// # Errors
    /// Limits, and those of the catalog.
    pub async fn receipts(&self, principal: Principal, limit: usize) -> Result<Vec<Receipt>> {
        at_most("limit", limit, MAX_RECEIPTS, "read fewer receipts")?;
        let grant = self.grant(principal, Role::Read)?;
        // A key of some collections may have to look at many before it sees one.
        let wanted = if grant.sees_all() { limit } else { usize::MAX };
        let (mut found, mut files) = (Vec::new(), 0);
        let take = |page: &mut Vec<Receipt>| {
            let seen = page.drain(..).filter(|r| grant.sees_all() || grant.sees(&r.collection));
            for receipt in seen.take(limit - found.len()) {
                files += receipt.created.len() + receipt.removed.len();
                found.push(receipt);
            }
            found.len() < limit && files <= MAX_RECEIPT_FILES
        };
        self.inner.engine.each_page_of_receipts(principal.tenant, wanted, take).await?;
        if found.len() > 1 {
            at_most("the number of files in the receipts", files, MAX_RECEIPT_FILES, "read fewer receipts")?;
        }
        Ok(found)
    }

    /// The receipt of this id.
    ///
    /// # Errors
    /// `receipt_not_found`, and those of the catalog.
    pub async fn receipt(&self, principal: Principal, id: &str) -> Result<Receipt> {
        let grant = self.grant(principal, Role::Read)?;
        let found = match id.len() <= MAX_RECEIPT_ID {
            true => self.inner.engine.receipt(principal.tenant, id).await?,
            false => None,
        };
        let sees = |receipt: &Receipt| grant.sees_all() || grant.sees(&receipt.collection);
        found.filter(sees).ok_or_else(|| {
            let id: String = id.chars().take(MAX_RECEIPT_ID).collect();
            let message = format!("there is no receipt {id:?}: list the receipts to see which there are");
            QueryError::NotFound { code: "receipt_not_found", message }
        })
    }

    fn purge_request(&self, principal: Principal, scope: PurgeScope) -> Result<PurgeRequest> {
        let grant = self.grant(principal, Role::Admin)?;
        let region = scope.region.map(region_name).transpose()?;
        if scope.collection.is_none() && !grant.sees_all() {
            let why = "the key is for some collections only: name one of them";
            return Err(QueryError::Forbidden(why.into()));
        }
        if let Some(name) = &scope.collection {
            let schema = self.schema_for(principal, name, Role::Admin)?;
            if let Some(region) = region.as_ref().filter(|r| !schema.regions.contains(r)) {
                return Err(crate::coordinator::unknown_region(&schema, region.as_str()));
            }
        }
        let PurgeScope { collection, created_before, .. } = scope;
        Ok(PurgeRequest { tenant: principal.tenant, collection, region, created_before })
    }
}

fn region_name(name: String) -> Result<RegionName> {
    RegionName::try_from(name).map_err(|m| QueryError::invalid("invalid_name", m))
}
