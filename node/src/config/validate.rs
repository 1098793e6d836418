//! From what a user wrote to what the server runs on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::{IndexSection, LimitsSection, RawConfig, RestSection, StorageSection};
use super::{
    CatalogBackend, ConfigError, ConnectionBounds, IndexSettings, LITTLE_MEMORY, Limits, LogBackend,
    LogFormat, NodeConfig, ObjectsBackend, RestSettings, RootKey, StorageSettings, TlsFiles, memory,
};

const MIB: u64 = 1 << 20;

impl NodeConfig {
    /// Checks a tree as a whole.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key and what to write.
    pub fn from_raw(raw: &RawConfig) -> Result<Self, ConfigError> {
        if raw.data_dir.is_empty() {
            return Err(ConfigError::value(
                "data_dir",
                "is empty; name the directory for all files of the server",
            ));
        }
        let memory = match raw.limits.memory_bytes {
            0 => memory::available() / 2,
            given => given,
        };
        let config = Self {
            data_dir: PathBuf::from(&raw.data_dir),
            grpc: address("listen.grpc", &raw.listen.grpc)?,
            http: address("listen.http", &raw.listen.http)?,
            tls: tls(&raw.tls.cert, &raw.tls.key)?,
            root_key: root_key(raw)?,
            metrics_key: metrics_key(raw)?,
            insecure: raw.insecure,
            memory_bytes: memory,
            log: LogBackend::File,
            objects: ObjectsBackend::Local,
            catalog: CatalogBackend::Redb,
            storage: storage(&raw.storage, memory)?,
            index: index(&raw.index)?,
            limits: limits(&raw.limits, memory)?,
            retention_interval: Duration::from_secs(raw.retention.interval_s),
            rest: rest(&raw.rest)?,
            log_level: raw.logging.level.clone(),
            log_format: match raw.logging.format.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => {
                    return Err(ConfigError::value(
                        "logging.format",
                        format!("`{other}` is unknown; write text or json"),
                    ));
                }
            },
        };
        if config.grpc == config.http && config.grpc.port() != 0 {
            return Err(ConfigError::value(
                "listen.http",
                "is the address of listen.grpc; give it another port",
            ));
        }
        refuse_open_server(&config)?;
        Ok(config)
    }
}

/// An address that others can reach needs encryption and a credential.
fn refuse_open_server(config: &NodeConfig) -> Result<(), ConfigError> {
    let open = [("listen.grpc", config.grpc), ("listen.http", config.http)];
    let Some((key, address)) = open.into_iter().find(|(_, address)| !address.ip().is_loopback()) else {
        return Ok(());
    };
    let missing = match (config.tls.is_some(), config.root_key.is_some()) {
        (true, true) => return Ok(()),
        _ if config.insecure => return Ok(()),
        (false, false) => "neither TLS nor a root key is",
        (false, true) => "TLS is not",
        (true, false) => "a root key is not",
    };
    Err(ConfigError::value(
        key,
        format!(
            "{address} can be reached from other machines, but {missing} configured, so anyone there could read, change \
             and erase everything. Three ways out: (1) listen on 127.0.0.1 only; (2) set tls.cert, tls.key and \
             auth.root_key_file; (3) if the network is trusted, start with --insecure (insecure = true)"
        ),
    ))
}

fn address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map_err(|_| {
        ConfigError::value(
            key,
            format!("`{text}` is no address; write IP:PORT, for instance 127.0.0.1:6334 or [::1]:6334"),
        )
    })
}

fn tls(cert: &str, key: &str) -> Result<Option<TlsFiles>, ConfigError> {
    let readable = |name: &str, path: &str| {
        std::fs::File::open(path).map(drop).map_err(|e| {
            ConfigError::value(
                name,
                format!("{path} cannot be read ({e}); name a PEM file that the server may read"),
            )
        })
    };
    match (cert, key) {
        ("", "") => Ok(None),
        ("", _) => Err(ConfigError::value("tls.cert", "is missing beside tls.key; TLS needs both")),
        (_, "") => Err(ConfigError::value("tls.key", "is missing beside tls.cert; TLS needs both")),
        (cert, key) => {
            readable("tls.cert", cert)?;
            readable("tls.key", key)?;
            Ok(Some(TlsFiles { cert: cert.into(), key: key.into() }))
        }
    }
}

fn root_key(raw: &RawConfig) -> Result<Option<RootKey>, ConfigError> {
    const NAME: &str = "auth.root_key_file";
    match (&raw.auth.root_key, raw.auth.root_key_file.as_str()) {
        (None, "") => Ok(None),
        (Some(_), file) if !file.is_empty() => {
            let why = "is given beside ENGRAM__AUTH__ROOT_KEY; give only one of them";
            Err(ConfigError::value(NAME, why))
        }
        (Some(secret), _) => usable("ENGRAM__AUTH__ROOT_KEY", secret.expose()).map(Some),
        (None, file) => usable(NAME, &first_line(NAME, file)?).map(Some),
    }
}

fn metrics_key(raw: &RawConfig) -> Result<Option<RootKey>, ConfigError> {
    const NAME: &str = "auth.metrics_key_file";
    match raw.auth.metrics_key_file.as_str() {
        "" => Ok(None),
        file => usable(NAME, &first_line(NAME, file)?).map(Some),
    }
}

fn usable(name: &str, key: &str) -> Result<RootKey, ConfigError> {
    let why = format!(
        "holds no usable key; use {} or more printable characters without spaces, for instance from `openssl rand -hex 32`",
        RootKey::MIN_LEN
    );
    RootKey::new(key).ok_or_else(|| ConfigError::value(name, why))
}

