//! How many bytes of points one answer may gather.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{QueryError, Result};

/// What is gathered may be as many times the longest answer: a point that changes while it is read is read again.
const SLACK: usize = 2;

/// Bytes that all points of an answer may have together, whichever shards and queries of a batch they come from. The
/// default has no bound.
#[derive(Clone, Debug, Default)]
pub struct AnswerBudget(Option<Arc<Budget>>);

#[derive(Debug)]
struct Budget {
    max: usize,
    left: AtomicUsize,
}

impl AnswerBudget {
    /// For an answer of up to `max` bytes.
    pub fn new(max: usize) -> Self {
        Self(Some(Arc::new(Budget { max, left: AtomicUsize::new(max.saturating_mul(SLACK)) })))
    }

    /// Takes what a point takes.
    ///
    /// # Errors
    /// `answer_too_large` once nothing is left.
    pub(crate) fn take(&self, bytes: usize) -> Result<()> {
        let Some(budget) = &self.0 else { return Ok(()) };
        let less = |left: usize| left.checked_sub(bytes);
        match budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(QueryError::invalid(
                "answer_too_large",
                format!(
                    "the answer is larger than {} bytes: ask for fewer points at once, or leave vectors and payload out",
                    budget.max
                ),
            )),
        }
    }
}

/// Says nothing of what is asked for.
impl PartialEq for AnswerBudget {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_what_is_left() {
        let budget = AnswerBudget::new(100);
        let other = budget.clone();
        budget.take(150).unwrap();
        other.take(50).unwrap();
        assert_eq!(budget.take(1).unwrap_err().code(), "answer_too_large");
        AnswerBudget::default().take(usize::MAX).unwrap();
    }
}
