//! The query layer against real engines: filters, searches, queries in stages, writes, text and snapshots.
//!
//! One binary of all of them: each one more would link the whole stack again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod filter_json;
mod filter_resolve;
mod keys;
mod properties;
mod queries;
mod recall;
mod search;
mod snapshots;
mod support;
mod text;
mod vectors;
mod writes;
