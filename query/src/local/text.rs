//! Text searches of one shard: what its points have of some words, and the best of them.
//!
//! Runs are searched by their index of words. One without it (small batches of the memtable, segments whose index is not
//! built yet, or is of other options) is read row by row: the same words, counts and scores, only slower.

use std::sync::Arc;

use engram_index::Pace;
use engram_index::text::{TextIndex, TextStatistics, WordCounts};
use engram_storage::StorageError;
use engram_storage::segment::run::Run;
use engram_storage::shard::{RunView, ShardSnapshot};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::compute::{Work, after, spend};
use super::rows::{Place, Rows, Visibility, gone};
use super::search::{FILTER_WORK, Placed, hit};
use crate::error::Result;
use crate::filter::Filter;
use crate::merge::by_distance;
use crate::searcher::ShardTextRequest;
use crate::text_field::TextField;
use engram_index::vector::Neighbor;

/// What going over one row of a posting list costs, in multiply-adds.
const POSTING_WORK: usize = 16;
/// What parsing one payload and splitting its text costs.
const READ_WORK: usize = 20_000;
/// What reading one row costs, and each byte of its payload, in nanoseconds or so.
const ROW_WORK: usize = 500;
const BYTE_WORK: usize = 16;

/// How a field is searched.
impl TextField {
    /// The index of a run, if it is of the collection's options and has all its rows.
    fn index<'r>(&self, run: &'r Run) -> Option<&'r TextIndex> {
        let index = run.payload_index(self.name())?.text()?;
        (index.options() == self.analyzer().options() && index.rows() as usize == run.len()).then_some(index)
    }

    fn work(&self, view: &RunView, words: usize) -> usize {
        let row = if self.index(&view.run).is_some() { words.min(4) * POSTING_WORK } else { READ_WORK };
        view.run.len().saturating_mul(row)
    }

    /// Calls `each` with the counts of every row of `rows`.
    fn read(
        &self,
        run: &Run,
        rows: &RoaringBitmap,
        shown: &Visibility,
        counts: &mut WordCounts,
        mut each: impl FnMut(u32, &WordCounts),
    ) -> Result<()> {
        let late = after(shown.deadline);
        let pace = Pace::new(&late);
        for row in rows {
            let payload = run.payload(row);
            spend(&pace, payload.len().saturating_mul(BYTE_WORK).saturating_add(ROW_WORK))?;
            if payload.is_empty() {
                continue;
            }
            let payload: Value = serde_json::from_slice(payload)
                .map_err(|e| StorageError::corrupt("payload", format!("row {row}: {e}")))?;
            counts.count(self.analyzer(), self.path().strings(&payload));
            each(row, counts);
        }
        Ok(())
    }
}

/// Counts words.
pub(super) struct TextStatisticsJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub field: Arc<TextField>,
    pub words: Arc<[String]>,
}

impl TextStatisticsJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let of = |view: &RunView| match self.field.index(&view.run) {
            // Only rows that are gone are looked up; to know which ones are hidden all rows may have to be looked at.
            Some(_) => {
                let hidden = if view.run.may_hide(self.shown.created_before, self.shown.now) {
                    view.run.len()
                } else {
                    0
                };
                let gone = hidden.max(view.dead.len() as usize);
                gone.saturating_mul(self.words.len() * POSTING_WORK)
            }
            None => self.field.work(view, 0),
        };
        Work(self.snapshot.runs.iter().map(of).fold(0, usize::saturating_add))
    }

    /// Statistics of the rows that are alive and shown.
    pub fn run(&self) -> Result<TextStatistics> {
        let mut sum = TextStatistics { frequencies: vec![0; self.words.len()], ..TextStatistics::default() };
        let late = after(self.shown.deadline);
        let pace = Pace::new(&late);
        for view in self.snapshot.runs.iter() {
            spend(&pace, usize::MAX)?;
            let gone = gone(view, &self.shown);
            if let Some(index) = self.field.index(&view.run) {
                sum.add(&index.statistics(&self.words, &gone, &pace)?);
                spend(&pace, 0)?;
                continue;
            }
            let live = Rows::Without(gone).part(0..u32::try_from(view.run.len()).unwrap_or(u32::MAX));
            let mut counts = WordCounts::new(self.words.iter().map(String::as_str));
            self.field
                .read(&view.run, &live, &self.shown, &mut counts, |_, counts| counts.add_to(&mut sum))?;
        }
        Ok(sum)
    }
}

/// Scores points.
pub(super) struct TextSearchJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub request: ShardTextRequest,
}

impl TextSearchJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let of = |view: &RunView| {
            let filter = if self.request.filter.is_some() { view.run.len() * FILTER_WORK } else { 0 };
            filter.saturating_add(self.request.field.work(view, self.request.words.len()))
        };
        Work(self.snapshot.runs.iter().map(of).fold(0, usize::saturating_add))
    }

    /// The best rows of all runs, best first, ties by id.
    pub fn run(&self) -> Result<Vec<Placed>> {
        let mut best: Vec<Placed> = Vec::new();
        let late = after(self.request.scope.deadline);
        let pace = Pace::new(&late);
        for (run, view) in self.snapshot.runs.iter().enumerate() {
            spend(&pace, usize::MAX)?;
            let rows = Rows::of(view, &self.shown, self.filter())?;
            let found = match self.request.field.index(&view.run) {
                Some(index) => index.search(
                    &self.request.words,
                    self.request.average_length,
                    (self.request.k, rows.mask()),
                    &pace,
                )?,
                None => self.read(view, &rows)?,
            };
            spend(&pace, 0)?;
            let placed = |(ordinal, score): (u32, f32)| Placed {
                hit: hit(view, Neighbor { ordinal, distance: -score }),
                place: Place { run, ordinal },
            };
            best.extend(found.into_iter().map(placed));
        }
        best.sort_by(|a, b| by_distance(&a.hit, &b.hit));
        best.truncate(self.request.k);
        Ok(best)
    }

    fn filter(&self) -> Option<&Filter> {
        self.request.filter.as_deref()
    }

    fn read(&self, view: &RunView, rows: &Rows<'_>) -> Result<Vec<(u32, f32)>> {
        let words = &self.request.words;
        let mut counts = WordCounts::new(words.iter().map(|word| word.word.as_str()));
        let rows = rows.part(0..u32::try_from(view.run.len()).unwrap_or(u32::MAX));
        let mut found = Vec::new();
        self.request.field.read(&view.run, &rows, &self.shown, &mut counts, |row, counts| {
            if let Some(score) = counts.score(words, self.request.average_length) {
                found.push((row, score));
            }
        })?;
        Ok(found)
    }
}
