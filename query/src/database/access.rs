//! What a principal may do: the one place where operations ask.
//!
//! A role that is too small is refused before any name is looked up. A collection out of a key's scope gives the very
//! error of an absent one.

use std::sync::Arc;

use engram_storage::catalog::{Key, Role, Scope};
use engram_storage::engine::NewKey;
use engram_storage::schema::CollectionSchema;

use super::Database;
use crate::error::{QueryError, Result};
use crate::request::Principal;

/// What a principal may do now.
pub(super) struct Grant {
    /// `None` for who may do everything.
    key: Option<Arc<Key>>,
}

impl Grant {
    /// Whether collections of this name are within.
    pub(super) fn sees(&self, collection: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.scope.contains(collection))
    }

    /// Whether it is for all collections of the tenant.
    pub(super) fn sees_all(&self) -> bool {
        self.key.as_ref().is_none_or(|key| key.scope == Scope::All)
    }

    /// Whether what `other` allows is all within.
    pub(super) fn covers(&self, other: &Key) -> bool {
        let Some(own) = &self.key else { return true };
        other.role <= own.role && own.scope.covers(&other.scope)
    }

    /// Whether something that ends then ends before this.
    pub(super) fn outlives(&self, expires_at: Option<i64>) -> bool {
        let own = self.key.as_ref().and_then(|key| key.expires_at);
        own.is_none_or(|end| expires_at.is_some_and(|other| other <= end))
    }

    /// Whether a key like this may be made.
    pub(super) fn allows(&self, new: &NewKey) -> bool {
        let Some(own) = &self.key else { return true };
        new.role <= own.role && own.scope.covers(&new.scope) && self.outlives(new.expires_at)
    }
}

impl Database {
    /// What `principal` may do, where that is `needs` or more.
    pub(super) fn grant(&self, principal: Principal, needs: Role) -> Result<Grant> {
        let Some(id) = principal.key else { return Ok(Grant { key: None }) };
        let key = self.inner.engine.live_key(id).filter(|key| key.tenant == principal.tenant);
        let Some(key) = key else { return Err(QueryError::Unauthenticated) };
        if key.role < needs {
            return Err(QueryError::too_small(needs.name(), key.role.name()));
        }
        Ok(Grant { key: Some(key) })
    }

    /// Refuses all but the root.
    pub(super) fn check_root(&self, principal: Principal) -> Result<()> {
        if principal.is_root() {
            return Ok(());
        }
        let grant = self.grant(principal, Role::Read)?;
        Err(QueryError::too_small("root", grant.key.map_or("none", |key| key.role.name())))
    }

    /// The collection that a reader names.
    pub(super) fn schema(&self, principal: Principal, name: &str) -> Result<Arc<CollectionSchema>> {
        self.schema_for(principal, name, Role::Read)
    }

    /// The collection that a caller names who needs a role for what is to come.
    pub(super) fn schema_for(
        &self,
        principal: Principal,
        name: &str,
        needs: Role,
    ) -> Result<Arc<CollectionSchema>> {
        let grant = self.grant(principal, needs)?;
        let found = self.inner.engine.collection(principal.tenant, name).ok();
        found.filter(|schema| grant.sees(&schema.name)).ok_or_else(|| QueryError::no_collection(name))
    }

    /// The collection of this name, or all that the principal sees where it is empty. For admins.
    ///
    /// # Errors
    /// `collection_not_found`, `forbidden`.
    pub fn administered(&self, principal: Principal, name: &str) -> Result<Vec<Arc<CollectionSchema>>> {
        if name.is_empty() {
            self.grant(principal, Role::Admin)?;
            return Ok(self.collections(principal));
        }
        self.schema_for(principal, name, Role::Admin).map(|schema| vec![schema])
    }
}
