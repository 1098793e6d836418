//! The blobs of a segment: rows, vectors, payload indexes and graphs.

use std::sync::Arc;

use bytes::Bytes;
use engram_index::payload::FieldIndex;
use engram_index::vector::graph::is_graph;
use engram_index::vector::{VectorIndex, VectorSet};
use serde::{Deserialize, Serialize};

use super::blob::{Blob, BlobWriter, Header, Kind};
use super::merge::Plan;
use super::run::Rows;
use crate::error::{Result, StorageError};
use crate::object::{DurableStore, ObjectRef};
use crate::schema::{PayloadIndexSpec, VectorField};

/// Compares an object of a segment with its reference. A graph of our own kind has a checksum for each block of its rows,
/// compared before the block is first used, and one for all before them; reading it all beforehand would take as long as
/// all other objects together. What is damaged beyond its magic words is then told when its head is read.
///
/// # Errors
/// `Corrupt`, naming the object.
pub(super) fn verify(object: &ObjectRef, content: &Bytes) -> Result<()> {
    let graph = Blob::open(&object.path, content, Kind::Graph, 1);
    match graph {
        Ok(graph) if is_graph(&graph.bytes(0)) => object.verify_length(content),
        _ => object.verify(content),
    }
}

/// What a payload index blob says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadIndexHead {
    spec: PayloadIndexSpec,
}

/// Sections: number ids, UUID ids, versions, created, ingested, expires, payload offsets, payloads.
pub(super) fn write_rows(store: &DurableStore, path: &str, plan: &Plan<'_>) -> Result<ObjectRef> {
    let rows = plan.order.len() as u64;
    let (nums, uuids) = plan.ids();
    let offsets = plan.payload_offsets();
    let payload_bytes = offsets.last().copied().unwrap_or(0);
    let of_ids = [nums.len() as u64 * 8, uuids.len() as u64 * 16];
    let lengths =
        [of_ids[0], of_ids[1], rows * 8, rows * 8, rows * 8, rows * 8, (rows + 1) * 8, payload_bytes];
    store.write_blocking(path, |sink| {
        let header = Header { kind: Kind::Rows, rows, detail: 0 };
        let mut blob = BlobWriter::begin(sink, path, header, &lengths)?;
        blob.column(&nums)?;
        blob.column(&uuids)?;
        blob.column(&plan.gather(|r| &r.version))?;
        blob.column(&plan.gather(|r| &r.created_at))?;
        blob.column(&plan.gather(|r| &r.ingested_at))?;
        blob.column(&plan.gather(|r| &r.expires_at))?;
        blob.column(&offsets)?;
        blob.section()?;
        plan.payloads().try_for_each(|(_, payload)| blob.put(payload))?;
        blob.complete()
    })
}

pub(super) fn open_rows(path: &str, file: &Bytes, expected_rows: u64) -> Result<Rows> {
    let blob = Blob::open(path, file, Kind::Rows, 8)?;
    let rows = Rows {
        nums: blob.column(0)?,
        uuids: blob.column(1)?,
        version: blob.column(2)?,
        created_at: blob.column(3)?,
        ingested_at: blob.column(4)?,
        expires_at: blob.column(5)?,
        payload_offsets: blob.column(6)?,
        payload: blob.bytes(7),
        mapped: true,
    };
    if let Some(why) = rows.misfit() {
        return Err(blob.corrupt(why));
    }
    if rows.len() as u64 != expected_rows || blob.header.rows != expected_rows || blob.header.detail != 0 {
        return Err(blob.corrupt(format!("{} rows, should be {expected_rows}", rows.len())));
    }
    Ok(rows)
}

pub(super) fn vector_detail(field: &VectorField) -> u64 {
    u64::from(field.id) << 32 | field.dimension as u64
}

/// Sections: ordinals (none where every row has a vector), components. `None` where no row has a vector.
pub(super) fn write_vectors(
    store: &DurableStore,
    path: &str,
    plan: &Plan<'_>,
    field: &VectorField,
) -> Result<Option<ObjectRef>> {
    let rows = plan.order.len();
    let mut ordinals: Vec<u32> = plan.vectors(field.id).map(|(ord, _)| ord).collect();
    let having = ordinals.len();
    if having == 0 {
        return Ok(None);
    }
    if having == rows {
        ordinals.clear();
    }
    let lengths = [ordinals.len() as u64 * 4, having as u64 * field.dimension as u64 * 4];
    let written = store.write_blocking(path, |sink| {
        let header = Header { kind: Kind::Vectors, rows: rows as u64, detail: vector_detail(field) };
        let mut blob = BlobWriter::begin(sink, path, header, &lengths)?;
        blob.column(&ordinals)?;
        blob.section()?;
        plan.vectors(field.id).try_for_each(|(_, vector)| blob.put(bytemuck::cast_slice(vector)))?;
        blob.complete()
    })?;
    Ok(Some(written))
}

