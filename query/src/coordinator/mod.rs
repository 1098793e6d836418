//! Scatter and gather: one request, many shards, one answer. Knows shards only as [`ShardSearcher`].
//!
//! **Two phases.** A search ranks ids first and fetches only the winners. A searcher that keeps the state it ranked
//! (see [`Pin`]) fetches from that very state, so its winners are always there. From one that does not, a winner may
//! come back changed, or not at all. The rule is then: *an answer holds points exactly as they were ranked*. If any
//! winner changed, the whole search is repeated, [`SEARCH_ATTEMPTS`] times at most; after the last time the changed
//! ones are left out and the answer says that it is partial.

use std::sync::Arc;
use std::time::Instant;

use engram_storage::ErrorKind;
use engram_storage::schema::CollectionSchema;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::error::{QueryError, Result};
use crate::request::ReadOptions;
use crate::searcher::{Pin, ShardScope, ShardSearcher};

mod held;
mod idf;
mod read;
mod search;
mod text;
mod winners;

pub(crate) use held::scatter;
pub(crate) use idf::{weigh_all, weighed};
pub(crate) use read::{count, get, scroll};
pub(crate) use search::{SearchPlan, search};
pub(crate) use text::{TextPlan, TextWords, rank_text, search_text};
pub(crate) use winners::{fetch_by_shard, rank_deadline, settle};

/// Shards that one step of a request asks at once; the others wait for their turn. Otherwise a query of many stages over
/// many shards would hold a call for each of them.
pub(crate) const CALLS_AT_ONCE: usize = 256;

/// How often a search is tried while its winners change between the phases.
pub(crate) const SEARCH_ATTEMPTS: usize = 3;

/// What every fan-out needs.
#[derive(Clone)]
pub(crate) struct Fan {
    pub searcher: Arc<dyn ShardSearcher>,
    pub schema: Arc<CollectionSchema>,
    /// Shards the request is about, region by region; never empty.
    pub scopes: Arc<Vec<ShardScope>>,
    /// Shards of the other regions, where words are counted there too; see [`Fan::counting`].
    pub others: Vec<ShardScope>,
    pub deadline: Instant,
}

impl Fan {
    /// Shards and freshness of a read.
    ///
    /// # Errors
    /// `unknown_region` and `invalid_token` for what the collection has not.
    pub fn new(
        searcher: Arc<dyn ShardSearcher>,
        schema: Arc<CollectionSchema>,
        read: &ReadOptions,
        deadline: Instant,
    ) -> Result<Self> {
        for name in &read.regions {
            if !schema.regions.iter().any(|r| r.as_str() == name) {
                return Err(unknown_region(&schema, name));
            }
        }
        if let Some(token) = &read.token {
            let foreign = |(region, bucket, _): &&(_, u32, _)| {
                !schema.regions.contains(region) || *bucket >= schema.shards_per_region
            };
            if let Some((region, bucket, _)) = token.shards.iter().find(foreign) {
                let message = format!(
                    "the consistency token names shard {region}.{bucket}, which collection {:?} has not: \
                     use the token of a write to this collection",
                    schema.name
                );
                return Err(QueryError::invalid("invalid_token", message));
            }
        }
        let scopes = scopes(&schema, read, deadline, true).collect();
        Ok(Self { searcher, schema, scopes: Arc::new(scopes), others: Vec::new(), deadline })
    }

    /// The same shards, which rank by words as these occur in the whole collection: `read`, which this fan was made for, says
    /// where to search, not how rare a word is.
    pub fn counting(mut self, read: &ReadOptions) -> Self {
        if !read.regions.is_empty() {
            self.others = scopes(&self.schema, read, self.deadline, false).collect();
        }
        self
    }
}

