//! Which segments to rewrite: decisions only, no input and output.

use crate::manifest::{SegmentEntry, SegmentId};

/// What the policy looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Identity.
    pub id: SegmentId,
    /// Rows, dead ones too.
    pub rows: u64,
    /// Dead rows: deleted, expired or past retention.
    pub dead: u64,
    /// Bytes of all objects.
    pub bytes: u64,
}

impl SegmentSummary {
    /// The summary of a segment of which `hidden` rows beyond its deletes are dead too.
    pub fn of(entry: &SegmentEntry, hidden: u64) -> Self {
        let dead = (entry.deletes.len() + hidden).min(entry.rows);
        Self { id: entry.id.clone(), rows: entry.rows, dead, bytes: entry.bytes() }
    }

    fn live(&self) -> u64 {
        self.rows - self.dead.min(self.rows)
    }
}

/// Limits of the policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionOptions {
    /// Segments of similar size that are merged at once, at least.
    pub min_merge: usize,
    /// Segments with fewer live rows are alike, whatever their size.
    pub small_rows: u64,
    /// Segments whose live rows differ by no more than this factor are alike.
    pub tier_factor: u64,
    /// A segment with a larger part of dead rows is rewritten.
    pub max_dead: f64,
    /// Live rows of the result, at most.
    pub max_rows: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self { min_merge: 4, small_rows: 20_000, tier_factor: 4, max_dead: 0.2, max_rows: 1_000_000 }
    }
}

/// Segments to merge into one now, `None` when nothing is worth it. First those with too many dead rows (all that fit
/// together), then small ones, then a tier of alike ones, smallest first.
pub fn plan(segments: &[SegmentSummary], options: &CompactionOptions) -> Option<Vec<SegmentId>> {
    decayed(segments, options).or_else(|| tier(segments, options)).map(|chosen| {
        // In the order of the manifest, whatever the order of the choice.
        segments.iter().filter(|s| chosen.contains(&&s.id)).map(|s| s.id.clone()).collect()
    })
}

/// Segments that hold a dead row: a purge rewrites each of them.
pub fn purge_plan(segments: &[SegmentSummary]) -> Vec<SegmentId> {
    segments.iter().filter(|s| s.dead > 0).map(|s| s.id.clone()).collect()
}

fn decayed<'s>(segments: &'s [SegmentSummary], options: &CompactionOptions) -> Option<Vec<&'s SegmentId>> {
    let limit = options.max_dead;
    let is_decayed = |s: &&SegmentSummary| s.dead > 0 && s.dead as f64 > s.rows as f64 * limit;
    let mut decayed: Vec<_> = segments.iter().filter(is_decayed).collect();
    decayed.sort_by_key(|s| s.live());
    let chosen = fitting(&decayed, options.max_rows);
    // A segment above the cap is rewritten alone: it only shrinks.
    if chosen.is_empty() { decayed.first().map(|s| vec![&s.id]) } else { Some(chosen) }
}

fn tier<'s>(segments: &'s [SegmentSummary], options: &CompactionOptions) -> Option<Vec<&'s SegmentId>> {
    let mut by_size: Vec<_> = segments.iter().collect();
    by_size.sort_by_key(|s| s.live());
    let min = options.min_merge.max(2);
    let mut from = 0;
    while from < by_size.len() {
        let widest = by_size[from].live().saturating_mul(options.tier_factor).max(options.small_rows);
        let to = from + by_size[from..].partition_point(|s| s.live() <= widest);
        let chosen = fitting(&by_size[from..to], options.max_rows);
        // Where the cap cuts a full tier short, merging fewer still lessens their number.
        if to - from >= min && chosen.len() >= 2 {
            return Some(chosen);
        }
        from += 1;
    }
    None
}

/// The longest beginning of `sorted` whose live rows fit `max_rows` together.
fn fitting<'s>(sorted: &[&'s SegmentSummary], max_rows: u64) -> Vec<&'s SegmentId> {
    let mut rows = 0u64;
    let fits = sorted.iter().take_while(|s| {
        rows = rows.saturating_add(s.live());
        rows <= max_rows
    });
    fits.map(|s| &s.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(sizes: &[(u64, u64)]) -> Vec<SegmentSummary> {
        let summary = |&(rows, dead)| SegmentSummary { id: SegmentId::new(1), rows, dead, bytes: rows * 100 };
        sizes.iter().map(summary).collect()
    }

    fn chosen(sizes: &[(u64, u64)]) -> Vec<usize> {
        let segments = segments(sizes);
        let ids = plan(&segments, &CompactionOptions::default()).unwrap_or_default();
        ids.iter().map(|id| segments.iter().position(|s| s.id == *id).unwrap()).collect()
    }

    #[test]
    fn compaction_leaves_few_segments_alone() {
        assert_eq!(chosen(&[]).len(), 0);
        assert_eq!(chosen(&[(10, 0), (10, 0), (10, 0)]).len(), 0);
        assert_eq!(chosen(&[(900_000, 0), (30_000, 0), (1_000, 0)]).len(), 0);
    }

    #[test]
    fn compaction_merges_small_segments_whatever_their_size() {
        assert_eq!(chosen(&[(10, 0), (19_999, 0), (500_000, 0), (700, 0), (1, 0)]), [0, 1, 3, 4]);
    }

    #[test]
    fn compaction_merges_a_tier_but_not_unlike_sizes() {
        assert_eq!(
            chosen(&[(100_000, 0), (90_000, 0), (120_000, 0), (60_000, 0), (900_000, 0)]),
            [0, 1, 2, 3]
        );
        assert_eq!(chosen(&[(30_000, 0), (130_000, 0), (600_000, 0), (900_000, 0)]).len(), 0);
    }

    #[test]
    fn compaction_caps_the_result() {
        assert_eq!(chosen(&[(300_000, 0); 3]).len(), 0);
        // Four would be 1.2 million rows.
        assert_eq!(chosen(&[(300_000, 0); 8]).len(), 3);
        assert_eq!(chosen(&[(600_000, 0); 8]).len(), 0);
        assert_eq!(chosen(&[(250_000, 0); 8]).len(), 4);
    }

    #[test]
    fn compaction_rewrites_decayed_segments() {
        assert_eq!(chosen(&[(1_000, 200)]).len(), 0);
        assert_eq!(chosen(&[(1_000, 201)]), [0]);
        assert_eq!(chosen(&[(2_000_000, 500_000)]), [0]);
        assert_eq!(chosen(&[(900_000, 200_000), (900_000, 300_000), (50, 50)]), [1, 2]);
    }

    #[test]
    fn compaction_ends() {
        // However rows come, merging what the policy says stops, and leaves few segments.
        let mut all: Vec<SegmentSummary> = Vec::new();
        for n in 0..2_000u64 {
            all.extend(segments(&[(500 + n % 700, n % 50)]));
            let mut rounds = 0;
            while let Some(ids) = plan(&all, &CompactionOptions::default()) {
                let rows = all.iter().filter(|s| ids.contains(&s.id)).map(SegmentSummary::live).sum();
                all.retain(|s| !ids.contains(&s.id));
                all.extend(segments(&[(rows, 0)]));
                rounds += 1;
                assert!(rounds < 10);
            }
        }
        assert!(all.len() < 20, "{}", all.len());
    }

    #[test]
    fn compaction_purges_every_segment_with_a_dead_row() {
        let all = segments(&[(10, 0), (1_000_000, 1), (5, 5)]);
        assert_eq!(purge_plan(&all), [all[1].id.clone(), all[2].id.clone()]);
    }
}
