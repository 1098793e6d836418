//! Columns of vectors: sparse and multi ones to arrays, and all kinds back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Float32Type, UInt32Type};
use arrow::error::ArrowError;
use engram_index::vector::{MultiVector, SparseRow, SparseVector, VectorValue};

use super::{index_item, list_item, sparse_parts, vector_item};
use crate::point::FieldId;
use crate::schema::{VectorField, VectorKind};
use crate::segment::merge::{Plan, Take};
use crate::segment::run::Run;

/// Bytes of sparse and multi vectors that are turned into Arrow arrays at a time, unless one row has more.
const BATCH_BYTES: usize = 32 << 20;

/// Bytes of the values of a field, a row on average.
pub(super) fn bytes_a_row(plan: &Plan<'_>, field: &VectorField) -> usize {
    let of = |run: &&Run| match field.kind {
        VectorKind::Dense => 0,
        VectorKind::Sparse { .. } => run.sparse_index(field.id).map_or(0, |index| index.components() * 8),
        VectorKind::Multi => run.multi_set(field.id).map_or(0, |set| set.vectors() * set.dimension() * 4),
    };
    match field.kind {
        VectorKind::Dense => field.dimension * 4,
        VectorKind::Sparse { .. } | VectorKind::Multi => {
            let rows: usize = plan.inputs.iter().map(|run| run.len()).sum();
            plan.inputs.iter().map(of).sum::<usize>() / rows.max(1)
        }
    }
}

/// Number of the first rows of `rows` that make one batch: as many as `most`, fewer where their sparse and multi vectors
/// are large, since an array counts them with 31 bits and is in memory as a whole.
pub(super) fn batch_len(plan: &Plan<'_>, rows: &[Take], fields: &[VectorField], most: usize) -> usize {
    let most = most.min(rows.len());
    if fields.iter().all(|field| field.kind == VectorKind::Dense) {
        return most;
    }
    let of = |take: &Take, field: &VectorField| match field.kind {
        VectorKind::Dense => 0,
        VectorKind::Sparse { .. } => sparse_of(plan, take, field.id).map_or(0, |row| row.indices.len() * 8),
        VectorKind::Multi => multi_of(plan, take, field.id).map_or(0, |components| components.len() * 4),
    };
    let mut bytes = 0;
    let fits = rows.iter().take(most).take_while(|take| {
        bytes += fields.iter().map(|field| of(take, field)).sum::<usize>();
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

fn sparse_of<'a>(plan: &Plan<'a>, take: &Take, field: FieldId) -> Option<SparseRow<'a>> {
    plan.run(*take).sparse_index(field)?.vector(take.ord)
}

fn multi_of<'a>(plan: &Plan<'a>, take: &Take, field: FieldId) -> Option<&'a [f32]> {
    plan.run(*take).multi_set(field)?.value(take.ord)
}

fn offsets(lengths: impl Iterator<Item = usize>) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths(lengths)
}

fn nulls(present: Vec<bool>) -> Option<NullBuffer> {
    present.contains(&false).then(|| NullBuffer::from(present))
}

/// Sparse vectors as structs of two lists.
pub(super) fn sparse_array(plan: &Plan<'_>, rows: &[Take], field: FieldId) -> Result<ArrayRef, ArrowError> {
    let values: Vec<Option<SparseRow<'_>>> = rows.iter().map(|take| sparse_of(plan, take, field)).collect();
    let lengths = || offsets(values.iter().map(|row| row.map_or(0, |row| row.indices.len())));
    let there = || values.iter().flatten();
    let indices = UInt32Array::from_iter_values(there().flat_map(|row| row.indices.iter().copied()));
    let weights = Float32Array::from_iter_values(there().flat_map(|row| row.values.iter().copied()));
    let indices = ListArray::try_new(index_item(), lengths(), Arc::new(indices), None)?;
    let weights = ListArray::try_new(vector_item(), lengths(), Arc::new(weights), None)?;
    let present = nulls(values.iter().map(Option::is_some).collect());
    let parts: Vec<ArrayRef> = vec![Arc::new(indices), Arc::new(weights)];
    Ok(Arc::new(StructArray::try_new(sparse_parts(), parts, present)?))
}