fn first_line(name: &str, path: &str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| ConfigError::value(name, format!("{path} cannot be read ({e})")))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// A number within bounds, as `usize`.
fn within(key: &str, value: u64, low: u64, high: u64) -> Result<usize, ConfigError> {
    let fits = (low..=high).contains(&value);
    usize::try_from(value)
        .ok()
        .filter(|_| fits)
        .ok_or_else(|| ConfigError::value(key, format!("{value} is not allowed; write {low} to {high}")))
}

/// A share above 0 and at most 1.
fn share_of_all(key: &str, value: f64) -> Result<f32, ConfigError> {
    let share = value as f32;
    if share > 0.0 && value <= 1.0 {
        return Ok(share);
    }
    Err(ConfigError::value(key, format!("{value} is not allowed; write a number above 0 and at most 1")))
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// What memtables may take of the planned memory, and requests as much again. Flushes and answers come on top, and
/// weigh more where there is little.
fn share(memory: u64) -> u64 {
    if memory < LITTLE_MEMORY { memory / 8 } else { memory / 4 }
}

/// Large enough that a load of some hundred thousand points does not compete with its own flushes.
const DEFAULT_MEMTABLE: u64 = 256 * MIB;

fn storage(raw: &StorageSection, memory: u64) -> Result<StorageSettings, ConfigError> {
    let total = match raw.memtables_total_bytes {
        0 => share(memory).max(MIB),
        given => given,
    };
    let total = within("storage.memtables_total_bytes", total, MIB, 1 << 44)?;
    let one = match raw.memtable_bytes {
        0 => (total as u64 / 2).clamp(MIB, DEFAULT_MEMTABLE),
        given => given,
    };
    let one = within("storage.memtable_bytes", one, 64 << 10, 1 << 40)?;
    Ok(StorageSettings {
        memtable_bytes: one.min(total),
        memtables_total_bytes: total,
        max_open_shards: within("storage.max_open_shards", raw.max_open_shards, 1, 1 << 20)?,
        background_jobs: within("storage.background_jobs", raw.background_jobs, 1, 64)?,
    })
}

fn index(raw: &IndexSection) -> Result<IndexSettings, ConfigError> {
    let threads = |key: &str, given: u64| within(key, if given == 0 { cores() } else { given }, 1, 1024);
    Ok(IndexSettings {
        m: within("index.m", raw.m, 2, 128)?,
        ef_construction: within("index.ef_construction", raw.ef_construction, 8, 4096)?,
        graph_threshold: within("index.graph_threshold", raw.graph_threshold, 1, u64::from(u32::MAX))?,
        layout: raw.layout,
        default_recall: share_of_all("index.default_recall", raw.default_recall)?,
        recheck_one_in: within("index.recheck_one_in", raw.recheck_one_in, 0, u64::from(u32::MAX))? as u64,
        build_threads: threads("index.build_threads", raw.build_threads)?,
        search_threads: threads("index.search_threads", raw.search_threads)?,
    })
}

fn rest(raw: &RestSection) -> Result<RestSettings, ConfigError> {
    for origin in &raw.cors_origins {
        let scheme = origin.starts_with("http://") || origin.starts_with("https://");
        if origin != "*"
            && (!scheme || origin.ends_with('/') || !origin.bytes().all(|b| b.is_ascii_graphic()))
        {
            let why = format!("`{origin}` is no origin; write * or SCHEME://HOST[:PORT] without a path");
            return Err(ConfigError::value("rest.cors_origins", why));
        }
    }
    Ok(RestSettings { qdrant_title: raw.qdrant_title, cors_origins: raw.cors_origins.clone() })
}

fn limits(raw: &LimitsSection, memory: u64) -> Result<Limits, ConfigError> {
    if raw.memory_bytes != 0 {
        within("limits.memory_bytes", raw.memory_bytes, 64 * MIB, 1 << 50)?;
    }
    let inflight = match raw.inflight_bytes {
        0 => share(memory).clamp(16 * MIB, 4096 * MIB),
        given => given,
    };
    let connections = within("limits.connections", raw.connections, 1, 65_536)?;
    let per_address = match raw.connections_per_address {
        0 => None,
        given => Some(within("limits.connections_per_address", given, 1, connections as u64)?),
    };
    // Peers may fill a window before the server reads a byte: all windows together stay within an eighth of memory.
    let window = match raw.window_bytes {
        0 => (memory / 8 / connections as u64).clamp(64 << 10, MIB),
        given => given,
    };
    let u32_within = |key: &str, value: u64, low: u64, high: u64| {
        within(key, value, low, high).map(|v| u32::try_from(v).unwrap_or(u32::MAX))
    };
    Ok(Limits {
        message_bytes: within("limits.message_bytes", raw.message_bytes, 64 << 10, 1024 * MIB)?,
        requests: within("limits.requests", raw.requests, 1, 1 << 20)?,
        inflight_bytes: within("limits.inflight_bytes", inflight, MIB, 1 << 40)?,
        queue_wait: Duration::from_millis(
            within("limits.queue_wait_ms", raw.queue_wait_ms, 0, 600_000)? as u64
        ),
        connections: ConnectionBounds { all: connections, per_address },
        streams_per_connection: u32_within(
            "limits.streams_per_connection",
            raw.streams_per_connection,
            1,
            4096,
        )?,
        window_bytes: u32_within("limits.window_bytes", window, 64 << 10, 64 * MIB)?,
        bulk_batches: within("limits.bulk_batches", raw.bulk_batches, 1, 64)?,
        search_timeout: Duration::from_millis(within(
            "limits.search_timeout_ms",
            raw.search_timeout_ms,
            1,
            3_600_000,
        )? as u64),
        drain: Duration::from_secs(within("limits.drain_s", raw.drain_s, 0, 3600)? as u64),
    })
}
