//! What the server counts, in the text form of Prometheus. No label holds a name that a user chose: collections go by
//! their id.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engram_proto::FILE_DESCRIPTOR_SET;
use engram_query::Database;
use engram_query::database::RecallCount;
use engram_storage::shard::Tally;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use prost::Message;
use tonic::Code;

use crate::serve::admission::Admission;

const PREFIX: &str = "engram";
/// Label of calls to methods that do not exist: a caller must not be able to make labels.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CollectionLabels {
    tenant: u32,
    collection: String,
}

/// 50 us to about 26 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

/// Work that storage tallies itself: how often, and how many seconds in all.
#[derive(Debug, Default)]
struct Tallied {
    count: Counter,
    seconds: Counter<f64, AtomicU64>,
}

impl Tallied {
    fn register(&self, registry: &mut Registry, (one, many): (&str, &str), help: &str) {
        registry.register(many, help, self.count.clone());
        registry.register(format!("{one}_seconds"), format!("{help}: seconds"), self.seconds.clone());
    }

    fn set(&self, tally: &Tally) {
        self.count.inner().store(tally.count(), Ordering::Relaxed);
        self.seconds.inner().store(tally.seconds().to_bits(), Ordering::Relaxed);
    }
}

/// All metrics of a node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Labels by path of the call.
    methods: HashMap<String, &'static str>,
    requests: Family<RequestLabels, Counter>,
    latencies: Family<MethodLabel, Histogram, fn() -> Histogram>,
    /// Points that writes reached.
    pub(crate) points_written: Counter,
    /// Searches answered, those of batches counted each.
    pub(crate) searches: Counter,
    /// Runs of the retention job.
    pub(crate) retention_runs: Counter,
    /// Points erased by purges and the retention job.
    pub(crate) points_erased: Counter,
    /// Connections closed since their address had its part.
    pub(crate) connections_refused: Counter,
    log_appends: Tallied,
    flushes: Tallied,
    rewrites: Tallied,
    graphs: Tallied,
    graph_merges: Tallied,
    damaged_graphs: Counter,
    background_failures: Counter,
    shards_open: Gauge,
    shards_poisoned: Gauge,
    unflushed_bytes: Gauge,
    collections: Gauge,
    inflight_bytes: Gauge,
    resident_bytes: Gauge,
    open_files: Gauge,
}

