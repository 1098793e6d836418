//! Changes of all points that match a filter.
//!
//! The filter is resolved to ids here, so that the log holds only what was decided. Each shard is read at its log's
//! tail at the time of the request, and each operation is bound to the version that matched: a point that changed
//! meanwhile is looked at again, and is left alone if it does not match any more.

use std::collections::HashSet;
use std::sync::Arc;

use engram_storage::op::{ConditionalOp, Idempotency, OpBatch, OpOutcome, PayloadChange};
use engram_storage::point::PointId;
use engram_storage::schema::ShardKey;

use super::change::{Edit, admit_change, op_of};
use super::identity::Content;
use super::{Writer, check_options, reached, write_shard};
use crate::coordinator::gather;
use crate::error::{QueryError, Result};
use crate::filter::{Bound, Filter};
use crate::local::LocalSearcher;
use crate::request::{Change, WriteAnswer, WriteOptions};
use crate::searcher::{Pin, ShardScope};

/// Operations of one record.
const CHUNK_OPS: usize = 50_000;
/// Bytes of payload changes in one record.
const CHUNK_BYTES: usize = 8 << 20;
/// Rounds over points that keep changing.
const ROUNDS: usize = 8;

/// Changes all points that match. The answer has no outcomes by point, only how many were reached, and how many stay as
/// they are since their payload would have passed a limit.
///
/// An idempotency key goes with the last record of each shard. A repeat after success changes nothing as long as the
/// matches of a shard fit one record (50,000 points); a repeat after a failure goes on with what still matches.
pub(crate) async fn change_matching(
    writer: Writer,
    searcher: Arc<LocalSearcher>,
    filter: Arc<Filter>,
    change: Change,
    options: WriteOptions,
) -> Result<WriteAnswer> {
    check_options(&options)?;
    let edit = admit_change(&writer.schema, &change)?;
    filter.validate()?;
    let idempotency = options.idempotency_key.as_deref().map(|key| {
        let mut content = Content::new("change matching");
        content.change(&change);
        content.text(&filter.to_json().to_string());
        content.under(key, &writer.schema, writer.now())
    });
    let filter = Bound::new(filter, &writer.schema)?;
    let matching = Matching { writer, searcher, filter, edit };
    let shards: Vec<ShardKey> = matching.writer.schema.shards().collect();
    let calls = shards.iter().map(|key| matching.change_shard(key, idempotency));
    // Every shard is waited for, so that nothing is under way any more when the caller hears of a failure.
    let mut answer = WriteAnswer::default();
    let mut repeats = Vec::new();
    let mut failed = None;
    for (key, outcome) in shards.iter().zip(futures::future::join_all(calls).await) {
        match outcome {
            Ok(None) => {}
            Ok(Some(done)) => {
                answer.token.note(&key.region, key.bucket, done.offset);
                answer.affected += done.counts.affected;
                answer.too_large += done.counts.too_large;
                repeats.push(done.repeated);
            }
            Err(e) => {
                failed.get_or_insert(e);
            }
        }
    }
    answer.repeated = !repeats.is_empty() && repeats.iter().all(|r| *r);
    failed.map_or(Ok(answer), Err)
}

struct Matching {
    writer: Writer,
    searcher: Arc<LocalSearcher>,
    filter: Bound,
    edit: Edit,
}

#[derive(Default)]
struct Done {
    offset: u64,
    /// Only its numbers.
    counts: WriteAnswer,
    repeated: bool,
    /// Points that changed between the look-up and the write.
    missed: HashSet<PointId>,
}

impl Matching {
    /// Changes the matching points of one shard; `None` where nothing was ever written.
    async fn change_shard(&self, key: &ShardKey, idempotency: Option<Idempotency>) -> Result<Option<Done>> {
        let mut done = Done::default();
        for round in 0..ROUNDS {
            let Some(shard) = self.writer.engine.existing_shard(key).await? else { return Ok(None) };
            let tail = shard.tail();
            done.offset = done.offset.max(tail);
            let mut matches = self.matches(key, tail).await?;
            if round > 0 {
                // Only what matched at first: points that came since are not part of the request.
                matches.retain(|(id, _)| done.missed.contains(id));
            }
            // The key belongs to the first round: a later one would be taken for its repeat.
            let idempotency = idempotency.filter(|_| round == 0);
            if matches.is_empty() && idempotency.is_none() {
                return Ok(Some(done));
            }
            done.missed.clear();
            self.write(key, matches, idempotency, &mut done).await?;
            if done.missed.is_empty() || done.repeated {
                return Ok(Some(done));
            }
        }
        Err(QueryError::Unavailable {
            code: "changed_while_writing",
            message: format!(
                "{} matching points kept changing while they were written; try again",
                done.missed.len()
            ),
        })
    }

    async fn matches(&self, key: &ShardKey, tail: u64) -> Result<Vec<(PointId, u64)>> {
        let deadline = self.writer.deadline();
        let schema = self.writer.schema.clone();
        let scope =
            ShardScope { shard: key.clone(), schema, min_offset: tail, deadline, pin: Pin::default() };
        let call = self.searcher.versions(scope, self.filter.clone());
        let mut found = gather(std::iter::once(call), deadline).await?.complete()?;
        Ok(found.pop().unwrap_or_default())
    }

    async fn write(
        &self,
        key: &ShardKey,
        matches: Vec<(PointId, u64)>,
        idempotency: Option<Idempotency>,
        done: &mut Done,
    ) -> Result<()> {
        let now = self.writer.now();
        let chunk = (CHUNK_BYTES / edit_bytes(&self.edit)).clamp(1, CHUNK_OPS);
        let mut chunks: Vec<&[(PointId, u64)]> = matches.chunks(chunk).collect();
        if chunks.is_empty() {
            // Only the key: a repeat must find nothing to do, whatever matches by then.
            chunks.push(&[]);
        }
        let last = chunks.len() - 1;
        for (i, chunk) in chunks.into_iter().enumerate() {
            let op = |(id, version): &(PointId, u64)| ConditionalOp {
                op: op_of(&self.edit, *id, now),
                if_version: Some(*version),
            };
            let batch = OpBatch {
                ops: chunk.iter().map(op).collect(),
                idempotency: idempotency.filter(|_| i == last),
            };
            let ack = write_shard(&self.writer.engine, key, batch, true).await?;
            done.offset = done.offset.max(ack.offset);
            done.repeated = ack.repeated;
            done.counts.too_large += ack.too_large;
            for (outcome, (id, _)) in ack.outcomes.unwrap_or_default().into_iter().zip(chunk) {
                done.counts.affected += reached(&outcome);
                // Version 0 is a point that went: nothing is left to do.
                if matches!(outcome, OpOutcome::VersionMismatch { current } if current != 0) {
                    done.missed.insert(*id);
                }
            }
        }
        Ok(())
    }
}

/// Bytes of one operation in the log, about.
fn edit_bytes(edit: &Edit) -> usize {
    64 + match edit {
        Edit::Delete | Edit::Payload(PayloadChange::Clear) => 0,
        Edit::Payload(PayloadChange::Merge(json) | PayloadChange::Overwrite(json)) => json.len(),
        Edit::Payload(PayloadChange::MergeAt { path, update }) => path.len() + update.len(),
        Edit::Payload(PayloadChange::DeleteKeys(paths)) => paths.iter().map(|p| p.len() + 8).sum(),
        Edit::RemoveVectors(fields) => 2 * fields.len(),
    }
}
