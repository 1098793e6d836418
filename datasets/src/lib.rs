//! Real data: readers of embedding files, exact ground truth and named data sets.
//!
//! [`readers::open`] streams a Parquet, JSON Lines, `.npy`, `.fvecs` or `.bvecs` file as [`RowBatch`]es with bounded
//! memory; [`truth`] computes exact neighbours; [`sets`] finds or prepares the named sets that tests and benchmarks
//! use; [`WORDNET_5K`] is a small real set inside the program.

pub mod error;
pub mod readers;
pub mod row_batch;
pub mod sets;
pub mod truth;
pub mod writer;

mod json_text;
mod timestamp;

pub use error::{ReadError, Result};
pub use readers::{ReadOptions, Reader, VectorColumn};
pub use row_batch::{Id, Ids, Reject, RowBatch, VectorBlock};

/// The first 5,000 WordNet glosses with their all-MiniLM-L6-v2 embeddings, as a Parquet file; see
/// `datasets/data/README.md` for origin and licences.
pub static WORDNET_5K: &[u8] = include_bytes!("../data/wordnet-5k.parquet");
