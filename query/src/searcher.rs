//! The seam between the coordinator and a shard, wherever it lives.
//!
//! What a request says about fields is bound to the collection before, once for all shards.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use engram_index::payload::{PayloadPath, Scalar};
use engram_index::text::{TextStatistics, WeightedWord};
use engram_index::vector::VectorValue;
use engram_storage::log::Offset;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionSchema, ShardKey};

use crate::error::Result;
use crate::filter::Bound;
use crate::recall::{Effort, Searched};
use crate::request::{Selection, StoredPoint};
use crate::stages::order::OrderValue;
use crate::stages::rank_by::RankBy;
use crate::text_field::TextField;

/// What every request to a shard carries.
#[derive(Clone, Debug)]
pub struct ShardScope {
    /// The shard.
    pub shard: ShardKey,
    /// The collection as the coordinator knows it.
    pub schema: Arc<CollectionSchema>,
    /// Wait until this offset is applied.
    pub min_offset: Offset,
    /// Give up then.
    pub deadline: Instant,
    /// State to read, from [`ShardSearcher::hold`]; the newest one where empty.
    pub pin: Pin,
}

/// A search of one shard.
#[derive(Clone, Debug)]
pub struct ShardSearchRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// Field number.
    pub field: u16,
    /// Admitted query; sparse ones are weighed already.
    pub vector: Arc<VectorValue>,
    /// Which points.
    pub filter: Option<Bound>,
    /// Results wanted (k + offset of the user's request).
    pub k: usize,
    /// How far graphs are walked.
    pub effort: Effort,
    /// Compare with every matching vector.
    pub exact: bool,
    /// Leave out runs that are due for a graph and have none yet.
    pub indexed_only: bool,
    /// Id to leave out.
    pub without: Option<PointId>,
    /// Shards that the same request searches, this one included: a local searcher keeps the work it does on the
    /// caller's thread small over all of them.
    pub shards: usize,
}

/// What a searcher keeps of a search so that the second phase reads the very state that was ranked; opaque to the
/// coordinator. Empty from a searcher that cannot keep a state (such as one on another node): the coordinator then
/// compares versions.
#[derive(Clone, Default)]
pub struct Pin(pub Option<Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Pin(held)" } else { "Pin(empty)" })
    }
}

/// One candidate; the point itself is fetched in the second phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardHit {
    /// Identity.
    pub id: PointId,
    /// Exact distance; smaller is closer.
    pub distance: f32,
    /// Version, so that the second phase can tell a changed point.
    pub version: u64,
}

/// Answer of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardHits {
    /// Ascending by (distance, id).
    pub hits: Vec<ShardHit>,
    /// Offset the answer is true for.
    pub served: Offset,
    /// What was searched, and how well.
    pub searched: Searched,
    /// To be passed to the fetch of these hits.
    pub pin: Pin,
}

/// How many points of one shard have something in common with a sparse query.
#[derive(Clone, Debug)]
pub struct FrequencyRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// Field number.
    pub field: u16,
    /// Indices of the query, ascending.
    pub indices: Arc<[u32]>,
}

/// Numbers of points; they add up over shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frequencies {
    /// Points that have a vector in the field.
    pub points: u64,
    /// Those that have each index, aligned with the request; empty stands for zeros.
    pub with: Vec<u64>,
}

impl Frequencies {
    /// Adds those of another shard or run.
    pub fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.with.resize(self.with.len().max(other.with.len()), 0);
        for (sum, n) in self.with.iter_mut().zip(&other.with) {
            *sum += n;
        }
    }
}

/// Points of one shard by id.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// Which.
    pub ids: Vec<PointId>,
    /// What of them.
    pub selection: Arc<Selection>,
    /// From the search that found them; empty for a read of its own.
    pub pin: Pin,
}

/// A ranking of one shard by something other than the distance to one vector.
#[derive(Clone, Debug)]
pub struct ShardRankRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// What makes the order.
    pub by: Arc<RankBy>,
    /// Which points.
    pub filter: Option<Bound>,
    /// Rows wanted.
    pub k: usize,
    /// Shards that the same request reads, this one included.
    pub shards: usize,
}

