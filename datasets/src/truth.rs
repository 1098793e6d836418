//! Exact ground truth: what every approximate index is measured by.

use std::sync::Arc;

use engram_index::vector::exact::scan;
use engram_index::vector::{Metric, VectorSet, metric};
use engram_index::{Column, Mask};
use rayon::prelude::*;

use crate::{ReadError, Result};

fn compute(error: impl std::fmt::Display) -> ReadError {
    ReadError::Compute(error.to_string())
}

/// Row-major vectors of one dimension, admitted under a metric (normalised for cosine).
///
/// # Errors
/// [`ReadError::Compute`] with the row of the first vector that the metric does not admit.
pub fn vector_set(metric: Metric, dimension: usize, mut components: Vec<f32>) -> Result<VectorSet> {
    for (row, vector) in components.chunks_mut(dimension.max(1)).enumerate() {
        metric::admit(metric, dimension, vector).map_err(|e| compute(format!("row {row}: {e}")))?;
    }
    VectorSet::new(metric, dimension, Column::from(components), None).map_err(compute)
}

/// Row numbers of the `k` nearest rows of `base` for each query, nearest first, ties by row; runs on all cores.
///
/// # Errors
/// [`ReadError::Compute`] where a query does not fit.
pub fn exact_neighbors(base: &Arc<VectorSet>, queries: &[f32], k: usize) -> Result<Vec<Vec<u32>>> {
    let (metric, dimension) = (base.metric(), base.dimension());
    queries
        .par_chunks(dimension)
        .map(|query| {
            let mut query = query.to_vec();
            metric::admit(metric, dimension, &mut query).map_err(compute)?;
            let nearest = scan(base, &query, k, Mask::All).map_err(compute)?;
            Ok(nearest.into_iter().map(|n| n.ordinal).collect())
        })
        .collect()
}

/// Share of the true neighbours that were found: recall at `truth.len()`, as an average over the queries.
pub fn recall(found: &[Vec<u64>], truth: &[Vec<u64>]) -> f64 {
    let share = |(found, truth): (&Vec<u64>, &Vec<u64>)| {
        let hits = truth.iter().filter(|id| found.contains(id)).count();
        hits as f64 / truth.len().max(1) as f64
    };
    let queries = found.len().min(truth.len()).max(1);
    found.iter().zip(truth).map(share).sum::<f64>() / queries as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_first() {
        let base: Vec<f32> = (0..100).flat_map(|i| [i as f32, 1.0]).collect();
        let base = Arc::new(vector_set(Metric::Euclid, 2, base).unwrap());
        let found = exact_neighbors(&base, &[10.2, 1.0, 98.9, 1.0], 3).unwrap();
        assert_eq!(found, [vec![10, 11, 9], vec![99, 98, 97]]);
        assert!(
            vector_set(Metric::Cosine, 2, vec![1.0, 0.0, 0.0, 0.0])
                .unwrap_err()
                .to_string()
                .contains("row 1")
        );
    }

    #[test]
    fn recall_counts_truth() {
        assert_eq!(recall(&[vec![1, 2, 9], vec![4]], &[vec![1, 2, 3, 4], vec![4]]), 0.75);
    }
}
