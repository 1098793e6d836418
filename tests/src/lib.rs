//! What the whole-system tests of Engram share: a real server process, a client, points, an oracle that compares with
//! every point, a journal kept outside the server, and the byte scan.
//!
//! The tests themselves are in `tests/tests/`, the long ones in `tests/src/bin/` with a script of the same name beside
//! this crate; `tests/run` starts them all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

pub mod binary;
pub mod client;
pub mod corpus;
pub mod files;
pub mod journal;
pub mod oracle;
pub mod process;
pub mod random;
pub mod report;
pub mod scan;
pub mod server;
pub mod strace;
pub mod wait;
pub mod wire;

pub use client::Client;
pub use server::{Server, ServerOptions};
