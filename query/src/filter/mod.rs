//! Filters: which points a request is about.
//!
//! [`Filter`] is the tree, read from JSON in Qdrant's dialect by [`Filter::from_json`] and written by
//! [`Filter::to_json`]. [`Filter::matches`] is its meaning on one point; [`resolve`] gives the same answer for a whole
//! run of rows with the help of payload indexes, and [`estimate`] how many rows that may be, without reading any.

mod ast;
mod bind;
mod estimate;
mod eval;
mod json;
mod parse;
mod plan;
mod validate;

pub use ast::{Condition, Filter, MinShould};
pub use bind::Bound;
pub use estimate::estimate;
pub use eval::Compiled;
pub use plan::{FilterSource, Resolution, ResolveError, resolve};
pub(crate) use validate::reason;
pub use validate::{MAX_CONDITIONS, MAX_DEPTH, MAX_LIST};

/// What is wrong with a filter. The caller must mend it; nothing was done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// A key that no filter has here.
    #[error("filter: unknown key `{key}` in {at}, which takes {known}")]
    UnknownKey {
        /// The key, cut where it is long.
        key: String,
        /// Where it stands.
        at: String,
        /// The keys that would do.
        known: &'static str,
    },
    /// Something that Qdrant has and this server has not.
    #[error("filter: {at} uses `{what}`, which this server does not support: {instead}")]
    Unsupported {
        /// Where it stands.
        at: String,
        /// The thing.
        what: &'static str,
        /// What would do.
        instead: &'static str,
    },
    /// A value that does not fit its place.
    #[error("filter: {at}: {why}")]
    Invalid {
        /// Where it stands.
        at: String,
        /// What would do.
        why: String,
    },
    /// More than is allowed.
    #[error("filter: {what} of {got} is above the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much (at least).
        got: usize,
        /// How much would do.
        limit: usize,
    },
}
