//! Merging of sorted runs, without the rows that died.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytemuck::Pod;
use bytes::Bytes;
use engram_index::Column;
use engram_index::vector::{SparseRow, VectorSet};
use roaring::RoaringBitmap;

use super::builder::{INDEXED_FROM_ROWS, index_payloads};
use super::run::{Rows, Run};
use super::vectors::{RunField, RunVectors, multi_set, sparse_index};
use crate::error::{Result, StorageError};
use crate::point::{FieldId, PointId};
use crate::schema::{CollectionSchema, VectorField, VectorKind};

/// Marks a row that did not survive a merge.
const DROPPED: u32 = u32::MAX;

/// Where the rows of merged runs went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remap {
    inputs: Vec<Vec<u32>>,
}

impl Remap {
    /// New ordinal of row `ord` of run number `input`; `None` for a row that was dropped or never was.
    pub fn get(&self, input: usize, ord: u32) -> Option<u32> {
        self.inputs.get(input)?.get(ord as usize).copied().filter(|&new| new != DROPPED)
    }

    /// New ordinals of all rows of run number `input`, in order.
    pub fn rows(&self, input: usize) -> impl Iterator<Item = Option<u32>> + '_ {
        self.inputs.get(input).into_iter().flatten().map(|&new| (new != DROPPED).then_some(new))
    }

    /// Bitmap `old` of run number `input` in new ordinals: deletes that arrived while a merge was under way.
    pub fn translate(&self, input: usize, old: &RoaringBitmap) -> RoaringBitmap {
        old.iter().filter_map(|ord| self.get(input, ord)).collect()
    }
}

/// A row to take: number of the input, ordinal in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    pub input: u32,
    pub ord: u32,
}

/// Inputs of a merge with the order their surviving rows come in.
pub(crate) struct Plan<'a> {
    pub inputs: Vec<&'a Run>,
    pub order: Vec<Take>,
    pub remap: Remap,
}

impl<'a> Plan<'a> {
    /// Surviving rows of `inputs` in order of ids. Of rows with one id the newest version stays.
    pub(crate) fn new(inputs: &[(&'a Run, &RoaringBitmap)]) -> Result<Self> {
        let total: u64 =
            inputs.iter().map(|(run, dead)| run.len() as u64 - dead.len().min(run.len() as u64)).sum();
        if total >= u64::from(u32::MAX) {
            return Err(StorageError::Exhausted(format!("{total} rows do not fit one run; merge fewer")));
        }
        let mut keyed: Vec<(PointId, Take)> = Vec::with_capacity(total as usize);
        for (input, (run, dead)) in (0u32..).zip(inputs) {
            let rows = 0..u32::try_from(run.len()).unwrap_or(u32::MAX);
            keyed.extend(
                rows.filter(|ord| !dead.contains(*ord)).map(|ord| (run.id(ord), Take { input, ord })),
            );
        }
        // The stable sort finds the sorted stretches and merges them.
        keyed.sort_by_key(|(id, _)| *id);
        let runs: Vec<&Run> = inputs.iter().map(|(run, _)| *run).collect();
        let version = |t: &Take| runs[t.input as usize].meta(t.ord).version;
        // `later` is removed where the closure says true, so the newer one is swapped into `kept`.
        keyed.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same && version(&later.1) >= version(&kept.1) {
                std::mem::swap(later, kept);
            }
            same
        });
        let order: Vec<Take> = keyed.into_iter().map(|(_, take)| take).collect();
        let mut remap: Vec<Vec<u32>> = runs.iter().map(|run| vec![DROPPED; run.len()]).collect();
        for (new, take) in (0u32..).zip(&order) {
            remap[take.input as usize][take.ord as usize] = new;
        }
        Ok(Self { inputs: runs, order, remap: Remap { inputs: remap } })
    }

