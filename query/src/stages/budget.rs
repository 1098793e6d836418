//! How much of stored vectors a query holds to compare points with each other: all its stages together.

use std::sync::atomic::{AtomicUsize, Ordering};

use engram_index::vector::VectorValue;
use engram_storage::schema::{CollectionSchema, VectorField, VectorKind};

use super::plan::inputs;
use crate::error::Result;
use crate::limits::{MAX_COMPARED_COMPONENTS, MAX_K, at_most};
use crate::request::query::{Query, Stage, VectorInput};

/// Components of a sparse vector that nobody has seen yet.
const SPARSE_GUESS: usize = 256;
/// Vectors of a multi vector that nobody has seen yet.
const MULTI_GUESS: usize = 32;

/// What a query holds. Nothing is given back before its end: whether a query is refused must not depend on which of its
/// stages are done by then.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    components: AtomicUsize,
    /// Those of them that are not there yet.
    expected: AtomicUsize,
}

impl Budget {
    /// A budget of which so much is used.
    pub fn used(components: usize) -> Self {
        Self { components: AtomicUsize::new(components), expected: AtomicUsize::new(0) }
    }

    /// Components that were read.
    pub fn read(&self) -> usize {
        let all = self.components.load(Ordering::Relaxed);
        all.saturating_sub(self.expected.load(Ordering::Relaxed))
    }

    /// Room for a value that was read; its size was not known.
    ///
    /// # Errors
    /// [`QueryError::Limit`](crate::QueryError::Limit) where the query holds too much.
    pub fn value(&self, what: &str, value: &VectorValue) -> Result<()> {
        self.take(value.bytes() / size_of::<f32>(), || {
            format!("what the query holds with {what}, in components,")
        })
    }

    /// Room for so many values of a field that will be read, if it is known how large they are.
    ///
    /// # Errors
    /// As [`Budget::value`].
    pub fn vectors(&self, what: &str, vectors: usize, field: &VectorField) -> Result<()> {
        if field.kind != VectorKind::Dense {
            return Ok(());
        }
        let name = || {
            let dimension = field.dimension;
            format!("what the query holds with {what}, {vectors} of {dimension} dimensions, in components,")
        };
        let components = vectors.saturating_mul(field.dimension.max(1));
        self.expected.fetch_add(components, Ordering::Relaxed);
        self.take(components, name)
    }

    fn take(&self, components: usize, what: impl Fn() -> String) -> Result<()> {
        let before = self.components.fetch_add(components, Ordering::Relaxed);
        let total = before.saturating_add(components);
        if total <= MAX_COMPARED_COMPONENTS {
            return Ok(());
        }
        at_most(&what(), total, MAX_COMPARED_COMPONENTS, "take fewer")
    }
}

/// Bytes of stored vectors that a query will hold, about: those of the points it names, and of those it chooses from.
pub(crate) fn expected_bytes(schema: &CollectionSchema, stage: &Stage, results: usize) -> usize {
    components(schema, stage, results).min(MAX_COMPARED_COMPONENTS) * size_of::<f32>()
}

fn components(schema: &CollectionSchema, stage: &Stage, results: usize) -> usize {
    let of_one = schema.vector_field(&stage.field).map_or(0, |field| match field.kind {
        VectorKind::Dense => field.dimension,
        VectorKind::Sparse { .. } => SPARSE_GUESS,
        VectorKind::Multi => field.dimension * MULTI_GUESS,
    });
    let points = stage.query.as_ref().map_or(0, |query| {
        let examples =
            inputs(query).into_iter().filter(|input| matches!(input, VectorInput::Point(_))).count();
        let chosen = match query {
            Query::NearestDiverse { candidates, .. } => candidates.unwrap_or(results).min(MAX_K),
            _ => 0,
        };
        examples + chosen
    });
    let inner = stage.prefetch.iter().map(|inner| components(schema, inner, inner.limit));
    inner.fold(points.saturating_mul(of_one), usize::saturating_add)
}
