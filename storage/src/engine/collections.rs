//! Creating, changing and dropping collections.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::Engine;
use crate::error::{Result, StorageError};
use crate::schema::{
    CollectionId, CollectionSchema, PayloadIndexSpec, RegionName, RetentionRule, ShardKey, TenantId,
    VectorField, check_name,
};

/// A collection that is about to be created.
#[derive(Clone, Debug)]
pub struct NewCollection {
    /// Owner.
    pub tenant: TenantId,
    /// Name, see [`check_name`].
    pub name: String,
    /// Vector fields; their ids are given here.
    pub vectors: Vec<VectorField>,
    /// Payload indexes.
    pub payload_indexes: Vec<PayloadIndexSpec>,
    /// Regions, at least one.
    pub regions: Vec<RegionName>,
    /// One of `regions`.
    pub default_region: RegionName,
    /// 1 to 256.
    pub shards_per_region: u32,
    /// Retention rules.
    pub retention: Vec<RetentionRule>,
    /// What its owner keeps beside it.
    pub metadata: Map<String, Value>,
    /// Options of clients' dialects.
    pub client_options: Map<String, Value>,
}

impl NewCollection {
    fn into_schema(self, created_at: i64) -> CollectionSchema {
        CollectionSchema {
            id: CollectionId(Uuid::now_v7()),
            tenant: self.tenant,
            name: self.name,
            vectors: self.vectors,
            next_field: 0,
            payload_indexes: self.payload_indexes,
            regions: self.regions,
            default_region: self.default_region,
            shards_per_region: self.shards_per_region,
            retention: self.retention,
            metadata: self.metadata,
            client_options: self.client_options,
            created_at,
            revision: 1,
            lineage: Default::default(),
        }
    }

    fn is_like(&self, schema: &CollectionSchema) -> bool {
        self.vectors == schema.vectors
            && self.regions == schema.regions
            && self.default_region == schema.default_region
            && self.shards_per_region == schema.shards_per_region
    }
}

impl Engine {
    /// The collection that `name` or the alias `name` stands for.
    ///
    /// # Errors
    /// `NotFound`, in the same words for a collection of another tenant.
    pub fn collection(&self, tenant: TenantId, name: &str) -> Result<Arc<CollectionSchema>> {
        self.names.read().find(tenant, name).cloned().ok_or_else(|| not_found(name))
    }

    /// All collections of a tenant, by name.
    pub fn collections(&self, tenant: TenantId) -> Vec<Arc<CollectionSchema>> {
        let mut all = self.all_collections();
        all.retain(|schema| schema.tenant == tenant);
        all
    }

    /// All collections, by tenant and name.
    pub fn all_collections(&self) -> Vec<Arc<CollectionSchema>> {
        let mut all: Vec<_> = self.names.read().by_id.values().cloned().collect();
        all.sort_by(|a, b| (a.tenant, &a.name).cmp(&(b.tenant, &b.name)));
        all
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// `Conflict` where the name is taken; with `if_not_exists` only where the existing collection differs.
    pub async fn create_collection(
        &self,
        new: NewCollection,
        if_not_exists: bool,
    ) -> Result<Arc<CollectionSchema>> {
        check_name(&new.name).map_err(StorageError::Invalid)?;
        let _defining = self.defining.lock().await;
        self.check_tenant(new.tenant)?;
        if let Ok(existing) = self.collection(new.tenant, &new.name) {
            if if_not_exists && new.is_like(&existing) {
                return Ok(existing);
            }
            let what =
                if if_not_exists { "already exists with another definition" } else { "already exists" };
            return Err(StorageError::Conflict(format!("collection `{}` {what}", new.name)));
        }
        let schema = Arc::new(new.into_schema(self.clock().now_ms()));
        self.catalog.create_collection(&schema).await?;
        self.names.write().insert(schema.clone());
        Ok(schema)
    }

    /// Changes the definition of a collection by `edit`, which may refuse.
    ///
    /// # Errors
    /// `NotFound`, and what `edit` refuses with.
    pub async fn update_collection(
        &self,
        tenant: TenantId,
        name: &str,
        edit: impl FnOnce(&mut CollectionSchema) -> Result<()> + Send,
    ) -> Result<Arc<CollectionSchema>> {
        let _defining = self.defining.lock().await;
        let old = self.collection(tenant, name)?;
        let mut schema = CollectionSchema::clone(&old);
        edit(&mut schema)?;
        if schema == *old {
            return Ok(old);
        }
        schema.revision = old.revision + 1;
        let schema = Arc::new(schema);
        self.catalog.update_collection(&schema).await?;
        self.names.write().insert(schema.clone());
        for shard in self.open_shards() {
            if shard.key().collection == schema.id {
                self.refresh_schema(&shard);
            }
        }
        Ok(schema)
    }

    /// Drops a collection with its aliases; its files are removed before this returns. False if there was none.
    ///
    /// # Errors
    /// Those of the catalog and the object store; the files of a dropped collection are removed at the next start
    /// at the latest.
    pub async fn drop_collection(&self, tenant: TenantId, name: &str) -> Result<bool> {
        let schema = {
            let _defining = self.defining.lock().await;
            let Ok(schema) = self.collection(tenant, name) else { return Ok(false) };
            if schema.name != name {
                return Err(StorageError::Invalid(format!(
                    "`{name}` is an alias of collection `{}`; delete the alias or name the collection",
                    schema.name
                )));
            }
            self.catalog.drop_collection(tenant, schema.id).await?;
            self.names.write().remove(&schema);
            schema
        };
        self.remove_files(&schema).await?;
        Ok(true)
    }

    /// Removes every file of a dropped collection and forgets it.
    pub(super) async fn remove_files(&self, schema: &CollectionSchema) -> Result<()> {
        let keys: Vec<ShardKey> = schema.shards().collect();
        for key in keys {
            self.close_dropped(&key).await;
            // The log last: while it is there, a crash in between is seen and finished.
            self.parts.store.delete_prefix(&key.path()).await?;
            self.logs.delete(&key).await?;
        }
        // A collection that was replaced leaves its snapshots to the one in its place.
        if !self.is_home(schema.snapshot_home()) {
            self.snapshot_folder(schema).remove().await?;
            self.end_downloads(schema, &[]).await?;
        }
        self.catalog.forget_collection(schema.id).await?;
        self.purges.note_removed(schema);
        Ok(())
    }

    pub(super) fn collection_by_id(&self, id: CollectionId) -> Option<Arc<CollectionSchema>> {
        self.names.read().by_id.get(&id).cloned()
    }
}

pub(super) fn not_found(name: &str) -> StorageError {
    StorageError::NotFound(format!("there is no collection `{name}`; create it first, or check the spelling"))
}
