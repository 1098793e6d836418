//! Requests, filters, planning, shard search, merging and the scatter/gather coordinator.
//!
//! [`Database`] is the one door: both fronts (gRPC and REST) call it, with a [`request::Principal`] from the
//! credential. It knows no sockets and no wire types.

#![deny(missing_docs)]

pub mod database;
pub mod error;
pub mod filter;
pub mod limits;
pub mod local;
pub mod merge;
pub mod payload;
pub mod recall;
pub mod request;
pub mod searcher;
pub mod stages;
pub mod token;

mod coordinator;
mod recheck;
mod text_field;
mod write;

pub use database::{Database, DatabaseOptions};
pub use error::{QueryError, Result};
pub use text_field::TextField;
