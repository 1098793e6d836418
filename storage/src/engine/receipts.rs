//! Receipts, read in pages: a tenant has one for every purge there ever was.

use super::Engine;
use crate::catalog::Receipt;
use crate::error::Result;
use crate::schema::TenantId;

/// Receipts of one page at most.
const PAGE: usize = 256;

impl Engine {
    /// The newest receipts of a tenant, newest first.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn receipts(&self, tenant: TenantId, limit: usize) -> Result<Vec<Receipt>> {
        let mut found = Vec::new();
        let take = |page: &mut Vec<Receipt>| {
            page.truncate(limit - found.len());
            found.append(page);
            found.len() < limit
        };
        self.each_page_of_receipts(tenant, limit, take).await?;
        Ok(found)
    }

    /// The receipt of this id, if the tenant has it.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn receipt(&self, tenant: TenantId, id: &str) -> Result<Option<Receipt>> {
        self.catalog.receipt(tenant, id).await
    }

    /// Hands over all receipts of a tenant, newest first, page by page, until `look` has seen enough and says false.
    /// `wanted` is how many it may come to, so that a page is no longer than that.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn each_page_of_receipts(
        &self,
        tenant: TenantId,
        wanted: usize,
        mut look: impl FnMut(&mut Vec<Receipt>) -> bool + Send,
    ) -> Result<()> {
        let mut before: Option<String> = None;
        loop {
            let mut page = self.catalog.receipts(tenant, before.as_deref(), PAGE.min(wanted)).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.id.clone());
            if !look(&mut page) {
                return Ok(());
            }
        }
    }
}
