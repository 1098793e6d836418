//! Tenants: the default one, which is always there, and those that were made.

use std::collections::BTreeMap;

use super::Engine;
use crate::catalog::{Catalog, Tenant};
use crate::error::{Result, StorageError};
use crate::schema::{DEFAULT_TENANT, TenantId};

/// Name of the default tenant.
pub const DEFAULT_TENANT_NAME: &str = "default";
/// Tenants of one catalog.
const MAX_TENANTS: usize = 100_000;

/// Tenants by id and by name; all are in memory, since every request of a root may name one.
pub(super) struct Tenants {
    by_id: BTreeMap<TenantId, Tenant>,
    by_name: BTreeMap<String, TenantId>,
}

impl Tenants {
    pub(super) async fn load(catalog: &dyn Catalog) -> Result<Self> {
        let mut tenants = Self { by_id: BTreeMap::new(), by_name: BTreeMap::new() };
        tenants.insert(Tenant { id: DEFAULT_TENANT, name: DEFAULT_TENANT_NAME.to_owned(), created_at: 0 });
        catalog.tenants().await?.into_iter().for_each(|tenant| tenants.insert(tenant));
        Ok(tenants)
    }

    fn insert(&mut self, tenant: Tenant) {
        self.by_name.insert(tenant.name.clone(), tenant.id);
        self.by_id.insert(tenant.id, tenant);
    }

    fn remove(&mut self, id: TenantId) {
        if let Some(tenant) = self.by_id.remove(&id) {
            self.by_name.remove(&tenant.name);
        }
    }
}

impl Engine {
    /// All tenants by id, the default one first.
    pub fn tenants(&self) -> Vec<Tenant> {
        self.tenants.read().by_id.values().cloned().collect()
    }

    /// The tenant of this name.
    pub fn tenant(&self, name: &str) -> Option<TenantId> {
        self.tenants.read().by_name.get(name).copied()
    }

    /// Name of a tenant that is there.
    pub fn tenant_name(&self, id: TenantId) -> Option<String> {
        self.tenants.read().by_id.get(&id).map(|tenant| tenant.name.clone())
    }

    pub(super) fn check_tenant(&self, id: TenantId) -> Result<()> {
        let there = self.tenants.read().by_id.contains_key(&id);
        there.then_some(()).ok_or_else(|| StorageError::NotFound("the tenant of this request is gone".into()))
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// `Invalid` for a name that is not allowed, `Conflict` where it is taken, `Exhausted` at the limit.
    pub async fn create_tenant(&self, name: &str) -> Result<Tenant> {
        check_tenant_name(name)?;
        let _defining = self.defining.lock().await;
        if self.tenant(name).is_some() {
            return Err(StorageError::Conflict(format!("there is a tenant called {name:?} already")));
        }
        if self.tenants.read().by_id.len() >= MAX_TENANTS {
            let why = format!("there are {MAX_TENANTS} tenants, the most there may be; delete one first");
            return Err(StorageError::Exhausted(why));
        }
        let tenant = self.catalog.create_tenant(name, self.clock().now_ms()).await?;
        self.tenants.write().insert(tenant.clone());
        Ok(tenant)
    }

    /// Removes a tenant with its keys, which are no good from then on; false if there was none.
    ///
    /// # Errors
    /// `Conflict` where it has collections, `Invalid` for the default tenant.
    pub async fn drop_tenant(&self, name: &str) -> Result<bool> {
        let Some(id) = self.tenant(name) else { return Ok(false) };
        if id == DEFAULT_TENANT {
            return Err(StorageError::Invalid("the default tenant cannot be deleted".into()));
        }
        // Recoveries end with their tenant, and leave nothing. One that has collections stays, and so does its work.
        let _closed = match self.collections(id).is_empty() {
            true => Some(self.gates.close(id).await),
            false => None,
        };
        let _defining = self.defining.lock().await;
        if self.tenant(name) != Some(id) {
            return Ok(false);
        }
        let dropped = self.catalog.drop_tenant(id).await?;
        self.tenants.write().remove(id);
        self.keys.forget_tenant(id);
        Ok(dropped)
    }
}

/// A tenant is named in a header.
fn check_tenant_name(name: &str) -> Result<()> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits {
        return Ok(());
    }
    let short: String = name.chars().take(64).collect();
    let why = "is not allowed: use 1 to 64 of a-z, A-Z, 0-9, -, _ and .";
    Err(StorageError::Invalid(format!("tenant name {short:?} {why}")))
}
