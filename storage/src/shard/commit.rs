//! Group commit: writes that arrive while a sync is under way share the next one. Durable groups are applied in the
//! order of the log, beside the sync of the next group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::apply::{Applied, apply};
use super::memtable::coalesce;
use super::{Shard, WriteAck};
use crate::error::{Result, StorageError};
use crate::log::{LogError, Offset};
use crate::op::OpBatch;

/// Records of one group at most.
const MAX_GROUP_RECORDS: usize = 1024;
/// Rows applied before searches see them and waiting writers are answered.
const MAX_APPLY_OPS: usize = 16_384;

type Answer = oneshot::Sender<Result<WriteAck>>;

/// A write that is not durable yet.
pub(super) struct Pending {
    body: Bytes,
    batch: OpBatch,
    answer: Answer,
    wait_applied: bool,
    permits: usize,
}

/// A write that is durable but not applied yet.
struct Durable {
    offset: Offset,
    batch: OpBatch,
    answer: Option<Answer>,
    permits: usize,
}

/// Writes on their way.
#[derive(Default)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    committing: bool,
    durable: VecDeque<Durable>,
    applying: bool,
}

impl Queue {
    /// Nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        !self.committing && !self.applying
    }
}

impl Shard {
    /// Appends `batch` to the log and answers once it is durable, or once it is applied.
    ///
    /// Outcomes come only with `wait_applied`, which conditional operations need.
    ///
    /// # Errors
    /// `Exhausted` where no room came free in time, `Poisoned` after a failed sync, `IdempotencyMismatch`, `NotFound`
    /// for a dropped collection. Only [`LogError::Ambiguous`] leaves open whether the write is in the log.
    pub async fn write(self: &Arc<Self>, batch: OpBatch, wait_applied: bool) -> Result<WriteAck> {
        self.touch();
        self.last_written.store(self.last_used(), Ordering::Relaxed);
        self.check_open()?;
        self.wait_for_memory().await?;
        let body = batch.encode();
        let permits = self.take_room(body.len()).await?;
        let (answer, answered) = oneshot::channel();
        let pending = Pending { body, batch, answer, wait_applied, permits };
        if self.enqueue(pending)? {
            tokio::spawn(self.clone().commit());
        }
        answered
            .await
            .map_err(|_| StorageError::Unavailable("the server is shutting down; try again".into()))?
    }

    /// Whether a task for committing has to be started.
    fn enqueue(&self, pending: Pending) -> Result<bool> {
        let mut queue = self.queue.lock();
        if let Err(e) = self.check_not_closed() {
            self.room.add_permits(pending.permits);
            return Err(e);
        }
        queue.pending.push_back(pending);
        Ok(!std::mem::replace(&mut queue.committing, true))
    }

    fn check_open(&self) -> Result<()> {
        self.check_not_closed()?;
        if self.poisoned().is_some() { Err(self.refusal()) } else { Ok(()) }
    }

    /// Why a poisoned shard refuses.
    pub(super) fn refusal(&self) -> StorageError {
        StorageError::Poisoned { shard: self.key.to_string(), why: self.poisoned().unwrap_or_default() }
    }

    /// Waits while too much is unflushed: a slow disk slows the writers, it does not fill the memory.
    async fn wait_for_memory(self: &Arc<Self>) -> Result<()> {
        let wait = async {
            loop {
                let flushed = self.parts.flushed.notified();
                tokio::pin!(flushed);
                flushed.as_mut().enable();
                if self.is_closed() || !self.memory_is_short() {
                    return;
                }
                flushed.await;
            }
        };
        tokio::time::timeout(self.parts.options.write_timeout, wait).await.map_err(|_| self.busy())
    }

    /// Whether writes have to wait for a flush; sees to it that one comes.
    fn memory_is_short(self: &Arc<Self>) -> bool {
        if self.unflushed_bytes() > self.parts.options.unflushed_limit_bytes {
            self.want_flush();
            return true;
        }
        let short = self.parts.unflushed.load(Ordering::Relaxed) > self.parts.unflushed_limit;
        if short {
            // The upkeep of the engine flushes the largest memtables.
            self.parts.grown.notify_one();
        }
        short
    }

