//! How many rows a filter may match, from the counts of indexes alone.

use super::ast::{Condition, Filter};
use super::plan::{FilterSource, usable_index};

/// Least and most live rows of `source` that fulfil `filter`. No row is read and no bitmap made.
pub fn estimate<S: FilterSource + ?Sized>(filter: &Filter, source: &S) -> (u64, u64) {
    Counts { source, live: live_rows(source) }.filter(filter)
}

/// Number of rows that are not deleted.
fn live_rows<S: FilterSource + ?Sized>(source: &S) -> u64 {
    let rows = source.rows();
    u64::from(rows) - source.deleted().range_cardinality(..rows)
}

/// Most live rows that fulfil `condition`.
pub(super) fn at_most<S: FilterSource + ?Sized>(condition: &Condition, source: &S) -> u64 {
    Counts { source, live: live_rows(source) }.condition(condition).1
}

struct Counts<'a, S: ?Sized> {
    source: &'a S,
    live: u64,
}

impl<S: FilterSource + ?Sized> Counts<'_, S> {
    fn filter(&self, filter: &Filter) -> (u64, u64) {
        let (mut min, mut max) = (self.live, self.live);
        let mut and = |(least, most): (u64, u64)| {
            // Both leave out at most `live - min` rows each.
            min = (min + least).saturating_sub(self.live);
            max = max.min(most);
        };
        for condition in &filter.must {
            and(self.condition(condition));
        }
        for condition in &filter.must_not {
            let (least, most) = self.condition(condition);
            and((self.live - most, self.live - least));
        }
        if !filter.should.is_empty() {
            and(self.at_least(&filter.should, 1));
        }
        if let Some(counted) = &filter.min_should {
            and(self.at_least(&counted.conditions, counted.min_count));
        }
        (min, max)
    }

    /// Rows that fulfil `wanted` of the conditions or more.
    fn at_least(&self, conditions: &[Condition], wanted: usize) -> (u64, u64) {
        if wanted == 0 {
            return (self.live, self.live);
        }
        if wanted > conditions.len() {
            return (0, 0);
        }
        let (mut least, mut most, mut best) = (0u64, 0u64, 0u64);
        for condition in conditions {
            let (min, max) = self.condition(condition);
            least += min;
            most += max;
            best = best.max(min);
        }
        let (wanted, all) = (wanted as u64, conditions.len() as u64);
        // Every matching row takes at most `all` of the hits, every other one at most `wanted - 1`.
        let spread = least.saturating_sub(self.live * (wanted - 1)).div_ceil(all - wanted + 1);
        let min = if wanted == 1 { best.max(spread) } else { spread };
        (min, (most / wanted).min(self.live))
    }

    fn condition(&self, condition: &Condition) -> (u64, u64) {
        match condition {
            Condition::Field { path, predicate } => match usable_index(self.source, path) {
                Some(index) => {
                    let (min, max) = index.estimate(predicate);
                    // The index counts dead rows too.
                    let dead = u64::from(self.source.rows()) - self.live;
                    (min.saturating_sub(dead), max.min(self.live))
                }
                None => (0, self.live),
            },
            // Nobody waits for better bounds.
            Condition::HasId(_) if self.source.is_late() => (0, self.live),
            Condition::HasId(ids) => {
                let deleted = self.source.deleted();
                let found = |id| self.source.find(id).filter(|row| !deleted.contains(*row));
                let mut rows: Vec<u32> = ids.iter().filter_map(found).collect();
                rows.sort_unstable();
                rows.dedup();
                (rows.len() as u64, rows.len() as u64)
            }
            Condition::HasVector { .. } | Condition::Nested { .. } => (0, self.live),
            Condition::Filter(filter) => self.filter(filter),
        }
    }
}
