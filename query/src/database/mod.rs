//! The one door to collections and points.
//!
//! Every operation takes a [`Principal`] first, asks what it may do (`access.rs`) and sees the collections of its tenant
//! only; a collection of another tenant, or out of the scope of the key, gives the very error of an absent one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engram_storage::catalog::Role;
use engram_storage::engine::Engine;
use engram_storage::point::PointId;
use engram_storage::schema::CollectionSchema;

use crate::coordinator::{self, Fan};
use crate::error::Result;
use crate::filter::{Bound, Filter};
use crate::limits::{check_batch, check_page, check_paths, check_timeout};
use crate::local::LocalSearcher;
use crate::payload::Projection;
use crate::recheck::Rechecks;
use crate::request::{
    Change, NewPoint, PointSelector, Principal, ReadOptions, ScrollRequest, Selection, StoredPoint,
    VectorUpdate, WriteAnswer, WriteCondition, WriteOptions,
};
use crate::searcher::ShardSearcher;
use crate::stages::sample::Seeds;
use crate::write::{self, Writer, region::Stripes};

mod access;
mod aliases;
mod batch;
mod collections;
mod definition;
mod keys;
mod purge;
mod query;
mod recheck;
mod search;
mod snapshots;
mod text;

pub use aliases::AliasChange;
pub use collections::{CollectionChange, GraphChange};
pub use keys::MAX_GRACE_MS;
pub use purge::PurgeScope;
pub use recheck::RecallCount;
pub use snapshots::{Passage, SnapshotFile, SnapshotInfo, SnapshotSource, Upload};
pub(crate) use text::text_words;

/// Settings of a database.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// Share of the true neighbours that a search is after where the request names neither it nor a candidate list.
    pub default_recall: f32,
    /// Time a read may take where the request names none, and longest wait of a write for others.
    pub default_timeout: Duration,
    /// Threads for searches that would block the async runtime.
    pub search_threads: usize,
    /// One in so many searches by graph is kept for [`Database::recheck`]; 0 for none.
    pub recheck_one_in: u64,
    /// What random samples start from, so that they can be had again; chance where absent.
    pub sample_seed: Option<u64>,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            default_recall: 0.98,
            default_timeout: Duration::from_secs(10),
            search_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            recheck_one_in: 64,
            sample_seed: None,
        }
    }
}

/// The one door to collections and points; cloning shares it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    local: Arc<LocalSearcher>,
    searcher: Arc<dyn ShardSearcher>,
    stripes: Arc<Stripes>,
    rechecks: Rechecks,
    seeds: Seeds,
    options: DatabaseOptions,
}

/// One page of a scroll.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of ids, or of the field that was asked for.
    pub points: Vec<StoredPoint>,
    /// The value of that field by which each point is here; empty in the order of ids.
    pub order_values: Vec<serde_json::Value>,
    /// Where the next page starts; `None` after the last one, and in the order of a field.
    pub next: Option<PointId>,
}

impl Database {
    /// A database over the shards of `engine`.
    ///
    /// # Errors
    /// [`QueryError::Internal`] where the search threads cannot be started.
    pub fn new(engine: Arc<Engine>, options: DatabaseOptions) -> Result<Self> {
        let local = Arc::new(LocalSearcher::new(engine.clone(), options.search_threads)?);
        let searcher = local.clone();
        let stripes = Arc::new(Stripes::new());
        let rechecks = Rechecks::new(options.recheck_one_in);
        let seeds = Seeds::new(options.sample_seed);
        Ok(Self { inner: Arc::new(Inner { engine, local, searcher, stripes, rechecks, seeds, options }) })
    }

    /// The engine underneath.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// The shards of this process, as another node's coordinator reaches them.
    pub fn local_searcher(&self) -> Arc<dyn ShardSearcher> {
        self.inner.local.clone()
    }

    /// Writes points, replacing those of the same id.
    ///
    /// # Errors
    /// What is wrong with the first bad point (nothing is written then, unless `skip_invalid`), `region_change`,
    /// `idempotency_mismatch`, and those of storage, after which part of the shards may have the write.
    pub async fn upsert(
        &self,
        principal: Principal,
        collection: &str,
        points: Vec<NewPoint>,
        options: WriteOptions,
    ) -> Result<WriteAnswer> {
        write::upsert(self.writer(principal, collection)?, points, options).await
    }

    /// Writes those points that `condition` reaches; the others have no outcome, or `NotFound` where only points that are
    /// there may be written. Waits until it is applied.
    ///
    /// # Errors
    /// As [`Database::upsert`], those of filters, `invalid_argument` for an idempotency key, `changed_while_writing`.
    pub async fn upsert_where(
        &self,
        principal: Principal,
        collection: &str,
        (points, condition): (Vec<NewPoint>, WriteCondition),
        options: WriteOptions,
    ) -> Result<WriteAnswer> {
        let (writer, searcher) = (self.writer(principal, collection)?, self.inner.local.clone());
        write::upsert_where(writer, searcher, (points, condition), options).await
    }

    /// As [`Database::update_vectors`], of those points that match.
    ///
    /// # Errors
    /// As [`Database::upsert_where`].
    pub async fn update_vectors_where(
        &self,
        principal: Principal,
        collection: &str,
        (updates, filter): (Vec<VectorUpdate>, Filter),
        options: WriteOptions,
    ) -> Result<WriteAnswer> {
        let (writer, searcher) = (self.writer(principal, collection)?, self.inner.local.clone());
        write::update_vectors_where(writer, searcher, (updates, filter), options).await
    }

