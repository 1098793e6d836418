//! Snapshots of collections: making, listing, opening and removing them, and what a purge does to them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::downloads::Download;
use super::gate::Passage;
use crate::catalog::Receipt;
use crate::error::{Result, StorageError};
use crate::object::{ObjectRef, blocking};
use crate::schema::{CollectionId, CollectionSchema, RegionName, ShardKey, TenantId};
use crate::shard::PinnedShard;
use crate::snapshot::{
    Folder, MAX_SNAPSHOTS, SavedShard, ShardContent, SnapshotHeader, SnapshotInfo, save, seen_purges,
    segments_of,
};

/// Objects of one shard, with paths below it.
type LiveObjects = BTreeMap<(RegionName, u32), BTreeSet<ObjectRef>>;

impl Engine {
    /// Makes a snapshot of a collection, beside writes. It is in the listing when this returns, whole; if the caller
    /// goes away it is made all the same.
    ///
    /// # Errors
    /// `NotFound`, `Exhausted` for too many snapshots or a full disk, `Unavailable` while a purge runs, `Invalid` where
    /// this node lacks a region, `Corrupt` where a file of a segment is damaged. Nothing is left of it then.
    pub async fn create_snapshot(
        self: &Arc<Self>,
        tenant: TenantId,
        collection: &str,
    ) -> Result<SnapshotInfo> {
        self.collection(tenant, collection)?;
        self.create_snapshot_in(self.snapshot_passage(tenant)?, collection).await
    }

    /// Begins work on a snapshot of this tenant, so that it cannot be refused later for want of a place.
    ///
    /// # Errors
    /// `Unavailable` while a purge of the tenant runs, `Exhausted` while too many snapshots are in work.
    pub fn snapshot_passage(&self, tenant: TenantId) -> Result<Passage> {
        self.gates.enter(tenant)
    }

    /// As [`Engine::create_snapshot`], in a place that was taken before.
    ///
    /// # Errors
    /// As [`Engine::create_snapshot`].
    pub async fn create_snapshot_in(
        self: &Arc<Self>,
        passage: Passage,
        collection: &str,
    ) -> Result<SnapshotInfo> {
        let schema = self.collection(passage.tenant(), collection)?;
        let engine = self.clone();
        let work = tokio::spawn(async move { engine.save_collection(&schema, passage).await });
        work.await.unwrap_or_else(|e| Err(StorageError::Internal(format!("making a snapshot failed: {e}"))))
    }

    async fn save_collection(
        self: &Arc<Self>,
        schema: &CollectionSchema,
        passage: Passage,
    ) -> Result<SnapshotInfo> {
        let folder = self.snapshot_folder(schema);
        if folder.names().await?.len() >= MAX_SNAPSHOTS {
            return Err(StorageError::Exhausted(format!(
                "collection `{}` has {MAX_SNAPSHOTS} snapshots; delete some first",
                schema.name
            )));
        }
        let created_at = self.clock().now_ms();
        // Before the shards: a purge that ends later may leave what it erased in none of them, or in all.
        let mut seen = Vec::new();
        self.each_page_of_receipts(schema.tenant, usize::MAX, |page| {
            seen.extend(seen_purges(schema, page));
            true
        })
        .await?;
        let (schema, pins) = self.pin_shards(schema.id).await?;
        self.check_local(&schema)?;
        let header = SnapshotHeader {
            name: Folder::new_name(schema.id, created_at),
            created_at,
            server_version: self.options.server_version.clone(),
            purges: seen,
            schema: CollectionSchema::clone(&schema),
            shards: Vec::new(),
            body_bytes: 0,
        };
        let name = header.name.clone();
        self.save_pinned(folder.clone(), header, pins, passage).await?;
        if !self.is_home(schema.snapshot_home()) {
            // The collection was dropped, and its folder with it, before this file was there.
            folder.remove().await?;
            return Err(StorageError::NotFound("the collection was deleted".into()));
        }
        folder.info(&name).await
    }

