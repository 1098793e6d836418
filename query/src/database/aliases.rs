//! Aliases: checked here, changed by the engine, all of a request at once.

use engram_storage::StorageError;
use engram_storage::catalog::Role;
use engram_storage::engine::AliasDraft;
use engram_storage::schema::check_name;

use super::Database;
use super::access::Grant;
use crate::error::{QueryError, Result};
use crate::request::Principal;

/// A change of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasChange {
    /// Points it at a collection, whatever it pointed at before.
    Set {
        /// The alias.
        alias: String,
        /// Name or alias of the collection.
        collection: String,
    },
    /// Removes it.
    Delete {
        /// The alias.
        alias: String,
    },
    /// Gives it another name.
    Rename {
        /// The alias.
        from: String,
        /// Its new name; an alias that has it is replaced.
        to: String,
    },
}

impl AliasChange {
    /// Makes the change in `draft`; false where there was nothing to remove.
    fn apply(&self, grant: &Grant, draft: &mut AliasDraft<'_>) -> Result<bool> {
        match self {
            Self::Set { alias, collection } => {
                check_own(grant, alias)?;
                let target = draft.collection(collection).filter(|schema| grant.sees(&schema.name));
                target.ok_or_else(|| QueryError::no_collection(collection))?;
                set(grant, draft, (alias, collection))?;
            }
            Self::Delete { alias } => {
                if !is_seen(grant, draft, alias) {
                    return Ok(false);
                }
                check_own(grant, alias)?;
                draft.remove(alias);
            }
            Self::Rename { from, to } => {
                if !is_seen(grant, draft, from) {
                    let short: String = from.chars().take(64).collect();
                    let message = format!("Alias {short} does not exists!");
                    return Err(QueryError::NotFound { code: "alias_not_found", message });
                }
                check_own(grant, from)?;
                check_own(grant, to)?;
                if from != to {
                    set(grant, draft, (to, from))?;
                    draft.remove(from);
                }
            }
        }
        Ok(true)
    }
}

/// Whether there is such an alias, of a collection that the caller sees.
fn is_seen(grant: &Grant, draft: &AliasDraft<'_>, alias: &str) -> bool {
    draft.target(alias).is_some_and(|schema| grant.sees(&schema.name))
}

/// Refuses a name out of the key's scope, by the name alone: what it stands for must not show.
fn check_own(grant: &Grant, alias: &str) -> Result<()> {
    if grant.sees(alias) {
        return Ok(());
    }
    let why = "the key is for some collections only: use the name of one of them";
    Err(QueryError::Forbidden(why.into()))
}

fn set(grant: &Grant, draft: &mut AliasDraft<'_>, (alias, collection): (&str, &str)) -> Result<()> {
    check_name(alias).map_err(|m| QueryError::invalid("invalid_name", m))?;
    if draft.target(alias).is_some_and(|schema| !grant.sees(&schema.name)) {
        let message = format!("{alias:?} is an alias already: use another name");
        return Err(QueryError::Conflict { code: "conflict", message });
    }
    Ok(draft.set(alias, collection)?)
}

impl Database {
    /// Changes aliases in the order given, each as if those before it had happened: all take effect in one step, or none
    /// does. Tells of each whether it changed anything.
    ///
    /// # Errors
    /// `collection_not_found`, `alias_not_found`, `invalid_name`, `Conflict` where a collection has a name, `Forbidden`
    /// for a name out of the key's scope.
    pub async fn change_aliases(&self, principal: Principal, changes: Vec<AliasChange>) -> Result<Vec<bool>> {
        self.grant(principal, Role::Admin)?;
        // A refusal keeps its own code; the engine only needs to know that there is one.
        let mut refused = None;
        let changed = self.inner.engine.change_aliases(principal.tenant, |draft| {
            let told = self.grant(principal, Role::Admin).and_then(|grant| {
                changes.iter().map(|change| change.apply(&grant, draft)).collect::<Result<Vec<bool>>>()
            });
            told.map_err(|e| {
                let message = e.to_string();
                refused = Some(e);
                StorageError::Invalid(message)
            })
        });
        let changed = changed.await;
        changed.map_err(|e| refused.unwrap_or_else(|| e.into()))
    }

    /// Points an alias at a collection.
    ///
    /// # Errors
    /// As [`Database::change_aliases`].
    pub async fn set_alias(&self, principal: Principal, alias: &str, collection: &str) -> Result<()> {
        let set = AliasChange::Set { alias: alias.to_owned(), collection: collection.to_owned() };
        self.change_aliases(principal, vec![set]).await.map(drop)
    }

    /// Removes an alias; false if there was none.
    ///
    /// # Errors
    /// As [`Database::change_aliases`].
    pub async fn delete_alias(&self, principal: Principal, alias: &str) -> Result<bool> {
        let delete = AliasChange::Delete { alias: alias.to_owned() };
        Ok(self.change_aliases(principal, vec![delete]).await? == [true])
    }

    /// Aliases of the tenant with the collections they stand for, where the principal sees these.
    pub fn aliases(&self, principal: Principal) -> Vec<(String, String)> {
        let Ok(grant) = self.grant(principal, Role::Read) else { return Vec::new() };
        let mut all = self.inner.engine.aliases(principal.tenant);
        all.retain(|(_, collection)| grant.sees(collection));
        all
    }
}
