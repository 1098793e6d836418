//! A running node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use engram_proto::FILE_DESCRIPTOR_SET;
use engram_proto::v1::admin_server::AdminServer;
use engram_proto::v1::collections_server::CollectionsServer;
use engram_proto::v1::keys_server::KeysServer;
use engram_proto::v1::points_server::PointsServer;
use engram_proto::v1::retention_server::RetentionServer;
use engram_proto::v1::snapshots_server::SnapshotsServer;
use engram_query::Database;
use engram_storage::engine::Engine;
use engram_storage::log::file::SyncFault;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::auth::Gate;
use crate::config::{Limits, NodeConfig};
use crate::grpc::Context;
use crate::grpc::admin::AdminService;
use crate::grpc::collections::CollectionsService;
use crate::grpc::keys::KeysService;
use crate::grpc::points::PointsService;
use crate::grpc::retention::RetentionService;
use crate::grpc::snapshots::SnapshotsService;
use crate::jobs::Jobs;
use crate::lock::DirectoryLock;
use crate::metrics::Metrics;
use crate::rest::{self, Rest};
use crate::serve::admission::Admission;
use crate::serve::front::{Front, FrontLayer};
use crate::serve::http::{self, HttpState};
use crate::serve::listener::{Acceptor, HANDSHAKE, bind, tls_acceptor};
use crate::serve::observed_body::Watch;
use crate::serve::places::Places;
use crate::{NodeError, VERSION, wiring};

const HEADER_LIST: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A rapid-reset flood is cut off after so many streams.
const RESET_STREAMS: usize = 64;
/// Background work gets this long to let go of the files when the node stops.
const RELEASE_TIME: Duration = Duration::from_secs(5);

/// A running node. Dropping it without [`Node::shutdown`] is like a kill: what is acknowledged is durable anyway.
pub struct Node {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    engine: Arc<Engine>,
    database: Arc<Database>,
    health: HealthReporter,
    ready: Arc<AtomicBool>,
    servers: Servers,
    drain: Duration,
    /// Last, so that it outlives everything that touches the files.
    lock: DirectoryLock,
}

