//! Changes of points by id: deletes, payloads, vectors.

use std::collections::HashMap;

use engram_index::payload::PayloadPath;
use engram_storage::op::{ConditionalOp, Idempotency, Op, OpOutcome, PayloadChange};
use engram_storage::point::{FieldId, PointId};
use engram_storage::schema::{CollectionSchema, ShardKey};

use super::admit::{admit_vectors, at_point, field};
use super::identity::Content;
use super::region;
use super::{Routed, Writer, check_options};
use crate::error::{QueryError, Result};
use crate::limits::{MAX_VECTOR_FIELDS, at_most, check_batch, check_paths};
use crate::payload;
use crate::request::{Change, VectorUpdate, WriteAnswer, WriteOptions};

/// An operation of a request with the positions it answers for.
struct Wanted {
    id: PointId,
    op: ConditionalOp,
    slots: Vec<usize>,
}

/// A change that was checked against the definition.
pub(super) enum Edit {
    Delete,
    Payload(PayloadChange),
    RemoveVectors(Vec<FieldId>),
}

/// Checks a change before anything is read.
///
/// A merge is checked by itself; the payload it makes is held to the limits of a point when it is applied.
///
/// # Errors
/// Those of [`payload::check`], of paths and of names of vector fields.
pub(super) fn admit_change(schema: &CollectionSchema, change: &Change) -> Result<Edit> {
    match change {
        Change::Delete => Ok(Edit::Delete),
        Change::Payload(change) => check_payload(change).map(|()| Edit::Payload(change.clone())),
        Change::RemoveVectors(names) => {
            if names.is_empty() {
                let message = "the change names no vector field: name at least one to remove";
                return Err(QueryError::invalid("invalid_argument", message));
            }
            Ok(Edit::RemoveVectors(removed_fields(schema, names)?))
        }
    }
}

fn check_payload(change: &PayloadChange) -> Result<()> {
    match change {
        PayloadChange::Clear => Ok(()),
        PayloadChange::Merge(json) | PayloadChange::Overwrite(json) => payload::check(json),
        PayloadChange::MergeAt { path, update } => {
            payload::check(update)?;
            let path = PayloadPath::parse(path)
                .map_err(|e| QueryError::invalid("invalid_argument", e.to_string()))?;
            // Its keys count as those of the payload do.
            payload::check(path.around(&String::from_utf8_lossy(update)).as_bytes())
        }
        PayloadChange::DeleteKeys(paths) => check_paths("keys to delete", paths),
    }
}

/// Fields whose vectors go, each once.
fn removed_fields(schema: &CollectionSchema, names: &[String]) -> Result<Vec<FieldId>> {
    at_most("the number of vector names", names.len(), MAX_VECTOR_FIELDS, "name each once")?;
    let mut gone = Vec::with_capacity(names.len());
    for name in names {
        let field = field(schema, name)?.id;
        if gone.contains(&field) {
            return Err(given_twice(name));
        }
        gone.push(field);
    }
    Ok(gone)
}

fn given_twice(name: &str) -> QueryError {
    let message = format!("vector field {name:?} is given twice: set it or remove it, once");
    QueryError::invalid("repeated_field", message)
}

/// The operation that `edit` is for point `id`.
pub(super) fn op_of(edit: &Edit, id: PointId, now: i64) -> Op {
    match edit {
        Edit::Delete => Op::Delete(id),
        Edit::Payload(change) => {
            Op::SetPayload { id, change: change.clone(), ingested_at: now, bytes_only: false }
        }
        Edit::RemoveVectors(fields) => {
            Op::UpdateVectors { id, set: Vec::new(), remove: fields.clone(), ingested_at: now }
        }
    }
}

/// Changes the points of these ids.
pub(crate) async fn change_ids(
    writer: Writer,
    ids: Vec<(PointId, Option<u64>)>,
    change: Change,
    options: WriteOptions,
) -> Result<WriteAnswer> {
    check_batch("ids", ids.len())?;
    check_options(&options)?;
    let edit = admit_change(&writer.schema, &change)?;
    let now = writer.now();
    let idempotency = options.idempotency_key.as_deref().map(|key| {
        let mut content = Content::new("change");
        content.change(&change);
        ids.iter().for_each(|(id, if_version)| content.id(id, *if_version));
        content.under(key, &writer.schema, now)
    });
    let total = ids.len();
    let mut last: HashMap<PointId, usize> = HashMap::with_capacity(total);
    let mut wanted: Vec<Wanted> = Vec::with_capacity(total);
    for (slot, (id, if_version)) in ids.into_iter().enumerate() {
        let at = *last.entry(id).or_insert(wanted.len());
        match wanted.get_mut(at) {
            // The same change again: once is enough, under the last condition.
            Some(earlier) => {
                earlier.slots.push(slot);
                earlier.op.if_version = if_version;
            }
            None => {
                let op = ConditionalOp { op: op_of(&edit, id, now), if_version };
                wanted.push(Wanted { id, op, slots: vec![slot] });
            }
        }
    }
    run(writer, wanted, total, idempotency, options.wait).await
}

