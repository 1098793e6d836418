//! Writes that depend on whether their points are there, and match a filter.
//!
//! As in [`super::by_filter`], what is there is looked up first and each operation is bound to the version that was seen:
//! the log holds only what was decided, and a point that changed meanwhile is looked at again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engram_storage::op::OpOutcome;
use engram_storage::point::PointId;
use engram_storage::schema::ShardKey;

use super::{Writer, change, upsert};
use crate::coordinator::gather;
use crate::error::{QueryError, Result};
use crate::filter::{Bound, Filter};
use crate::limits::check_batch;
use crate::local::LocalSearcher;
use crate::request::{NewPoint, Reach, VectorUpdate, WriteAnswer, WriteCondition, WriteOptions};
use crate::searcher::{Pin, ShardScope};

/// Rounds over points that keep changing.
const ROUNDS: usize = 8;

/// A point of a request.
trait Wanted: Clone + Send {
    fn id(&self) -> Option<PointId>;
    fn bind(&mut self, version: u64);
    fn write(writer: Writer, batch: Vec<Self>) -> impl Future<Output = Result<WriteAnswer>> + Send;
}

impl Wanted for NewPoint {
    fn id(&self) -> Option<PointId> {
        self.id
    }

    fn bind(&mut self, version: u64) {
        self.if_version = Some(version);
    }

    fn write(writer: Writer, batch: Vec<Self>) -> impl Future<Output = Result<WriteAnswer>> + Send {
        upsert::upsert(writer, batch, waiting())
    }
}

impl Wanted for VectorUpdate {
    fn id(&self) -> Option<PointId> {
        Some(self.id)
    }

    fn bind(&mut self, version: u64) {
        self.if_version = Some(version);
    }

    fn write(writer: Writer, batch: Vec<Self>) -> impl Future<Output = Result<WriteAnswer>> + Send {
        change::update_vectors(writer, batch, waiting())
    }
}

/// What becomes of one point now.
enum Verdict {
    /// Written, if its version is still this one.
    Write(u64),
    /// Left alone.
    Leave,
    /// It is not there, and only points that are may be written.
    Absent,
    /// It changed while it was looked at.
    Again,
}

/// Writes those points that `condition` reaches; the others have no outcome, or `NotFound`.
pub(crate) async fn upsert_where(
    writer: Writer,
    searcher: Arc<LocalSearcher>,
    (points, condition): (Vec<NewPoint>, WriteCondition),
    options: WriteOptions,
) -> Result<WriteAnswer> {
    check_batch("points", points.len())?;
    let seen = Seen::new(&writer, searcher, condition)?;
    rounds(&seen, points, &options).await
}

/// Updates those points that are there and match.
pub(crate) async fn update_vectors_where(
    writer: Writer,
    searcher: Arc<LocalSearcher>,
    (updates, filter): (Vec<VectorUpdate>, Filter),
    options: WriteOptions,
) -> Result<WriteAnswer> {
    check_batch("updates", updates.len())?;
    let condition = WriteCondition { filter: Some(filter), reach: Reach::Present };
    let seen = Seen::new(&writer, searcher, condition)?;
    rounds(&seen, updates, &options).await
}

fn waiting() -> WriteOptions {
    WriteOptions { wait: true, ..WriteOptions::default() }
}

