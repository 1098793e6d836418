//! Snapshots of collections: checked here, made and recovered by the engine.

use std::sync::Arc;

use bytes::Bytes;
use engram_storage::StorageError;
use engram_storage::catalog::Role;
use engram_storage::engine::{DefinitionCheck, Download, RecoverTarget};
use engram_storage::schema::{CollectionSchema, check_name};
use parking_lot::Mutex;

use super::Database;
use super::definition::check_definition;
use crate::error::{QueryError, Result};
use crate::request::Principal;

pub use engram_storage::engine::{Passage, SnapshotSource};
pub use engram_storage::snapshot::{SnapshotInfo, Upload};

/// Bytes of a part of a download.
const PART: usize = 1 << 20;

/// A snapshot that is being read.
pub struct SnapshotFile {
    /// What it is.
    pub info: SnapshotInfo,
    download: Arc<Download>,
}

impl SnapshotFile {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` once a purge has removed the snapshot.
    pub async fn next_part(&mut self) -> Result<Option<Bytes>> {
        let part = self.download.next(PART).await?;
        Ok((!part.is_empty()).then_some(part))
    }
}

impl Database {
    /// Makes a snapshot of a collection, beside writes; it is in the listing when this returns.
    ///
    /// # Errors
    /// `collection_not_found`, `exhausted`, `no_space`, `unavailable` while a purge runs.
    pub async fn create_snapshot(&self, principal: Principal, collection: &str) -> Result<SnapshotInfo> {
        self.schema_for(principal, collection, Role::Admin)?;
        Ok(self.inner.engine.create_snapshot(principal.tenant, collection).await?)
    }

    /// Begins work on a snapshot, so that it cannot be refused later for want of a place.
    ///
    /// # Errors
    /// `forbidden`, `exhausted`, `unavailable` while a purge runs.
    pub fn snapshot_passage(&self, principal: Principal) -> Result<Passage> {
        self.grant(principal, Role::Admin)?;
        Ok(self.inner.engine.snapshot_passage(principal.tenant)?)
    }

    /// As [`Database::create_snapshot`], in a place that was taken before.
    ///
    /// # Errors
    /// As [`Database::create_snapshot`].
    pub async fn create_snapshot_in(
        &self,
        principal: Principal,
        passage: Passage,
        collection: &str,
    ) -> Result<SnapshotInfo> {
        self.schema_for(principal, collection, Role::Admin)?;
        Ok(self.inner.engine.create_snapshot_in(passage, collection).await?)
    }

    /// The snapshots of a collection, the oldest first.
    ///
    /// # Errors
    /// `collection_not_found`, and those of the disk.
    pub async fn snapshots(&self, principal: Principal, collection: &str) -> Result<Vec<SnapshotInfo>> {
        self.schema_for(principal, collection, Role::Admin)?;
        Ok(self.inner.engine.snapshots(principal.tenant, collection).await?)
    }

    /// A snapshot of the listing, to be read part by part.
    ///
    /// # Errors
    /// `collection_not_found`, `snapshot_not_found`, `snapshot_purged` for one that a purge reaches, those of a damaged
    /// file.
    pub async fn open_snapshot(
        &self,
        principal: Principal,
        collection: &str,
        snapshot: &str,
    ) -> Result<SnapshotFile> {
        self.schema_for(principal, collection, Role::Admin)?;
        let opened = self.inner.engine.open_snapshot(principal.tenant, collection, snapshot).await;
        let (info, download) = opened.map_err(no_snapshot)?;
        Ok(SnapshotFile { info, download })
    }

    /// Removes a snapshot; false if there was none of that name.
    ///
    /// # Errors
    /// `collection_not_found`, and those of the disk.
    pub async fn delete_snapshot(
        &self,
        principal: Principal,
        collection: &str,
        snapshot: &str,
    ) -> Result<bool> {
        self.schema_for(principal, collection, Role::Admin)?;
        Ok(self.inner.engine.delete_snapshot(principal.tenant, collection, snapshot).await?)
    }

    /// Makes collection `name` out of a snapshot; with `replace` in the place of the one that has the name, which
    /// answers until then. The definition is that of the snapshot, and must be allowed today.
    ///
    /// # Errors
    /// `not_a_snapshot`, `snapshot_version`, `snapshot_truncated`, `snapshot_damaged`, `snapshot_misfit`,
    /// `snapshot_purged`, `snapshot_not_found`, `collection_not_found`, `conflict`, `no_space`, `unavailable` while a
    /// purge runs, and the limits of definitions. Nothing is changed then.
    pub async fn recover_snapshot(
        &self,
        principal: Principal,
        source: SnapshotSource,
        target: (&str, bool),
    ) -> Result<Arc<CollectionSchema>> {
        self.check_recovery(principal, &source, target.0)?;
        let passage = self.inner.engine.snapshot_passage(principal.tenant)?;
        self.recover_snapshot_in(principal, passage, source, target).await
    }

    /// As [`Database::recover_snapshot`], in a place that was taken before.
    ///
    /// # Errors
    /// As [`Database::recover_snapshot`].
    pub async fn recover_snapshot_in(
        &self,
        principal: Principal,
        passage: Passage,
        source: SnapshotSource,
        (name, replace): (&str, bool),
    ) -> Result<Arc<CollectionSchema>> {
        self.check_recovery(principal, &source, name)?;
        // A refusal keeps its own code; the engine only needs to know that there is one.
        let refused = Arc::new(Mutex::new(None));
        let refusal = refused.clone();
        let check: DefinitionCheck = Box::new(move |schema| {
            check_definition(schema).map_err(|e| {
                let message = e.to_string();
                *refusal.lock() = Some(e);
                StorageError::Invalid(message)
            })
        });
        let target = RecoverTarget { tenant: principal.tenant, name: name.to_owned(), replace };
        let recovered = self.inner.engine.recover_snapshot_in(passage, source, target, check).await;
        let (schema, replaced) =
            recovered.map_err(|e| refused.lock().take().unwrap_or_else(|| no_snapshot(e)))?;
        if let Some(id) = replaced {
            self.forget_samples_of_collection(id);
        }
        Ok(schema)
    }

    /// Checks what [`Database::recover_snapshot`] can refuse at once.
    ///
    /// # Errors
    /// `invalid_name`, `forbidden`, `collection_not_found`.
    pub fn check_recovery(&self, principal: Principal, source: &SnapshotSource, name: &str) -> Result<()> {
        check_name(name).map_err(|m| QueryError::invalid("invalid_name", m))?;
        self.check_new_name(principal, name)?;
        if let SnapshotSource::Listed { collection, .. } = source {
            self.schema_for(principal, collection, Role::Admin)?;
        }
        Ok(())
    }
}

/// What is not found where the collection was there is the snapshot.
fn no_snapshot(e: StorageError) -> QueryError {
    match e {
        StorageError::NotFound(message) => QueryError::NotFound { code: "snapshot_not_found", message },
        other => other.into(),
    }
}
