//! Shards of this process: a [`ShardSearcher`] over the storage engine.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use engram_index::payload::Scalar;
use engram_storage::engine::Engine;
use engram_storage::point::PointId;
use engram_storage::schema::ShardKey;
use engram_storage::shard::ShardSnapshot;

use crate::error::{QueryError, Result};
use crate::filter::Bound;
use crate::recall::Searched;
use crate::request::StoredPoint;
use crate::searcher::{
    FetchRequest, Frequencies, FrequencyRequest, Pin, ShardFacetRequest, ShardHits, ShardKeysRequest,
    ShardRankRequest, ShardRanked, ShardScope, ShardScrollRequest, ShardSearchRequest, ShardSearcher,
    ShardTextRequest, ShardTextStatistics, ShardTextStatisticsRequest,
};

mod compared;
mod compute;
mod facet;
mod filtered;
mod keys;
mod multi;
mod rank;
mod read;
mod recheck;
pub(crate) mod rows;
mod search;
mod sparse;
mod text;

pub(crate) use compute::{Compute, Work, after, spend};
use facet::FacetJob;
use keys::KeysJob;
pub(crate) use keys::canonical;
use rank::RankJob;
use read::{CountJob, FetchJob, ScrollJob, VersionsJob};
use recheck::RecheckJob;
pub(crate) use recheck::Rechecked;
use rows::{Place, Visibility};
use search::{Placed, SearchJob};
use sparse::FrequencyJob;
use text::{TextSearchJob, TextStatisticsJob};

/// Searches shards that this process holds.
///
/// Every request reads one immutable snapshot. Short work runs on the caller's thread, longer work on a pool of as
/// many threads as were asked for, split over the runs of the shard.
pub struct LocalSearcher {
    engine: Arc<Engine>,
    compute: Arc<Compute>,
}

/// The state a search ranked: what its fetch reads again.
struct Held {
    snapshot: Arc<ShardSnapshot>,
    shown: Visibility,
    /// Where its hits are, ascending by id.
    places: Arc<[(PointId, Place)]>,
}

impl LocalSearcher {
    /// A searcher over `engine` with `threads` threads for longer work.
    ///
    /// # Errors
    /// [`QueryError::Internal`] where the threads cannot be started.
    pub fn new(engine: Arc<Engine>, threads: usize) -> Result<Self> {
        Ok(Self { engine, compute: Arc::new(Compute::new(threads)?) })
    }

    /// The snapshot that a request reads; `None` where nothing was ever written to the shard.
    async fn snapshot(&self, scope: &ShardScope) -> Result<Option<Arc<ShardSnapshot>>> {
        if let Some(held) = held(&scope.pin, &scope.shard) {
            return Ok(Some(held.snapshot.clone()));
        }
        let Some(shard) = self.engine.existing_shard(&scope.shard).await? else {
            if scope.min_offset == 0 {
                return Ok(None);
            }
            let message = format!(
                "the consistency token asks for offset {} of shard {}.{}, which holds nothing: was the collection made anew?",
                scope.min_offset, scope.shard.region, scope.shard.bucket
            );
            return Err(QueryError::invalid("invalid_token", message));
        };
        let snapshot = shard.snapshot();
        if snapshot.applied >= scope.min_offset {
            return Ok(Some(snapshot));
        }
        shard.wait_applied(scope.min_offset, scope.deadline).await?;
        Ok(Some(shard.snapshot()))
    }

    /// Ids and versions of all matching points of a shard: what a write by filter is resolved with.
    pub(crate) async fn versions(&self, scope: ShardScope, filter: Bound) -> Result<Vec<(PointId, u64)>> {
        let Some(snapshot) = self.snapshot(&scope).await? else { return Ok(Vec::new()) };
        let shown = self.shown(&scope);
        let deadline = scope.deadline;
        let job = VersionsJob { snapshot, shown, scope, filter };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }

    /// Whether no request waits for a shard now.
    pub(crate) fn is_idle(&self) -> bool {
        self.compute.is_idle()
    }

