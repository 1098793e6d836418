//! Rankings of one shard by something other than the distance to one vector.
//!
//! All of them are exact: they look at every row that matches, in one pass that keeps the first `k`. Payload values come
//! from the field's index where it has them.

use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use engram_index::Pace;
use engram_index::payload::{IndexedValue, PayloadIndexKind, Scalar};
use engram_storage::point::{FieldId, PointId};
use engram_storage::shard::{RunView, ShardSnapshot};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::compared::Compared;
use super::compute::{Work, after, check_deadline, spend};
use super::keys::{parse_work, payload};
use super::read::{FIND_WORK, PROJECT_WORK, VALUES_PER_DEADLINE_CHECK};
use super::rows::{Place, Rows, Visibility, locate, page};
use super::search::FILTER_WORK;
use crate::error::Result;
use crate::searcher::{RankedRow, ShardRankRequest};
use crate::stages::formula::{Rescoring, Scorer};
use crate::stages::order::{Order, OrderValue};
use crate::stages::rank_by::{Preference, RankBy};

/// Rows that one thread scores at a time.
const PIECE: u32 = 16_384;
/// What hashing one id costs, in multiply-adds.
const HASH_WORK: usize = 20;

/// A ranking of one snapshot.
pub(super) struct RankJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub request: ShardRankRequest,
}

/// The first rows of those that were offered.
struct First<'a> {
    by: &'a RankBy,
    k: usize,
    /// The last one on top.
    heap: BinaryHeap<Ranked<'a>>,
}

struct Ranked<'a> {
    row: RankedRow,
    by: &'a RankBy,
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.by.compare(&self.row, &other.row)
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked<'_> {}

impl<'a> First<'a> {
    fn new(by: &'a RankBy, k: usize) -> Self {
        Self { by, k, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, row: RankedRow) {
        let row = Ranked { row, by: self.by };
        if self.heap.len() < self.k {
            self.heap.push(row);
        } else if let Some(mut last) = self.heap.peek_mut()
            && row < *last
        {
            *last = row;
        }
    }

    fn rows(self) -> Vec<RankedRow> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.row).collect()
    }
}

