//! Collections as the catalog keeps them, and the keys of their shards.

use std::fmt;

use engram_index::payload::PayloadIndexKind;
use engram_index::text::TextOptions;
use engram_index::vector::{Metric, graph::Layout};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::point::FieldId;

/// Owner of collections, made by the server; appears in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TenantId(pub u32);

/// The tenant of every request while no keys are configured.
pub const DEFAULT_TENANT: TenantId = TenantId(1);

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Server-made identity of a collection; names never appear in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CollectionId(pub Uuid);

impl fmt::Display for CollectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// Region tag: 1 to 32 of `a-z`, `0-9` and `-`, since it appears in paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(String);

impl RegionName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RegionName {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        let fits = (1..=32).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            Ok(Self(s))
        } else {
            Err(format!("region {s:?} is not allowed: use 1 to 32 of a-z, 0-9 and -"))
        }
    }
}

impl TryFrom<&str> for RegionName {
    type Error = String;
    fn try_from(s: &str) -> Result<Self, String> {
        s.to_owned().try_into()
    }
}

impl From<RegionName> for String {
    fn from(r: RegionName) -> Self {
        r.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shard: the points of one region and one bucket of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardKey {
    /// Owner.
    pub tenant: TenantId,
    /// Collection.
    pub collection: CollectionId,
    /// Region all its points carry.
    pub region: RegionName,
    /// Bucket of the point ids.
    pub bucket: u32,
}

impl ShardKey {
    /// Path of everything the shard stores, without slashes at the ends: `r/{region}/t/{tenant}/c/{collection}/s/{bucket}`.
    pub fn path(&self) -> String {
        format!("r/{}/t/{}/c/{}/s/{}", self.region, self.tenant, self.collection, self.bucket)
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// What the values of a vector field are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorKind {
    /// One vector a point.
    #[default]
    Dense,
    /// Few numbered components a point, compared by inner product.
    Sparse {
        /// What is done to the components of a query.
        #[serde(default)]
        modifier: SparseModifier,
    },
    /// Several vectors a point, compared by max-sim.
    Multi,
}

/// What is done to the components of a query before it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SparseModifier {
    /// Nothing.
    #[default]
    None,
    /// Each is weighed by how few points have it (inverse document frequency).
    Idf,
}

/// One vector field of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorField {
    /// Stable number, never reused.
    pub id: FieldId,
    /// "" is the default field.
    pub name: String,
    /// 1 to 16,384; 0 for sparse fields, which have none.
    pub dimension: usize,
    /// Distance function; `dot` for sparse fields.
    pub metric: Metric,
    /// Links of a graph node.
    pub hnsw_m: usize,
    /// Candidates while a graph is built.
    pub hnsw_ef_construction: usize,
    /// Segments with fewer vectors are scanned exactly.
    pub graph_threshold: usize,
    /// Rows of graphs that are built from now on.
    #[serde(default)]
    pub layout: Layout,
    /// What its values are; all were dense once.
    #[serde(default)]
    pub kind: VectorKind,
}

/// One payload index of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadIndexSpec {
    /// Dotted path of the field.
    pub field: String,
    /// Kind of its values.
    pub kind: PayloadIndexKind,
    /// How text becomes words, of a text index; the usual options where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextOptions>,
}

impl PayloadIndexSpec {
    /// An index of `kind` over `field`; of words, with the usual options.
    pub fn new(field: impl Into<String>, kind: PayloadIndexKind) -> Self {
        Self { field: field.into(), kind, text: None }
    }

    /// How text becomes words, where this is a text index.
    pub fn text_options(&self) -> Option<TextOptions> {
        (self.kind == PayloadIndexKind::Text).then(|| self.text.clone().unwrap_or_default())
    }
}

/// Points of `region` (all when `None`) live `max_age_ms` from `created_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRule {
    /// Region the rule is for.
    pub region: Option<RegionName>,
    /// Longest age in milliseconds.
    pub max_age_ms: i64,
}

