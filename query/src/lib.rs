//! Requests, filters, planning, shard search, merging and the scatter/gather coordinator.
//!
//! [`Database`] is the one door: both fronts (gRPC and REST) call it, with a [`request::Principal`] from the
//! credential. It knows no sockets and no wire types.

pub mod filter;