/// The tasks that serve; they end with this value.
struct Servers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Locks the data directory, opens what is stored, and serves. When this returns, the node answers.
    ///
    /// # Errors
    /// [`NodeError`], with a sentence that says what to do.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        Self::testing(config, SyncFault::default()).await
    }

    /// As [`Node::start`], over a disk that fails when `fault` says so. For tests.
    #[doc(hidden)]
    pub async fn testing(config: NodeConfig, fault: SyncFault) -> Result<Self, NodeError> {
        crate::allocator::fit(config.memory_bytes);
        crate::private_files::keep();
        let lock = DirectoryLock::take(&config.data_dir)?;
        // Before recovery, which may take long: an address in use should be told at once.
        let grpc = bind("listen.grpc", config.grpc).await?;
        let http = bind("listen.http", config.http).await?;
        let (grpc_addr, http_addr) = (address(&grpc)?, address(&http)?);
        let (engine, database) = wiring::open(&config, fault).await?;
        let (stop, stopping) = watch::channel(false);
        let metrics = Arc::new(Metrics::new(VERSION));
        let admission = Admission::new(&config.limits);
        let jobs = Jobs::new(metrics.clone(), stopping.clone());
        jobs.start_retention(&database, config.retention_interval);
        if config.index.recheck_one_in > 0 {
            jobs.start_rechecks(&database);
        }
        let ready = Arc::new(AtomicBool::new(true));
        let http_state = HttpState {
            database: database.clone(),
            qdrant_title: config.rest.qdrant_title,
            ready: ready.clone(),
        };
        let front = Arc::new(Front {
            gate: Gate::new(config.root_key.clone(), config.metrics_key.clone(), engine.clone()),
            admission,
            metrics: metrics.clone(),
            max_message: config.limits.message_bytes,
            search_timeout: config.limits.search_timeout,
            watch: Watch::start(),
        });
        let drain = config.limits.drain;
        let health = HealthReporter::new();
        let context = Context {
            database: database.clone(),
            engine: engine.clone(),
            metrics,
            jobs,
            config,
            background: Arc::default(),
            started: Instant::now(),
        };
        let context = Arc::new(context);
        let rest = Arc::new(Rest { context: context.clone(), front: front.clone() });
        let http_routes = rest::router(rest, http::router(http_state));
        let http_task = serve_http(&context, http, http_routes, stopping.clone())?;
        let grpc_task = serve_grpc(context, grpc, front, &health, stopping).await?;
        tracing::info!(grpc = %grpc_addr, http = %http_addr, version = VERSION, "engram is ready");
        Ok(Self {
            grpc_addr,
            http_addr,
            engine,
            database,
            health,
            ready,
            servers: Servers { stop, tasks: vec![grpc_task, http_task] },
            drain,
            lock,
        })
    }

    /// Address of the gRPC listener, with the real port.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Address of the HTTP listener, with the real port.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The database behind the listeners, for in-process use.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The engine behind the database, for in-process use.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Stops: no new connections, requests in work get `limits.drain_s`, then the engine closes. Nothing has to be
    /// flushed, since what is acknowledged is in the logs.
    pub async fn shutdown(self) {
        let Self { engine, database, health, ready, mut servers, drain, lock, .. } = self;
        ready.store(false, Ordering::Release);
        health.set_service_status("", ServingStatus::NotServing).await;
        servers.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + drain;
        for task in &mut servers.tasks {
            if tokio::time::timeout_at(deadline, &mut *task).await.is_err() {
                tracing::warn!("requests were cut off, they did not finish in time");
                task.abort();
                let _ = task.await;
            }
        }
        engine.shutdown().await;
        // Background tasks notice the end by themselves; the files are free once the last of them let go.
        let last = Arc::downgrade(&engine);
        drop((engine, database, servers));
        let deadline = tokio::time::Instant::now() + RELEASE_TIME;
        while last.strong_count() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(lock);
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("grpc", &self.grpc_addr)
            .field("http", &self.http_addr)
            .finish_non_exhaustive()
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, NodeError> {
    listener.local_addr().map_err(|e| NodeError::Start(format!("a listener has no address: {e}")))
}

fn serve_http(
    context: &Context,
    listener: TcpListener,
    routes: Router,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, NodeError> {
    let config = &context.config;
    let tls = config.tls.as_ref().map(|files| tls_acceptor(files, &[b"h2", b"http/1.1"])).transpose()?;
    let places = Places::new(config.limits.connections, context.metrics.connections_refused.clone());
    let acceptor = Acceptor { listener, tls, places, handshake: HANDSHAKE, stop };
    let times = http::Times { head: http::HEAD_TIME, drain: config.limits.drain };
    Ok(tokio::spawn(http::serve(routes, acceptor.start(), times)))
}

async fn serve_grpc(
    context: Arc<Context>,
    listener: TcpListener,
    front: Arc<Front>,
    health: &HealthReporter,
    mut stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, NodeError> {
    let (config, limits) = (&context.config, &context.config.limits);
    let tls = config.tls.as_ref().map(|files| tls_acceptor(files, &[b"h2"])).transpose()?;
    let places = Places::new(limits.connections, context.metrics.connections_refused.clone());
    let acceptor = Acceptor { listener, tls, places, handshake: HANDSHAKE, stop: stop.clone() };
    let connections = ReceiverStream::new(acceptor.start());
    let server = transport(limits).layer(FrontLayer(front)).add_routes(routes(&context, health).await?);
    Ok(tokio::spawn(async move {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        if let Err(e) = server.serve_with_incoming_shutdown(connections, stopped).await {
            tracing::error!(error = %e, "the gRPC server ended");
        }
    }))
}

/// Largest HTTP/2 frame that clients may send.
const MAX_FRAME: u32 = 256 << 10;

fn transport(limits: &Limits) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(limits.window_bytes)
        .initial_connection_window_size(limits.window_bytes)
        // Batches of a bulk load are megabytes: the default of 16 KiB would cut them into hundreds of frames.
        .max_frame_size(MAX_FRAME)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_LIST)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS))
}

async fn routes(context: &Arc<Context>, health: &HealthReporter) -> Result<Routes, NodeError> {
    let max = context.config.limits.message_bytes;
    // The front refuses larger messages with our own words first; this is the second line.
    macro_rules! limited {
        ($server:ident, $service:expr) => {
            $server::new($service).max_decoding_message_size(max).max_encoding_message_size(max)
        };
    }
    health.set_service_status("", ServingStatus::Serving).await;
    for service in ["Collections", "Points", "Retention", "Snapshots", "Admin", "Keys"] {
        health.set_service_status(format!("engram.v1.{service}"), ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let failed =
        |e: tonic_reflection::server::Error| NodeError::Start(format!("reflection cannot be served: {e}"));
    let health = tonic_health::pb::health_server::HealthServer::new(
        tonic_health::server::HealthService::from_health_reporter(health.clone()),
    );
    Ok(Routes::new(health)
        .add_service(reflection().build_v1().map_err(failed)?)
        .add_service(reflection().build_v1alpha().map_err(failed)?)
        .add_service(limited!(CollectionsServer, CollectionsService(context.clone())))
        .add_service(limited!(PointsServer, PointsService(context.clone())))
        .add_service(limited!(RetentionServer, RetentionService(context.clone())))
        .add_service(limited!(SnapshotsServer, SnapshotsService(context.clone())))
        .add_service(limited!(AdminServer, AdminService(context.clone())))
        .add_service(limited!(KeysServer, KeysService(context.clone()))))
}
