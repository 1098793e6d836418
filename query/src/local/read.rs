//! Points of one shard by id, by page and by number.

use std::sync::Arc;

use engram_index::Pace;
use engram_storage::point::{FieldId, PointId};
use engram_storage::schema::RegionName;
use engram_storage::segment::run::Run;
use engram_storage::shard::ShardSnapshot;

use super::compute::{Work, after, check_deadline, spend};
use super::keys::parse_work;
use super::rows::{Place, Rows, Visibility, locate, page};
use super::search::FILTER_WORK;
use crate::error::Result;
use crate::filter::Bound;
use crate::payload::Projection;
use crate::request::{AnswerBudget, Selection, StoredPoint};
use crate::searcher::ShardScope;

/// What finding one point in one run costs, in multiply-adds.
pub(super) const FIND_WORK: usize = 300;
/// What copying one point costs.
const COPY_WORK: usize = 500;
/// What parsing and printing one payload costs.
pub(super) const PROJECT_WORK: usize = 20_000;
/// Values of an index between two looks at the clock.
pub(super) const VALUES_PER_DEADLINE_CHECK: usize = 256;

/// A selection, made ready for many points.
struct Shape {
    payload: Option<Projection>,
    vectors: Vec<(FieldId, String)>,
    region: RegionName,
    budget: AnswerBudget,
}

impl Shape {
    fn new(scope: &ShardScope, selection: &Selection) -> Result<Self> {
        let wanted = |name: &str| {
            selection.vector_names.is_empty() || selection.vector_names.iter().any(|n| n == name)
        };
        let fields = scope.schema.vectors.iter().filter(|f| selection.vectors && wanted(&f.name));
        Ok(Self {
            payload: selection
                .payload
                .then(|| Projection::new(&selection.payload_include, &selection.payload_exclude))
                .transpose()?,
            vectors: fields.map(|f| (f.id, f.name.clone())).collect(),
            region: scope.shard.region.clone(),
            budget: selection.budget.clone(),
        })
    }

    /// What making one point costs, in nanoseconds or so.
    fn work(&self, run: &Run, ordinal: u32) -> usize {
        COPY_WORK + if self.payload.is_some() { parse_work(run.payload(ordinal)) } else { 0 }
    }

    fn point(&self, run: &Run, ordinal: u32) -> Result<StoredPoint> {
        let meta = run.meta(ordinal);
        let vector =
            |(field, name): &(FieldId, String)| Some((name.clone(), run.vector_value(*field, ordinal)?));
        let point = StoredPoint {
            id: run.id(ordinal),
            vectors: self.vectors.iter().filter_map(vector).collect(),
            payload: self
                .payload
                .as_ref()
                .map(|p| p.apply(run.payload_bytes(ordinal)))
                .transpose()?
                .unwrap_or_default(),
            region: self.region.clone(),
            created_at: meta.created_at,
            ingested_at: meta.ingested_at,
            expires_at: meta.expires_at,
            version: meta.version,
        };
        self.budget.take(point.bytes())?;
        Ok(point)
    }
}

/// What returning `points` points of this selection costs.
fn copy_work(points: usize, selection: &Selection) -> usize {
    let project = !selection.payload_include.is_empty() || !selection.payload_exclude.is_empty();
    points.saturating_mul(COPY_WORK + if project { PROJECT_WORK } else { 0 })
}

/// A fetch by id.
pub(super) struct FetchJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub scope: ShardScope,
    pub ids: Vec<PointId>,
    pub selection: Arc<Selection>,
    /// Where points of this very snapshot are known to be, ascending by id.
    pub places: Arc<[(PointId, Place)]>,
}