pub(super) fn open_vectors(path: &str, file: &Bytes, rows: u64, field: &VectorField) -> Result<VectorSet> {
    let blob = Blob::open(path, file, Kind::Vectors, 2)?;
    if blob.header.rows != rows || blob.header.detail != vector_detail(field) {
        return Err(blob.corrupt("it belongs to other rows or to another vector field"));
    }
    let ordinals = blob.column::<u32>(0)?;
    let dense = ordinals.is_empty();
    if ordinals.last().is_some_and(|&last| u64::from(last) >= rows) {
        return Err(blob.corrupt("vectors of rows that are not there"));
    }
    let set = VectorSet::new(field.metric, field.dimension, blob.column(1)?, (!dense).then_some(ordinals));
    let set = set.map_err(|e| blob.corrupt(e.to_string()))?;
    if dense && set.len() as u64 != rows {
        return Err(blob.corrupt(format!("{} vectors for {rows} rows", set.len())));
    }
    Ok(set)
}

/// Sections: what it indexes as JSON, the index.
pub(super) fn write_payload_index(
    store: &DurableStore,
    path: &str,
    rows: u64,
    spec: &PayloadIndexSpec,
    index: &FieldIndex,
) -> Result<ObjectRef> {
    let head = serde_json::to_vec(&PayloadIndexHead { spec: spec.clone() });
    let head = head.map_err(|e| StorageError::Internal(format!("{path}: {e}")))?;
    let content = index.encode();
    store.write_blocking(path, |sink| {
        let header = Header { kind: Kind::PayloadIndex, rows, detail: 0 };
        let lengths = [head.len() as u64, content.len() as u64];
        let mut blob = BlobWriter::begin(sink, path, header, &lengths)?;
        blob.column(&head)?;
        blob.column(&content)?;
        blob.complete()
    })
}

/// The index with what it indexes; `None` where `wanted` refuses that.
pub(super) fn open_payload_index(
    path: &str,
    file: &Bytes,
    rows: u64,
    wanted: impl Fn(&PayloadIndexSpec) -> bool,
) -> Result<Option<(PayloadIndexSpec, FieldIndex)>> {
    let blob = Blob::open(path, file, Kind::PayloadIndex, 2)?;
    if blob.header.rows != rows || blob.header.detail != 0 {
        return Err(blob.corrupt("it belongs to other rows"));
    }
    let head: PayloadIndexHead =
        serde_json::from_slice(&blob.bytes(0)).map_err(|e| blob.corrupt(e.to_string()))?;
    if !wanted(&head.spec) {
        return Ok(None);
    }
    let index = FieldIndex::open(blob.bytes(1)).map_err(|e| blob.corrupt(e.to_string()))?;
    Ok(Some((head.spec, index)))
}

/// Section: the graph.
pub(super) fn write_graph(
    store: &DurableStore,
    path: &str,
    rows: u64,
    field: &VectorField,
    index: &dyn VectorIndex,
) -> Result<ObjectRef> {
    store.write_blocking(path, |sink| {
        let header = Header { kind: Kind::Graph, rows, detail: vector_detail(field) };
        let lengths = [index.encoded_len() as u64];
        let mut blob = BlobWriter::begin(sink, path, header, &lengths)?;
        blob.section()?;
        index.encode_to(&mut blob).map_err(|e| StorageError::io(format!("write {path}"), &e))?;
        blob.complete()
    })
}

pub(super) fn open_graph(
    path: &str,
    file: &Bytes,
    rows: u64,
    field: &VectorField,
    set: &Arc<VectorSet>,
) -> Result<Arc<dyn VectorIndex>> {
    let blob = Blob::open(path, file, Kind::Graph, 1)?;
    if blob.header.rows != rows || blob.header.detail != vector_detail(field) {
        return Err(blob.corrupt("it belongs to other rows or to another vector field"));
    }
    engram_index::vector::engine::open_graph(set.clone(), &blob.bytes(0))
        .map_err(|e| blob.corrupt(e.to_string()))
}
