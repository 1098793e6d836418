//! Configuration: one tree, from defaults, a TOML file, the environment and flags, each beating the one before.
//!
//! [`RawConfig`] is what a user writes. [`NodeConfig`] is what the server runs on: read from it once, checked as a
//! whole, with the key named and the remedy said in every error.

/// A server that plans with less is careful: smaller shares, and freed memory goes back to the system at once.
pub(crate) const LITTLE_MEMORY: u64 = 2 << 30;

mod memory;
mod raw;
mod root_key;
mod sources;
mod validate;

use engram_index::vector::graph::Layout;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use raw::{
    AuthSection, CatalogSection, IndexSection, LimitsSection, ListenSection, LogSection, LoggingSection,
    ObjectsSection, RawConfig, RestSection, RetentionSection, StorageSection, TlsSection,
};
pub use root_key::{RootKey, Secret};
pub use sources::{ConfigSources, ENV_PREFIX};

/// A configuration that cannot be used, with what to write instead.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read or is no TOML, or has a key that does not exist.
    #[error("{path}: {why}")]
    File {
        /// Path of the file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A variable or a flag does not fit the tree.
    #[error("{origin}: {why}")]
    Override {
        /// Name of the variable, or the flag as given.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value is not allowed.
    #[error("{key}: {why}")]
    Value {
        /// Dotted key.
        key: String,
        /// What is wrong and what to write.
        why: String,
    },
}

impl ConfigError {
    /// A [`ConfigError::Value`] in one word.
    pub(crate) fn value(key: &str, why: impl Into<String>) -> Self {
        Self::Value { key: key.to_owned(), why: why.into() }
    }
}

/// Where the log of a shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogBackend {
    /// Files under the data directory.
    File,
}

/// Where segments live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectsBackend {
    /// A directory under the data directory.
    Local,
}

/// Where the catalog lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogBackend {
    /// A redb file under the data directory.
    Redb,
}

/// PEM files of the server's certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sizes and times of storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// Memtable size at which a shard flushes.
    pub memtable_bytes: usize,
    /// Bytes of all memtables together at which the largest is flushed and writers wait.
    pub memtables_total_bytes: usize,
    /// Shards kept open; beyond it idle ones are closed.
    pub max_open_shards: usize,
    /// Flushes, compactions and index builds at once.
    pub background_jobs: usize,
}

/// Defaults of graphs.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexSettings {
    /// Links of a graph node.
    pub m: usize,
    /// Candidates while a graph is built.
    pub ef_construction: usize,
    /// Segments with fewer vectors are scanned exactly.
    pub graph_threshold: usize,
    /// Rows of graphs.
    pub layout: Layout,
    /// Share of the true neighbours that a search is after which names neither `recall` nor `ef`.
    pub default_recall: f32,
    /// One in so many searches by graph is run again exactly in idle time; 0 for none.
    pub recheck_one_in: u64,
    /// Threads that build graphs.
    pub build_threads: usize,
    /// Threads that search.
    pub search_threads: usize,
}

/// Bounds that keep the server alive under any load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, both ways.
    pub message_bytes: usize,
    /// Requests in work at once; more wait shortly and are then told to try later.
    pub requests: usize,
    /// Bytes that requests in work may hold together.
    pub inflight_bytes: usize,
    /// How long a request waits for room before it is told to try later.
    pub queue_wait: Duration,
    /// Open connections of each listener, in all and of one address.
    pub connections: ConnectionBounds,
    /// Streams of one HTTP/2 connection at once.
    pub streams_per_connection: u32,
    /// HTTP/2 flow-control window of a connection and of a stream.
    pub window_bytes: u32,
    /// Batches of one bulk stream in work at once.
    pub bulk_batches: usize,
    /// Time a search gets that names none.
    pub search_timeout: Duration,
    /// Time that requests in work get when the server stops.
    pub drain: Duration,
}

/// How many connections a listener has open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// All together.
    pub all: usize,
    /// Those of one address. `None`: half of all, and no bound for this machine, where proxies and sidecars are.
    pub per_address: Option<usize>,
}

/// How the REST interface shows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestSettings {
    /// `GET /` has the title of Qdrant.
    pub qdrant_title: bool,
    /// Origins whose pages may call; none where empty, but for the server's own.
    pub cors_origins: Vec<String>,
}

/// Everything a node needs to start, checked.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Directory of all files.
    pub data_dir: PathBuf,
    /// Address of the gRPC listener; port 0 means any free one.
    pub grpc: SocketAddr,
    /// Address of the HTTP listener (REST, health, metrics); port 0 means any free one.
    pub http: SocketAddr,
    /// Encryption of both listeners.
    pub tls: Option<TlsFiles>,
    /// Credential that every request must carry.
    pub root_key: Option<RootKey>,
    /// Credential that opens the metrics and nothing else.
    pub metrics_key: Option<RootKey>,
    /// The user accepts an open server on a network.
    pub insecure: bool,
    /// Memory the server plans with.
    pub memory_bytes: u64,
    /// Log backend.
    pub log: LogBackend,
    /// Object backend.
    pub objects: ObjectsBackend,
    /// Catalog backend.
    pub catalog: CatalogBackend,
    /// Storage settings.
    pub storage: StorageSettings,
    /// Graph defaults.
    pub index: IndexSettings,
    /// Bounds.
    pub limits: Limits,
    /// Time between two runs of the retention job.
    pub retention_interval: Duration,
    /// REST interface.
    pub rest: RestSettings,
    /// Filter of log lines, as in `RUST_LOG`.
    pub log_level: String,
    /// Form of log lines.
    pub log_format: LogFormat,
}

impl NodeConfig {
    /// Reads all sources and checks the result.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file, variable, flag or key.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigError> {
        Self::from_raw(&RawConfig::load(sources)?)
    }

    /// The defaults, with all files under `data_dir`.
    ///
    /// # Errors
    /// None in practice: the defaults are valid.
    pub fn for_data_dir(data_dir: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let raw =
            RawConfig { data_dir: data_dir.into().to_string_lossy().into_owned(), ..RawConfig::default() };
        Self::from_raw(&raw)
    }
}