    /// Runs a search, and what an exact one would have found on the very same snapshot; both are empty where nothing was
    /// ever written. Works in small pieces, and only while nobody waits for a shard; gives up soon after `stop` is
    /// raised, and at the deadline.
    pub(crate) async fn recheck(
        &self,
        request: ShardSearchRequest,
        stop: Arc<AtomicBool>,
    ) -> Result<Rechecked> {
        let Some(snapshot) = self.snapshot(&request.scope).await? else { return Ok(Rechecked::default()) };
        let shown = self.shown(&request.scope);
        let search = SearchJob { snapshot, shown, request };
        let job = RecheckJob { search, compute: self.compute.clone(), stop };
        // Not on the search pool: requests must never wait behind it.
        let done = tokio::task::spawn_blocking(move || job.run()).await;
        done.map_err(|e| QueryError::Internal(format!("a re-check was stopped: {e}")))?
    }

    /// The state that an earlier phase of the same request read, or the one of now.
    async fn pinned(
        &self,
        pin: &Pin,
        scope: &ShardScope,
    ) -> Result<Option<(Arc<ShardSnapshot>, Visibility)>> {
        if let Some(held) = held(pin, &scope.shard) {
            return Ok(Some((held.snapshot.clone(), held.shown)));
        }
        Ok(self.snapshot(scope).await?.map(|snapshot| (snapshot, self.shown(scope))))
    }

    /// What a request sees; of a held state what was seen when it was taken.
    fn shown(&self, scope: &ShardScope) -> Visibility {
        match held(&scope.pin, &scope.shard) {
            Some(held) => Visibility { deadline: scope.deadline, ..held.shown },
            None => Visibility::new(scope, self.engine.clock().now_ms()),
        }
    }

    /// Where work runs that is not one shard's.
    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }
}

/// The state in a pin, if it is one of this shard.
fn held<'a>(pin: &'a Pin, shard: &ShardKey) -> Option<&'a Held> {
    pin.0.as_ref()?.downcast_ref::<Held>().filter(|held| held.snapshot.key == *shard)
}

/// What was found, with the state it was found in.
fn hits(
    found: Vec<Placed>,
    searched: Searched,
    snapshot: Arc<ShardSnapshot>,
    shown: Visibility,
) -> ShardHits {
    let mut places: Vec<_> = found.iter().map(|placed| (placed.hit.id, placed.place)).collect();
    places.sort_unstable_by_key(|(id, _)| *id);
    let hits = found.into_iter().map(|placed| placed.hit).collect();
    let served = snapshot.applied;
    let held = Held { snapshot, shown, places: places.into() };
    ShardHits { hits, served, searched, pin: Pin(Some(Arc::new(held))) }
}

#[async_trait]
impl ShardSearcher for LocalSearcher {
    async fn search(&self, request: ShardSearchRequest) -> Result<ShardHits> {
        let Some(snapshot) = self.snapshot(&request.scope).await? else { return Ok(ShardHits::default()) };
        let shown = self.shown(&request.scope);
        let (shards, deadline) = (request.shards, request.scope.deadline);
        let job = SearchJob { snapshot: snapshot.clone(), shown, request };
        let (found, searched) =
            self.compute.run(job.work(), (shards, deadline), move |on_pool| job.run(on_pool)).await?;
        Ok(hits(found, searched, snapshot, shown))
    }

    async fn text_statistics(&self, request: ShardTextStatisticsRequest) -> Result<ShardTextStatistics> {
        let ShardTextStatisticsRequest { scope, field, words, shards } = request;
        let deadline = scope.deadline;
        let Some(snapshot) = self.snapshot(&scope).await? else { return Ok(ShardTextStatistics::default()) };
        let shown = self.shown(&scope);
        let job = TextStatisticsJob { snapshot: snapshot.clone(), shown, field, words };
        let statistics = self.compute.run(job.work(), (shards, deadline), move |_| job.run()).await?;
        let held = Held { snapshot, shown, places: Arc::default() };
        Ok(ShardTextStatistics { statistics, pin: Pin(Some(Arc::new(held))) })
    }