async fn rounds<T: Wanted>(seen: &Seen<'_>, wanted: Vec<T>, options: &WriteOptions) -> Result<WriteAnswer> {
    if options.idempotency_key.is_some() || options.skip_invalid {
        let message =
            "a write with a condition takes no idempotency key: what it does depends on what is there";
        return Err(QueryError::invalid("invalid_argument", message));
    }
    let mut answer = WriteAnswer { outcomes: vec![None; wanted.len()], ..WriteAnswer::default() };
    let mut open: Vec<(usize, T)> = wanted.into_iter().enumerate().collect();
    for _ in 0..ROUNDS {
        let verdicts = seen.look(open.iter().filter_map(|(_, one)| one.id())).await?;
        let (mut slots, mut batch, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, mut one) in open {
            match one.id().map(|id| verdicts.of(&id)) {
                Some(Verdict::Leave) => {}
                Some(Verdict::Absent) => answer.outcomes[slot] = Some(OpOutcome::NotFound),
                Some(Verdict::Again) => again.push((slot, one)),
                Some(Verdict::Write(version)) => {
                    one.bind(version);
                    slots.push(slot);
                    batch.push(one);
                }
                // Refused by the write itself.
                None => batch.push(one),
            }
        }
        if !batch.is_empty() {
            let done = T::write(seen.writer.clone(), batch.clone()).await?;
            answer.affected += done.affected;
            answer.token.merge(&done.token);
            for ((slot, one), outcome) in slots.into_iter().zip(batch).zip(done.outcomes) {
                match outcome {
                    Some(OpOutcome::VersionMismatch { .. }) => again.push((slot, one)),
                    other => answer.outcomes[slot] = other,
                }
            }
        }
        open = again;
        if open.is_empty() {
            return Ok(answer);
        }
    }
    Err(QueryError::Unavailable {
        code: "changed_while_writing",
        message: format!("{} points kept changing while they were written; try again", open.len()),
    })
}

/// What is looked for.
struct Seen<'a> {
    writer: &'a Writer,
    searcher: Arc<LocalSearcher>,
    reach: Reach,
    filter: Option<Bound>,
}

/// Points that are there.
struct Verdicts {
    reach: Reach,
    /// Their versions, and whether that is newer than what was matched.
    there: HashMap<PointId, (u64, bool)>,
    /// Those that match, by the version that does; all where there is no filter.
    matching: Option<HashMap<PointId, u64>>,
}

impl Verdicts {
    fn of(&self, id: &PointId) -> Verdict {
        let Some((version, newer)) = self.there.get(id) else {
            return if self.reach == Reach::Present { Verdict::Absent } else { Verdict::Write(0) };
        };
        if self.reach == Reach::Absent {
            return Verdict::Leave;
        }
        match &self.matching {
            None => Verdict::Write(*version),
            Some(matching) => match matching.get(id) {
                Some(matched) => Verdict::Write(*matched),
                None if *newer => Verdict::Again,
                None => Verdict::Leave,
            },
        }
    }
}

impl<'a> Seen<'a> {
    fn new(writer: &'a Writer, searcher: Arc<LocalSearcher>, condition: WriteCondition) -> Result<Self> {
        let WriteCondition { reach, filter } = condition;
        if let Some(filter) = &filter {
            filter.validate()?;
        }
        let bound = |filter| Bound::new(Arc::new(filter), &writer.schema);
        Ok(Self { writer, searcher, reach, filter: filter.map(bound).transpose()? })
    }

    async fn look(&self, ids: impl Iterator<Item = PointId>) -> Result<Verdicts> {
        let mut by_bucket: HashMap<u32, HashSet<PointId>> = HashMap::new();
        for id in ids {
            by_bucket.entry(id.bucket(self.writer.schema.shards_per_region)).or_default().insert(id);
        }
        let filter = self.filter.as_ref();
        let mut verdicts =
            Verdicts { reach: self.reach, there: HashMap::new(), matching: filter.map(|_| HashMap::new()) };
        for key in self.writer.schema.shards() {
            let Some(ids) = by_bucket.get(&key.bucket) else { continue };
            let Some(shard) = self.writer.engine.existing_shard(&key).await? else { continue };
            let tail = shard.tail();
            let named = Bound::ids(ids.iter().copied().collect());
            if let (Some(filter), Some(matching)) = (filter, &mut verdicts.matching) {
                matching.extend(self.versions(&key, tail, named.and(filter)).await?);
            }
            let there = self.versions(&key, tail, named).await?.into_iter();
            verdicts.there.extend(there.map(|(id, version)| (id, (version, version > tail))));
        }
        Ok(verdicts)
    }

    async fn versions(&self, key: &ShardKey, tail: u64, filter: Bound) -> Result<Vec<(PointId, u64)>> {
        let deadline = self.writer.deadline();
        let schema = self.writer.schema.clone();
        let scope =
            ShardScope { shard: key.clone(), schema, min_offset: tail, deadline, pin: Pin::default() };
        let call = self.searcher.versions(scope, filter);
        let mut found = gather(std::iter::once(call), deadline).await?.complete()?;
        Ok(found.pop().unwrap_or_default())
    }
}