impl RankJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let rows: usize = self.snapshot.runs.iter().map(|view| view.run.len()).sum();
        let filter = if self.request.filter.is_some() { rows.saturating_mul(FILTER_WORK) } else { 0 };
        let own = match self.request.by.as_ref() {
            RankBy::Id => self.request.k,
            RankBy::Sample { .. } => rows.saturating_mul(HASH_WORK),
            RankBy::Order(_) => rows.saturating_mul(PROJECT_WORK),
            RankBy::Preference { field, preference } => {
                let of =
                    |view: &RunView| Compared::of(&view.run, *field).map_or(0, |column| column.components());
                let all = self.snapshot.runs.iter().map(of).fold(0, usize::saturating_add);
                all.saturating_mul(preference.vectors())
            }
            RankBy::Formula(rescoring) => {
                let find = self.snapshot.runs.len() * FIND_WORK;
                rescoring.scores.len().saturating_mul(find + PROJECT_WORK)
            }
        };
        Work(filter.saturating_add(own))
    }

    /// The first rows.
    pub fn run(&self, on_pool: bool) -> Result<Vec<RankedRow>> {
        if let RankBy::Formula(rescoring) = self.request.by.as_ref() {
            return self.formula(rescoring);
        }
        if let RankBy::Preference { field, preference } = self.request.by.as_ref() {
            return self.preference(*field, preference, on_pool);
        }
        let mut first = self.first();
        for view in self.snapshot.runs.iter() {
            check_deadline(self.request.scope.deadline)?;
            match self.request.by.as_ref() {
                RankBy::Order(order) => self.order(view, order, &mut first)?,
                RankBy::Sample { field, .. } => self.sample(view, *field, &mut first)?,
                _ => {
                    let window = (None, self.request.k);
                    for ordinal in page(view, &self.shown, self.request.filter.as_deref(), window)? {
                        first.offer(row(view, ordinal));
                    }
                }
            }
        }
        Ok(first.rows())
    }

    fn first(&self) -> First<'_> {
        First::new(&self.request.by, self.request.k)
    }

    fn matching(&self, view: &RunView) -> Result<RoaringBitmap> {
        Ok(Rows::of(view, &self.shown, self.request.filter.as_deref())?.all(view.run.len()))
    }

    fn sample(&self, view: &RunView, field: Option<FieldId>, first: &mut First<'_>) -> Result<()> {
        let column = field.map(|field| Compared::of(&view.run, field));
        for (i, ordinal) in self.matching(view)?.into_iter().enumerate() {
            if i.is_multiple_of(PIECE as usize) {
                check_deadline(self.request.scope.deadline)?;
            }
            if column.as_ref().is_none_or(|column| column.as_ref().is_some_and(|c| c.has(ordinal))) {
                first.offer(row(view, ordinal));
            }
        }
        Ok(())
    }

    /// Scores every vector of the field in pieces, on all threads of the pool where it runs there.
    fn preference(&self, field: FieldId, preference: &Preference, on_pool: bool) -> Result<Vec<RankedRow>> {
        let mut pieces: Vec<(&RunView, RoaringBitmap)> = Vec::new();
        for view in self.snapshot.runs.iter().filter(|view| Compared::of(&view.run, field).is_some()) {
            check_deadline(self.request.scope.deadline)?;
            let rows = Rows::of(view, &self.shown, self.request.filter.as_deref())?;
            let end = u32::try_from(view.run.len()).unwrap_or(u32::MAX);
            let ranges =
                (0..end).step_by(PIECE as usize).map(|from| from..from.saturating_add(PIECE).min(end));
            let part = |range: Range<u32>| (view, rows.part(range));
            pieces.extend(ranges.map(part).filter(|(_, rows)| !rows.is_empty()));
        }
        let score = |(view, rows): &(&RunView, RoaringBitmap)| self.score(view, rows, field, preference);
        let found: Vec<Vec<RankedRow>> = if on_pool {
            pieces.par_iter().map(score).collect::<Result<_>>()?
        } else {
            pieces.iter().map(score).collect::<Result<_>>()?
        };
        let mut first = self.first();
        found.into_iter().flatten().for_each(|row| first.offer(row));
        Ok(first.rows())
    }

    fn score(
        &self,
        view: &RunView,
        rows: &RoaringBitmap,
        field: FieldId,
        preference: &Preference,
    ) -> Result<Vec<RankedRow>> {
        let Some(column) = Compared::of(&view.run, field) else { return Ok(Vec::new()) };
        let mut first = self.first();
        let late = after(self.request.scope.deadline);
        let pace = Pace::new(&late);
        for ordinal in rows {
            spend(&pace, 1)?;
            let Some(score) = column.score(ordinal, preference, &pace) else { continue };
            first.offer(RankedRow { score, ..row(view, ordinal) });
        }
        spend(&pace, 0)?;
        Ok(first.rows())
    }

    /// By the index of the field as far as it goes: in the order of its values until `k` rows are found. Rows with other
    /// values, and all where there is no such index, are read.
    fn order(&self, view: &RunView, order: &Order, first: &mut First<'_>) -> Result<()> {
        let rows = self.matching(view)?;
        let index = view.run.payload_index(&order.path.to_string());
        let index = index.filter(|index| index.rows() as usize == view.run.len());
        let indexed = index.and_then(|index| Some((index, index.values()?)));
        let Some((index, values)) = indexed else { return self.order_by_payload(view, order, &rows, first) };
        if !index_orders(index.kind()) {
            return self.order_by_payload(view, order, &rows, first);
        }
        // Rows with values that the index does not hold are read with all their values.
        let others = index.others() & &rows;
        self.order_by_payload(view, order, &others, first)?;
        let rows = rows - others;
        let mut found = 0;
        for step in 0..values.len() {
            if step.is_multiple_of(VALUES_PER_DEADLINE_CHECK) {
                check_deadline(self.request.scope.deadline)?;
            }
            let rank = if order.descending { values.len() - 1 - step } else { step };
            let value = values.value(rank).and_then(|value| order_value(&value));
            let Some(value) = value.filter(|value| order.shows(value)) else { continue };
            for ordinal in values.rows(rank).in_rows(&rows) {
                first.offer(RankedRow { order: Some(value), ..row(view, ordinal) });
                found += 1;
            }
            // Later values come after all of these; rows of one value are ascending by id, but all are looked at.
            if found >= self.request.k {
                break;
            }
        }
        Ok(())
    }

    fn order_by_payload(
        &self,
        view: &RunView,
        order: &Order,
        rows: &RoaringBitmap,
        first: &mut First<'_>,
    ) -> Result<()> {
        let late = after(self.request.scope.deadline);
        let pace = Pace::new(&late);
        for ordinal in rows {
            spend(&pace, parse_work(view.run.payload(ordinal)))?;
            let payload = payload(view, ordinal)?;
            let mut values: Vec<OrderValue> =
                order.path.values(&payload).into_iter().filter_map(OrderValue::of).collect();
            values.sort_unstable();
            values.dedup();
            for value in values.into_iter().filter(|value| order.shows(value)) {
                first.offer(RankedRow { order: Some(value), ..row(view, ordinal) });
            }
        }
        Ok(())
    }

    fn formula(&self, rescoring: &Rescoring) -> Result<Vec<RankedRow>> {
        let (schema, shard) = (&self.request.scope.schema, &self.request.scope.shard);
        let here = |id: &PointId| id.bucket(schema.shards_per_region) == shard.bucket;
        let mut points: Vec<_> = rescoring.scores.iter().filter(|(id, _)| here(id)).collect();
        // Which point an error names must not depend on chance.
        points.sort_unstable_by_key(|(id, _)| **id);
        let late = after(self.request.scope.deadline);
        let pace = Pace::new(&late);
        let scorer = Scorer::new(&rescoring.formula, &pace);
        let mut first = self.first();
        for (id, scores) in points {
            spend(&pace, FIND_WORK)?;
            let Some(Place { run, ordinal }) = locate(&self.snapshot, id) else { continue };
            let view = &self.snapshot.runs[run];
            if !self.shown.shows(&view.run.meta(ordinal)) {
                continue;
            }
            spend(&pace, parse_work(view.run.payload(ordinal)))?;
            let score = scorer.score(*id, scores, view.run.payload(ordinal));
            // What it says late has no meaning, errors neither.
            spend(&pace, 0)?;
            first.offer(RankedRow { score: score?, ..row(view, ordinal) });
        }
        Ok(first.rows())
    }
}

/// Whether an index of this kind holds values as they are ordered. One of floats does not tell 1 from 1.0, which answers
/// show.
fn index_orders(kind: PayloadIndexKind) -> bool {
    matches!(kind, PayloadIndexKind::Integer | PayloadIndexKind::Datetime)
}

fn order_value(value: &IndexedValue<'_>) -> Option<OrderValue> {
    match value {
        IndexedValue::Scalar(Scalar::Integer(n)) | IndexedValue::Datetime(n) => Some(OrderValue::Int(*n)),
        _ => None,
    }
}

/// A row that nothing was said about yet.
fn row(view: &RunView, ordinal: u32) -> RankedRow {
    let version = view.run.meta(ordinal).version;
    RankedRow { id: view.run.id(ordinal), version, score: 1.0, order: None }
}
