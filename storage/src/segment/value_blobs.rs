//! The blobs of sparse and multi vectors.

use bytes::Bytes;
use engram_index::vector::{MultiSet, SparseIndex};

use super::blob::{Blob, BlobWriter, Header, Kind};
use super::blobs::vector_detail;
use super::merge::Plan;
use super::vectors::sparse_index;
use crate::error::{Result, StorageError};
use crate::object::{DurableStore, ObjectRef};
use crate::schema::VectorField;

/// Section: the index with its rows. `None` where no row has a vector.
pub(super) fn write_sparse(
    store: &DurableStore,
    path: &str,
    plan: &Plan<'_>,
    field: &VectorField,
) -> Result<Option<ObjectRef>> {
    let Some(index) = sparse_index(plan.sparse(field.id))? else { return Ok(None) };
    let written = store.write_blocking(path, |sink| {
        let rows = plan.order.len() as u64;
        let header = Header { kind: Kind::Sparse, rows, detail: vector_detail(field) };
        let lengths = [index.encoded_len() as u64];
        let mut blob = BlobWriter::begin(sink, path, header, &lengths)?;
        blob.section()?;
        index.encode_to(&mut blob).map_err(|e| StorageError::io(format!("write {path}"), &e))?;
        blob.complete()
    })?;
    Ok(Some(written))
}

pub(super) fn open_sparse(path: &str, file: &Bytes, rows: u64, field: &VectorField) -> Result<SparseIndex> {
    let blob = Blob::open(path, file, Kind::Sparse, 1)?;
    check(&blob, rows, field)?;
    let index = SparseIndex::open(blob.bytes(0)).map_err(|e| blob.corrupt(e.to_string()))?;
    let last = index.len().checked_sub(1).map(|last| index.ordinals().ordinal(last));
    check_last(&blob, rows, last)?;
    Ok(index)
}

/// Sections: ordinals (none where every row has a value), offsets in vectors, components. `None` where no row has a value.
pub(super) fn write_multi(
    store: &DurableStore,
    path: &str,
    plan: &Plan<'_>,
    field: &VectorField,
) -> Result<Option<ObjectRef>> {
    let rows = plan.order.len();
    let (mut ordinals, mut offsets, mut vectors) = (Vec::new(), vec![0u64], 0);
    for (ord, components) in plan.multi(field.id) {
        ordinals.push(ord);
        vectors += (components.len() / field.dimension.max(1)) as u64;
        offsets.push(vectors);
    }
    if ordinals.is_empty() {
        return Ok(None);
    }
    if ordinals.len() == rows {
        ordinals.clear();
    }
    let lengths = [ordinals.len() as u64 * 4, offsets.len() as u64 * 8, vectors * field.dimension as u64 * 4];
    let written = store.write_blocking(path, |sink| {
        let header = Header { kind: Kind::Multi, rows: rows as u64, detail: vector_detail(field) };
        let mut blob = BlobWriter::begin(sink, path, header, &lengths)?;
        blob.column(&ordinals)?;
        blob.column(&offsets)?;
        blob.section()?;
        plan.multi(field.id).try_for_each(|(_, part)| blob.put(bytemuck::cast_slice(part)))?;
        blob.complete()
    })?;
    Ok(Some(written))
}

pub(super) fn open_multi(path: &str, file: &Bytes, rows: u64, field: &VectorField) -> Result<MultiSet> {
    let blob = Blob::open(path, file, Kind::Multi, 3)?;
    check(&blob, rows, field)?;
    let ordinals = blob.column::<u32>(0)?;
    let ordinals = (!ordinals.is_empty()).then_some(ordinals);
    let all = ordinals.is_none();
    let (metric, dimension) = (field.metric, field.dimension);
    let set = MultiSet::new(metric, dimension, ordinals, blob.column(1)?, blob.column(2)?);
    let set = set.map_err(|e| blob.corrupt(e.to_string()))?;
    if all && set.len() as u64 != rows {
        return Err(blob.corrupt(format!("{} values for {rows} rows", set.len())));
    }
    let last = set.len().checked_sub(1).map(|last| set.ordinals().ordinal(last));
    check_last(&blob, rows, last)?;
    Ok(set)
}

fn check(blob: &Blob, rows: u64, field: &VectorField) -> Result<()> {
    if blob.header.rows != rows || blob.header.detail != vector_detail(field) {
        return Err(blob.corrupt("it belongs to other rows or to another vector field"));
    }
    Ok(())
}

fn check_last(blob: &Blob, rows: u64, last: Option<u32>) -> Result<()> {
    if last.is_some_and(|last| u64::from(last) >= rows) {
        return Err(blob.corrupt("vectors of rows that are not there"));
    }
    Ok(())
}
