//! How much of the true neighbours a search is after, and how much it is expected to have found.

/// How far graphs are walked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort {
    /// With a candidate list of this size.
    Candidates(usize),
    /// As far as this share of the true neighbours is expected to need.
    Recall(f32),
}

/// What was searched, and how well; adds up over runs and shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Searched {
    /// Rows that could have been returned.
    pub rows: u64,
    /// Of these, as many as count as searched: a run adds its rows times its expected recall.
    pub found: f64,
    /// For part of the rows nobody knows the recall.
    pub unknown: bool,
    /// A graph was asked.
    pub by_graph: bool,
}

impl Searched {
    /// One run of `rows` that may be returned, searched with this expected recall.
    pub fn run(rows: u64, recall: Option<f32>, by_graph: bool) -> Self {
        // A graph of a few rows measured nothing.
        let recall = recall.filter(|recall| *recall > 0.0);
        let found = rows as f64 * f64::from(recall.unwrap_or(0.0));
        Self { rows, found, unknown: recall.is_none(), by_graph }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            found: self.found + other.found,
            unknown: self.unknown || other.unknown,
            by_graph: self.by_graph || other.by_graph,
        }
    }

    /// Expected share of the true neighbours. Runs count by their rows: where the neighbours lie is not known, and a row
    /// of one run is as likely to be among them as a row of another. 1 where there was nothing to find.
    pub fn expected_recall(&self) -> Option<f32> {
        match (self.unknown, self.rows) {
            (true, _) => None,
            (false, 0) => Some(1.0),
            (false, rows) => Some((self.found / rows as f64).min(1.0) as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_by_their_rows() {
        assert_eq!(Searched::default().expected_recall(), Some(1.0));
        let scanned = Searched::run(1_000, Some(1.0), false);
        assert_eq!(scanned.expected_recall(), Some(1.0));
        let both = scanned.and(Searched::run(3_000, Some(0.9), true));
        assert!((both.expected_recall().unwrap() - 0.925).abs() < 1e-6 && both.by_graph);
        assert_eq!(both.and(Searched::run(1, None, true)).expected_recall(), None);
        assert_eq!(Searched::run(5, Some(0.0), true).expected_recall(), None);
    }
}
