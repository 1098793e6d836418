//! An immutable run of rows, in memory or mapped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engram_index::Column;
use engram_index::payload::FieldIndex;
use engram_index::vector::exact::ExactIndex;
use engram_index::vector::{MultiSet, SparseIndex, VectorIndex, VectorSet, VectorValue};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::vectors::{RunField, RunVectors};
use crate::error::{Result, StorageError};
use crate::point::{FieldId, Point, PointId};

/// `expires_at` of a row that never expires.
pub const NEVER: i64 = i64::MAX;

/// What a row carries beside its id, vectors and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMeta {
    /// Offset of the write that made this version.
    pub version: u64,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Server time of the write.
    pub ingested_at: i64,
    /// Milliseconds since the epoch, `None` for never.
    pub expires_at: Option<i64>,
}

/// An immutable run of rows; cloning shares it.
///
/// Rows are sorted by id, each id once, so the order of ordinals is the order of ids.
#[derive(Clone)]
pub struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    rows: Rows,
    vectors: RunVectors,
    payload_indexes: BTreeMap<String, Arc<FieldIndex>>,
    oldest_created_at: i64,
    first_expiry: i64,
}

/// The columns of a run that every row has.
#[derive(Clone, Default)]
pub(crate) struct Rows {
    /// Ids of the first rows: numbers, ascending.
    pub nums: Column<u64>,
    /// Ids of the other rows: UUIDs, ascending.
    pub uuids: Column<[u8; 16]>,
    pub version: Column<u64>,
    pub created_at: Column<i64>,
    pub ingested_at: Column<i64>,
    /// [`NEVER`] for never.
    pub expires_at: Column<i64>,
    /// One more than rows; payload i lies between offset i and i + 1.
    pub payload_offsets: Column<u64>,
    pub payload: Bytes,
    /// True when `payload` is a view into a mapped file.
    pub mapped: bool,
}

impl Rows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.version.len()
    }

    /// Why these columns are not those of a run, `None` if they are.
    pub(crate) fn misfit(&self) -> Option<&'static str> {
        let n = self.len();
        let ascending = |o: &[u64]| o.windows(2).all(|w| w[0] <= w[1]);
        if n >= u32::MAX as usize {
            return Some("more rows than ordinals");
        }
        if self.nums.len() + self.uuids.len() != n {
            return Some("number of ids is not that of rows");
        }
        if [self.created_at.len(), self.ingested_at.len(), self.expires_at.len()] != [n; 3] {
            return Some("columns differ in length");
        }
        let offsets = self.payload_offsets.as_slice();
        if offsets.len() != n + 1 || !ascending(offsets) {
            return Some("payload offsets are not one per row and ascending");
        }
        if offsets.first() != Some(&0) || offsets.last() != Some(&(self.payload.len() as u64)) {
            return Some("payload offsets do not span the payloads");
        }
        if !self.nums.windows(2).all(|w| w[0] < w[1]) || !self.uuids.windows(2).all(|w| w[0] < w[1]) {
            return Some("ids do not ascend");
        }
        None
    }

    fn heap_bytes(&self) -> usize {
        let columns = self.nums.heap_bytes() + self.uuids.heap_bytes() + self.version.heap_bytes();
        let times =
            self.created_at.heap_bytes() + self.ingested_at.heap_bytes() + self.expires_at.heap_bytes();
        let payload = if self.mapped { 0 } else { self.payload.len() };
        columns + times + self.payload_offsets.heap_bytes() + payload
    }
}

impl Run {
    /// A run of these columns. `rows` must fit (see [`Rows::misfit`]); ordinals of sets and indexes must be below
    /// the number of rows.
    pub(crate) fn assemble(
        rows: Rows,
        mut vectors: RunVectors,
        payload_indexes: BTreeMap<String, Arc<FieldIndex>>,
    ) -> Result<Self> {
        if let Some(why) = rows.misfit() {
            return Err(StorageError::Internal(format!("run: {why}")));
        }
        vectors.dense.sort_by_key(|f| f.id);
        let oldest_created_at = rows.created_at.iter().copied().min().unwrap_or(i64::MAX);
        let first_expiry = rows.expires_at.iter().copied().min().unwrap_or(NEVER);
        Ok(Self {
            inner: Arc::new(Inner { rows, vectors, payload_indexes, oldest_created_at, first_expiry }),
        })
    }

    /// The same rows with `index` as the graph of its field. Does nothing for a field the run does not have.
    #[must_use]
    pub fn with_graph(&self, field: FieldId, index: Arc<dyn VectorIndex>) -> Self {
        let mut vectors = self.inner.vectors.clone();
        for f in vectors.dense.iter_mut().filter(|f| f.id == field) {
            // The graph brings its own handle to the same vectors; using that one keeps a single copy alive.
            *f = RunField { id: field, set: index.vectors().clone(), index: index.clone(), graph: true };
        }
        self.replace(vectors, self.inner.payload_indexes.clone())
    }