/// Sets and removes vectors.
pub(crate) async fn update_vectors(
    writer: Writer,
    updates: Vec<VectorUpdate>,
    options: WriteOptions,
) -> Result<WriteAnswer> {
    check_batch("updates", updates.len())?;
    check_options(&options)?;
    let now = writer.now();
    let idempotency = options.idempotency_key.as_deref().map(|key| {
        let mut content = Content::new("vectors");
        updates.iter().for_each(|update| content.update(update));
        content.under(key, &writer.schema, now)
    });
    let total = updates.len();
    let mut wanted = Vec::with_capacity(total);
    for (slot, update) in updates.into_iter().enumerate() {
        let (id, if_version) = (update.id, update.if_version);
        let op = vector_op(&writer.schema, update, now).map_err(|e| at_point(e, slot, Some(id)))?;
        wanted.push(Wanted { id, op: ConditionalOp { op, if_version }, slots: vec![slot] });
    }
    run(writer, wanted, total, idempotency, options.wait).await
}

fn vector_op(schema: &CollectionSchema, update: VectorUpdate, now: i64) -> Result<Op> {
    let VectorUpdate { id, set, remove, .. } = update;
    if set.is_empty() && remove.is_empty() {
        let message = "the update names no vector: set or remove at least one";
        return Err(QueryError::invalid("invalid_argument", message));
    }
    let set = admit_vectors(schema, set)?;
    let gone = removed_fields(schema, &remove)?;
    if let Some((_, name)) = gone.iter().zip(&remove).find(|(gone, _)| set.iter().any(|(id, _)| id == *gone))
    {
        return Err(given_twice(name));
    }
    Ok(Op::UpdateVectors { id, set, remove: gone, ingested_at: now })
}

async fn run(
    writer: Writer,
    wanted: Vec<Wanted>,
    total: usize,
    idempotency: Option<Idempotency>,
    wait: bool,
) -> Result<WriteAnswer> {
    let mut answer = WriteAnswer { outcomes: vec![None; total], ..WriteAnswer::default() };
    if !writer.many_regions() {
        let routed = route_one_region(&writer, wanted, &mut answer).await?;
        routed.write(&writer, idempotency, wait, &mut answer).await?;
        return Ok(answer);
    }
    // In a task of its own: a caller that goes away must not free the ids while their write is under way.
    let task = tokio::spawn(async move {
        let ids: Vec<PointId> = wanted.iter().map(|w| w.id).collect();
        let _held = writer.stripes.hold(&writer, &ids).await?;
        let routed = route_many_regions(&writer, wanted, &mut answer).await?;
        routed.write(&writer, idempotency, wait, &mut answer).await?;
        Ok(answer)
    });
    task.await.map_err(|e| QueryError::Internal(format!("a write was stopped: {e}")))?
}

/// With one region an id has one shard, and the log of that shard decides.
async fn route_one_region(writer: &Writer, wanted: Vec<Wanted>, answer: &mut WriteAnswer) -> Result<Routed> {
    let mut routed = Routed::default();
    let mut exists: HashMap<u32, bool> = HashMap::new();
    for want in wanted {
        let bucket = want.id.bucket(writer.schema.shards_per_region);
        let key = writer.schema.shard(&writer.schema.default_region, bucket);
        let exists = match exists.get(&bucket) {
            Some(known) => *known,
            None => {
                let found = writer.engine.existing_shard(&key).await?.is_some();
                exists.insert(bucket, found);
                found
            }
        };
        place(&mut routed, answer, want, exists.then_some(key));
    }
    Ok(routed)
}

/// With several regions an operation goes only where its point is: the payload of a point must never reach the log
/// of another region.
async fn route_many_regions(
    writer: &Writer,
    wanted: Vec<Wanted>,
    answer: &mut WriteAnswer,
) -> Result<Routed> {
    let ids: Vec<PointId> = wanted.iter().map(|w| w.id).collect();
    let homes = region::homes(writer, &ids).await?;
    let mut routed = Routed::default();
    for want in wanted {
        let homes = homes.get(&want.id).map(Vec::as_slice).unwrap_or_default();
        let home = homes.iter().find(|h| h.shown).or(homes.first());
        place(&mut routed, answer, want, home.map(|h| h.shard.clone()));
    }
    Ok(routed)
}

/// Routes an operation, or answers it where there is no such point.
fn place(routed: &mut Routed, answer: &mut WriteAnswer, want: Wanted, shard: Option<ShardKey>) {
    match shard {
        Some(shard) => routed.push(shard, want.op, want.slots),
        None => {
            let outcome = match want.op.if_version {
                None | Some(0) => OpOutcome::NotFound,
                Some(_) => OpOutcome::VersionMismatch { current: 0 },
            };
            for slot in want.slots {
                answer.outcomes[slot] = Some(outcome);
            }
        }
    }
}
