//! The tour that `engram demo` gives.

pub mod bytes_scan;
pub mod server;
pub mod tour;
