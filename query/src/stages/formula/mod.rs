//! Scores by an expression over the scores of other stages and the payload.
//!
//! [`Checked::new`] turns the expression of a request into one whose paths, dates and decays are ready; a
//! [`Scorer`] evaluates it for one point after the other. Numbers are f64 until the end; a result, or a quotient, root,
//! power or logarithm on the way, that is not finite is an error.

use std::collections::HashMap;
use std::sync::Arc;

use engram_storage::point::PointId;

mod check;
mod evaluate;

pub use check::Checked;
pub(crate) use evaluate::Scorer;

/// A formula and the points it ranks.
#[derive(Clone, Debug)]
pub struct Rescoring {
    /// The formula.
    pub formula: Arc<Checked>,
    /// Scores of the points by prefetch stage; `None` where a stage has not found a point.
    pub scores: Arc<HashMap<PointId, Vec<Option<f32>>>>,
}
