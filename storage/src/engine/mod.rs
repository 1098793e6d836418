//! The storage engine of one node: collections, their shards, and the work that spans them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OnceCell, Semaphore};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::error::{Result, StorageError};
use crate::log::{Epoch, LogProvider};
use crate::object::DurableStore;
use crate::schema::{CollectionId, CollectionSchema, RegionName, ShardKey, TenantId};
use crate::shard::{Closed, Shard, ShardOptions, ShardParts, Work};

mod aliases;
mod collections;
mod downloads;
mod gate;
mod keys;
mod purge;
mod purge_queue;
mod purge_steps;
#[cfg(test)]
mod purge_waits;
mod receipts;
mod recover;
mod registry;
mod snapshots;
mod tenants;
mod upkeep;

use keys::Keys;
use tenants::Tenants;

pub use aliases::AliasDraft;
pub use collections::NewCollection;
pub use downloads::Download;
pub use gate::Passage;
pub use keys::NewKey;
pub use purge::{PurgePlan, PurgeRequest};
pub use recover::{DefinitionCheck, RecoverTarget, SnapshotSource};
pub use tenants::DEFAULT_TENANT_NAME;

/// The engines under this one, chosen by the configuration.
pub struct EngineParts {
    /// Collections, tenants, keys, epochs, receipts.
    pub catalog: Arc<dyn Catalog>,
    /// Logs of shards.
    pub logs: Arc<dyn LogProvider>,
    /// Segments and manifests.
    pub store: DurableStore,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Sizes and limits of a node.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Of each shard.
    pub shard: ShardOptions,
    /// Unflushed bytes of all shards; beyond it the largest memtables are flushed, and beyond one and a half times as
    /// much writes wait for that.
    pub unflushed_bytes: u64,
    /// Shards kept open; beyond it idle ones are closed, the longest idle first.
    pub max_open_shards: usize,
    /// Flushes at once, and as many compactions and index builds.
    pub background_jobs: usize,
    /// Threads of graph builds.
    pub build_threads: usize,
    /// Name of this node, in manifests.
    pub node: String,
    /// Version of the server, in receipts.
    pub server_version: String,
    /// Regions whose data may be on this node; every one where absent. A snapshot is one file of all regions of its
    /// collection, so it needs all of them here.
    pub local_regions: Option<BTreeSet<RegionName>>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            shard: ShardOptions::default(),
            unflushed_bytes: 512 << 20,
            max_open_shards: 1024,
            background_jobs: 2,
            build_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            node: "local".into(),
            server_version: env!("CARGO_PKG_VERSION").into(),
            local_regions: None,
        }
    }
}

/// Names of collections, as searches and writes look them up.
#[derive(Default)]
struct Names {
    by_id: HashMap<CollectionId, Arc<CollectionSchema>>,
    by_name: HashMap<(TenantId, String), CollectionId>,
    aliases: HashMap<(TenantId, String), CollectionId>,
}

type ShardCell = Arc<OnceCell<Arc<Shard>>>;

/// The storage engine of one node.
pub struct Engine {
    catalog: Arc<dyn Catalog>,
    logs: Arc<dyn LogProvider>,
    parts: Arc<ShardParts>,
    options: EngineOptions,
    epoch: Epoch,
    names: RwLock<Names>,
    tenants: RwLock<Tenants>,
    keys: Keys,
    /// Changes of collections, tenants and keys happen one at a time.
    defining: tokio::sync::Mutex<()>,
    shards: Mutex<HashMap<ShardKey, ShardCell>>,
    /// Held while unfinished purges are run again.
    resuming: tokio::sync::Mutex<()>,
    /// Purges that are not complete.
    purges: purge_queue::PurgeQueue,
    /// So many shards are rewritten by purges at once.
    scrubbing: Semaphore,
    /// Between snapshots and erasures.
    gates: gate::Gates,
    downloads: Arc<downloads::Downloads>,
    stopped: AtomicBool,
    stop: Notify,
}