impl FetchJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let find = self.ids.len().saturating_mul(self.snapshot.runs.len() * FIND_WORK);
        Work(find.saturating_add(copy_work(self.ids.len(), &self.selection)))
    }

    /// The points that are there, in the order of the request.
    pub fn run(&self) -> Result<Vec<StoredPoint>> {
        let shape = Shape::new(&self.scope, &self.selection)?;
        let mut points = Vec::with_capacity(self.ids.len());
        let late = after(self.scope.deadline);
        let pace = Pace::new(&late);
        for id in &self.ids {
            spend(&pace, FIND_WORK)?;
            let Some(Place { run, ordinal }) = self.place(id) else { continue };
            let run = &self.snapshot.runs[run].run;
            if self.shown.shows(&run.meta(ordinal)) {
                spend(&pace, shape.work(run, ordinal))?;
                points.push(shape.point(run, ordinal)?);
            }
        }
        Ok(points)
    }
}

impl FetchJob {
    /// A search has seen where its winners are; looking for them again in a large run would cost as much as a tenth of it.
    fn place(&self, id: &PointId) -> Option<Place> {
        match self.places.binary_search_by_key(id, |(id, _)| *id) {
            Ok(at) => Some(self.places[at].1),
            Err(_) => locate(&self.snapshot, id),
        }
    }
}

/// One page in the order of ids.
pub(super) struct ScrollJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub scope: ShardScope,
    pub filter: Option<Bound>,
    pub from: Option<PointId>,
    pub limit: usize,
    pub selection: Arc<Selection>,
}

impl ScrollJob {
    /// Estimated work: with a filter that matches little, all rows.
    pub fn work(&self) -> Work {
        let rows: usize = self.snapshot.runs.iter().map(|view| view.run.len()).sum();
        let tested = if self.filter.is_some() { rows } else { 0 };
        let work = tested.saturating_mul(FILTER_WORK);
        Work(work.saturating_add(copy_work(self.limit.min(rows), &self.selection)))
    }

    /// The first points from `from` on.
    pub fn run(&self) -> Result<Vec<StoredPoint>> {
        let shape = Shape::new(&self.scope, &self.selection)?;
        let mut rows: Vec<(PointId, usize, u32)> = Vec::new();
        for (at, view) in self.snapshot.runs.iter().enumerate() {
            check_deadline(self.scope.deadline)?;
            let found = page(view, &self.shown, self.filter.as_deref(), (self.from, self.limit))?;
            rows.extend(found.into_iter().map(|ordinal| (view.run.id(ordinal), at, ordinal)));
        }
        rows.sort_unstable();
        rows.truncate(self.limit);
        let mut points = Vec::with_capacity(rows.len());
        let late = after(self.scope.deadline);
        let pace = Pace::new(&late);
        for (_, run, ordinal) in rows {
            let run = &self.snapshot.runs[run].run;
            spend(&pace, shape.work(run, ordinal))?;
            points.push(shape.point(run, ordinal)?);
        }
        Ok(points)
    }
}

/// A count.
pub(super) struct CountJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub scope: ShardScope,
    pub filter: Option<Bound>,
}

impl CountJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let rows: usize = self.snapshot.runs.iter().map(|view| view.run.len()).sum();
        Work(if self.filter.is_some() { rows.saturating_mul(FILTER_WORK) } else { rows })
    }

    /// Number of matching points.
    pub fn run(&self) -> Result<u64> {
        let mut count = 0;
        for view in self.snapshot.runs.iter() {
            check_deadline(self.scope.deadline)?;
            count += Rows::of(view, &self.shown, self.filter.as_deref())?.count(view.run.len());
        }
        Ok(count)
    }
}

/// Ids and versions of all matching points.
pub(super) struct VersionsJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub scope: ShardScope,
    pub filter: Bound,
}

impl VersionsJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let rows: usize = self.snapshot.runs.iter().map(|view| view.run.len()).sum();
        Work(rows.saturating_mul(FILTER_WORK))
    }

    /// The matching points by id and version, run by run.
    pub fn run(&self) -> Result<Vec<(PointId, u64)>> {
        let mut found = Vec::new();
        for view in self.snapshot.runs.iter() {
            check_deadline(self.scope.deadline)?;
            if let Rows::Only(rows) = Rows::of(view, &self.shown, Some(&self.filter))? {
                found.extend(
                    rows.iter().map(|ordinal| (view.run.id(ordinal), view.run.meta(ordinal).version)),
                );
            }
        }
        Ok(found)
    }
}