/// Multi vectors as lists of lists.
pub(super) fn multi_array(
    plan: &Plan<'_>,
    rows: &[Take],
    field: &VectorField,
) -> Result<ArrayRef, ArrowError> {
    let values: Vec<Option<&[f32]>> = rows.iter().map(|take| multi_of(plan, take, field.id)).collect();
    let dimension = field.dimension.max(1);
    let count = |value: &Option<&[f32]>| value.map_or(0, |components| components.len() / dimension);
    let vectors: usize = values.iter().map(count).sum();
    let components = values.iter().flatten().flat_map(|components| components.iter().copied());
    let components = Arc::new(Float32Array::from_iter_values(components));
    let inner = offsets(std::iter::repeat_n(dimension, vectors));
    let inner = Arc::new(ListArray::try_new(vector_item(), inner, components, None)?);
    let present = nulls(values.iter().map(Option::is_some).collect());
    Ok(Arc::new(ListArray::try_new(list_item(), offsets(values.iter().map(count)), inner, present)?))
}

/// A column of vectors.
pub(super) enum Values<'b> {
    Dense(&'b FixedSizeListArray),
    Sparse(&'b StructArray),
    Multi(&'b ListArray),
}

impl<'b> Values<'b> {
    /// The column, by its type.
    pub fn of(column: &'b dyn Array) -> Result<Self, String> {
        let values = match column.data_type() {
            DataType::FixedSizeList(..) => column.as_fixed_size_list_opt().map(Self::Dense),
            DataType::Struct(_) => column.as_struct_opt().map(Self::Sparse),
            DataType::List(_) => column.as_list_opt().map(Self::Multi),
            _ => None,
        };
        values.ok_or_else(|| "vectors are neither lists nor structs".to_owned())
    }

    /// The value of a row, `None` where it has none.
    pub fn value(&self, row: usize) -> Result<Option<VectorValue>, String> {
        Ok(match self {
            Self::Dense(lists) if lists.is_valid(row) => Some(floats(&lists.value(row))?.into()),
            Self::Sparse(parts) if parts.is_valid(row) => Some(sparse(parts, row)?.into()),
            Self::Multi(lists) if lists.is_valid(row) => Some(multi(&lists.value(row))?.into()),
            Self::Dense(_) | Self::Sparse(_) | Self::Multi(_) => None,
        })
    }
}

fn floats(list: &dyn Array) -> Result<Vec<f32>, String> {
    let components = list.as_primitive_opt::<Float32Type>().ok_or("vectors are not of floats")?;
    Ok(components.values().to_vec())
}

fn sparse(parts: &StructArray, row: usize) -> Result<SparseVector, String> {
    let part = |name: &str| {
        let lists = parts.column_by_name(name).and_then(|column| column.as_list_opt::<i32>());
        lists.map(|lists| lists.value(row)).ok_or_else(|| format!("sparse vectors have no list of {name}"))
    };
    let indices = part("indices")?;
    let indices = indices.as_primitive_opt::<UInt32Type>().ok_or("indices are no numbers of 32 bits")?;
    Ok(SparseVector { indices: indices.values().to_vec(), values: floats(&part("values")?)? })
}

fn multi(list: &dyn Array) -> Result<MultiVector, String> {
    let vectors = list.as_list_opt::<i32>().ok_or("multi vectors are no lists of lists")?;
    let mut value = MultiVector::default();
    for vector in vectors.iter().flatten() {
        let components = floats(&vector)?;
        if value.dimension != 0 && components.len() != value.dimension {
            return Err("a multi vector has vectors of two lengths".to_owned());
        }
        value.dimension = components.len();
        value.components.extend(components);
    }
    Ok(value)
}
