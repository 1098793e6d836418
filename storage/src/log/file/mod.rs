//! The log as files of a local directory.
//!
//! ```text
//! <root>/<ShardKey::path()>/log/
//!   00000000000000000001.log     header, then frames of records 1..=41
//!   00000000000000000042.log     header, then frames from 42 on: the active file
//!   seal                         only after `seal`: the largest sealed epoch
//! ```
//! * One append is one write and one `fdatasync`, however many records it holds; see [`frame`] for the bytes.
//! * **Epochs.** `open` fences smaller epochs of this process at once, but writes nothing: every record carries the
//!   epoch of its writer and every file that of its maker, so the first append makes the new epoch durable. Another
//!   process cannot be there, since it would need the lock of the data directory; and this node's epoch only grows.
//!   So a start without writes leaves the disk as it was, however often it happens.
//! * **Torn tails.** An append that was cut short leaves frames that do not fit at the end of the last file. Opening
//!   cuts them. Where an intact frame of a *later* append follows, the damaged one had been acknowledged: that is
//!   [`crate::log::LogError::Corrupt`], and nothing is cut.
//! * **Failures.** A failed write is undone by truncation and the log stays usable; a failed sync poisons the log for
//!   the life of the process, since the kernel may have dropped the pages and a second sync would lie.
//! * **Idle logs** hold no descriptor, no thread and no buffer; see [`FileLogOptions::open_files`].

pub mod frame;

mod directory;
mod fault;
mod header;
mod provider;
mod reader;
mod recovery;
mod writer;

pub use fault::SyncFault;
pub use provider::{FileLog, FileLogOptions, FileLogProvider};
