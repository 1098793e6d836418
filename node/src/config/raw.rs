//! The tree as a user writes it.

use engram_index::vector::graph::Layout;
use serde::{Deserialize, Serialize};

use super::root_key::Secret;

const MIB: u64 = 1 << 20;

/// The whole tree. Every key has a default; unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Directory of all files.
    pub data_dir: String,
    /// Accept an open server on an address that others can reach.
    pub insecure: bool,
    /// Addresses.
    pub listen: ListenSection,
    /// Encryption.
    pub tls: TlsSection,
    /// Credentials.
    pub auth: AuthSection,
    /// Durable log of writes.
    pub log: LogSection,
    /// Segments.
    pub objects: ObjectsSection,
    /// Collections, aliases, receipts.
    pub catalog: CatalogSection,
    /// Memtables and flushes.
    pub storage: StorageSection,
    /// Graph defaults.
    pub index: IndexSection,
    /// Bounds.
    pub limits: LimitsSection,
    /// Retention job.
    pub retention: RetentionSection,
    /// REST interface.
    pub rest: RestSection,
    /// Log lines.
    pub logging: LoggingSection,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            data_dir: "engram-data".into(),
            insecure: false,
            listen: ListenSection::default(),
            tls: TlsSection::default(),
            auth: AuthSection::default(),
            log: LogSection::default(),
            objects: ObjectsSection::default(),
            catalog: CatalogSection::default(),
            storage: StorageSection::default(),
            index: IndexSection::default(),
            limits: LimitsSection::default(),
            retention: RetentionSection::default(),
            rest: RestSection::default(),
            logging: LoggingSection::default(),
        }
    }
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSection {
    /// gRPC, `ADDRESS:PORT`; port 0 takes a free one.
    pub grpc: String,
    /// REST, health and metrics.
    pub http: String,
}

impl Default for ListenSection {
    fn default() -> Self {
        Self { grpc: "127.0.0.1:6334".into(), http: "127.0.0.1:6333".into() }
    }
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// PEM file of the certificate chain; empty for no TLS.
    pub cert: String,
    /// PEM file of the private key.
    pub key: String,
}

/// `[auth]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// File whose first line is the root key; empty for none.
    pub root_key_file: String,
    /// File whose first line is a key that opens `/metrics` and nothing else; empty for none. Where the server asks for keys,
    /// `/metrics` wants this one or the root key: it tells of all tenants. Scrapers send it as `authorization: Bearer`.
    pub metrics_key_file: String,
    /// The key itself: only from `ENGRAM__AUTH__ROOT_KEY`, never from a file or a flag, never printed.
    #[serde(skip_serializing)]
    pub root_key: Option<Secret>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
pub enum LogSection {
    /// Files under `data_dir`.
    File {},
}

impl Default for LogSection {
    fn default() -> Self {
        Self::File {}
    }
}

/// `[objects]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
pub enum ObjectsSection {
    /// A directory under `data_dir`.
    Local {},
}

impl Default for ObjectsSection {
    fn default() -> Self {
        Self::Local {}
    }
}

/// `[catalog]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
pub enum CatalogSection {
    /// A file under `data_dir`.
    Redb {},
}

impl Default for CatalogSection {
    fn default() -> Self {
        Self::Redb {}
    }
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSection {
    /// A shard flushes at this memtable size; 0 means half of `memtables_total_bytes`, 256 MiB at most.
    pub memtable_bytes: u64,
    /// All memtables together; 0 means a quarter of `limits.memory_bytes`, an eighth below 2 GiB.
    pub memtables_total_bytes: u64,
    /// Shards kept open; beyond it idle ones are closed, the longest idle first.
    pub max_open_shards: u64,
    /// Flushes, compactions and index builds at once.
    pub background_jobs: u64,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self { memtable_bytes: 0, memtables_total_bytes: 0, max_open_shards: 256, background_jobs: 2 }
    }
}

