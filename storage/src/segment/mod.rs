//! Runs of rows: what a memtable batch and a segment have in common, and the files of a segment.
//!
//! A [`run::Run`] is immutable: rows sorted into ordinals, vectors per field, payload indexes and perhaps graphs. A
//! memtable batch is a run in memory; a segment is a run whose columns are views into mapped files, beside a Parquet
//! file with the same rows that any tool can read.

mod blob;
mod blobs;
pub mod builder;
pub mod merge;
pub mod parquet;
pub mod reader;
pub mod run;
mod value_blobs;
mod vectors;
pub mod writer;

pub use builder::RunBuilder;
pub use merge::Remap;
pub use reader::Segment;
pub use run::{RowMeta, Run};
pub use writer::{SegmentWriter, Written};