    async fn search_text(&self, request: ShardTextRequest) -> Result<ShardHits> {
        let Some((snapshot, shown)) = self.pinned(&request.pin, &request.scope).await? else {
            return Ok(ShardHits::default());
        };
        let (shards, deadline) = (request.shards, request.scope.deadline);
        let job = TextSearchJob { snapshot: snapshot.clone(), shown, request };
        let found = self.compute.run(job.work(), (shards, deadline), move |_| job.run()).await?;
        Ok(hits(found, Searched::default(), snapshot, shown))
    }

    async fn frequencies(&self, request: FrequencyRequest) -> Result<Frequencies> {
        let Some(snapshot) = self.snapshot(&request.scope).await? else { return Ok(Frequencies::default()) };
        let shown = self.shown(&request.scope);
        let deadline = request.scope.deadline;
        let job = FrequencyJob { snapshot, shown, request };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Vec<StoredPoint>> {
        let FetchRequest { scope, ids, selection, pin } = request;
        let (snapshot, shown, places) = match held(&pin, &scope.shard) {
            Some(held) => (held.snapshot.clone(), held.shown, held.places.clone()),
            None => match self.snapshot(&scope).await? {
                Some(snapshot) => (snapshot, self.shown(&scope), Arc::default()),
                None => return Ok(Vec::new()),
            },
        };
        let deadline = scope.deadline;
        let job = FetchJob { snapshot, shown, scope, ids, selection, places };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }

    async fn scroll(&self, request: ShardScrollRequest) -> Result<Vec<StoredPoint>> {
        let ShardScrollRequest { scope, filter, from, limit, selection } = request;
        let Some(snapshot) = self.snapshot(&scope).await? else { return Ok(Vec::new()) };
        let shown = self.shown(&scope);
        let deadline = scope.deadline;
        let job = ScrollJob { snapshot, shown, scope, filter, from, limit, selection };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }

    async fn count(&self, scope: ShardScope, filter: Option<Bound>) -> Result<u64> {
        let Some(snapshot) = self.snapshot(&scope).await? else { return Ok(0) };
        let (shown, deadline) = (self.shown(&scope), scope.deadline);
        let job = CountJob { snapshot, shown, scope, filter };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }

    async fn hold(&self, scope: ShardScope) -> Result<Pin> {
        let Some(snapshot) = self.snapshot(&scope).await? else { return Ok(Pin::default()) };
        let held = Held { snapshot, shown: self.shown(&scope), places: Arc::default() };
        Ok(Pin(Some(Arc::new(held))))
    }

    async fn rank_by(&self, request: ShardRankRequest) -> Result<ShardRanked> {
        let Some(snapshot) = self.snapshot(&request.scope).await? else {
            return Ok(ShardRanked::default());
        };
        let shown = self.shown(&request.scope);
        let (served, shards, deadline) = (snapshot.applied, request.shards, request.scope.deadline);
        let job = RankJob { snapshot, shown, request };
        let rows = self.compute.run(job.work(), (shards, deadline), move |on_pool| job.run(on_pool)).await?;
        Ok(ShardRanked { rows, served })
    }

    async fn facet(&self, request: ShardFacetRequest) -> Result<Vec<(Scalar, u64)>> {
        let Some(snapshot) = self.snapshot(&request.scope).await? else { return Ok(Vec::new()) };
        let shown = self.shown(&request.scope);
        let deadline = request.scope.deadline;
        let job = FacetJob { snapshot, shown, request };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }

    async fn keys(&self, request: ShardKeysRequest) -> Result<Vec<(PointId, Vec<Scalar>)>> {
        let Some(snapshot) = self.snapshot(&request.scope).await? else { return Ok(Vec::new()) };
        let shown = self.shown(&request.scope);
        let deadline = request.scope.deadline;
        let job = KeysJob { snapshot, shown, request };
        self.compute.run(job.work(), (1, deadline), move |_| job.run()).await
    }
}
