//! Bulk load: files are decoded on a thread of their own, batches are sent over one stream with a bounded window, and
//! what was acknowledged is written down so that a load that was killed goes on where it was.
//!
//! ```text
//!   files -> decode thread -> (bounded queue) -> window of batches on the wire -> acknowledgement -> journal
//! ```

pub mod batch;
pub mod decode;
pub mod files;
pub mod journal;
pub mod rejects;
pub mod upload;
