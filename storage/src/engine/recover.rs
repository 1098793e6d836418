//! Recovering a collection from a snapshot.
//!
//! The files are written into shards of a collection that the catalog knows as dropped: whatever ends the work, a kill
//! too, they are removed. When all of them are there and everything was checked, one transaction of the catalog makes the
//! collection visible and drops the one it replaces. Until then the old one answers as ever.

use std::io::Read;
use std::sync::Arc;

use uuid::Uuid;

use super::Engine;
use super::gate::Passage;
use crate::error::{Result, StorageError};
use crate::log::Offset;
use crate::manifest::{Manifest, ManifestStore, SegmentEntry};
use crate::object::blocking;
use crate::schema::{CollectionId, CollectionSchema, Lineage, ShardKey, TenantId, check_name};
use crate::segment::Segment;
use crate::snapshot::format::ContainerReader;
use crate::snapshot::{
    Interruptible, OpenedSegment, SnapshotError, SnapshotHeader, Upload, check_count, check_rows,
    is_reached_by, restore_objects, segments_of,
};

/// Most collections that one may come from; each recovery adds those of the snapshot and the one that was replaced.
const MAX_ORIGINS: usize = 10_000;
/// A revision is counted up by one a change: no collection gets here.
const MAX_REVISION: u64 = 1 << 53;

/// What to recover.
pub enum SnapshotSource {
    /// A snapshot of the listing of a collection.
    Listed {
        /// Name or alias of the collection.
        collection: String,
        /// Name of the snapshot.
        snapshot: String,
    },
    /// One that the client sends.
    Upload(Upload),
}

/// Where to recover it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverTarget {
    /// Owner.
    pub tenant: TenantId,
    /// Name of the collection.
    pub name: String,
    /// A collection of that name is replaced; otherwise there must be none.
    pub replace: bool,
}

/// How things stood when a recovery began: they must be the same when it takes effect.
struct Standing {
    /// What has the name of the target.
    replaces: Option<CollectionId>,
    /// Where the snapshot is listed.
    home: Option<CollectionId>,
}

/// Decides whether a definition is allowed today.
pub type DefinitionCheck = Box<dyn Fn(&CollectionSchema) -> Result<()> + Send>;

type Container = ContainerReader<Interruptible<Box<dyn Read + Send>>>;

impl Engine {
    /// Makes a collection out of a snapshot, or replaces one. Every checksum is compared, `check` is asked about the
    /// definition and every row is looked at before anything is visible; if the caller goes away it ends all the same.
    ///
    /// Gives back the new definition and the collection that was replaced.
    ///
    /// # Errors
    /// [`SnapshotError`] for what is no whole snapshot, or was made before a purge; `NotFound`, `Conflict` where the name
    /// is taken, `Exhausted` for a full disk, `Unavailable` while a purge runs, and what `check` refuses with. Nothing is
    /// changed then, and nothing left.
    pub async fn recover_snapshot(
        self: &Arc<Self>,
        source: SnapshotSource,
        target: RecoverTarget,
        check: DefinitionCheck,
    ) -> Result<(Arc<CollectionSchema>, Option<CollectionId>)> {
        self.recover_snapshot_in(self.snapshot_passage(target.tenant)?, source, target, check).await
    }

    /// As [`Engine::recover_snapshot`], in a place that was taken before, by the tenant of the target.
    ///
    /// # Errors
    /// As [`Engine::recover_snapshot`].
    pub async fn recover_snapshot_in(
        self: &Arc<Self>,
        passage: Passage,
        source: SnapshotSource,
        target: RecoverTarget,
        check: DefinitionCheck,
    ) -> Result<(Arc<CollectionSchema>, Option<CollectionId>)> {
        check_name(&target.name).map_err(StorageError::Invalid)?;
        if passage.tenant() != target.tenant {
            return Err(StorageError::Internal("a place for snapshots is of another tenant".into()));
        }
        let engine = self.clone();
        let work = tokio::spawn(async move { engine.recover(source, &target, check, passage).await });
        work.await
            .unwrap_or_else(|e| Err(StorageError::Internal(format!("recovering a snapshot failed: {e}"))))
    }