/// `[index]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexSection {
    /// Links of a graph node, where a collection says nothing.
    pub m: u64,
    /// Candidates while a graph is built.
    pub ef_construction: u64,
    /// Segments with fewer vectors are scanned exactly.
    pub graph_threshold: u64,
    /// Rows of graphs: `fast`, or `compact` for a third of the memory.
    pub layout: Layout,
    /// Share of the true neighbours that a search is after which names neither `recall` nor `ef`.
    pub default_recall: f64,
    /// One in so many searches by graph is run again exactly in idle time, for the metrics; 0 turns that off.
    pub recheck_one_in: u64,
    /// Threads that build graphs; 0 means one per core.
    pub build_threads: u64,
    /// Threads that search; 0 means one per core.
    pub search_threads: u64,
}

impl Default for IndexSection {
    fn default() -> Self {
        Self {
            m: 16,
            ef_construction: 128,
            graph_threshold: 20_000,
            layout: Layout::Fast,
            default_recall: 0.98,
            recheck_one_in: 64,
            build_threads: 0,
            search_threads: 0,
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Memory the server plans with; 0 means the container's limit or the machine's memory, halved.
    pub memory_bytes: u64,
    /// Largest message, both ways.
    pub message_bytes: u64,
    /// Requests in work at once.
    pub requests: u64,
    /// Bytes that requests in work may hold together; 0 means a quarter of `memory_bytes`, an eighth below 2 GiB.
    pub inflight_bytes: u64,
    /// How long a request waits for room before it is told to try later.
    pub queue_wait_ms: u64,
    /// Open connections of each listener.
    pub connections: u64,
    /// Of these, the connections of one address, or of one /64 network of IPv6: more are closed at once, counted by
    /// `engram_connections_refused_total`. 0 means half of `connections`, and no bound for this machine itself; a number
    /// holds for all, so behind a proxy on another machine it should not be small.
    pub connections_per_address: u64,
    /// Streams of one HTTP/2 connection at once.
    pub streams_per_connection: u64,
    /// HTTP/2 window; 0 means: fits the memory, 64 KiB to 1 MiB.
    pub window_bytes: u64,
    /// Batches of one bulk stream in work at once.
    pub bulk_batches: u64,
    /// Time a search gets that names none.
    pub search_timeout_ms: u64,
    /// Time that requests in work get when the server stops.
    pub drain_s: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            memory_bytes: 0,
            message_bytes: 32 * MIB,
            requests: 1024,
            inflight_bytes: 0,
            queue_wait_ms: 2_000,
            connections: 1024,
            connections_per_address: 0,
            streams_per_connection: 256,
            window_bytes: 0,
            bulk_batches: 4,
            search_timeout_ms: 10_000,
            drain_s: 10,
        }
    }
}

/// `[retention]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSection {
    /// Seconds between two runs of the retention job; 0 turns it off.
    pub interval_s: u64,
}

impl Default for RetentionSection {
    fn default() -> Self {
        Self { interval_s: 3600 }
    }
}

/// `[rest]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestSection {
    /// `GET /` calls the server what Qdrant calls itself: a few clients look for that.
    pub qdrant_title: bool,
    /// Origins (`SCHEME://HOST[:PORT]`) whose pages may call the server from a browser, `*` for all; none where empty.
    ///
    /// A server that asks for no key is guarded by these alone, since any page could send it a request. It answers a request
    /// with `origin` with 403 unless that is listed here or is the server's own (`/dashboard`); and while it listens on
    /// loopback only, one whose `host` (or `:authority`) is no name or address of this machine, such as a foreign name
    /// that was pointed at 127.0.0.1. Programs send no `origin`; through a proxy, keep the name `localhost` or use a key.
    pub cors_origins: Vec<String>,
}

/// `[logging]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter as in `RUST_LOG`.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

impl Default for LoggingSection {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}
