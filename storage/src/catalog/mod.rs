//! The catalog: tenants, keys, collections, aliases, epochs and receipts.
//!
//! Every value carries its own checksum; a damaged one is reported as [`crate::StorageError::Corrupt`], never served.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::log::Epoch;
use crate::schema::{CollectionId, CollectionSchema, TenantId};

pub mod conformance;
pub mod redb;

mod key;
mod receipt;

pub use key::{ApiKey, Key, KeyId, KeySecret, Role, Scope};
pub use receipt::verify_chain;

/// Owner of collections and keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Server-made identity, never given again.
    pub id: TenantId,
    /// Unique name, 1 to 64 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`.
    pub name: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// Proof of one erasure run, part of a hash chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Server-made identity (UUID v7: sorts by time).
    pub id: String,
    /// Owner.
    pub tenant: u32,
    /// The collection's own name, whatever alias was given; empty for every collection.
    pub collection: String,
    /// Ids of the collections that this meant when the purge was accepted: names may stand for others later.
    #[serde(default)]
    pub collection_ids: Vec<CollectionId>,
    /// Collections that those were recovered from. Left out where empty, so that hashes of earlier receipts stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lineage: Vec<CollectionId>,
    /// Region, empty for every region.
    pub region: String,
    /// Points created before this were erased, milliseconds since the epoch; 0 where `by_rules` says so.
    pub cutoff_ms: i64,
    /// The retention rules and the expiry of each point named what was erased.
    #[serde(default)]
    pub by_rules: bool,
    /// `running`, `complete` or `failed`; a failed one is tried again until it is complete.
    pub state: String,
    /// Why the last attempt failed; empty once it is complete.
    pub error: String,
    /// Shards visited.
    pub shards: u64,
    /// Points before, in each shard when its points became invisible.
    pub points_before: u64,
    /// Points erased.
    pub points_erased: u64,
    /// Points after.
    pub points_after: u64,
    /// Files written in place of others.
    pub created: Vec<FileChange>,
    /// Files removed.
    pub removed: Vec<FileChange>,
    /// Snapshots that hold nothing of what was erased; the others are among `removed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_snapshots: Vec<String>,
    /// Bytes of log files removed.
    pub log_bytes_removed: u64,
    /// Shards in which the points are invisible already, while the purge is not complete: another attempt hides nothing
    /// there that was written later.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden_shards: BTreeSet<String>,
    /// Intent recorded.
    pub accepted_at_ms: i64,
    /// No path returned the points any more.
    pub invisible_at_ms: i64,
    /// No live file held the bytes any more.
    pub erased_at_ms: i64,
    /// Version of the server.
    pub server_version: String,
    /// `hash` of the receipt before this one, empty for the first.
    pub previous_hash: String,
    /// BLAKE3 (hex) over the canonical JSON of this receipt with an empty `hash`.
    pub hash: String,
}

/// A file in a receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Path relative to the data directory.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of the content, hex.
    pub blake3: String,
}

/// An alias, and what it stands for from then on.
pub type AliasChange = (String, Option<CollectionId>);