/// Definition of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSchema {
    /// Server-made identity.
    pub id: CollectionId,
    /// Owner.
    pub tenant: TenantId,
    /// Name, unique for the tenant; see [`check_name`].
    pub name: String,
    /// Vector fields, ascending by id; may be empty (points as plain state).
    pub vectors: Vec<VectorField>,
    /// Least number of a vector field that was never used, where one was taken away: what segments and logs still hold of
    /// that one must not become the values of another.
    #[serde(default)]
    pub next_field: FieldId,
    /// Payload indexes, by field.
    pub payload_indexes: Vec<PayloadIndexSpec>,
    /// Regions it accepts, at least one.
    pub regions: Vec<RegionName>,
    /// Region of points that name none.
    pub default_region: RegionName,
    /// Buckets of each region, 1 to 256, fixed.
    pub shards_per_region: u32,
    /// Retention rules.
    pub retention: Vec<RetentionRule>,
    /// What its owner keeps beside it: any JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Options of clients' dialects that have no place above: kept to be told again.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub client_options: Map<String, Value>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Counts changes of this definition.
    pub revision: u64,
    /// What it was recovered from.
    #[serde(default)]
    pub lineage: Lineage,
}

/// Where a collection that was recovered from a snapshot comes from; empty for others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Collections whose points, or whose place, it took over, and those that these came from: a purge of this one
    /// concerns their snapshots.
    #[serde(default)]
    pub origins: Vec<CollectionId>,
    /// Whose folder its snapshots lie in: that of the collection that it replaced. Its own where absent.
    #[serde(default)]
    pub snapshots: Option<CollectionId>,
}

impl CollectionSchema {
    /// The vector field called `name`.
    pub fn vector_field(&self, name: &str) -> Option<&VectorField> {
        self.vectors.iter().find(|f| f.name == name)
    }

    /// The vector field numbered `id`.
    pub fn vector_field_by_id(&self, id: FieldId) -> Option<&VectorField> {
        self.vectors.iter().find(|f| f.id == id)
    }

    /// Number of the next vector field.
    pub fn free_field(&self) -> FieldId {
        let after = self.vectors.iter().map(|field| field.id.saturating_add(1)).max().unwrap_or(0);
        after.max(self.next_field)
    }

    /// How text becomes words in the field of this dotted path, where it has a text index.
    pub fn text_options(&self, field: &str) -> Option<TextOptions> {
        self.payload_indexes.iter().find(|spec| spec.field == field)?.text_options()
    }

    /// Keys of all shards, region by region.
    pub fn shards(&self) -> impl Iterator<Item = ShardKey> + '_ {
        self.regions
            .iter()
            .flat_map(move |region| (0..self.shards_per_region).map(move |b| self.shard(region, b)))
    }

    /// Key of one shard.
    pub fn shard(&self, region: &RegionName, bucket: u32) -> ShardKey {
        ShardKey { tenant: self.tenant, collection: self.id, region: region.clone(), bucket }
    }

    /// Name of the folder of its snapshots.
    pub fn snapshot_home(&self) -> CollectionId {
        self.lineage.snapshots.unwrap_or(self.id)
    }

    /// Points of `region` created before this time are hidden at `now_ms`.
    pub fn retention_cutoff(&self, region: &RegionName, now_ms: i64) -> Option<i64> {
        let rules = self.retention.iter().filter(|r| r.region.as_ref().is_none_or(|x| x == region));
        rules.map(|r| now_ms.saturating_sub(r.max_age_ms)).max()
    }
}

/// Checks the name of a collection or an alias: 1 to 255 bytes, no control characters, no `/`, not `.` or `..`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=255).contains(&name.len())
        && !name.chars().any(|c| c.is_control() || c == '/')
        && name != "."
        && name != "..";
    if fits {
        Ok(())
    } else {
        Err(format!("name {name:?} is not allowed: use 1 to 255 bytes without `/` and control characters"))
    }
}
