//! A node of Engram: configuration, listeners, credentials, the gRPC and HTTP fronts, metrics and jobs.
//!
//! ```text
//!   connection -> listener -> front (credential, admission) -> grpc/* -> convert/* -> engram_query::Database
//!                          -> rest/front (the same)         -> rest/*              ->
//! ```
//! [`Node::start`] is the way in; [`config::NodeConfig`] is all it needs.

pub mod config;
pub mod metrics;
pub mod status;

mod access;
mod allocator;
mod auth;
mod convert;
mod grpc;
mod jobs;
mod lock;
mod logging;
mod private_files;
mod rest;
mod serve;
mod server;
mod wiring;

pub use config::{ConfigError, ConfigSources, NodeConfig, RawConfig};
pub use logging::init_logging;
pub use server::Node;

/// Version of the server.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration, or an address in it, is of no use: mend it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used, or another process uses it.
    #[error("{0}")]
    DataDirectory(String),
    /// What is stored cannot be opened.
    #[error(transparent)]
    Storage(#[from] engram_storage::StorageError),
    /// A part of the server could not be started.
    #[error("{0}")]
    Start(String),
}
