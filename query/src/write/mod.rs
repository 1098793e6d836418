//! Writes: checked as a whole, routed by id, logged per shard.
//!
//! * **Atomic per shard.** All points of a request that live in one shard are one record of its log. Over several
//!   shards a failed request may have happened in part: repeat it under its idempotency key.
//! * **A repeated id.** In an upsert and in a list of ids the last occurrence wins: the earlier ones are not logged, and
//!   their outcome is that of the last one. Vector updates of one id are all applied, in order.
//! * **Conditions and idempotency keys** are decided when the record is applied, so such writes always wait for that.
//! * **Regions.** See [`region`]: in a collection with several regions a write first makes sure where its ids live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engram_storage::engine::Engine;
use engram_storage::op::{ConditionalOp, Idempotency, OpBatch, OpOutcome};
use engram_storage::schema::{CollectionSchema, ShardKey};
use engram_storage::shard::WriteAck;
use futures::future::join_all;

use crate::error::Result;
use crate::request::{WriteAnswer, WriteOptions};

mod admit;
mod by_filter;
mod change;
mod conditional;
mod identity;
pub(crate) mod region;
mod upsert;

pub(crate) use admit::{admit_query, as_query, field as vector_field};
pub(crate) use by_filter::change_matching;
pub(crate) use change::{change_ids, update_vectors};
pub(crate) use conditional::{update_vectors_where, upsert_where};
pub(crate) use upsert::upsert;

/// What every write needs. Owned, so that a write can outlive a caller that goes away.
#[derive(Clone)]
pub(crate) struct Writer {
    pub engine: Arc<Engine>,
    pub schema: Arc<CollectionSchema>,
    pub stripes: Arc<region::Stripes>,
    /// Longest wait for other writes of the same ids.
    pub timeout: Duration,
}

impl Writer {
    pub(super) fn now(&self) -> i64 {
        self.engine.clock().now_ms()
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(super) fn many_regions(&self) -> bool {
        self.schema.regions.len() > 1
    }
}

/// Operations on their way to their shards. `slots` are positions in the request: an operation answers for all of
/// its slots.
#[derive(Default)]
pub(super) struct Routed {
    parts: BTreeMap<ShardKey, Part>,
    conditional: bool,
}

#[derive(Default)]
struct Part {
    ops: Vec<ConditionalOp>,
    slots: Vec<Vec<usize>>,
}

impl Routed {
    /// Adds an operation for a shard.
    pub fn push(&mut self, shard: ShardKey, op: ConditionalOp, slots: Vec<usize>) {
        self.conditional |= op.if_version.is_some();
        let part = self.parts.entry(shard).or_default();
        part.ops.push(op);
        part.slots.push(slots);
    }

    /// Logs all operations, shards side by side, and puts their outcomes into `answer`.
    ///
    /// Waits for every shard even where one fails, so that nothing of the request is under way any more when the
    /// caller hears of it.
    pub async fn write(
        self,
        writer: &Writer,
        idempotency: Option<Idempotency>,
        wait: bool,
        answer: &mut WriteAnswer,
    ) -> Result<()> {
        let wait = wait || self.conditional || idempotency.is_some();
        let calls = self.parts.into_iter().map(|(key, part)| async move {
            let ops = part.ops.len() as u64;
            let batch = OpBatch { ops: part.ops, idempotency };
            let ack = write_shard(&writer.engine, &key, batch, wait).await;
            (key, part.slots, ops, ack)
        });
        let mut failed = None;
        let mut repeats = Vec::new();
        for (key, slots, ops, ack) in join_all(calls).await {
            match ack {
                Ok(ack) => {
                    repeats.push(ack.repeated);
                    answer.token.note(&key.region, key.bucket, ack.offset);
                    note_outcomes(answer, &slots, ops, ack);
                }
                Err(e) => {
                    failed.get_or_insert(e);
                }
            }
        }
        answer.repeated = !repeats.is_empty() && repeats.iter().all(|repeated| *repeated);
        failed.map_or(Ok(()), Err)
    }
}

pub(super) async fn write_shard(
    engine: &Engine,
    key: &ShardKey,
    batch: OpBatch,
    wait: bool,
) -> Result<WriteAck> {
    Ok(engine.shard(key).await?.write(batch, wait).await?)
}

/// Points reached by an outcome.
pub(super) fn reached(outcome: &OpOutcome) -> u64 {
    match outcome {
        OpOutcome::Applied { points, .. } => *points,
        OpOutcome::VersionMismatch { .. } | OpOutcome::NotFound | OpOutcome::PayloadTooLarge => 0,
    }
}

fn note_outcomes(answer: &mut WriteAnswer, slots: &[Vec<usize>], ops: u64, ack: WriteAck) {
    answer.too_large += ack.too_large;
    if ack.repeated {
        return;
    }
    let Some(outcomes) = ack.outcomes else {
        // Durable, not applied yet: what the operations reach is not known, only how many they are.
        answer.affected += ops;
        return;
    };
    for (outcome, slots) in outcomes.into_iter().zip(slots) {
        answer.affected += reached(&outcome);
        for slot in slots {
            if let Some(place) = answer.outcomes.get_mut(*slot) {
                *place = Some(outcome);
            }
        }
    }
}

/// Checks what all writes have in common.
pub(super) fn check_options(options: &WriteOptions) -> Result<()> {
    options.idempotency_key.as_deref().map_or(Ok(()), crate::limits::check_idempotency_key)
}
