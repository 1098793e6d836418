//! The index crate: kernels, codes, graphs, sparse, multi vectors, text and payload indexes.
//!
//! One binary of all of them: each one more would link the whole stack again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod codes;
mod graph;
mod kernels;
mod multi;
mod payload_field_index;
mod payload_predicate;
mod sparse;
mod text;
mod turnover;
mod vector_blobs;
mod vector_conformance;
