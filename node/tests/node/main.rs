//! A node on free ports in a temporary directory, used through its generated client as any program would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod access;
mod bulk;
mod collections;
mod config;
mod dashboard;
mod http;
mod keys;
mod limits;
mod observability;
mod points;
mod rest_access;
mod rest_behaviour;
mod rest_bodies;
mod rest_changes;
mod rest_dialect;
mod rest_limits;
mod rest_routes;
mod rest_samples;
mod rest_snapshots;
mod retention;
mod running;
mod samples;
mod security;
mod snapshots;
mod texts;
mod vectors;
/// Shared with the tests of the whole.
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../../../tests/src/wait.rs"]
mod wait;