    async fn save_pinned(
        &self,
        folder: Folder,
        header: SnapshotHeader,
        pins: BTreeMap<ShardKey, Option<PinnedShard>>,
        passage: Passage,
    ) -> Result<()> {
        let shards: Vec<SavedShard> = header.schema.shards().map(|key| saved(key, &pins)).collect();
        let store = self.parts.store.clone();
        blocking(move || {
            let saved = save((&store, &folder), header, &shards, &|| passage.check());
            // Held until the last file was read.
            drop(pins);
            saved.map(drop)
        })
        .await
    }

    /// Pins every shard of a collection that holds anything. The definition is read after the last one, so that it
    /// knows every field that their segments have.
    async fn pin_shards(
        self: &Arc<Self>,
        id: CollectionId,
    ) -> Result<(Arc<CollectionSchema>, BTreeMap<ShardKey, Option<PinnedShard>>)> {
        let mut pins = BTreeMap::new();
        loop {
            let gone = || StorageError::NotFound("the collection was deleted".into());
            let schema = self.collection_by_id(id).ok_or_else(gone)?;
            let missing: Vec<ShardKey> = schema.shards().filter(|key| !pins.contains_key(key)).collect();
            if missing.is_empty() {
                return Ok((schema, pins));
            }
            for key in missing {
                let pin = match self.existing_shard(&key).await? {
                    Some(shard) => Some(shard.pin().await?),
                    None => None,
                };
                pins.insert(key, pin);
            }
        }
    }

    /// A file of several regions may only be where all of them may be.
    pub(super) fn check_local(&self, schema: &CollectionSchema) -> Result<()> {
        let Some(local) = &self.options.local_regions else { return Ok(()) };
        match schema.regions.iter().find(|region| !local.contains(*region)) {
            None => Ok(()),
            Some(region) => Err(StorageError::Invalid(format!(
                "region {region} of collection `{}` is not on this node: a snapshot holds all regions and is made only \
                 where all of them are",
                schema.name
            ))),
        }
    }

    /// Whether a collection keeps its snapshots in the folder `home`.
    pub(super) fn is_home(&self, home: CollectionId) -> bool {
        self.names.read().by_id.values().any(|schema| schema.snapshot_home() == home)
    }

    pub(super) fn snapshot_folder(&self, schema: &CollectionSchema) -> Folder {
        Folder::new(&self.parts.store, schema.tenant, schema.snapshot_home())
    }

