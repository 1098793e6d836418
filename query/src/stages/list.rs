//! What a stage finds.

use engram_storage::point::PointId;

use super::order::OrderValue;
use crate::error::QueryError;

/// A point that a stage found. The point itself is fetched at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub id: PointId,
    /// As users see it.
    pub score: f32,
    /// Version that was ranked.
    pub version: u64,
    /// Number of its shard in the fan.
    pub shard: usize,
    /// The value it was ordered by.
    pub order: Option<OrderValue>,
}

/// The list of a stage.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Best first.
    pub list: Vec<Candidate>,
    /// Why something is missing.
    pub late: Option<QueryError>,
}
