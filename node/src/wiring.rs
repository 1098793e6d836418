//! From the configuration to an open database: the only place that knows which backends are in use.

use std::sync::Arc;

use engram_query::{Database, DatabaseOptions};
use engram_storage::catalog::Catalog;
use engram_storage::catalog::redb::RedbCatalog;
use engram_storage::engine::{Engine, EngineOptions, EngineParts};
use engram_storage::log::LogProvider;
use engram_storage::log::file::{FileLogOptions, FileLogProvider, SyncFault};
use engram_storage::object::DurableStore;
use engram_storage::private_dir;
use engram_storage::shard::ShardOptions;
use engram_storage::{Clock, SystemClock};

use crate::config::{CatalogBackend, LogBackend, NodeConfig, ObjectsBackend};
use crate::{NodeError, VERSION};

/// A write queue of one shard takes at most this share of what requests may hold together.
const QUEUE_SHARE: usize = 4;
const MIN_QUEUE: usize = 1 << 20;

/// Opens everything below the servers. `fault` is that of the disk below the logs: none, but in tests.
pub(crate) async fn open(
    config: &NodeConfig,
    fault: SyncFault,
) -> Result<(Arc<Engine>, Arc<Database>), NodeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let catalog: Arc<dyn Catalog> = match config.catalog {
        CatalogBackend::Redb => RedbCatalog::open(&config.data_dir.join("catalog.redb")).await?,
    };
    let logs: Arc<dyn LogProvider> = match config.log {
        LogBackend::File => {
            let root = config.data_dir.join("log");
            private_dir::create_or_tighten(&root, &["r"])
                .map_err(|e| NodeError::DataDirectory(e.to_string()))?;
            Arc::new(FileLogProvider::testing(root, clock.clone(), FileLogOptions::default(), fault))
        }
    };
    let store = match config.objects {
        ObjectsBackend::Local => DurableStore::local(&config.data_dir.join("objects"))?,
    };
    let engine = Engine::open(EngineParts { catalog, logs, store, clock }, engine_options(config)).await?;
    let database = Database::new(engine.clone(), database_options(config));
    let database = database.map_err(|e| NodeError::Start(e.to_string()))?;
    Ok((engine, Arc::new(database)))
}

fn engine_options(config: &NodeConfig) -> EngineOptions {
    let storage = &config.storage;
    let queue = (config.limits.inflight_bytes / QUEUE_SHARE).max(MIN_QUEUE);
    let defaults = ShardOptions::default();
    let shard = ShardOptions {
        memtable_bytes: storage.memtable_bytes as u64,
        unflushed_limit_bytes: (storage.memtable_bytes as u64 * 3).min(storage.memtables_total_bytes as u64),
        queue_bytes: u32::try_from(queue).unwrap_or(u32::MAX).min(defaults.queue_bytes),
        ..defaults
    };
    EngineOptions {
        shard,
        unflushed_bytes: storage.memtables_total_bytes as u64,
        max_open_shards: storage.max_open_shards,
        background_jobs: storage.background_jobs,
        build_threads: config.index.build_threads,
        server_version: VERSION.to_owned(),
        ..EngineOptions::default()
    }
}

fn database_options(config: &NodeConfig) -> DatabaseOptions {
    DatabaseOptions {
        default_recall: config.index.default_recall,
        default_timeout: config.limits.search_timeout,
        search_threads: config.index.search_threads,
        recheck_one_in: config.index.recheck_one_in,
        ..DatabaseOptions::default()
    }
}