/// The shards of the regions that a read names, or of those that it does not.
fn scopes<'a>(
    schema: &'a Arc<CollectionSchema>,
    read: &'a ReadOptions,
    deadline: Instant,
    named: bool,
) -> impl Iterator<Item = ShardScope> + 'a {
    let wanted = |region: &str| read.regions.is_empty() || read.regions.iter().any(|r| r == region);
    let shards = schema.shards().filter(move |shard| wanted(shard.region.as_str()) == named);
    shards.map(move |shard| {
        let min_offset = read.token.as_ref().map_or(0, |t| t.offset(&shard.region, shard.bucket));
        ShardScope { shard, schema: schema.clone(), min_offset, deadline, pin: Pin::default() }
    })
}

/// A region that the collection does not accept.
pub(crate) fn unknown_region(schema: &CollectionSchema, name: &str) -> QueryError {
    let known: Vec<&str> = schema.regions.iter().map(|r| r.as_str()).collect();
    let message =
        format!("collection {:?} has no region {name:?}: use one of {}", schema.name, known.join(", "));
    QueryError::invalid("unknown_region", message)
}

/// What came back in time.
pub(crate) struct Gathered<T> {
    /// Answers with the number of their call, ascending.
    pub answers: Vec<(usize, T)>,
    /// Why some did not answer; `None` when all did.
    pub late: Option<QueryError>,
}

impl<T> Gathered<T> {
    /// All answers, or why some are missing.
    pub fn complete(self) -> Result<Vec<T>> {
        match self.late {
            Some(e) => Err(e),
            None => Ok(self.answers.into_iter().map(|(_, answer)| answer).collect()),
        }
    }
}

/// Awaits all `calls` until the deadline. A call that is late or cannot be answered now is told apart from one that
/// failed: the first leaves a gap, the second fails the request.
pub(crate) async fn gather<T, F>(
    mut calls: impl ExactSizeIterator<Item = F>,
    deadline: Instant,
) -> Result<Gathered<T>>
where
    F: Future<Output = Result<T>>,
{
    let total = calls.len();
    if total == 1
        && let Some(only) = calls.next()
    {
        return gather_one(only, deadline).await;
    }
    let mut calls = calls.enumerate().map(|(number, call)| async move { (number, call.await) });
    let mut pending: FuturesUnordered<_> = calls.by_ref().take(CALLS_AT_ONCE).collect();
    let mut gathered = Gathered { answers: Vec::with_capacity(total), late: None };
    loop {
        match tokio::time::timeout_at(deadline.into(), pending.next()).await {
            Ok(None) => break,
            Ok(Some((number, Ok(answer)))) => gathered.answers.push((number, answer)),
            Ok(Some((_, Err(e)))) if may_be_left_out(&e) => {
                gathered.late.get_or_insert(e);
            }
            Ok(Some((_, Err(e)))) => return Err(e),
            Err(_) => {
                // What came before says more: that there was no room, for one.
                gathered.late.get_or_insert_with(|| late(pending.len() + calls.len(), total));
                break;
            }
        }
        pending.extend(calls.next());
    }
    gathered.answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(gathered)
}

/// As [`gather`], of one call: a collection of one shard is common, and needs no crowd.
async fn gather_one<T>(call: impl Future<Output = Result<T>>, deadline: Instant) -> Result<Gathered<T>> {
    let missing = |e| Gathered { answers: Vec::new(), late: Some(e) };
    match tokio::time::timeout_at(deadline.into(), call).await {
        Ok(Ok(answer)) => Ok(Gathered { answers: vec![(0, answer)], late: None }),
        Ok(Err(e)) if may_be_left_out(&e) => Ok(missing(e)),
        Ok(Err(e)) => Err(e),
        Err(_) => Ok(missing(late(1, 1))),
    }
}

fn late(missing: usize, total: usize) -> QueryError {
    QueryError::DeadlineExceeded(format!(
        "{missing} of {total} shards did not answer before the deadline; allow more time, or accept partial answers"
    ))
}

fn may_be_left_out(e: &QueryError) -> bool {
    matches!(e.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Unavailable)
}