    async fn recover(
        self: Arc<Self>,
        source: SnapshotSource,
        target: &RecoverTarget,
        check: DefinitionCheck,
        passage: Passage,
    ) -> Result<(Arc<CollectionSchema>, Option<CollectionId>)> {
        self.check_tenant(target.tenant)?;
        let mut standing = Standing { replaces: self.replaced_by(target)?.map(|old| old.id), home: None };
        let input: Box<dyn Read + Send> = match source {
            SnapshotSource::Listed { collection, snapshot } => {
                let schema = self.collection(target.tenant, &collection)?;
                standing.home = Some(schema.snapshot_home());
                Box::new(self.snapshot_folder(&schema).open(&snapshot).await?.1)
            }
            SnapshotSource::Upload(upload) => Box::new(upload.until(passage.stop())),
        };
        let input = Interruptible::new(input, passage.stop());
        let (header, reader) = blocking(move || ContainerReader::open(input)).await?;
        let schema = self.new_definition(&header, target)?;
        check(&schema)?;
        drop(check);
        check_count(&header)?;
        self.check_local(&schema)?;
        self.check_purges(&header, target.tenant).await?;
        self.catalog.stage_collection(&schema).await?;
        let done = match self.fill(&schema, header, reader, &passage).await {
            Ok(header) => self.install(schema.clone(), &header, (target, &standing)).await,
            Err(e) => Err(e),
        };
        if let Err(e) = &done {
            self.discard(&schema, e).await;
        }
        // Only now may a purge begin: nothing is left behind its back.
        drop(passage);
        done
    }

    /// The collection that this recovery would replace.
    fn replaced_by(&self, target: &RecoverTarget) -> Result<Option<Arc<CollectionSchema>>> {
        let name = &target.name;
        match self.collection(target.tenant, name) {
            Err(_) => Ok(None),
            Ok(there) if there.name != *name => Err(StorageError::Conflict(format!(
                "`{name}` is an alias of collection `{}`; name the collection, or another one",
                there.name
            ))),
            Ok(_) if !target.replace => Err(StorageError::Conflict(format!(
                "collection `{name}` already exists; choose another name, or ask for it to be replaced"
            ))),
            Ok(there) => Ok(Some(there)),
        }
    }

    /// The definition of the snapshot as that of a new collection of this tenant.
    fn new_definition(&self, header: &SnapshotHeader, target: &RecoverTarget) -> Result<CollectionSchema> {
        let schema = &header.schema;
        let ids: Vec<_> = schema.vectors.iter().map(|field| field.id).collect();
        if !ids.windows(2).all(|pair| pair[0] < pair[1]) || schema.revision > MAX_REVISION {
            return Err(SnapshotError::Misfit("its definition is none that a server writes".into()).into());
        }
        let mut origins: Vec<CollectionId> =
            std::iter::once(schema.id).chain(schema.lineage.origins.iter().copied()).collect();
        origins.sort_unstable();
        origins.dedup();
        check_origins(&origins)?;
        Ok(CollectionSchema {
            id: CollectionId(Uuid::now_v7()),
            tenant: target.tenant,
            name: target.name.clone(),
            created_at: self.clock().now_ms(),
            lineage: Lineage { origins, snapshots: None },
            ..schema.clone()
        })
    }

    /// Refuses a snapshot that holds what a purge erased, or is about to.
    pub(super) async fn check_purges(&self, header: &SnapshotHeader, tenant: TenantId) -> Result<()> {
        let own = |id| self.collection_by_id(id).is_some_and(|schema| schema.tenant == tenant);
        let mut reached = None;
        self.each_page_of_receipts(tenant, usize::MAX, |page| {
            reached = is_reached_by(header, page, own).map(|receipt| receipt.id.clone());
            reached.is_none()
        })
        .await?;
        reached.map_or(Ok(()), |id| Err(SnapshotError::Purged(id).into()))
    }

    /// Writes all files of the staged collection and checks them: afterwards its shards open as after a restart.
    async fn fill(
        &self,
        schema: &CollectionSchema,
        header: SnapshotHeader,
        reader: Container,
        passage: &Passage,
    ) -> Result<SnapshotHeader> {
        let (store, staged) = (self.parts.store.clone(), schema.clone());
        let work = move || {
            let mut reader = reader;
            let contents = segments_of(&header, &mut reader)?;
            let checkpoints: Vec<Offset> = contents.iter().map(|content| content.checkpoint).collect();
            let shards = restore_objects(&store, &staged, &contents, reader)?;
            Ok((header, shards.into_iter().zip(checkpoints).collect::<Vec<_>>()))
        };
        let (header, shards) = blocking(work).await?;
        self.verify(schema, &shards).await?;
        for ((key, segments), checkpoint) in shards {
            passage.check()?;
            self.publish_recovered(&key, segments, checkpoint).await?;
        }
        Ok(header)
    }

