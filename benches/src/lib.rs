//! Benchmarks of Engram; `benches/README.md` says how to run them and what they print.
//!
//! The machine may be shared with others: figures are medians, things that are compared run in turns in the same
//! process where that can be done, and every report states the load average before and after.

pub mod against_server;
pub mod clients;
pub mod data;
pub mod filtered;
pub mod inside;
mod loading;
pub mod machine;
pub mod micro;
pub mod noise;
pub mod peer;
pub mod process;
pub mod report;
pub mod samples;
pub mod serving;
pub mod shards;
pub mod turnover;
pub mod wire;
