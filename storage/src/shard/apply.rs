//! Applying records of the log, in order. The same code runs when a write arrives and when the log is replayed, so
//! every decision depends only on the state and the record.

use engram_index::vector::VectorValue;
use hashbrown::HashMap;

use super::dedupe::Seen;
use super::payload_change::changed;
use super::state::{Location, Place, RunState, ShardState};
use crate::error::{Result, StorageError};
use crate::log::Offset;
use crate::op::{ConditionalOp, Op, OpBatch, OpOutcome};
use crate::point::{FieldId, Point, PointId};
use crate::schema::CollectionSchema;
use crate::segment::RunBuilder;

/// What one batch did.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Applied {
    /// Aligned with the ops.
    pub outcomes: Vec<OpOutcome>,
    /// Offset of the write that this one repeats.
    pub repeats: Option<Offset>,
    /// Points that stay as they are, since their payload would have passed a limit; of a repeat, those of the first time.
    pub too_large: u64,
}

/// Batches applied together become one run; the group holds what they wrote so far.
struct Group<'a> {
    state: &'a mut ShardState,
    schema: &'a CollectionSchema,
    /// Current value of every id the group touched; `None` is deleted.
    touched: HashMap<PointId, Option<Point>>,
}

/// Applies `batches`, whose offsets follow the applied one, and returns what each did.
pub(super) fn apply(
    state: &mut ShardState,
    schema: &CollectionSchema,
    batches: Vec<(Offset, OpBatch)>,
) -> Result<Vec<Result<Applied>>> {
    let mut results = Vec::with_capacity(batches.len());
    let mut last = state.applied;
    let mut group = Group { state, schema, touched: HashMap::new() };
    for (offset, batch) in batches {
        results.push(group.batch(offset, batch)?);
        last = last.max(offset);
    }
    group.finish()?;
    state.applied = last;
    Ok(results)
}