/// One row of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedRow {
    /// Identity.
    pub id: PointId,
    /// Version, so that a later phase can tell a changed point.
    pub version: u64,
    /// What it was ranked by, larger first, where that is a score; otherwise 1.
    pub score: f32,
    /// The value it was ordered by.
    pub order: Option<OrderValue>,
}

/// Ranking of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardRanked {
    /// In the order of [`RankBy::compare`].
    pub rows: Vec<RankedRow>,
    /// Offset the answer is true for.
    pub served: Offset,
}

/// Values of a field and how many points of one shard have them.
#[derive(Clone, Debug)]
pub struct ShardFacetRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// Path of the field.
    pub path: Arc<PayloadPath>,
    /// Which points.
    pub filter: Option<Bound>,
}

/// What points of one shard have at a path.
#[derive(Clone, Debug)]
pub struct ShardKeysRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// Which.
    pub ids: Vec<PointId>,
    /// Path of the field.
    pub path: Arc<PayloadPath>,
}

/// Matching points of one shard in the order of ids.
#[derive(Clone, Debug)]
pub struct ShardScrollRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// Which.
    pub filter: Option<Bound>,
    /// First id.
    pub from: Option<PointId>,
    /// At most so many.
    pub limit: usize,
    /// What of them.
    pub selection: Arc<Selection>,
}

/// Asks one shard what it has of the words of a text search.
#[derive(Clone, Debug)]
pub struct ShardTextStatisticsRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// What is searched for them.
    pub field: Arc<TextField>,
    /// The words, each once.
    pub words: Arc<[String]>,
    /// Shards of the same request, as [`ShardSearchRequest::shards`].
    pub shards: usize,
}

/// Statistics of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardTextStatistics {
    /// Of its live points.
    pub statistics: TextStatistics,
    /// To be passed to the search, so that it ranks what was counted.
    pub pin: Pin,
}

/// A text search of one shard.
#[derive(Clone, Debug)]
pub struct ShardTextRequest {
    /// Where and until when.
    pub scope: ShardScope,
    /// What is searched for them.
    pub field: Arc<TextField>,
    /// The words with their weights in the whole collection.
    pub words: Arc<[WeightedWord]>,
    /// Words of a text on average, in the whole collection.
    pub average_length: f64,
    /// Which points.
    pub filter: Option<Bound>,
    /// Results wanted.
    pub k: usize,
    /// Shards of the same request, as [`ShardSearchRequest::shards`].
    pub shards: usize,
    /// From the statistics.
    pub pin: Pin,
}

/// A shard as the coordinator sees it: local, or on another node.
#[async_trait]
pub trait ShardSearcher: Send + Sync {
    /// The nearest matching points.
    async fn search(&self, request: ShardSearchRequest) -> Result<ShardHits>;
    /// How many points have each index of a sparse query.
    async fn frequencies(&self, request: FrequencyRequest) -> Result<Frequencies>;
    /// What the live points have of some words.
    async fn text_statistics(&self, request: ShardTextStatisticsRequest) -> Result<ShardTextStatistics>;
    /// The best points by BM25. The distance of a hit is its score, negated.
    async fn search_text(&self, request: ShardTextRequest) -> Result<ShardHits>;
    /// The points of these ids, in the order of the request; absent ones are left out.
    async fn fetch(&self, request: FetchRequest) -> Result<Vec<StoredPoint>>;
    /// One page of matching points.
    async fn scroll(&self, request: ShardScrollRequest) -> Result<Vec<StoredPoint>>;
    /// Number of matching points.
    async fn count(&self, scope: ShardScope, filter: Option<Bound>) -> Result<u64>;
    /// Keeps the shard's state, so that several requests read the same one. Empty where that cannot be.
    async fn hold(&self, scope: ShardScope) -> Result<Pin>;
    /// The first points by something other than their distance to one vector.
    async fn rank_by(&self, request: ShardRankRequest) -> Result<ShardRanked>;
    /// How many matching points have each value at a path.
    async fn facet(&self, request: ShardFacetRequest) -> Result<Vec<(Scalar, u64)>>;
    /// The keywords and whole numbers that these points have at a path, in the order of the request; absent points are
    /// left out.
    async fn keys(&self, request: ShardKeysRequest) -> Result<Vec<(PointId, Vec<Scalar>)>>;
}