/// Tenants, keys, collections, aliases, epochs and receipts, durable when a call returns.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Stores a new collection.
    ///
    /// # Errors
    /// `Conflict` where the tenant has a collection or an alias of that name.
    async fn create_collection(&self, schema: &CollectionSchema) -> Result<()>;
    /// Replaces the definition of a collection if its stored revision is `schema.revision - 1`.
    ///
    /// # Errors
    /// `Conflict` for another revision, `NotFound`.
    async fn update_collection(&self, schema: &CollectionSchema) -> Result<()>;
    /// Marks a collection as dropped: gone for `collections` and for its name (and aliases), listed by `dropped`
    /// until [`Catalog::forget_collection`]. Returns false if there was none.
    async fn drop_collection(&self, tenant: TenantId, id: CollectionId) -> Result<bool>;
    /// Collections that were dropped and whose files may still be there.
    async fn dropped(&self) -> Result<Vec<CollectionSchema>>;
    /// Forgets a dropped collection once its files are gone.
    async fn forget_collection(&self, id: CollectionId) -> Result<()>;
    /// Notes a collection that is being put together. Until [`Catalog::install_collection`] it counts as dropped, so
    /// that what a crash leaves of it is removed at the next start.
    async fn stage_collection(&self, schema: &CollectionSchema) -> Result<()>;
    /// Makes a staged collection visible under its name, in one step: `replaces`, which has that name, is dropped, and
    /// its aliases stand for the new one.
    ///
    /// # Errors
    /// `Conflict` where the name is taken by anything else than `replaces`, or not taken any more; `NotFound` where it
    /// was not staged, or its tenant is gone.
    async fn install_collection(
        &self,
        schema: &CollectionSchema,
        replaces: Option<CollectionId>,
    ) -> Result<()>;
    /// All collections of all tenants.
    async fn collections(&self) -> Result<Vec<CollectionSchema>>;
    /// Changes aliases, all or none: each name stands for the collection beside it from then on, whatever it stood for,
    /// or for nothing where there is `None`.
    ///
    /// # Errors
    /// `Conflict` where a collection has one of the names, `NotFound` where a target does not exist.
    async fn change_aliases(&self, tenant: TenantId, changes: Vec<AliasChange>) -> Result<()>;
    /// All aliases of all tenants.
    async fn aliases(&self) -> Result<Vec<(TenantId, String, CollectionId)>>;
    /// Raises the epoch of this node by one, durably, and returns it. Every shard it opens is opened with it.
    async fn next_epoch(&self) -> Result<Epoch>;
    /// Stores a receipt, or replaces the one of the same id that is not final, and returns it as stored.
    ///
    /// A `running` or `failed` receipt is not part of the chain: `previous_hash` and `hash` are empty. When it is stored
    /// as `complete` it is linked to the last receipt of the chain and never changes again. There is one chain for all
    /// tenants of a catalog, in the order in which receipts became final; see [`verify_chain`].
    ///
    /// # Errors
    /// `Conflict` where the stored receipt of that id is final, `Invalid` for another state.
    async fn put_receipt(&self, receipt: Receipt) -> Result<Receipt>;
    /// The newest receipts of a tenant whose ids are below `before`, newest first. At most `limit`, and no more than fit
    /// into a few MiB: only an empty answer says that there are no others.
    async fn receipts(&self, tenant: TenantId, before: Option<&str>, limit: usize) -> Result<Vec<Receipt>>;
    /// The receipt of this id.
    async fn receipt(&self, tenant: TenantId, id: &str) -> Result<Option<Receipt>>;
    /// Makes a tenant. The default tenant is always there and is not stored.
    ///
    /// # Errors
    /// `Conflict` where there is a tenant of that name.
    async fn create_tenant(&self, name: &str, created_at: i64) -> Result<Tenant>;
    /// Removes a tenant with its keys; false if there was none. Its receipts stay.
    ///
    /// # Errors
    /// `Conflict` where the tenant has collections.
    async fn drop_tenant(&self, id: TenantId) -> Result<bool>;
    /// All tenants but the default one, by id.
    async fn tenants(&self) -> Result<Vec<Tenant>>;
    /// Stores a key, or replaces the one of the same tenant and id.
    ///
    /// # Errors
    /// `NotFound` where the tenant does not exist.
    async fn put_key(&self, key: &Key) -> Result<()>;
    /// Forgets a key; false if there was none.
    async fn forget_key(&self, tenant: TenantId, id: KeyId) -> Result<bool>;
    /// Sets `last_used` of keys, where they are still there and it is later than what is stored.
    async fn touch_keys(&self, uses: Vec<(TenantId, KeyId, i64)>) -> Result<()>;
    /// All keys of all tenants.
    async fn keys(&self) -> Result<Vec<Key>>;
}