impl Group<'_> {
    fn batch(&mut self, offset: Offset, batch: OpBatch) -> Result<Result<Applied>> {
        if let Some(write) = &batch.idempotency {
            match self.state.dedupe.check(write) {
                Seen::New => self.state.dedupe.note(write, offset),
                Seen::Repeat { offset, too_large } => {
                    return Ok(Ok(Applied { outcomes: Vec::new(), repeats: Some(offset), too_large }));
                }
                Seen::Mismatch => return Ok(Err(StorageError::IdempotencyMismatch)),
            }
        }
        let mut outcomes = Vec::with_capacity(batch.ops.len());
        for op in batch.ops {
            outcomes.push(self.op(offset, op)?);
        }
        let too_large =
            outcomes.iter().filter(|outcome| **outcome == OpOutcome::PayloadTooLarge).count() as u64;
        if let Some(write) = &batch.idempotency {
            self.state.dedupe.note_too_large(write, too_large);
        }
        Ok(Ok(Applied { outcomes, repeats: None, too_large }))
    }

    fn op(&mut self, offset: Offset, ConditionalOp { op, if_version }: ConditionalOp) -> Result<OpOutcome> {
        if let (Some(expected), Some((id, now))) = (if_version, target(&op)) {
            let current = self.version(&id, now);
            if current != expected {
                return Ok(OpOutcome::VersionMismatch { current });
            }
        }
        let applied = OpOutcome::Applied { version: offset, points: 1 };
        match op {
            Op::Upsert(mut point) => {
                point.version = offset;
                self.touched.insert(point.id, Some(point));
                Ok(applied)
            }
            Op::Delete(id) => {
                if !self.exists(&id) {
                    return Ok(OpOutcome::NotFound);
                }
                self.touched.insert(id, None);
                Ok(OpOutcome::Applied { version: 0, points: 1 })
            }
            Op::SetPayload { id, change, ingested_at, bytes_only } => {
                self.change(id, ingested_at, offset, |point| {
                    let Some(after) = changed(&point.payload, &change, bytes_only)? else { return Ok(false) };
                    point.payload = after;
                    Ok(true)
                })
            }
            Op::UpdateVectors { id, set, remove, ingested_at } => {
                self.change(id, ingested_at, offset, |point| {
                    update_vectors(&mut point.vectors, set, &remove);
                    Ok(true)
                })
            }
            Op::DeleteOlderThan { created_before, now } => {
                let points = self.delete_older(created_before, now)?;
                Ok(OpOutcome::Applied { version: 0, points })
            }
        }
    }

    /// Rewrites an existing point; `edit` says whether its payload fits.
    fn change(
        &mut self,
        id: PointId,
        ingested_at: i64,
        offset: Offset,
        edit: impl FnOnce(&mut Point) -> Result<bool>,
    ) -> Result<OpOutcome> {
        let Some(mut point) = self.current(&id) else { return Ok(OpOutcome::NotFound) };
        if expired(point.expires_at, ingested_at) {
            return Ok(OpOutcome::NotFound);
        }
        if !edit(&mut point)? {
            return Ok(OpOutcome::PayloadTooLarge);
        }
        point.version = offset;
        point.ingested_at = ingested_at;
        self.touched.insert(id, Some(point));
        Ok(OpOutcome::Applied { version: offset, points: 1 })
    }

    fn current(&self, id: &PointId) -> Option<Point> {
        match self.touched.get(id) {
            Some(value) => value.clone(),
            None => self.state.find(id).map(|at| self.state.runs[at.run].run.point(at.ordinal)),
        }
    }

    fn exists(&self, id: &PointId) -> bool {
        match self.touched.get(id) {
            Some(value) => value.is_some(),
            None => self.state.find(id).is_some(),
        }
    }

    /// Version of a point at `now`, 0 where there is none or it has expired.
    fn version(&self, id: &PointId, now: i64) -> u64 {
        let (version, expires_at) = match self.touched.get(id) {
            Some(Some(point)) => (point.version, point.expires_at),
            Some(None) => return 0,
            None => {
                let Some(Location { run, ordinal }) = self.state.find(id) else { return 0 };
                let meta = self.state.runs[run].run.meta(ordinal);
                (meta.version, meta.expires_at)
            }
        };
        if expired(expires_at, now) { 0 } else { version }
    }

    fn delete_older(&mut self, created_before: i64, now: i64) -> Result<u64> {
        // What the group wrote so far is subject to the rule too, so it becomes rows first.
        self.finish()?;
        let mut points = 0;
        for state in &mut self.state.runs {
            let Some(mut hidden) = state.run.hidden(Some(created_before), now) else { continue };
            hidden -= &*state.dead;
            if !hidden.is_empty() {
                points += hidden.len();
                *std::sync::Arc::make_mut(&mut state.dead) |= hidden;
            }
        }
        Ok(points)
    }

    /// Turns what the group wrote into a run, and the rows it replaced into dead ones.
    fn finish(&mut self) -> Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let mut builder = RunBuilder::new(self.schema);
        for (id, value) in self.touched.drain() {
            if let Some(Location { run, ordinal }) = self.state.find(&id) {
                self.state.runs[run].kill(ordinal);
            }
            if let Some(point) = value {
                builder.push(point);
            }
        }
        if !builder.is_empty() {
            let run = builder.finish()?;
            self.state.runs.push(RunState { run, dead: Default::default(), place: Place::Memtable });
        }
        Ok(())
    }
}

fn expired(expires_at: Option<i64>, now: i64) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

/// The point a condition is about, and the time of the write.
fn target(op: &Op) -> Option<(PointId, i64)> {
    match op {
        Op::Upsert(point) => Some((point.id, point.ingested_at)),
        // A delete of an expired point is harmless either way, so it needs no time.
        Op::Delete(id) => Some((*id, i64::MIN)),
        Op::SetPayload { id, ingested_at, .. } | Op::UpdateVectors { id, ingested_at, .. } => {
            Some((*id, *ingested_at))
        }
        Op::DeleteOlderThan { .. } => None,
    }
}

fn update_vectors(
    vectors: &mut Vec<(FieldId, VectorValue)>,
    set: Vec<(FieldId, VectorValue)>,
    remove: &[FieldId],
) {
    vectors.retain(|(field, _)| !remove.contains(field) && !set.iter().any(|(f, _)| f == field));
    vectors.extend(set);
    vectors.sort_by_key(|(field, _)| *field);
}