impl Engine {
    /// Opens the engine: raises the epoch, reads the catalog, finishes dropped collections and interrupted purges in
    /// the background. Shards are opened when they are first used.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn open(engines: EngineParts, options: EngineOptions) -> Result<Arc<Self>> {
        let builders = rayon::ThreadPoolBuilder::new()
            .num_threads(options.build_threads.max(1))
            .thread_name(|i| format!("engram-build-{i}"))
            .build()
            .map_err(|e| StorageError::Internal(format!("cannot start the build threads: {e}")))?;
        let parts = ShardParts {
            store: engines.store,
            clock: engines.clock,
            options: options.shard.clone(),
            builders: Arc::new(builders),
            flushing: Semaphore::new(options.background_jobs.max(1)),
            rewriting: Semaphore::new(options.background_jobs.max(1)),
            unflushed: AtomicU64::new(0),
            unflushed_limit: options.unflushed_bytes + options.unflushed_bytes / 2,
            grown: Notify::new(),
            flushed: Notify::new(),
            work: Work::default(),
            writer: options.node.clone(),
        };
        let scrubbing = Semaphore::new(options.background_jobs.max(1));
        let epoch = engines.catalog.next_epoch().await?;
        let engine = Arc::new(Self {
            names: RwLock::new(Names::load(&*engines.catalog).await?),
            tenants: RwLock::new(Tenants::load(&*engines.catalog).await?),
            keys: Keys::load(&*engines.catalog).await?,
            catalog: engines.catalog,
            logs: engines.logs,
            parts: Arc::new(parts),
            options,
            epoch,
            defining: tokio::sync::Mutex::default(),
            shards: Mutex::default(),
            resuming: tokio::sync::Mutex::default(),
            purges: purge_queue::PurgeQueue::default(),
            scrubbing,
            gates: gate::Gates::default(),
            downloads: Arc::default(),
            stopped: AtomicBool::new(false),
            stop: Notify::new(),
        });
        let dropped = engine.catalog.dropped().await?;
        tokio::spawn(engine.clone().upkeep());
        engine.load_unfinished_purges().await?;
        tokio::spawn(engine.clone().finish_leftovers(dropped));
        Ok(engine)
    }

    /// Time, as the engine sees it.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// What shards did since the start.
    pub fn work(&self) -> &Work {
        &self.parts.work
    }

    /// Fencing number of this start.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Refuses writes, stops background work and waits until it has ended. What is acknowledged is in the logs, so
    /// nothing has to be written.
    pub async fn shutdown(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stop.notify_waiters();
        self.gates.stop();
        self.store_key_uses(true).await;
        let shards = self.open_shards();
        futures::future::join_all(shards.iter().map(|shard| shard.close(Closed::Stopping))).await;
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl Names {
    async fn load(catalog: &dyn Catalog) -> Result<Self> {
        let mut names = Self::default();
        for schema in catalog.collections().await? {
            names.insert(Arc::new(schema));
        }
        for (tenant, alias, id) in catalog.aliases().await? {
            names.aliases.insert((tenant, alias), id);
        }
        Ok(names)
    }

    fn insert(&mut self, schema: Arc<CollectionSchema>) {
        self.by_name.insert((schema.tenant, schema.name.clone()), schema.id);
        self.by_id.insert(schema.id, schema);
    }

    fn remove(&mut self, schema: &CollectionSchema) {
        self.by_name.remove(&(schema.tenant, schema.name.clone()));
        self.by_id.remove(&schema.id);
        self.aliases.retain(|_, id| *id != schema.id);
    }

    /// `schema` takes the place of `old`, which has its name; aliases stand for it.
    fn replace(&mut self, old: Option<&CollectionSchema>, schema: Arc<CollectionSchema>) {
        if let Some(old) = old {
            self.by_id.remove(&old.id);
            let aliases = self.aliases.values_mut().filter(|id| **id == old.id);
            aliases.for_each(|id| *id = schema.id);
        }
        self.insert(schema);
    }

    fn find(&self, tenant: TenantId, name: &str) -> Option<&Arc<CollectionSchema>> {
        let key = (tenant, name.to_owned());
        let id = self.by_name.get(&key).or_else(|| self.aliases.get(&key))?;
        self.by_id.get(id)
    }
}
