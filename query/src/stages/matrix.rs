//! Nearest neighbours within a sample.

use std::sync::Arc;
use std::time::Instant;

use engram_index::Pace;
use engram_index::vector::topk::{TopK, key, key_distance, key_position};
use engram_index::vector::{Metric, VectorValue};
use engram_storage::point::PointId;
use engram_storage::schema::VectorField;
use rayon::prelude::*;

use super::budget::Budget;
use super::examples::values_by_shard;
use super::likeness::Likeness;
use super::rank_by::RankBy;
use super::run::rank;
use crate::coordinator::{Fan, weigh_all};
use crate::error::Result;
use crate::filter::Bound;
use crate::local::{Compute, Work, after, spend};
use crate::request::query::Matrix;

/// A point of a sample: what it has in the field, and that as a query.
pub(crate) struct Sampled {
    id: PointId,
    value: VectorValue,
    query: VectorValue,
}

/// `size` points at random that have a vector of `field`, ascending by id.
pub(crate) async fn sample(
    fan: &Fan,
    field: &VectorField,
    filter: Option<Bound>,
    (seed, size): (u64, usize),
) -> Result<Vec<Sampled>> {
    // Before anything is read.
    Budget::default().vectors("the sample of the matrix", size, field)?;
    let by = Arc::new(RankBy::Sample { seed, field: Some(field.id) });
    let found = rank(fan, &by, vec![filter; fan.scopes.len()], size).await?;
    let ids: Vec<_> = found.list.iter().map(|candidate| (candidate.shard, candidate.id)).collect();
    let (values, late) =
        values_by_shard(fan, &ids, field, ("the sample of the matrix", &Budget::default())).await?;
    if let Some(e) = found.late.or(late) {
        return Err(e);
    }
    let mut values: Vec<(PointId, VectorValue)> = values.into_iter().collect();
    values.sort_unstable_by_key(|(id, _)| *id);
    let mut queries: Vec<VectorValue> = values.iter().map(|(_, value)| value.clone()).collect();
    weigh_all(fan, field, &mut queries, false).await?;
    let sampled = values.into_iter().zip(queries);
    Ok(sampled.map(|((id, value), query)| Sampled { id, value, query }).collect())
}

/// The `limit` nearest others of each of the sample, closest first, ties by id. Empty for fewer than two points.
pub(crate) async fn matrix(
    compute: &Compute,
    metric: Metric,
    sampled: Vec<Sampled>,
    (limit, deadline): (usize, Instant),
) -> Result<Matrix> {
    if sampled.len() < 2 {
        return Ok(Matrix::default());
    }
    let components: usize = sampled.iter().map(|point| point.value.bytes() / size_of::<f32>()).sum();
    let work = sampled.len().saturating_mul(components);
    let job = move |on_pool| {
        let row = |row: usize| -> Result<Vec<(usize, usize, f32)>> {
            let late = after(deadline);
            let pace = Pace::new(&late);
            let found = neighbours(metric, (&sampled, row), limit, &pace);
            spend(&pace, 0)?;
            Ok(found)
        };
        let rows: Vec<Vec<_>> = if on_pool {
            (0..sampled.len()).into_par_iter().map(row).collect::<Result<_>>()?
        } else {
            (0..sampled.len()).map(row).collect::<Result<_>>()?
        };
        let ids = sampled.iter().map(|point| point.id).collect();
        Ok(Matrix { ids, pairs: rows.concat() })
    };
    compute.run(Work(work), (1, deadline), job).await
}

fn neighbours(
    metric: Metric,
    (sampled, row): (&[Sampled], usize),
    limit: usize,
    pace: &Pace<'_>,
) -> Vec<(usize, usize, f32)> {
    let likeness = Likeness::new(metric);
    let mut nearest = TopK::new(limit);
    for (column, point) in sampled.iter().enumerate().filter(|(column, _)| *column != row) {
        if let Some(distance) = likeness.distance(&sampled[row].query, &point.value, pace) {
            // Samples are far smaller than u32::MAX.
            nearest.push(key(distance, column as u32));
        }
    }
    let pair = |found| (row, key_position(found) as usize, metric.score(key_distance(found)));
    nearest.take_sorted().into_iter().map(pair).collect()
}
