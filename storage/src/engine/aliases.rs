//! Aliases: names that stand for collections, changed all at once or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use crate::error::{Result, StorageError};
use crate::schema::{CollectionId, CollectionSchema, TenantId, check_name};

/// Aliases of a tenant while they are being changed: each change sees those before it, nobody else sees any yet.
pub struct AliasDraft<'a> {
    engine: &'a Engine,
    tenant: TenantId,
    changed: BTreeMap<String, Option<CollectionId>>,
}

impl AliasDraft<'_> {
    /// The collection that a name or an alias stands for, with the changes so far.
    pub fn collection(&self, name: &str) -> Option<Arc<CollectionSchema>> {
        match self.changed.get(name) {
            Some(target) => target.and_then(|id| self.engine.collection_by_id(id)),
            None => self.engine.collection(self.tenant, name).ok(),
        }
    }

    /// The collection that an alias stands for; `None` for a name that is no alias.
    pub fn target(&self, alias: &str) -> Option<Arc<CollectionSchema>> {
        self.collection(alias).filter(|schema| schema.name != alias)
    }

    /// Points `alias` at a collection, or at what another alias stands for.
    ///
    /// # Errors
    /// `Invalid` for a name that is not allowed, `NotFound`, `Conflict` where a collection has that name.
    pub fn set(&mut self, alias: &str, collection: &str) -> Result<()> {
        check_name(alias).map_err(StorageError::Invalid)?;
        let absent = || super::collections::not_found(collection);
        let schema = self.collection(collection).ok_or_else(absent)?;
        if self.collection(alias).is_some_and(|there| there.name == alias) {
            return Err(StorageError::Conflict(format!(
                "`{alias}` is the name of a collection; choose another alias"
            )));
        }
        self.changed.insert(alias.to_owned(), Some(schema.id));
        Ok(())
    }

    /// Removes an alias; false if there was none.
    pub fn remove(&mut self, alias: &str) -> bool {
        let there = self.target(alias).is_some();
        if there {
            self.changed.insert(alias.to_owned(), None);
        }
        there
    }
}

impl Engine {
    /// Changes aliases of a tenant: all that `edit` asks for, in one step, or nothing where it refuses. No request sees
    /// some of the changes and not the others.
    ///
    /// # Errors
    /// What `edit` refuses with, and those of the catalog.
    pub async fn change_aliases<T: Send>(
        &self,
        tenant: TenantId,
        edit: impl FnOnce(&mut AliasDraft<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let _defining = self.defining.lock().await;
        let mut draft = AliasDraft { engine: self, tenant, changed: BTreeMap::new() };
        let told = edit(&mut draft)?;
        let changed: Vec<_> = draft.changed.into_iter().collect();
        if !changed.is_empty() {
            self.catalog.change_aliases(tenant, changed.clone()).await?;
            let mut names = self.names.write();
            for (alias, target) in changed {
                match target {
                    Some(id) => names.aliases.insert((tenant, alias), id),
                    None => names.aliases.remove(&(tenant, alias)),
                };
            }
        }
        Ok(told)
    }

    /// Points `alias` at a collection.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` where a collection has that name.
    pub async fn set_alias(&self, tenant: TenantId, alias: &str, collection: &str) -> Result<()> {
        self.change_aliases(tenant, |draft| draft.set(alias, collection)).await
    }

    /// Aliases of a tenant with the collections they stand for, by alias.
    pub fn aliases(&self, tenant: TenantId) -> Vec<(String, String)> {
        let names = self.names.read();
        let own = names.aliases.iter().filter(|((owner, _), _)| *owner == tenant);
        let mut all: Vec<_> = own
            .filter_map(|((_, alias), id)| Some((alias.clone(), names.by_id.get(id)?.name.clone())))
            .collect();
        all.sort();
        all
    }
}
