//! The vectors of a run, by kind and field.

use std::sync::Arc;

use engram_index::vector::exact::ExactIndex;
use engram_index::vector::sparse::SparseBuilder;
use engram_index::vector::{
    MultiSet, MultiVector, SparseIndex, SparseRow, VectorIndex, VectorSet, VectorValue,
};

use crate::error::{Result, StorageError};
use crate::point::{FieldId, Point};
use crate::schema::{VectorField, VectorKind};

/// The vectors of a run. A field has values of its kind only.
#[derive(Clone, Default)]
pub(crate) struct RunVectors {
    pub dense: Vec<RunField>,
    pub sparse: Vec<(FieldId, Arc<SparseIndex>)>,
    pub multi: Vec<(FieldId, Arc<MultiSet>)>,
}

/// The dense vectors of one field of a run.
#[derive(Clone)]
pub(crate) struct RunField {
    pub id: FieldId,
    pub set: Arc<VectorSet>,
    pub index: Arc<dyn VectorIndex>,
    pub graph: bool,
}

impl RunField {
    /// A field that is scanned exactly.
    pub(crate) fn exact(id: FieldId, set: VectorSet) -> Self {
        let set = Arc::new(set);
        Self { id, index: Arc::new(ExactIndex::new(set.clone())), set, graph: false }
    }
}

impl RunVectors {
    /// The value of row `ord` in `field`, if it has one.
    pub fn value(&self, field: FieldId, ord: u32) -> Option<VectorValue> {
        let (mut dense, mut sparse, mut multi) = (self.dense.iter(), self.sparse.iter(), self.multi.iter());
        if let Some(dense) = dense.find(|f| f.id == field) {
            return dense_value(&dense.set, ord);
        }
        if let Some((_, index)) = sparse.find(|(id, _)| *id == field) {
            return sparse_value(index, ord);
        }
        multi.find(|(id, _)| *id == field).and_then(|(_, set)| multi_value(set, ord))
    }

    /// All values of row `ord`, ascending by field.
    pub fn values(&self, ord: u32) -> Vec<(FieldId, VectorValue)> {
        let dense = self.dense.iter().filter_map(|f| Some((f.id, dense_value(&f.set, ord)?)));
        let mut values: Vec<_> = dense.collect();
        if !self.sparse.is_empty() || !self.multi.is_empty() {
            values
                .extend(self.sparse.iter().filter_map(|(id, index)| Some((*id, sparse_value(index, ord)?))));
            values.extend(self.multi.iter().filter_map(|(id, set)| Some((*id, multi_value(set, ord)?))));
            values.sort_by_key(|(id, _)| *id);
        }
        values
    }

    /// Fields of which some row has a value, ascending.
    pub fn fields(&self) -> Vec<FieldId> {
        let others = self.sparse.iter().map(|(id, _)| *id).chain(self.multi.iter().map(|(id, _)| *id));
        let mut fields: Vec<FieldId> = self.dense.iter().map(|f| f.id).chain(others).collect();
        fields.sort_unstable();
        fields
    }

    /// Heap bytes held; mapped files count 0.
    pub fn heap_bytes(&self) -> usize {
        let dense: usize = self.dense.iter().map(|f| f.set.heap_bytes() + f.index.memory_bytes()).sum();
        let sparse: usize = self.sparse.iter().map(|(_, index)| index.heap_bytes()).sum();
        dense + sparse + self.multi.iter().map(|(_, set)| set.heap_bytes()).sum::<usize>()
    }

    /// The values of `points`, whose places are their ordinals, in the fields of a schema.
    ///
    /// # Errors
    /// `Invalid` where a value is not of its field's kind or dimension.
    pub fn collect(fields: &[VectorField], points: &[Point]) -> Result<Self> {
        let mut vectors = Self::default();
        for field in fields {
            match field.kind {
                VectorKind::Dense => vectors.dense.extend(collect_dense(field, points)?),
                VectorKind::Sparse { .. } => {
                    let index = collect_sparse(field, points)?;
                    vectors.sparse.extend(index.map(|index| (field.id, Arc::new(index))));
                }
                VectorKind::Multi => {
                    let set = collect_multi(field, points)?;
                    vectors.multi.extend(set.map(|set| (field.id, Arc::new(set))));
                }
            }
        }
        Ok(vectors)
    }
}

fn dense_value(set: &VectorSet, ord: u32) -> Option<VectorValue> {
    set.position(ord).map(|at| set.vector(at).to_vec().into())
}

fn sparse_value(index: &SparseIndex, ord: u32) -> Option<VectorValue> {
    index.vector(ord).map(|row| row.to_vector().into())
}

