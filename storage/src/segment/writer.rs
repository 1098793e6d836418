//! Writing a segment: its Parquet file and its blobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use engram_index::payload::FieldIndex;
use engram_index::vector::VectorIndex;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::builder::index_payloads;
use super::merge::{Plan, Remap};
use super::parquet::{ParquetSource, write_parquet};
use super::run::{NEVER, Run};
use super::{blobs, value_blobs};
use crate::error::{Result, StorageError};
use crate::manifest::{SegmentEntry, SegmentId};
use crate::object::{DurableStore, ObjectRef, blocking};
use crate::point::FieldId;
use crate::schema::{CollectionSchema, PayloadIndexSpec, ShardKey, VectorField, VectorKind};

/// Writes the vectors of one field; nothing where no row has one.
type WriteVectors = fn(&DurableStore, &str, &Plan<'_>, &VectorField) -> Result<Option<ObjectRef>>;

/// Writes segments of one shard.
#[derive(Clone, Debug)]
pub struct SegmentWriter {
    store: DurableStore,
    shard: ShardKey,
    schema: Arc<CollectionSchema>,
}

/// What writing a segment gave.
#[derive(Clone, Debug)]
pub struct Written {
    /// The segment, `None` where no row survived and nothing was written.
    pub entry: Option<SegmentEntry>,
    /// Where the rows of the inputs went.
    pub remap: Remap,
}

impl SegmentWriter {
    /// A writer for segments of `shard` under this schema.
    pub fn new(store: DurableStore, shard: ShardKey, schema: Arc<CollectionSchema>) -> Self {
        Self { store, shard, schema }
    }

    fn parquet_path(&self, id: &SegmentId) -> String {
        format!("{}/seg/{id}.parquet", self.shard)
    }

    fn blob_path(&self, id: &SegmentId, name: &str) -> String {
        format!("{}/idx/{id}.{name}", self.shard)
    }

    /// Merges sorted runs, without the rows in each one's bitmap, into one segment. Vectors and payloads are streamed:
    /// beside the inputs some 50 bytes a row, the payload indexes, one index of sparse vectors and one row group are in
    /// memory.
    ///
    /// Nothing is published: until the manifest names it the segment is garbage (see
    /// [`GcOptions::unpublished`](crate::manifest::GcOptions)).
    ///
    /// # Errors
    /// `Exhausted` or a full disk (`Io` with `no_space`): objects already written are removed. `Invalid` where a
    /// payload is no JSON.
    pub async fn write(&self, id: &SegmentId, inputs: Vec<(Run, RoaringBitmap)>) -> Result<Written> {
        let (writer, id) = (self.clone(), id.clone());
        blocking(move || {
            let inputs: Vec<(&Run, &RoaringBitmap)> = inputs.iter().map(|(run, dead)| (run, dead)).collect();
            writer.write_blocking(&id, &inputs)
        })
        .await
    }

    /// [`SegmentWriter::write`] for threads that may block.
    ///
    /// # Errors
    /// Those of [`SegmentWriter::write`].
    pub fn write_blocking(&self, id: &SegmentId, inputs: &[(&Run, &RoaringBitmap)]) -> Result<Written> {
        let plan = Plan::new(inputs)?;
        if plan.order.is_empty() {
            return Ok(Written { entry: None, remap: plan.remap });
        }
        let mut done = Vec::new();
        match self.write_objects(id, &plan, &mut done) {
            Ok(entry) => Ok(Written { entry: Some(entry), remap: plan.remap }),
            Err(e) => {
                self.discard(done);
                Err(e)
            }
        }
    }

    fn write_objects(&self, id: &SegmentId, plan: &Plan<'_>, done: &mut Vec<String>) -> Result<SegmentEntry> {
        let store = &self.store;
        let mut blobs = BTreeMap::new();
        let mut keep = |name: String, object: ObjectRef, done: &mut Vec<String>| {
            done.push(object.path.clone());
            blobs.insert(name, object);
        };
        let rows = blobs::write_rows(store, &self.blob_path(id, "rows"), plan)?;
        keep("rows".to_owned(), rows, done);
        for field in &self.schema.vectors {
            let (kind, write): (_, WriteVectors) = match field.kind {
                VectorKind::Dense => ("vec", blobs::write_vectors),
                VectorKind::Sparse { .. } => ("sparse", value_blobs::write_sparse),
                VectorKind::Multi => ("multi", value_blobs::write_multi),
            };
            let name = format!("{kind}.{}", field.id);
            if let Some(object) = write(store, &self.blob_path(id, &name), plan, field)? {
                keep(name, object, done);
            }
        }
        let count = plan.order.len() as u64;
        let indexes = index_payloads(&self.schema, plan.payloads())?;
        for (number, (path, index)) in indexes.iter().enumerate() {
            let Some(spec) = self.schema.payload_indexes.iter().find(|s| s.field == *path) else { continue };
            let name = format!("pidx.{number}");
            let object = blobs::write_payload_index(store, &self.blob_path(id, &name), count, spec, index)?;
            keep(name, object, done);
        }
        drop(indexes);
        let source = ParquetSource { schema: &self.schema, shard: &self.shard, segment: id };
        let parquet = write_parquet(store, &self.parquet_path(id), plan, source)?;
        let metas = || plan.order.iter().map(|t| plan.run(*t).meta(t.ord));
        Ok(SegmentEntry {
            id: id.clone(),
            rows: count,
            parquet,
            blobs,
            deletes: RoaringBitmap::new(),
            schema_revision: self.schema.revision,
            min_created_at: metas().map(|m| m.created_at).min().unwrap_or(i64::MAX),
            max_created_at: metas().map(|m| m.created_at).max().unwrap_or(i64::MIN),
            min_expires_at: metas().filter_map(|m| m.expires_at).min().filter(|&at| at != NEVER),
        })
    }

    /// Removes what was written of a segment that nothing will name.
    pub async fn discard_segment(&self, entry: &SegmentEntry) {
        let paths = entry.objects().map(|o| o.path.clone()).collect();
        if let Err(e) = self.store.delete_all(paths).await {
            tracing::warn!(error = %e, "left objects of a failed segment; the next collection removes them");
        }
    }

    /// Removes objects of a segment that did not come about.
    fn discard(&self, paths: Vec<String>) {
        let removal = self.store.delete_all(paths.to_vec());
        let removed = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.block_on(removal),
            Err(_) => return,
        };
        if let Err(e) = removed {
            tracing::warn!(error = %e, "left objects of a failed segment; the next collection removes them");
        }
    }

    /// Writes the graph of one field of a segment; the caller puts it under `graph.{field}` into the entry's blobs
    /// and publishes that. A file that the entry names already stays what it is.
    ///
    /// # Errors
    /// `Io`; `Invalid` for a field the schema does not have.
    pub async fn add_graph(
        &self,
        entry: &SegmentEntry,
        field: FieldId,
        index: Arc<dyn VectorIndex>,
    ) -> Result<ObjectRef> {
        let (writer, rows) = (self.clone(), entry.rows);
        let path = self.graph_path(entry, field);
        blocking(move || {
            let spec = writer.schema.vector_field_by_id(field);
            let spec =
                spec.ok_or_else(|| StorageError::Invalid(format!("there is no vector field {field}")))?;
            blobs::write_graph(&writer.store, &path, rows, spec, index.as_ref())
        })
        .await
    }

    /// Where the next graph of a field goes: never where one was before, since older manifests and receipts name that.
    fn graph_path(&self, entry: &SegmentEntry, field: FieldId) -> String {
        let (moment, _) = Uuid::now_v7().as_u64_pair();
        self.blob_path(&entry.id, &format!("graph.{field}.{moment}"))
    }

    /// Builds the index of `spec` over the payloads of a segment and writes it. Returns the name it has among the
    /// entry's blobs, where the caller puts it, with the index.
    ///
    /// # Errors
    /// `Io`; `Invalid` where a payload is no JSON.
    pub async fn add_payload_index(
        &self,
        entry: &SegmentEntry,
        run: &Run,
        spec: &PayloadIndexSpec,
    ) -> Result<(String, ObjectRef, FieldIndex)> {
        let numbers = entry.blobs.keys().filter_map(|name| name.strip_prefix("pidx.")?.parse::<u32>().ok());
        let name = format!("pidx.{}", numbers.max().map_or(0, |n| n + 1));
        let (path, rows) = (self.blob_path(&entry.id, &name), entry.rows);
        let (store, run, spec) = (self.store.clone(), run.clone(), spec.clone());
        let mut alone = CollectionSchema::clone(&self.schema);
        alone.payload_indexes = vec![spec.clone()];
        let object = blocking(move || {
            let all = 0..u32::try_from(run.len()).unwrap_or(u32::MAX);
            let mut indexes = index_payloads(&alone, all.map(|ord| (ord, run.payload(ord))))?;
            let index = indexes.remove(&spec.field);
            let index = index.ok_or_else(|| StorageError::Internal(format!("no index of {}", spec.field)))?;
            blobs::write_payload_index(&store, &path, rows, &spec, &index)
        })
        .await?;
        // What is searched from now on is the file, not what was in memory to write it.
        let file = self.store.map_verified(vec![object.clone()]).await?.pop().unwrap_or_default();
        blocking(move || {
            let opened = blobs::open_payload_index(&object.path, &file, rows, |_| true)?;
            let lost = || StorageError::Internal(format!("no index in {}", object.path));
            let (_, index) = opened.ok_or_else(lost)?;
            Ok((name, object, index))
        })
        .await
    }
}
