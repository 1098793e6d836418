//! Tenants and keys: the root makes tenants, admins make keys that allow no more than their own.

use engram_storage::catalog::{ApiKey, Key, KeyId, Role, Tenant};
use engram_storage::engine::NewKey;

use super::Database;
use crate::error::{QueryError, Result};
use crate::request::Principal;

/// Longest time that an earlier secret stays good: thirty days.
pub const MAX_GRACE_MS: i64 = 30 * 24 * 3_600 * 1_000;

impl Database {
    /// Makes a tenant. Root only.
    ///
    /// # Errors
    /// `forbidden`, and what the name has wrong.
    pub async fn create_tenant(&self, principal: Principal, name: &str) -> Result<Tenant> {
        self.check_root(principal)?;
        Ok(self.inner.engine.create_tenant(name).await?)
    }

    /// All tenants. Root only.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn tenants(&self, principal: Principal) -> Result<Vec<Tenant>> {
        self.check_root(principal)?;
        Ok(self.inner.engine.tenants())
    }

    /// Deletes a tenant that has no collections, with its keys; false if there was none. Root only.
    ///
    /// # Errors
    /// `forbidden`, `Conflict` where it has collections.
    pub async fn delete_tenant(&self, principal: Principal, name: &str) -> Result<bool> {
        self.check_root(principal)?;
        Ok(self.inner.engine.drop_tenant(name).await?)
    }

    /// Makes a key of the principal's tenant (whatever tenant `new` names), which allows no more than the principal's
    /// own: neither role, nor collections, nor time. The text of the key is in the answer and nowhere else.
    ///
    /// # Errors
    /// `forbidden`, limits.
    pub async fn create_key(&self, principal: Principal, mut new: NewKey) -> Result<(Key, ApiKey)> {
        let grant = self.grant(principal, Role::Admin)?;
        new.tenant = principal.tenant;
        if !grant.allows(&new) {
            let why =
                "a key can give no more than it has itself: use its role, collections and expiry, or less";
            return Err(QueryError::Forbidden(why.into()));
        }
        Ok(self.inner.engine.create_key(new).await?)
    }

    /// Keys of the tenant that allow no more than the principal's own, oldest first.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn keys(&self, principal: Principal) -> Result<Vec<Key>> {
        let grant = self.grant(principal, Role::Admin)?;
        let mut keys = self.inner.engine.keys(principal.tenant);
        keys.retain(|key| grant.covers(key));
        Ok(keys)
    }

    /// Gives a key another secret; the one before stays good for `grace_ms`.
    ///
    /// # Errors
    /// `key_not_found`, also where the key allows more than the principal's own; `Conflict` where two secrets are in use.
    pub async fn rotate_key(&self, principal: Principal, id: KeyId, grace_ms: i64) -> Result<(Key, ApiKey)> {
        if !(0..=MAX_GRACE_MS).contains(&grace_ms) {
            let why =
                format!("the earlier secret would stay good for {grace_ms} ms: use 0 to {MAX_GRACE_MS}");
            return Err(QueryError::Limit(why));
        }
        self.own_key(principal, id, true)?;
        let rotated = self.inner.engine.rotate_key(principal.tenant, id, grace_ms).await;
        rotated.map_err(|e| match e {
            engram_storage::StorageError::NotFound(_) => no_key(id),
            other => other.into(),
        })
    }

    /// Ends a key at once and for good; false if it was revoked before.
    ///
    /// # Errors
    /// `key_not_found`, also where the key allows more than the principal's own.
    pub async fn revoke_key(&self, principal: Principal, id: KeyId) -> Result<bool> {
        self.own_key(principal, id, false)?;
        Ok(self.inner.engine.revoke_key(principal.tenant, id).await?)
    }

    /// Refuses keys that are not there for this principal, and those that outlive its own where it would learn a secret.
    fn own_key(&self, principal: Principal, id: KeyId, lasting: bool) -> Result<()> {
        let grant = self.grant(principal, Role::Admin)?;
        let keys = self.inner.engine.keys(principal.tenant);
        let found = keys
            .iter()
            .any(|key| key.id == id && grant.covers(key) && (!lasting || grant.outlives(key.expires_at)));
        found.then_some(()).ok_or_else(|| no_key(id))
    }
}

fn no_key(id: KeyId) -> QueryError {
    let message = format!("there is no live key {id} that this key may change: list the keys to see them");
    QueryError::NotFound { code: "key_not_found", message }
}