    async fn take_room(&self, bytes: usize) -> Result<usize> {
        let options = &self.parts.options;
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, options.queue_bytes);
        match tokio::time::timeout(options.write_timeout, self.room.acquire_many(wanted)).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(wanted as usize)
            }
            _ => Err(self.busy()),
        }
    }

    fn busy(&self) -> StorageError {
        if let Some(why) = self.flush_failure.lock().clone() {
            return StorageError::Exhausted(format!(
                "shard {} cannot write its rows to disk ({why}); nothing is lost, try again when that is mended",
                self.key
            ));
        }
        StorageError::Exhausted(format!(
            "shard {} has too many writes under way; try again in a second",
            self.key
        ))
    }

    async fn commit(self: Arc<Self>) {
        loop {
            let group = self.next_group();
            if group.is_empty() {
                return;
            }
            let bodies: Vec<Bytes> = group.iter().map(|p| p.body.clone()).collect();
            let tail = self.durable.load(Ordering::Acquire);
            let start = Instant::now();
            let appended = self.log.append(tail, bodies).await;
            self.parts.work.log_appends.add(start);
            match appended {
                Ok(new_tail) => self.committed(tail, new_tail, group),
                Err(e) => self.refused(&e, group),
            }
        }
    }

    /// Takes what is queued, up to the size of a group. Empty means that the task ends.
    fn next_group(&self) -> Vec<Pending> {
        let mut queue = self.queue.lock();
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.pending.front() {
            let over =
                bytes + next.body.len() > self.parts.options.group_bytes || group.len() == MAX_GROUP_RECORDS;
            if over && !group.is_empty() {
                break;
            }
            bytes += next.body.len();
            group.extend(queue.pending.pop_front());
        }
        queue.committing = !group.is_empty();
        self.tell_settled(&queue);
        group
    }

    fn tell_settled(&self, queue: &Queue) {
        if queue.is_idle() {
            self.settled.notify_waiters();
        }
    }

    fn committed(self: &Arc<Self>, tail: Offset, new_tail: Offset, group: Vec<Pending>) {
        self.durable.store(new_tail, Ordering::Release);
        let mut queue = self.queue.lock();
        for (offset, pending) in (tail + 1..).zip(group) {
            let answer = if pending.wait_applied {
                Some(pending.answer)
            } else {
                // A writer that went away meanwhile does not mind.
                let _ = pending.answer.send(Ok(WriteAck {
                    offset,
                    outcomes: None,
                    repeated: false,
                    too_large: 0,
                }));
                None
            };
            queue.durable.push_back(Durable {
                offset,
                batch: pending.batch,
                answer,
                permits: pending.permits,
            });
        }
        if !std::mem::replace(&mut queue.applying, true) {
            let shard = self.clone();
            tokio::task::spawn_blocking(move || shard.apply_durable());
        }
    }

    fn refused(&self, e: &LogError, group: Vec<Pending>) {
        // These say that nothing was written and nothing is in doubt: the next write may go well.
        let harmless = matches!(e, LogError::Full(_) | LogError::TooLarge { .. } | LogError::Unavailable(_));
        if !harmless {
            tracing::error!(shard = %self.key, error = %e, "the log refused an append; the shard takes no more writes");
            self.poison.lock().get_or_insert_with(|| e.to_string());
        }
        for pending in group {
            self.room.add_permits(pending.permits);
            let error = match e {
                LogError::Poisoned(why) => {
                    StorageError::Poisoned { shard: self.key.to_string(), why: why.clone() }
                }
                other => StorageError::Log(other.clone()),
            };
            let _ = pending.answer.send(Err(error));
        }
    }

    /// Applies durable groups until there are none.
    fn apply_durable(self: Arc<Self>) {
        loop {
            let mut group = self.next_durable();
            if group.is_empty() {
                return;
            }
            let batches = group.iter_mut().map(|d| (d.offset, std::mem::take(&mut d.batch))).collect();
            let results = self.apply_batches(batches);
            self.answer(group, results);
            if self.unflushed_bytes() >= self.parts.options.memtable_bytes {
                self.want_flush();
            }
        }
    }

    fn next_durable(&self) -> Vec<Durable> {
        let mut queue = self.queue.lock();
        let mut group = Vec::new();
        let mut ops = 0;
        while ops < MAX_APPLY_OPS
            && let Some(next) = queue.durable.pop_front()
        {
            ops += next.batch.ops.len().max(1);
            group.push(next);
        }
        queue.applying = !group.is_empty();
        self.tell_settled(&queue);
        group
    }

    /// Applies batches and shows them to searches. The first failure stops the shard: what is in the log is applied
    /// again when it is opened anew.
    pub(super) fn apply_batches(&self, batches: Vec<(Offset, OpBatch)>) -> Result<Vec<Result<Applied>>> {
        let schema = self.schema.load_full();
        let mut state = self.state.lock();
        if state.broken {
            return Err(self.refusal());
        }
        let outcome =
            apply(&mut state, &schema, batches).and_then(|r| coalesce(&mut state, &schema).map(|()| r));
        match &outcome {
            Ok(_) => {
                self.publish_view(&state);
                self.applied.send_replace(state.applied);
            }
            Err(e) => {
                tracing::error!(shard = %self.key, error = %e, "a record could not be applied");
                state.broken = true;
                self.poison.lock().get_or_insert_with(|| e.to_string());
            }
        }
        outcome
    }

    fn answer(&self, group: Vec<Durable>, results: Result<Vec<Result<Applied>>>) {
        let mut results = results.map(Vec::into_iter);
        for durable in group {
            self.room.add_permits(durable.permits);
            let ack = match &mut results {
                Err(e) => Err(e.clone()),
                Ok(results) => match results.next() {
                    None => Err(StorageError::Internal("a batch was applied without a result".into())),
                    Some(Err(e)) => Err(e),
                    Some(Ok(applied)) => Ok(WriteAck {
                        offset: applied.repeats.unwrap_or(durable.offset),
                        repeated: applied.repeats.is_some(),
                        outcomes: Some(applied.outcomes),
                        too_large: applied.too_large,
                    }),
                },
            };
            if let Some(answer) = durable.answer {
                let _ = answer.send(ack);
            }
        }
    }
}