    async fn verify(
        &self,
        schema: &CollectionSchema,
        shards: &[((ShardKey, Vec<SegmentEntry>), Offset)],
    ) -> Result<()> {
        let mut opened = Vec::new();
        for ((key, segments), checkpoint) in shards {
            for entry in segments {
                let run = Segment::open(&self.parts.store, entry, schema).await.map_err(as_misfit)?;
                opened.push(OpenedSegment {
                    shard: key.clone(),
                    checkpoint: *checkpoint,
                    entry: entry.clone(),
                    run,
                });
            }
        }
        let buckets = schema.shards_per_region;
        blocking(move || check_rows(&opened, buckets)).await
    }

    async fn publish_recovered(
        &self,
        key: &ShardKey,
        segments: Vec<SegmentEntry>,
        checkpoint: Offset,
    ) -> Result<()> {
        if checkpoint == 0 && segments.is_empty() {
            return Ok(());
        }
        let mut manifest = Manifest {
            checkpoint,
            segments,
            created_at: self.clock().now_ms(),
            ..Manifest::empty(self.epoch, &self.parts.writer)
        };
        ManifestStore::new(self.parts.store.clone(), key.path()).publish(&mut manifest).await?;
        // A shard without a log counts as one that nothing was ever written to.
        Ok(self.logs.begin(key, self.epoch, checkpoint).await?)
    }

    /// Makes the collection visible. A purge is accepted either before this, and is noticed here, or after it, and
    /// visits the collection.
    async fn install(
        &self,
        mut schema: CollectionSchema,
        header: &SnapshotHeader,
        (target, standing): (&RecoverTarget, &Standing),
    ) -> Result<(Arc<CollectionSchema>, Option<CollectionId>)> {
        let replaced = {
            let _defining = self.defining.lock().await;
            self.check_tenant(target.tenant)?;
            self.check_purges(header, target.tenant).await?;
            let replaced = self.replaced_by(target)?;
            self.check_standing(standing, &target.name, replaced.as_deref())?;
            if let Some(old) = &replaced {
                let origins = &mut schema.lineage.origins;
                origins.extend(old.lineage.origins.iter().copied().chain([old.id]));
                origins.sort_unstable();
                origins.dedup();
                check_origins(origins)?;
                // The snapshots of the collection stay its own.
                schema.lineage.snapshots = Some(old.snapshot_home());
            }
            self.catalog.install_collection(&schema, replaced.as_ref().map(|old| old.id)).await?;
            self.names.write().replace(replaced.as_deref(), Arc::new(schema.clone()));
            replaced
        };
        if let Some(old) = &replaced
            && let Err(e) = self.remove_files(old).await
        {
            tracing::warn!(collection = %old.id, error = %e, "files of a replaced collection remain; the next start removes them");
        }
        Ok((Arc::new(schema), replaced.map(|old| old.id)))
    }

    /// What was dropped while its snapshot was read was dropped for good, and what came or was replaced meanwhile is not
    /// what the caller wanted replaced.
    fn check_standing(
        &self,
        standing: &Standing,
        name: &str,
        there: Option<&CollectionSchema>,
    ) -> Result<()> {
        if standing.home.is_some_and(|home| !self.is_home(home)) {
            return Err(StorageError::NotFound(
                "the collection of the snapshot was deleted meanwhile".into(),
            ));
        }
        if standing.replaces == there.map(|schema| schema.id) {
            return Ok(());
        }
        Err(StorageError::Conflict(format!(
            "collection `{name}` was created, deleted or replaced while the snapshot was read, and nothing was \
             recovered: look at what is there, then try again"
        )))
    }

    /// Removes what there is of a collection that did not come about.
    async fn discard(&self, schema: &CollectionSchema, cause: &StorageError) {
        // A commit that failed may have happened all the same: then the next start shows what holds.
        let installed = match self.catalog.collections().await {
            Ok(all) => all.iter().any(|there| there.id == schema.id),
            Err(_) => true,
        };
        if installed {
            tracing::error!(collection = %schema.id, error = %cause, "it is not known whether a recovery took effect; restart the server");
        } else if let Err(e) = self.remove_files(schema).await {
            tracing::warn!(collection = %schema.id, error = %e, "files of a failed recovery remain; the next start removes them");
        }
    }
}

fn check_origins(origins: &[CollectionId]) -> Result<()> {
    if origins.len() <= MAX_ORIGINS {
        return Ok(());
    }
    Err(StorageError::Exhausted(format!(
        "the collection would come from {} others, at most {MAX_ORIGINS} are remembered: export its points and load them \
         into a new one",
        origins.len()
    )))
}

/// What a segment of a snapshot is refused with: its checksums fit, so it was written like this.
fn as_misfit(e: StorageError) -> StorageError {
    match e {
        StorageError::Corrupt { path, why } => SnapshotError::Misfit(format!("{path}: {why}")).into(),
        other => other,
    }
}
