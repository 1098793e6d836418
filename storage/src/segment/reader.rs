//! Opening a segment: every object is checked, then its blobs become a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::parquet::{count_rows, read_points};
use super::run::Run;
use super::vectors::{RunField, RunVectors};
use super::{blobs, value_blobs};
use crate::error::{Result, StorageError};
use crate::manifest::SegmentEntry;
use crate::object::{DurableStore, ObjectRef, blocking};
use crate::point::{FieldId, Point};
use crate::schema::CollectionSchema;

/// Opens segments.
#[derive(Clone, Copy, Debug)]
pub struct Segment;

impl Segment {
    /// The rows of a segment, mapped. Reads all its objects once to compare their checksums, but for graphs that compare
    /// those of their own parts when they use them. Blobs of fields that the schema no longer has are checked and left out.
    ///
    /// # Errors
    /// `Corrupt`, naming the object that is missing or damaged; `Io`.
    pub async fn open(store: &DurableStore, entry: &SegmentEntry, schema: &CollectionSchema) -> Result<Run> {
        let objects: Vec<ObjectRef> = entry.objects().cloned().collect();
        let mut files = store.map_checked(objects, blobs::verify).await?.into_iter();
        let parquet = files.next().unwrap_or_default();
        let blobs: BTreeMap<String, Bytes> = entry.blobs.keys().cloned().zip(files).collect();
        let (entry, schema) = (entry.clone(), schema.clone());
        blocking(move || {
            let (rows, segment) = count_rows(&entry.parquet.path, &parquet)?;
            if rows != entry.rows || segment != entry.id.as_str() {
                let why =
                    format!("{rows} rows of segment {segment}, should be {} of {}", entry.rows, entry.id);
                return Err(StorageError::corrupt(&entry.parquet.path, why));
            }
            Opening { entry: &entry, schema: &schema, blobs: &blobs }.run()
        })
        .await
    }

    /// The points of a segment as its Parquet file has them, dead ones too.
    ///
    /// # Errors
    /// `Corrupt`, naming the object; `Io`.
    pub async fn read_parquet(store: &DurableStore, entry: &SegmentEntry) -> Result<Vec<Point>> {
        let parquet = entry.parquet.clone();
        let file = store.map_verified(vec![parquet.clone()]).await?.pop().unwrap_or_default();
        blocking(move || {
            let mut points = Vec::new();
            for batch in read_points(&parquet.path, file)? {
                points.extend(batch?);
            }
            Ok(points)
        })
        .await
    }
}

struct Opening<'a> {
    entry: &'a SegmentEntry,
    schema: &'a CollectionSchema,
    blobs: &'a BTreeMap<String, Bytes>,
}

impl Opening<'_> {
    fn path(&self, name: &str) -> &str {
        // Only names out of the entry are asked for.
        self.entry.blobs.get(name).map_or("", |o| &o.path)
    }

    /// Blobs whose name is `kind` and a number.
    fn numbered<N: std::str::FromStr>(&self, kind: &str) -> impl Iterator<Item = (N, &str, &Bytes)> {
        let found = self.blobs.iter().filter_map(move |(name, file)| {
            let number = name.strip_prefix(kind)?.strip_prefix('.')?.parse().ok()?;
            Some((number, self.path(name), file))
        });
        found.collect::<Vec<_>>().into_iter()
    }

    fn run(&self) -> Result<Run> {
        let count = self.entry.rows;
        let file = self.blobs.get("rows").ok_or_else(|| {
            StorageError::corrupt(format!("segment {}", self.entry.id), "the manifest names no rows of it")
        })?;
        let rows = blobs::open_rows(self.path("rows"), file, count)?;
        let vectors = self.vectors(count)?;
        let mut indexes = BTreeMap::new();
        let declared = |spec: &_| self.schema.payload_indexes.contains(spec);
        for (_, path, file) in self.numbered::<u32>("pidx") {
            if let Some((spec, index)) = blobs::open_payload_index(path, file, count, declared)? {
                indexes.insert(spec.field, Arc::new(index));
            }
        }
        Run::assemble(rows, vectors, indexes)
    }

    fn vectors(&self, rows: u64) -> Result<RunVectors> {
        let mut vectors = RunVectors { dense: self.fields(rows)?, ..RunVectors::default() };
        for (id, path, file) in self.numbered::<FieldId>("sparse") {
            let Some(spec) = self.schema.vector_field_by_id(id) else { continue };
            let index = value_blobs::open_sparse(path, file, rows, spec)?;
            vectors.sparse.push((id, Arc::new(index)));
        }
        for (id, path, file) in self.numbered::<FieldId>("multi") {
            let Some(spec) = self.schema.vector_field_by_id(id) else { continue };
            vectors.multi.push((id, Arc::new(value_blobs::open_multi(path, file, rows, spec)?)));
        }
        Ok(vectors)
    }

    fn fields(&self, rows: u64) -> Result<Vec<RunField>> {
        let mut fields = Vec::new();
        for (id, path, file) in self.numbered::<FieldId>("vec") {
            let Some(spec) = self.schema.vector_field_by_id(id) else { continue };
            let mut field = RunField::exact(id, blobs::open_vectors(path, file, rows, spec)?);
            if let Some((_, path, file)) = self.numbered::<FieldId>("graph").find(|(of, ..)| *of == id) {
                match blobs::open_graph(path, file, rows, spec, &field.set) {
                    Ok(index) => {
                        field.index = index;
                        field.graph = true;
                    }
                    // All of a graph can be made again from what is beside it; until then the vectors are compared.
                    Err(e) if matches!(e, StorageError::Corrupt { .. }) => {
                        tracing::warn!(path, error = %e, "a graph cannot be read and is built anew");
                    }
                    Err(e) => return Err(e),
                }
            }
            fields.push(field);
        }
        Ok(fields)
    }
}