    /// Deletes points, changes their payload or removes vectors of them.
    ///
    /// By ids, outcomes are aligned with them. By filter there are none; `affected` and `too_large` count.
    ///
    /// # Errors
    /// As [`Database::upsert`]. A point that is not there is an outcome, no error.
    pub async fn change(
        &self,
        principal: Principal,
        collection: &str,
        (selector, change): (PointSelector, Change),
        options: WriteOptions,
    ) -> Result<WriteAnswer> {
        let writer = self.writer(principal, collection)?;
        match selector {
            PointSelector::Ids(ids) => write::change_ids(writer, ids, change, options).await,
            PointSelector::Filter(filter) => {
                write::change_matching(writer, self.inner.local.clone(), Arc::new(filter), change, options)
                    .await
            }
        }
    }

    /// Sets and removes vectors of points.
    ///
    /// # Errors
    /// As [`Database::upsert`]. A point that is not there is an outcome, no error.
    pub async fn update_vectors(
        &self,
        principal: Principal,
        collection: &str,
        updates: Vec<VectorUpdate>,
        options: WriteOptions,
    ) -> Result<WriteAnswer> {
        write::update_vectors(self.writer(principal, collection)?, updates, options).await
    }

    /// The points of these ids, in their order; absent ones are left out.
    ///
    /// # Errors
    /// Limits, `unknown_region`, `unknown_field`, `invalid_token`, and `DeadlineExceeded`.
    pub async fn get(
        &self,
        principal: Principal,
        collection: &str,
        (ids, selection): (Vec<PointId>, Selection),
        read: &ReadOptions,
    ) -> Result<Vec<StoredPoint>> {
        check_batch("ids", ids.len())?;
        let fan = self.fan(principal, collection, read)?;
        check_selection(&fan.schema, &selection)?;
        coordinator::get(&fan, &ids, Arc::new(selection)).await
    }

    /// One page of matching points in the order of ids, or of a field.
    ///
    /// # Errors
    /// As [`Database::get`], `invalid_filter`, and `invalid_argument` for an order that cannot be.
    pub async fn scroll(&self, principal: Principal, mut request: ScrollRequest) -> Result<Page> {
        if let Some(order_by) = request.order_by.take() {
            return self.scroll_by_value(principal, request, &order_by).await;
        }
        check_page(request.limit)?;
        let fan = self.fan(principal, &request.collection, &request.read)?;
        check_selection(&fan.schema, &request.selection)?;
        let filter = checked_filter(request.filter, &fan.schema)?;
        let page = (request.limit, Arc::new(request.selection));
        let (points, next) = coordinator::scroll(&fan, filter, request.from, page).await?;
        Ok(Page { points, order_values: Vec::new(), next })
    }

    /// Number of matching points.
    ///
    /// # Errors
    /// As [`Database::scroll`].
    pub async fn count(
        &self,
        principal: Principal,
        collection: &str,
        filter: Option<Filter>,
        read: &ReadOptions,
    ) -> Result<u64> {
        let fan = self.fan(principal, collection, read)?;
        coordinator::count(&fan, checked_filter(filter, &fan.schema)?).await
    }

    pub(crate) fn fan(&self, principal: Principal, collection: &str, read: &ReadOptions) -> Result<Fan> {
        self.fan_until(principal, collection, read, self.deadline(Instant::now(), read)?)
    }

    /// As [`Database::fan`], for a part of a request: its deadline is that of the request.
    pub(crate) fn fan_until(
        &self,
        principal: Principal,
        collection: &str,
        read: &ReadOptions,
        deadline: Instant,
    ) -> Result<Fan> {
        let schema = self.schema(principal, collection)?;
        Fan::new(self.inner.searcher.clone(), schema, read, deadline)
    }

    /// When a read ends that began at `started`.
    fn deadline(&self, started: Instant, read: &ReadOptions) -> Result<Instant> {
        Ok(started + check_timeout(read.timeout, self.inner.options.default_timeout)?)
    }

    fn writer(&self, principal: Principal, collection: &str) -> Result<Writer> {
        Ok(Writer {
            engine: self.inner.engine.clone(),
            schema: self.schema_for(principal, collection, Role::Write)?,
            stripes: self.inner.stripes.clone(),
            timeout: self.inner.options.default_timeout,
        })
    }
}

fn check_selection(schema: &CollectionSchema, selection: &Selection) -> Result<()> {
    check_paths("payload paths", &selection.payload_include)?;
    check_paths("payload paths", &selection.payload_exclude)?;
    Projection::new(&selection.payload_include, &selection.payload_exclude)?;
    for name in &selection.vector_names {
        write::vector_field(schema, name)?;
    }
    Ok(())
}

/// A filter that was validated and bound; one that constrains nothing is dropped, since it would cost a look at every row.
pub(crate) fn checked_filter(filter: Option<Filter>, schema: &CollectionSchema) -> Result<Option<Bound>> {
    let Some(filter) = filter else { return Ok(None) };
    filter.validate()?;
    if filter.is_unconstrained() {
        return Ok(None);
    }
    Ok(Some(Bound::new(Arc::new(filter), schema)?))
}
