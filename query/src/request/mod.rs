//! Requests and answers of the database, free of wire types.

use std::time::Duration;

use bytes::Bytes;
use engram_index::vector::VectorValue;
use engram_storage::op::{OpOutcome, PayloadChange};
use engram_storage::point::PointId;
use engram_storage::schema::RegionName;

use crate::filter::Filter;
use crate::token::ConsistencyToken;

pub mod query;

mod budget;
mod principal;

pub use budget::AnswerBudget;
pub use principal::Principal;

/// A point as a client writes it: vectors by name, region by name.
#[derive(Clone, Debug, Default)]
pub struct NewPoint {
    /// Identity; required.
    pub id: Option<PointId>,
    /// Vectors by field name; "" is the default field.
    pub vectors: Vec<(String, VectorValue)>,
    /// One JSON object, or empty for `{}`.
    pub payload: Bytes,
    /// Region tag; the collection's default where absent.
    pub region: Option<String>,
    /// Milliseconds since the epoch; now where absent, never later than the server's clock.
    pub created_at: Option<i64>,
    /// Milliseconds since the epoch.
    pub expires_at: Option<i64>,
    /// Only if the current version is this one; 0: only if absent.
    pub if_version: Option<u64>,
}

/// How a write behaves.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Key under which the client may repeat the write.
    pub idempotency_key: Option<String>,
    /// Answer after the write is applied, not only durable.
    pub wait: bool,
    /// Refuse only the bad points of the batch and write the others (bulk load).
    pub skip_invalid: bool,
}

/// Which points of a write are written. The conditions of the points themselves (`if_version`) are of no account then.
#[derive(Clone, Debug, Default)]
pub struct WriteCondition {
    /// A point that is there is left alone where it does not match.
    pub filter: Option<Filter>,
    /// Whether points are written that are there, or are not.
    pub reach: Reach,
}

/// Whether points are written that are there, or are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Both.
    #[default]
    All,
    /// Only those that are not there.
    Absent,
    /// Only those that are there.
    Present,
}

/// Points that a write selects.
#[derive(Clone, Debug)]
pub enum PointSelector {
    /// By id, each with its condition.
    Ids(Vec<(PointId, Option<u64>)>),
    /// All that match.
    Filter(Filter),
}

/// What a write did.
#[derive(Clone, Debug, Default)]
pub struct WriteAnswer {
    /// What it was acknowledged at.
    pub token: ConsistencyToken,
    /// Aligned with the request's points or ids; `None` where the write is durable but not applied yet, and
    /// where an earlier one answered.
    pub outcomes: Vec<Option<OpOutcome>>,
    /// Points reached.
    pub affected: u64,
    /// Points that stay as they are, since their payload would have passed a limit.
    pub too_large: u64,
    /// An earlier write with the same idempotency key answered.
    pub repeated: bool,
    /// Points refused under `skip_invalid`: position, code, sentence.
    pub rejected: Vec<(usize, &'static str, String)>,
}

/// A change of stored points.
#[derive(Clone, Debug)]
pub enum Change {
    /// Removes them.
    Delete,
    /// Changes their payload.
    Payload(PayloadChange),
    /// Removes their vectors in the fields of these names.
    RemoveVectors(Vec<String>),
}

/// New vectors of one point.
#[derive(Clone, Debug)]
pub struct VectorUpdate {
    /// Whose.
    pub id: PointId,
    /// Vectors to set, by field name.
    pub set: Vec<(String, VectorValue)>,
    /// Field names whose vector goes.
    pub remove: Vec<String>,
    /// Condition.
    pub if_version: Option<u64>,
}

/// What to return of each point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Payload, and which of it.
    pub payload: bool,
    /// Dotted paths; empty for all.
    pub payload_include: Vec<String>,
    /// Dotted paths to leave out.
    pub payload_exclude: Vec<String>,
    /// Vectors.
    pub vectors: bool,
    /// Field names; empty for all.
    pub vector_names: Vec<String>,
    /// How many bytes the points may have together.
    pub budget: AnswerBudget,
}

/// A point as a client reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPoint {
    /// Identity.
    pub id: PointId,
    /// Selected vectors by field name.
    pub vectors: Vec<(String, VectorValue)>,
    /// Selected payload as JSON, empty where not selected.
    pub payload: Bytes,
    /// Region.
    pub region: RegionName,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub ingested_at: i64,
    /// Milliseconds since the epoch.
    pub expires_at: Option<i64>,
    /// Offset of the write that made this version.
    pub version: u64,
}

impl StoredPoint {
    /// Bytes of its vectors and payload.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.vectors.iter().map(|(_, vector)| vector.bytes()).sum::<usize>()
    }
}

/// What a search looks for.
#[derive(Clone, Debug)]
pub enum QueryVector {
    /// This value.
    Vector(VectorValue),
    /// The stored vector of this point, which is left out of the answer.
    Like(PointId),
}

/// How fresh a read must be, and for how long it may take.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// See at least what this token was given for.
    pub token: Option<ConsistencyToken>,
    /// Longest time; the default where absent.
    pub timeout: Option<Duration>,
    /// Only these regions; empty for all.
    pub regions: Vec<String>,
}

/// A nearest-neighbour search.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// Name or alias.
    pub collection: String,
    /// What to look for.
    pub query: QueryVector,
    /// Vector field; "" is the default one.
    pub field: String,
    /// Which points may be returned.
    pub filter: Option<Filter>,
    /// 1 to 10,000.
    pub k: usize,
    /// 0 to 10,000 results to skip.
    pub offset: usize,
    /// Size of the candidate list. At most max(4,096, k).
    pub ef: Option<usize>,
    /// Share of the true neighbours that is wanted, above 0 and at most 1, instead of `ef`; the default where both are
    /// absent.
    pub recall: Option<f32>,
    /// Compare with every matching vector.
    pub exact: bool,
    /// Leave out what scores worse.
    pub score_threshold: Option<f32>,
    /// What to return of each point.
    pub selection: Selection,
    /// Freshness and time.
    pub read: ReadOptions,
    /// Answer with what arrived in time instead of an error.
    pub allow_partial: bool,
}

/// One hit.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The point, as selected.
    pub point: StoredPoint,
    /// Similarity for cosine and dot, distance for euclid and manhattan.
    pub score: f32,
}

/// Answer of a search.
#[derive(Clone, Debug, Default)]
pub struct SearchAnswer {
    /// Closest first; ties by id.
    pub hits: Vec<Hit>,
    /// A shard did not answer in time.
    pub partial: bool,
    /// Share of the true neighbours that is expected to be here, over what was searched; `None` where it is not known.
    pub expected_recall: Option<f32>,
}

/// One page of points in the order of their ids, or of a field.
#[derive(Clone, Debug)]
pub struct ScrollRequest {
    /// Name or alias.
    pub collection: String,
    /// Which points.
    pub filter: Option<Filter>,
    /// First id of the page; not with `order_by`.
    pub from: Option<PointId>,
    /// Order by the values of a field instead of the ids; the page then says no next id.
    pub order_by: Option<query::OrderBy>,
    /// 1 to 10,000.
    pub limit: usize,
    /// What to return.
    pub selection: Selection,
    /// Freshness.
    pub read: ReadOptions,
}
