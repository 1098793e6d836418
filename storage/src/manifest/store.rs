//! Publishing, reading and collecting the manifests of a shard.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Manifest, SegmentId};
use crate::catalog::FileChange;
use crate::error::{Result, StorageError};
use crate::object::{DurableStore, ObjectEntry};

/// The manifests of one shard. One task of one process at a time should publish and collect; the epoch fences others.
#[derive(Clone, Debug)]
pub struct ManifestStore {
    store: DurableStore,
    shard_path: String,
}

/// What a collection of garbage may remove.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// Newest manifests that stay, with all objects they refer to; 1 at least.
    pub keep: usize,
    /// Keep the newest manifest alone, sweep staging files too, and digest what is removed: for erasure.
    pub purge: bool,
    /// Segments that stay although no manifest may name them: being written, or being copied.
    pub unpublished: BTreeSet<SegmentId>,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { keep: 2, purge: false, unpublished: BTreeSet::new() }
    }
}

impl ManifestStore {
    /// The manifests of the shard with this path (see [`crate::ShardKey::path`]).
    pub fn new(store: DurableStore, shard_path: impl Into<String>) -> Self {
        Self { store, shard_path: shard_path.into() }
    }

    fn dir(&self) -> String {
        format!("{}/manifest", self.shard_path)
    }

    /// Path of manifest number `version`.
    pub fn path(&self, version: u64) -> String {
        format!("{}/{version:020}.manifest", self.dir())
    }

    /// Manifests that exist, ascending.
    async fn versions(&self) -> Result<Vec<(u64, ObjectEntry)>> {
        let found = self.store.list(&self.dir()).await?;
        let number = |o: &ObjectEntry| {
            let name = o.path.rsplit('/').next()?.strip_suffix(".manifest")?;
            (name.len() == 20).then(|| name.parse().ok()).flatten()
        };
        // Listed by path, and the numbers have one width, so this is their order.
        Ok(found.into_iter().filter_map(|o| number(&o).map(|n| (n, o))).collect())
    }

    async fn load(&self, version: u64) -> Result<Manifest> {
        let path = self.path(version);
        let manifest = Manifest::decode(&path, &self.store.get(&path).await?)?;
        if manifest.version != version {
            return Err(StorageError::corrupt(path, format!("it says it is version {}", manifest.version)));
        }
        Ok(manifest)
    }

    /// The manifest with the highest number; `None` for a shard that never published one.
    ///
    /// # Errors
    /// `Corrupt` where it is damaged: an older one would bring back what was deleted, so none is taken instead.
    pub async fn load_latest(&self) -> Result<Option<Manifest>> {
        match self.versions().await?.last() {
            Some((version, _)) => self.load(*version).await.map(Some),
            None => Ok(None),
        }
    }

    /// Stores `next`, which was made from the manifest of number `next.version` (0 for none), under the number after
    /// that, and sets `version` and `nonce` in it. On an error `next` keeps its number.
    ///
    /// # Errors
    /// `Fenced` where an owner of a higher epoch has published, `Conflict` where somebody else has; `Io`. After
    /// another error than these it is not known whether the manifest is there: load the latest.
    pub async fn publish(&self, next: &mut Manifest) -> Result<()> {
        if let Some(&(newest, _)) = self.versions().await?.last()
            && newest > next.version
        {
            return Err(self.lost_to(newest, next).await);
        }
        let mut stored = next.clone();
        stored.version += 1;
        stored.nonce = Uuid::new_v4();
        let put = self.store.put_if_absent(&self.path(stored.version), stored.encode()?).await;
        match put {
            Ok(()) => {}
            Err(StorageError::Conflict(_)) => {
                let there = self.load(stored.version).await?;
                if there.nonce != stored.nonce {
                    return Err(lost(&there, next));
                }
            }
            Err(e) => return Err(e),
        }
        // A publisher that slept may have used a number that was collected long ago: its manifest counts for nothing,
        // and it must not trim its log.
        if let Some(&(newest, _)) = self.versions().await?.last()
            && newest > stored.version
            && self.load(newest).await?.epoch > next.epoch
        {
            return Err(self.lost_to(newest, next).await);
        }
        *next = stored;
        Ok(())
    }

    async fn lost_to(&self, newest: u64, mine: &Manifest) -> StorageError {
        match self.load(newest).await {
            Ok(there) => lost(&there, mine),
            Err(e) => e,
        }
    }

    /// Removes manifests that are not among the newest `keep`, and objects of segments that no kept manifest refers
    /// to. Returns what is gone (with digests where `purge` is set).
    ///
    /// Call it from the task that publishes: objects written but not yet published are garbage unless their segment
    /// is in `unpublished`.
    ///
    /// # Errors
    /// `Corrupt` where a kept manifest is damaged: nothing is removed then. `Io`; doing it again is harmless.
    pub async fn gc(&self, options: &GcOptions) -> Result<Vec<FileChange>> {
        let versions = self.versions().await?;
        let keep = if options.purge { 1 } else { options.keep.max(1) };
        let (old, kept) = versions.split_at(versions.len().saturating_sub(keep));
        let mut referenced = BTreeSet::new();
        for (version, _) in kept {
            referenced.extend(self.load(*version).await?.objects().map(str::to_owned));
        }
        let mut garbage: Vec<ObjectEntry> = old.iter().map(|(_, o)| o.clone()).collect();
        for dir in ["seg", "idx"] {
            for object in self.store.list(&format!("{}/{dir}", self.shard_path)).await? {
                let name = object.path.rsplit('/').next().unwrap_or_default();
                let unpublished = options.unpublished.iter().any(|id| {
                    // The dot keeps one id from being the beginning of another's.
                    name.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('.'))
                });
                if !unpublished && !referenced.contains(&object.path) {
                    garbage.push(object);
                }
            }
        }
        // Manifests go first: cut short, this leaves objects without a manifest, never the reverse.
        let removed = self.describe(&garbage, options.purge).await?;
        self.store.delete_all(garbage.iter().map(|o| o.path.clone()).collect()).await?;
        if options.purge {
            self.store.sweep_staging(&self.shard_path).await?;
        }
        Ok(removed)
    }

    async fn describe(&self, objects: &[ObjectEntry], digest: bool) -> Result<Vec<FileChange>> {
        let mut described = Vec::with_capacity(objects.len());
        for ObjectEntry { path, bytes } in objects {
            described.push(if digest {
                self.store.digest(path).await?
            } else {
                FileChange { path: path.clone(), bytes: *bytes, blake3: String::new() }
            });
        }
        Ok(described)
    }

    /// Removes everything the shard has in the store. Returns what is gone.
    ///
    /// # Errors
    /// `Io`; doing it again is harmless.
    pub async fn delete_shard(&self) -> Result<Vec<FileChange>> {
        let gone = self.store.list(&self.shard_path).await?;
        let described = self.describe(&gone, true).await?;
        self.store.delete_prefix(&self.shard_path).await?;
        Ok(described)
    }
}

fn lost(there: &Manifest, mine: &Manifest) -> StorageError {
    let Manifest { version, epoch, writer, .. } = there;
    if *epoch > mine.epoch {
        return StorageError::Fenced(format!("{writer} of epoch {epoch} has published manifest {version}"));
    }
    StorageError::Conflict(format!("{writer} of epoch {epoch} has published manifest {version} meanwhile"))
}
