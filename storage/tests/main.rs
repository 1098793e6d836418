//! The storage layer: engine, log, segments, manifest, catalog and objects.
//!
//! One binary of all of them: each one more would link the whole stack again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod catalog_redb;
mod engine;
mod log_file;
mod log_op_codec;
mod manifest_protocol;
mod object_durable;
mod segment_corruption;
mod segment_round_trip;
