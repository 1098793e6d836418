//! One file per command.

pub mod collections;
pub mod compact;
pub mod completions;
pub mod config;
pub mod count;
pub mod demo;
pub mod export;
pub mod flush;
pub mod get;
pub mod inspect;
pub mod keys;
pub mod load;
pub mod purge;
pub mod receipts;
pub mod search;
pub mod serve;
pub mod snapshots;
pub mod stats;
pub mod tenants;