impl Metrics {
    /// An empty set.
    pub fn new(version: &str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            methods: method_labels(),
            requests: Family::default(),
            latencies: Family::new_with_constructor(latency),
            points_written: Counter::default(),
            searches: Counter::default(),
            retention_runs: Counter::default(),
            points_erased: Counter::default(),
            connections_refused: Counter::default(),
            log_appends: Tallied::default(),
            flushes: Tallied::default(),
            rewrites: Tallied::default(),
            graphs: Tallied::default(),
            graph_merges: Tallied::default(),
            damaged_graphs: Counter::default(),
            background_failures: Counter::default(),
            shards_open: Gauge::default(),
            shards_poisoned: Gauge::default(),
            unflushed_bytes: Gauge::default(),
            collections: Gauge::default(),
            inflight_bytes: Gauge::default(),
            resident_bytes: Gauge::default(),
            open_files: Gauge::default(),
        };
        metrics.register(version);
        metrics
    }

    fn register(&mut self, version: &str) {
        let r = &mut self.registry;
        r.register("build", "Version of the server", Info::new(vec![("version", version.to_owned())]));
        r.register("requests", "Requests by method and code", self.requests.clone());
        r.register(
            "request_seconds",
            "Time from the head of a request to the end of its answer",
            self.latencies.clone(),
        );
        r.register("points_written", "Points that writes reached", self.points_written.clone());
        r.register("searches", "Searches answered", self.searches.clone());
        r.register("retention_runs", "Runs of the retention job", self.retention_runs.clone());
        r.register("points_erased", "Points erased by purges and retention", self.points_erased.clone());
        r.register(
            "connections_refused",
            "Connections closed since their address had as many open as it may",
            self.connections_refused.clone(),
        );
        self.log_appends.register(r, ("log_append", "log_appends"), "Appends to logs, each with one sync");
        self.flushes.register(r, ("flush", "flushes"), "Memtables written to segments");
        self.rewrites.register(r, ("rewrite", "rewrites"), "Segments merged or written anew");
        self.graphs.register(r, ("graph_build", "graph_builds"), "Graphs built from nothing");
        self.graph_merges.register(
            r,
            ("graph_merge", "graph_merges"),
            "Graphs made from that of an earlier segment",
        );
        r.register(
            "damaged_graphs",
            "Graphs that met damaged bytes and were built anew",
            self.damaged_graphs.clone(),
        );
        r.register(
            "background_failures",
            "Flushes and rewrites that failed and are tried again",
            self.background_failures.clone(),
        );
        r.register("shards_open", "Shards open now", self.shards_open.clone());
        r.register(
            "shards_poisoned",
            "Shards that refuse writes after a failed sync",
            self.shards_poisoned.clone(),
        );
        r.register("memtable_bytes", "Bytes of all memtables", self.unflushed_bytes.clone());
        r.register("collections", "Collections", self.collections.clone());
        r.register("inflight_bytes", "Bytes charged to requests in work", self.inflight_bytes.clone());
        r.register("resident_bytes", "Resident memory of the process", self.resident_bytes.clone());
        r.register("open_files", "Open file descriptors of the process", self.open_files.clone());
    }

    /// The label of a call.
    pub(crate) fn method(&self, path: &str) -> &'static str {
        self.methods.get(path).copied().unwrap_or(UNKNOWN)
    }

    /// Counts one finished call.
    pub(crate) fn request_done(&self, method: &'static str, code: Code, took: Duration) {
        self.requests.get_or_create(&RequestLabels { method, code: code_label(code) }).inc();
        self.latencies.get_or_create(&MethodLabel { method }).observe(took.as_secs_f64());
    }

    /// Everything as text, with the gauges read now.
    pub(crate) fn render(&self, database: &Database, admission: &Admission) -> String {
        let engine = database.engine();
        let work = engine.work();
        self.log_appends.set(&work.log_appends);
        self.flushes.set(&work.flushes);
        self.rewrites.set(&work.rewrites);
        self.graphs.set(&work.graphs);
        self.graph_merges.set(&work.graph_merges);
        self.damaged_graphs.inner().store(work.damaged_graphs.load(Ordering::Relaxed), Ordering::Relaxed);
        self.background_failures.inner().store(work.failures.load(Ordering::Relaxed), Ordering::Relaxed);
        let shards = engine.open_shards();
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.shards_open, shards.len() as u64);
        set(&self.shards_poisoned, shards.iter().filter(|s| s.poisoned().is_some()).count() as u64);
        set(&self.unflushed_bytes, shards.iter().map(|s| s.unflushed_bytes()).sum());
        set(&self.collections, engine.all_collections().len() as u64);
        set(&self.inflight_bytes, admission.bytes_held().1);
        set(&self.resident_bytes, resident_bytes());
        set(&self.open_files, open_files());
        let mut text = String::new();
        let recall = recall(&database.recall_counts());
        let encoded = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &recall))
            .and_then(|()| encode_eof(&mut text));
        if encoded.is_err() {
            // Writing to a string does not fail; a scraper that reads this line would say so.
            let _ = writeln!(text, "# encoding failed");
        }
        text
    }
}

/// Live recall by collection. Made anew each time, so that a collection that is gone leaves nothing behind.
fn recall(counts: &[RecallCount]) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let checked = Family::<CollectionLabels, Counter>::default();
    let hits = Family::<CollectionLabels, Counter>::default();
    for count in counts {
        let labels = CollectionLabels { tenant: count.tenant.0, collection: count.collection.to_string() };
        checked.get_or_create(&labels).inc_by(count.checked);
        hits.get_or_create(&labels).inc_by(count.hits);
    }
    let what = "True neighbours that sampled searches were compared with in idle time";
    registry.register("recall_checked", what, checked);
    registry.register("recall_hits", "Those of engram_recall_checked that the searches had found", hits);
    registry
}

/// Labels of all methods of the API, made once: `Points/Search`.
fn method_labels() -> HashMap<String, &'static str> {
    let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut labels = HashMap::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let label = format!("{}/{}", service.name(), method.name());
                let path = format!("/{}.{label}", file.package());
                // Lives as long as the process, once per method of a fixed API.
                labels.insert(path, &*label.leak());
            }
        }
    }
    labels.insert("/grpc.health.v1.Health/Check".into(), "Health/Check");
    labels.insert("/grpc.health.v1.Health/Watch".into(), "Health/Watch");
    labels
}

fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// Resident memory of this process, 0 where it cannot be read.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|n| n.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Open file descriptors of this process, 0 where they cannot be read.
pub fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}