    /// The same rows with the exact scan instead of the graph of `field`.
    #[must_use]
    pub fn without_graph(&self, field: FieldId) -> Self {
        let mut vectors = self.inner.vectors.clone();
        for f in vectors.dense.iter_mut().filter(|f| f.id == field) {
            f.index = Arc::new(ExactIndex::new(f.set.clone()));
            f.graph = false;
        }
        self.replace(vectors, self.inner.payload_indexes.clone())
    }

    /// The same rows with `index` as the payload index of `path`.
    #[must_use]
    pub fn with_payload_index(&self, path: &str, index: FieldIndex) -> Self {
        let mut indexes = self.inner.payload_indexes.clone();
        indexes.insert(path.to_owned(), Arc::new(index));
        self.replace(self.inner.vectors.clone(), indexes)
    }

    fn replace(&self, vectors: RunVectors, payload_indexes: BTreeMap<String, Arc<FieldIndex>>) -> Self {
        let Inner { rows, oldest_created_at, first_expiry, .. } = &*self.inner;
        let (oldest_created_at, first_expiry) = (*oldest_created_at, *first_expiry);
        let inner = Inner { rows: rows.clone(), vectors, payload_indexes, oldest_created_at, first_expiry };
        Self { inner: Arc::new(inner) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.inner.rows.len()
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ordinal of the row with this id.
    pub fn find(&self, id: &PointId) -> Option<u32> {
        let rows = &self.inner.rows;
        let at = match id {
            PointId::Num(n) => rows.nums.binary_search(n).ok()?,
            PointId::Uuid(u) => rows.nums.len() + rows.uuids.binary_search(u.as_bytes()).ok()?,
        };
        u32::try_from(at).ok()
    }

    /// Ordinal of the first row whose id is `id` or greater; `len()` when there is none.
    pub fn lower_bound(&self, id: &PointId) -> u32 {
        let rows = &self.inner.rows;
        let at = match id {
            PointId::Num(n) => rows.nums.partition_point(|x| x < n),
            PointId::Uuid(u) => rows.nums.len() + rows.uuids.partition_point(|x| x < u.as_bytes()),
        };
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Id of row `ord`; the nil UUID past the end.
    pub fn id(&self, ord: u32) -> PointId {
        let rows = &self.inner.rows;
        let ord = ord as usize;
        match rows.nums.get(ord) {
            Some(n) => PointId::Num(*n),
            None => {
                let bytes = rows.uuids.get(ord.wrapping_sub(rows.nums.len())).copied().unwrap_or_default();
                PointId::Uuid(Uuid::from_bytes(bytes))
            }
        }
    }

    /// Version and times of row `ord`; zeros past the end.
    pub fn meta(&self, ord: u32) -> RowMeta {
        let rows = &self.inner.rows;
        let ord = ord as usize;
        RowMeta {
            version: rows.version.get(ord).copied().unwrap_or(0),
            created_at: rows.created_at.get(ord).copied().unwrap_or(0),
            ingested_at: rows.ingested_at.get(ord).copied().unwrap_or(0),
            expires_at: rows.expires_at.get(ord).copied().filter(|&at| at != NEVER),
        }
    }

    fn payload_range(&self, ord: u32) -> std::ops::Range<usize> {
        let offsets = self.inner.rows.payload_offsets.as_slice();
        match offsets.get(ord as usize..ord as usize + 2) {
            // Below the payload's length by `Rows::misfit`, so they fit a usize.
            Some(&[from, to]) => from as usize..to as usize,
            _ => 0..0,
        }
    }

    /// Payload of row `ord`, one JSON object; empty past the end.
    pub fn payload(&self, ord: u32) -> &[u8] {
        &self.inner.rows.payload[self.payload_range(ord)]
    }

    /// Payload of row `ord` without copying it: keeps the run's bytes alive.
    pub fn payload_bytes(&self, ord: u32) -> Bytes {
        self.inner.rows.payload.slice(self.payload_range(ord))
    }

    fn field(&self, field: FieldId) -> Option<&RunField> {
        self.inner.vectors.dense.iter().find(|f| f.id == field)
    }

    /// Dense vector of row `ord` in `field`, if the row has one.
    pub fn vector(&self, field: FieldId, ord: u32) -> Option<&[f32]> {
        let set = &self.field(field)?.set;
        set.position(ord).map(|at| set.vector(at))
    }

    /// Value of row `ord` in `field`, of any kind, if the row has one.
    pub fn vector_value(&self, field: FieldId, ord: u32) -> Option<VectorValue> {
        self.inner.vectors.value(field, ord)
    }

    /// The sparse vectors of `field`; `None` when no row has one.
    pub fn sparse_index(&self, field: FieldId) -> Option<&Arc<SparseIndex>> {
        self.inner.vectors.sparse.iter().find(|(id, _)| *id == field).map(|(_, index)| index)
    }

    /// The multi vectors of `field`; `None` when no row has one.
    pub fn multi_set(&self, field: FieldId) -> Option<&Arc<MultiSet>> {
        self.inner.vectors.multi.iter().find(|(id, _)| *id == field).map(|(_, set)| set)
    }

    /// All dense vectors of `field`; `None` when no row has one.
    pub fn vector_set(&self, field: FieldId) -> Option<&Arc<VectorSet>> {
        self.field(field).map(|f| &f.set)
    }

    /// Whether some row has a value in `field`, of any kind.
    pub fn has_vectors(&self, field: FieldId) -> bool {
        let vectors = &self.inner.vectors;
        vectors.dense.iter().any(|f| f.id == field)
            || vectors.sparse.iter().any(|(id, _)| *id == field)
            || vectors.multi.iter().any(|(id, _)| *id == field)
    }

    /// The graph of `field` if there is one, else the exact scan; `None` when no row has a vector of it.
    pub fn vector_index(&self, field: FieldId) -> Option<&Arc<dyn VectorIndex>> {
        self.field(field).map(|f| &f.index)
    }

    /// Whether `field` has a graph. One that has met damaged bytes is none: it answers by the exact scan.
    pub fn has_graph(&self, field: FieldId) -> bool {
        self.field(field).is_some_and(|f| f.graph && !f.index.damaged())
    }

    /// Fields whose graph has met damaged bytes.
    pub fn damaged_graphs(&self) -> impl Iterator<Item = FieldId> + '_ {
        self.inner.vectors.dense.iter().filter(|f| f.graph && f.index.damaged()).map(|f| f.id)
    }

    /// Whether `field` has a graph that tells of no vectors that are gone (see [`VectorIndex::repaired`]).
    pub fn has_clean_graph(&self, field: FieldId) -> bool {
        self.field(field).is_some_and(|f| f.graph && !f.index.repaired())
    }

    /// Vector fields of which some row has a vector, ascending.
    pub fn fields(&self) -> impl Iterator<Item = FieldId> + '_ {
        self.inner.vectors.fields().into_iter()
    }

    /// The payload index of the field with this dotted path.
    pub fn payload_index(&self, path: &str) -> Option<&FieldIndex> {
        self.inner.payload_indexes.get(path).map(Arc::as_ref)
    }

    /// Dotted paths of the payload indexes.
    pub fn payload_index_paths(&self) -> impl Iterator<Item = &str> {
        self.inner.payload_indexes.keys().map(String::as_str)
    }

    /// Row `ord` as a point; vectors are copied, the payload is shared.
    pub fn point(&self, ord: u32) -> Point {
        let RowMeta { version, created_at, ingested_at, expires_at } = self.meta(ord);
        let vectors = self.inner.vectors.values(ord);
        let payload = self.payload_bytes(ord);
        Point { id: self.id(ord), vectors, payload, created_at, ingested_at, expires_at, version }
    }

    /// Heap bytes held; mapped files count 0.
    pub fn heap_bytes(&self) -> usize {
        // Indexes of words can be as large as the payload; the others are small beside it.
        let indexes = self.inner.payload_indexes.values();
        let words: usize = indexes.filter_map(|i| i.text()).map(|words| words.heap_bytes()).sum();
        self.inner.rows.heap_bytes() + self.inner.vectors.heap_bytes() + words
    }

    /// Smallest `created_at`; `i64::MAX` without rows.
    pub fn oldest_created_at(&self) -> i64 {
        self.inner.oldest_created_at
    }

    /// Largest `created_at`; `i64::MIN` without rows.
    pub fn newest_created_at(&self) -> i64 {
        self.inner.rows.created_at.iter().copied().max().unwrap_or(i64::MIN)
    }

    /// Smallest `expires_at`, `None` when no row ever expires.
    pub fn first_expiry(&self) -> Option<i64> {
        Some(self.inner.first_expiry).filter(|&at| at != NEVER)
    }

    /// Whether there are rows that [`Run::hidden`] hides, told at once.
    pub fn may_hide(&self, created_before: Option<i64>, now: i64) -> bool {
        created_before.is_some_and(|cutoff| self.inner.oldest_created_at < cutoff)
            || self.first_expiry().is_some_and(|at| at <= now)
    }

    /// Rows created before `created_before`, or expired at `now`. `None`, at once, when there are none.
    pub fn hidden(&self, created_before: Option<i64>, now: i64) -> Option<RoaringBitmap> {
        if !self.may_hide(created_before, now) {
            return None;
        }
        let cutoff = created_before.unwrap_or(i64::MIN);
        let rows = &self.inner.rows;
        let times = rows.created_at.iter().zip(rows.expires_at.iter());
        // An expiry of i64::MAX is "never", also when the clock shows that.
        let gone = times.map(|(&created, &expires)| created < cutoff || (expires <= now && expires != NEVER));
        let hidden = (0u32..).zip(gone).filter(|(_, gone)| *gone).map(|(ord, _)| ord);
        let hidden = RoaringBitmap::from_sorted_iter(hidden).unwrap_or_default();
        (!hidden.is_empty()).then_some(hidden)
    }

    /// The columns every row has.
    pub(crate) fn rows(&self) -> &Rows {
        &self.inner.rows
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<_> = self.fields().collect();
        f.debug_struct("Run").field("rows", &self.len()).field("fields", &fields).finish_non_exhaustive()
    }
}
