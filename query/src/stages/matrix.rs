//! Nearest neighbours within a sample.

use std::sync::Arc;
use std::time::Instant;

use engram_index::vector::Metric;
use engram_index::vector::kernel::Kernel;
use engram_index::vector::topk::{TopK, key, key_distance, key_position};
use engram_storage::point::PointId;
use engram_storage::schema::VectorField;
use rayon::prelude::*;

use super::examples::{dense_of, only_vector};
use super::rank_by::RankBy;
use super::run::rank;
use crate::coordinator::{Fan, fetch_by_shard};
use crate::error::Result;
use crate::filter::Filter;
use crate::local::{Compute, Work};
use crate::request::query::Matrix;

/// A sample of points, each with a vector.
type Sampled = Vec<(PointId, Vec<f32>)>;

/// `size` points at random that have a vector of `field`, ascending by id.
pub(crate) async fn sample(
    fan: &Fan,
    field: &VectorField,
    filter: Option<Arc<Filter>>,
    (seed, size): (u64, usize),
) -> Result<Sampled> {
    let by = Arc::new(RankBy::Sample { seed, field: Some(field.id) });
    let found = rank(fan, &by, vec![filter; fan.scopes.len()], size).await?;
    let ids = found.list.iter().map(|candidate| (candidate.shard, candidate.id));
    let (points, late) = fetch_by_shard(fan, ids, &only_vector(&field.name)).await?;
    if let Some(e) = found.late.or(late) {
        return Err(e);
    }
    let mut sampled: Sampled =
        points.into_iter().filter_map(|(id, point)| Some((id, dense_of(point)?))).collect();
    sampled.sort_unstable_by_key(|(id, _)| *id);
    Ok(sampled)
}

/// The `limit` nearest others of each of the sample, closest first, ties by id. Empty for fewer than two points.
pub(crate) async fn matrix(
    compute: &Compute,
    metric: Metric,
    sampled: Sampled,
    (limit, deadline): (usize, Instant),
) -> Result<Matrix> {
    if sampled.len() < 2 {
        return Ok(Matrix::default());
    }
    let dimension = sampled.first().map_or(0, |(_, vector)| vector.len());
    let work = sampled.len().saturating_mul(sampled.len()).saturating_mul(dimension);
    let job = move |on_pool| {
        let row = |row: usize| -> Result<Vec<(usize, usize, f32)>> {
            super::check_deadline(deadline)?;
            Ok(neighbours(metric, &sampled, row, limit))
        };
        let rows: Vec<Vec<_>> = if on_pool {
            (0..sampled.len()).into_par_iter().map(row).collect::<Result<_>>()?
        } else {
            (0..sampled.len()).map(row).collect::<Result<_>>()?
        };
        let ids = sampled.iter().map(|(id, _)| *id).collect();
        Ok(Matrix { ids, pairs: rows.concat() })
    };
    compute.run(Work(work), 1, job).await
}

fn neighbours(metric: Metric, sampled: &Sampled, row: usize, limit: usize) -> Vec<(usize, usize, f32)> {
    let kernel = Kernel::new(metric);
    let mut nearest = TopK::new(limit);
    for (column, (_, vector)) in sampled.iter().enumerate().filter(|(column, _)| *column != row) {
        // Samples are far smaller than u32::MAX.
        nearest.push(key(kernel.distance(&sampled[row].1, vector), column as u32));
    }
    let pair = |found| (row, key_position(found) as usize, metric.score(key_distance(found)));
    nearest.take_sorted().into_iter().map(pair).collect()
}
