//! Vectors, distances, graphs and payload index structures: bytes in, bytes out.
//!
//! This crate knows ordinals (row numbers of one run of rows) and nothing of ids, files, clocks or collections.
//! [`vector`] holds the metrics, the exact scan and the graph; [`payload`] the index structures over JSON fields; [`text`]
//! full-text indexes.

#![deny(missing_docs)]

pub mod column;
pub mod error;
pub mod mask;
pub mod pace;
pub mod payload;
pub mod text;
pub mod vector;

pub use column::Column;
pub use error::{IndexError, Result};
pub use mask::Mask;
pub use pace::Pace;
