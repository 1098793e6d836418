//! Limits of a filter, checked before any work is done for it.

use engram_index::IndexError;
use engram_index::payload::FieldPredicate;

use super::FilterError;
use super::ast::{Condition, Filter};

/// Most filters inside one another, the outermost included.
pub const MAX_DEPTH: usize = 16;
/// Most conditions of a filter, those inside its conditions included.
pub const MAX_CONDITIONS: usize = 256;
/// Most values of one list: of ids, of `any`, of `except`.
pub const MAX_LIST: usize = 10_000;

impl Filter {
    /// Checks the limits and every predicate. [`Filter::from_json`] has done so; filters made otherwise must be
    /// checked before they are used.
    ///
    /// # Errors
    /// [`FilterError::Limit`] or [`FilterError::Invalid`].
    pub fn validate(&self) -> Result<(), FilterError> {
        let mut conditions = 0;
        check(self, 1, &mut conditions)
    }
}

fn check(filter: &Filter, depth: usize, conditions: &mut usize) -> Result<(), FilterError> {
    limit_depth(depth)?;
    for condition in filter.conditions() {
        *conditions += 1;
        limit_conditions(*conditions)?;
        match condition {
            Condition::Field { path, predicate } => check_predicate(predicate, || format!("`{path}`"))?,
            Condition::HasId(ids) => limit_list(ids.len())?,
            Condition::HasVector { .. } => {}
            Condition::Nested { filter, .. } | Condition::Filter(filter) => {
                check(filter, depth + 1, conditions)?
            }
        }
    }
    Ok(())
}

/// Checks one predicate that stands at `at`.
pub(super) fn check_predicate(
    predicate: &FieldPredicate,
    at: impl Fn() -> String,
) -> Result<(), FilterError> {
    match predicate {
        FieldPredicate::Any(list) | FieldPredicate::Except(list) => limit_list(list.len())?,
        FieldPredicate::GeoPolygon(polygon) => limit_list(polygon.rings().map(Vec::len).sum())?,
        // JSON, in which filters travel between nodes, knows no infinities.
        FieldPredicate::Range { lt, lte, gt, gte }
            if [lt, lte, gt, gte].into_iter().flatten().any(|b| !b.is_finite()) =>
        {
            return Err(FilterError::Invalid { at: at(), why: "a bound of a range is not finite".into() });
        }
        _ => {}
    }
    predicate.validate().map_err(|e| FilterError::Invalid { at: at(), why: reason(e) })
}

/// The sentence of a refused path or predicate.
pub(crate) fn reason(e: IndexError) -> String {
    match e {
        IndexError::InvalidParameter(why) => why,
        other => other.to_string(),
    }
}

pub(super) fn limit_depth(depth: usize) -> Result<(), FilterError> {
    limit("a depth", depth, MAX_DEPTH)
}

pub(super) fn limit_conditions(conditions: usize) -> Result<(), FilterError> {
    limit("a number of conditions", conditions, MAX_CONDITIONS)
}

pub(super) fn limit_list(len: usize) -> Result<(), FilterError> {
    limit("a list length", len, MAX_LIST)
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), FilterError> {
    if got > limit { Err(FilterError::Limit { what, got, limit }) } else { Ok(()) }
}