    /// The run a row is taken from.
    pub(crate) fn run(&self, take: Take) -> &'a Run {
        self.inputs[take.input as usize]
    }

    /// Rows with their payloads, in order.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (u32, &'a [u8])> + '_ {
        (0u32..).zip(self.order.iter().map(|&take| self.run(take).payload(take.ord)))
    }

    /// One column of all inputs in the new order.
    pub(crate) fn gather<T: Pod>(&self, of: impl Fn(&'a Rows) -> &'a Column<T>) -> Vec<T> {
        let columns: Vec<&[T]> = self.inputs.iter().map(|run| of(run.rows()).as_slice()).collect();
        self.order.iter().map(|t| columns[t.input as usize][t.ord as usize]).collect()
    }

    /// New ordinals of the rows with a sparse vector in `field`, with the vectors.
    pub(crate) fn sparse(&self, field: FieldId) -> impl Iterator<Item = (u32, SparseRow<'a>)> + '_ {
        let indexes: Vec<_> = self.inputs.iter().map(|run| run.sparse_index(field)).collect();
        (0u32..).zip(&self.order).filter_map(move |(new, take)| {
            indexes[take.input as usize]?.vector(take.ord).map(|row| (new, row))
        })
    }

    /// New ordinals of the rows with a multi vector in `field`, with all components of each.
    pub(crate) fn multi(&self, field: FieldId) -> impl Iterator<Item = (u32, &'a [f32])> + '_ {
        let sets: Vec<_> = self.inputs.iter().map(|run| run.multi_set(field)).collect();
        (0u32..).zip(&self.order).filter_map(move |(new, take)| {
            sets[take.input as usize]?.value(take.ord).map(|components| (new, components))
        })
    }

    /// New ordinals of the rows with a dense vector in `field`, with the vectors.
    pub(crate) fn vectors(&self, field: FieldId) -> impl Iterator<Item = (u32, &'a [f32])> + '_ {
        let sets: Vec<Option<&'a VectorSet>> =
            self.inputs.iter().map(|run| run.vector_set(field).map(Arc::as_ref)).collect();
        (0u32..).zip(&self.order).filter_map(move |(new, take)| {
            let set = sets[take.input as usize]?;
            set.position(take.ord).map(|at| (new, set.vector(at)))
        })
    }

    /// Ids in the new order, numbers and UUIDs apart: numbers come first.
    pub(crate) fn ids(&self) -> (Vec<u64>, Vec<[u8; 16]>) {
        let (mut nums, mut uuids) = (Vec::with_capacity(self.order.len()), Vec::new());
        for &take in &self.order {
            match self.run(take).id(take.ord) {
                PointId::Num(n) => nums.push(n),
                PointId::Uuid(u) => uuids.push(*u.as_bytes()),
            }
        }
        (nums, uuids)
    }

    /// Where each payload begins in the new order, and where the last ends.
    pub(crate) fn payload_offsets(&self) -> Vec<u64> {
        let mut at = 0;
        let ends = self.payloads().map(|(_, payload)| {
            at += payload.len() as u64;
            at
        });
        std::iter::once(0).chain(ends).collect()
    }

    fn rows(&self) -> Rows {
        let payload_offsets = self.payload_offsets();
        let mut payload = Vec::with_capacity(payload_offsets.last().map_or(0, |&end| end as usize));
        self.payloads().for_each(|(_, bytes)| payload.extend_from_slice(bytes));
        let (nums, uuids) = self.ids();
        Rows {
            nums: nums.into(),
            uuids: uuids.into(),
            version: self.gather(|r| &r.version).into(),
            created_at: self.gather(|r| &r.created_at).into(),
            ingested_at: self.gather(|r| &r.ingested_at).into(),
            expires_at: self.gather(|r| &r.expires_at).into(),
            payload_offsets: payload_offsets.into(),
            payload: Bytes::from(payload),
            mapped: false,
        }
    }

    fn collect(&self, fields: &[VectorField]) -> Result<RunVectors> {
        let mut vectors = RunVectors::default();
        for field in fields {
            match field.kind {
                VectorKind::Dense => vectors.dense.extend(self.dense(field)?),
                VectorKind::Sparse { .. } => {
                    let index = sparse_index(self.sparse(field.id))?;
                    vectors.sparse.extend(index.map(|index| (field.id, Arc::new(index))));
                }
                VectorKind::Multi => {
                    let set = multi_set(field, self.multi(field.id))?;
                    vectors.multi.extend(set.map(|set| (field.id, Arc::new(set))));
                }
            }
        }
        Ok(vectors)
    }

    fn dense(&self, field: &VectorField) -> Result<Option<RunField>> {
        let having = self.vectors(field.id).count();
        if having == 0 {
            return Ok(None);
        }
        let mut data = Vec::with_capacity(having * field.dimension);
        let mut ordinals = Vec::with_capacity(having);
        for (ord, vector) in self.vectors(field.id) {
            data.extend_from_slice(vector);
            ordinals.push(ord);
        }
        // A set whose ordinals are 0, 1, 2, ... drops them by itself.
        let set = VectorSet::new(field.metric, field.dimension, data.into(), Some(ordinals.into()))?;
        Ok(Some(RunField::exact(field.id, set)))
    }
}

impl Run {
    /// Merges sorted runs in memory, dropping the rows in each one's bitmap. An id should be alive in one input at
    /// most; otherwise its newest version stays.
    ///
    /// # Errors
    /// `Exhausted` for more rows than ordinals, `Invalid` where a payload is no JSON.
    pub fn merge(schema: &CollectionSchema, inputs: &[(&Run, &RoaringBitmap)]) -> Result<(Run, Remap)> {
        let plan = Plan::new(inputs)?;
        let vectors = plan.collect(&schema.vectors)?;
        let indexes = if plan.order.len() >= INDEXED_FROM_ROWS {
            index_payloads(schema, plan.payloads())?.into_iter().map(|(k, v)| (k, Arc::new(v))).collect()
        } else {
            BTreeMap::new()
        };
        let run = Run::assemble(plan.rows(), vectors, indexes)?;
        Ok((run, plan.remap))
    }
}