fn multi_value(set: &MultiSet, ord: u32) -> Option<VectorValue> {
    let components = set.value(ord)?.to_vec();
    Some(MultiVector { dimension: set.dimension(), components }.into())
}

fn collect_dense(field: &VectorField, points: &[Point]) -> Result<Option<RunField>> {
    let vector_of = |p: &Point| p.vectors.iter().position(|(id, _)| *id == field.id);
    let having = points.iter().filter(|p| vector_of(p).is_some()).count();
    if having == 0 {
        return Ok(None);
    }
    let mut data = Vec::with_capacity(having * field.dimension);
    let mut ordinals = Vec::with_capacity(if having == points.len() { 0 } else { having });
    for (ord, point) in (0u32..).zip(points) {
        let Some(at) = vector_of(point) else { continue };
        let VectorValue::Dense(vector) = &point.vectors[at].1 else { return Err(wrong_kind(field, point)) };
        if vector.len() != field.dimension {
            return Err(wrong_dimension(field, point, vector.len()));
        }
        data.extend_from_slice(vector);
        if having != points.len() {
            ordinals.push(ord);
        }
    }
    let ordinals = (having != points.len()).then(|| ordinals.into());
    let set = VectorSet::new(field.metric, field.dimension, data.into(), ordinals)?;
    Ok(Some(RunField::exact(field.id, set)))
}

/// Values of `field` with the ordinals of their points.
fn values<'p>(
    field: &VectorField,
    points: &'p [Point],
) -> impl Iterator<Item = (u32, &'p Point, &'p VectorValue)> {
    let id = field.id;
    (0u32..).zip(points).filter_map(move |(ord, point)| {
        point.vectors.iter().find(|(field, _)| *field == id).map(|(_, value)| (ord, point, value))
    })
}

fn collect_sparse(field: &VectorField, points: &[Point]) -> Result<Option<SparseIndex>> {
    let mut rows: Vec<(u32, SparseRow<'_>)> = Vec::new();
    for (ord, point, value) in values(field, points) {
        let VectorValue::Sparse(sparse) = value else { return Err(wrong_kind(field, point)) };
        if sparse.indices.len() != sparse.values.len() {
            return Err(wrong_dimension(field, point, sparse.values.len()));
        }
        rows.push((ord, sparse.into()));
    }
    sparse_index(rows.into_iter())
}

fn collect_multi(field: &VectorField, points: &[Point]) -> Result<Option<MultiSet>> {
    let mut rows: Vec<(u32, &[f32])> = Vec::new();
    for (ord, point, value) in values(field, points) {
        let VectorValue::Multi(multi) = value else { return Err(wrong_kind(field, point)) };
        if multi.dimension != field.dimension {
            return Err(wrong_dimension(field, point, multi.dimension));
        }
        rows.push((ord, &multi.components));
    }
    multi_set(field, rows.into_iter())
}

/// The index over sparse rows, ascending by ordinal; `None` where there is no row.
pub(crate) fn sparse_index<'r>(
    rows: impl Iterator<Item = (u32, SparseRow<'r>)>,
) -> Result<Option<SparseIndex>> {
    let mut builder = SparseBuilder::default();
    rows.for_each(|(ord, row)| builder.push(ord, row));
    if builder.is_empty() { Ok(None) } else { Ok(Some(builder.finish()?)) }
}

/// The set of multi vectors, ascending by ordinal; `None` where there is no row.
pub(crate) fn multi_set<'r>(
    field: &VectorField,
    rows: impl Iterator<Item = (u32, &'r [f32])>,
) -> Result<Option<MultiSet>> {
    let (mut ordinals, mut offsets, mut data) = (Vec::new(), vec![0u64], Vec::new());
    for (ord, components) in rows {
        ordinals.push(ord);
        data.extend_from_slice(components);
        offsets.push((data.len() / field.dimension.max(1)) as u64);
    }
    if ordinals.is_empty() {
        return Ok(None);
    }
    let (metric, dimension) = (field.metric, field.dimension);
    Ok(Some(MultiSet::new(metric, dimension, Some(ordinals.into()), offsets.into(), data.into())?))
}

fn wrong_dimension(field: &VectorField, point: &Point, got: usize) -> StorageError {
    let (want, name) = (field.dimension, &field.name);
    StorageError::Invalid(format!(
        "point {}: vector {name:?} has {got} components instead of {want}",
        point.id
    ))
}

fn wrong_kind(field: &VectorField, point: &Point) -> StorageError {
    let why = format!("point {}: vector {:?} is not of the kind of its field", point.id, field.name);
    StorageError::Invalid(why)
}