    /// The snapshots of a collection, the oldest first. One whose header is damaged is left out and logged.
    ///
    /// # Errors
    /// `NotFound`, and those of the store.
    pub async fn snapshots(&self, tenant: TenantId, collection: &str) -> Result<Vec<SnapshotInfo>> {
        let schema = self.collection(tenant, collection)?;
        let folder = self.snapshot_folder(&schema);
        let mut all = Vec::new();
        for name in folder.names().await? {
            match folder.info(&name).await {
                Ok(info) => all.push(info),
                // Removed meanwhile, or no plain file.
                Err(StorageError::NotFound(_)) => {}
                Err(e @ StorageError::Snapshot(_)) => {
                    tracing::warn!(snapshot = name, error = %e, "a snapshot cannot be read and is not listed");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(all)
    }

    /// A snapshot of the listing with its bytes, to be read to its end.
    ///
    /// # Errors
    /// `NotFound` for the collection or the snapshot; [`crate::snapshot::SnapshotError`] for a damaged one, and for one
    /// that a purge reaches, which is to remove it or to find that it may stay.
    pub async fn open_snapshot(
        &self,
        tenant: TenantId,
        collection: &str,
        name: &str,
    ) -> Result<(SnapshotInfo, Arc<Download>)> {
        let schema = self.collection(tenant, collection)?;
        let folder = self.snapshot_folder(&schema);
        let download = self.downloads.begin(&folder, name);
        let info = folder.info(name).await?;
        let (header, _) = folder.read(&info.name).await?;
        // After the download was noted: a purge that is accepted later than this look ends it.
        self.check_purges(&header, tenant).await?;
        let (_, file) = folder.open(&info.name).await?;
        download.open(file)?;
        Ok((info, download))
    }

    /// Removes a snapshot of the listing, durably; false if there is none of that name.
    ///
    /// # Errors
    /// `NotFound` for the collection, and those of the store.
    pub async fn delete_snapshot(&self, tenant: TenantId, collection: &str, name: &str) -> Result<bool> {
        let schema = self.collection(tenant, collection)?;
        self.snapshot_folder(&schema).delete(name).await
    }

    /// Removes the snapshots of a collection that a purge has visited, but for those all of whose files the shards
    /// still have: these hold nothing that was erased. The caller has closed the tenant's gate and scrubbed the shards.
    pub(super) async fn purge_snapshots(
        &self,
        schema: &CollectionSchema,
        receipt: &mut Receipt,
    ) -> Result<()> {
        let folder = self.snapshot_folder(schema);
        let names = folder.names().await?;
        if !names.is_empty() {
            let live = self.live_objects(schema).await?;
            for name in names {
                if self.holds_only(&folder, &name, &live, &receipt.region).await? {
                    receipt.kept_snapshots.push(name);
                    continue;
                }
                match self.parts.store.digest(&folder.path(&name)).await {
                    Ok(removed) => receipt.removed.push(removed),
                    // Removed meanwhile, or a link to nothing.
                    Err(StorageError::NotFound(_)) => {}
                    Err(e) => return Err(e),
                }
                folder.delete(&name).await?;
            }
        }
        // Also of those that were removed before: their files are there while they are open.
        self.end_downloads(schema, &receipt.kept_snapshots).await?;
        folder.sweep().await
    }

    async fn live_objects(&self, schema: &CollectionSchema) -> Result<LiveObjects> {
        let mut live = LiveObjects::new();
        for key in schema.shards() {
            let Some(shard) = self.existing_shard(&key).await? else { continue };
            let prefix = format!("{key}/");
            let below = |o: ObjectRef| {
                let path = o.path.strip_prefix(&prefix).unwrap_or(&o.path).to_owned();
                ObjectRef { path, ..o }
            };
            let objects = shard.objects().into_iter().map(below).collect();
            live.insert((key.region, key.bucket), objects);
        }
        Ok(live)
    }

    /// Whether all objects of a snapshot are among `live`, as far as `region` (empty: every one) is concerned. One that
    /// cannot be read may hold anything.
    async fn holds_only(
        &self,
        folder: &Folder,
        name: &str,
        live: &LiveObjects,
        region: &str,
    ) -> Result<bool> {
        let contents = match folder.read(name).await {
            Ok((header, mut reader)) => blocking(move || segments_of(&header, &mut reader)).await,
            Err(e) => Err(e),
        };
        let contents = match contents {
            Ok(contents) => contents,
            Err(StorageError::Snapshot(_) | StorageError::NotFound(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        let concerned = |c: &&ShardContent| region.is_empty() || c.region.as_str() == region;
        let is_live = |content: &ShardContent| {
            let there = live.get(&(content.region.clone(), content.bucket));
            content.objects().all(|object| there.is_some_and(|objects| objects.contains(object)))
        };
        Ok(contents.iter().filter(concerned).all(is_live))
    }
}

fn saved(key: ShardKey, pins: &BTreeMap<ShardKey, Option<PinnedShard>>) -> SavedShard {
    let content = match pins.get(&key).and_then(Option::as_ref) {
        Some(pin) => ShardContent::of(&key, pin.manifest()),
        // Nothing was ever written to it.
        None => ShardContent {
            region: key.region.clone(),
            bucket: key.bucket,
            checkpoint: 0,
            segments: Vec::new(),
        },
    };
    SavedShard { key, content }
}
