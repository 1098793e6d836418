//! Weights of a sparse query by inverse document frequency.

use std::sync::Arc;
use std::time::Instant;

use engram_index::vector::{SparseVector, VectorValue};
use engram_storage::schema::{SparseModifier, VectorField, VectorKind};

use super::{Fan, gather};
use crate::error::Result;
use crate::searcher::{Frequencies, FrequencyRequest, ShardScope};

/// The admitted `query` with its components weighed as `field` asks; see [`weigh_all`].
pub(crate) async fn weighed(
    fan: &Fan,
    field: &VectorField,
    mut query: VectorValue,
    allow_partial: bool,
) -> Result<VectorValue> {
    weigh_all(fan, field, std::slice::from_mut(&mut query), allow_partial).await?;
    Ok(query)
}

/// Weighs the components of admitted `queries` as `field` asks: by the points of all shards of `fan`, which should be
/// those of the whole collection, whatever the search is narrowed to. Where a partial answer will do, the weights are
/// those of the shards that answered in a quarter of the time.
pub(crate) async fn weigh_all(
    fan: &Fan,
    field: &VectorField,
    queries: &mut [VectorValue],
    allow_partial: bool,
) -> Result<()> {
    if field.kind != (VectorKind::Sparse { modifier: SparseModifier::Idf }) {
        return Ok(());
    }
    let mut indices: Vec<u32> = queries.iter().flat_map(sparse).flat_map(|s| &s.indices).copied().collect();
    indices.sort_unstable();
    indices.dedup();
    if indices.is_empty() {
        return Ok(());
    }
    let all = frequencies(fan, field, indices.as_slice().into(), allow_partial).await?;
    for query in queries {
        let VectorValue::Sparse(query) = query else { continue };
        for (index, value) in query.indices.iter().zip(&mut query.values) {
            // All indices of the queries were counted.
            let with = indices.binary_search(index).ok().and_then(|at| all.with.get(at)).copied();
            *value *= weight(all.points, with.unwrap_or(0));
        }
    }
    Ok(())
}

fn sparse(value: &VectorValue) -> Option<&SparseVector> {
    match value {
        VectorValue::Sparse(sparse) => Some(sparse),
        VectorValue::Dense(_) | VectorValue::Multi(_) => None,
    }
}

/// How many points of all shards have each of these indices.
async fn frequencies(
    fan: &Fan,
    field: &VectorField,
    indices: Arc<[u32]>,
    allow_partial: bool,
) -> Result<Frequencies> {
    let left = fan.deadline.saturating_duration_since(Instant::now());
    let early = fan.deadline.checked_sub(left * 3 / 4).unwrap_or(fan.deadline);
    let deadline = if allow_partial { early } else { fan.deadline };
    let calls = fan.scopes.iter().map(|scope| {
        let scope = ShardScope { deadline, ..scope.clone() };
        fan.searcher.frequencies(FrequencyRequest { scope, field: field.id, indices: indices.clone() })
    });
    let gathered = gather(calls, deadline).await?;
    let shards = if allow_partial {
        gathered.answers.into_iter().map(|(_, shard)| shard).collect()
    } else {
        gathered.complete()?
    };
    let mut all = Frequencies { points: 0, with: vec![0; indices.len()] };
    shards.iter().for_each(|shard| all.add(shard));
    Ok(all)
}

/// `ln((N - n + 0.5) / (n + 0.5) + 1)`: above 0 also for what all points have.
fn weight(points: u64, with: u64) -> f32 {
    let (all, with) = (points as f64, with.min(points) as f64);
    ((all - with + 0.5) / (with + 0.5) + 1.0).ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_few_points_have_weighs_more() {
        assert!((weight(0, 0) - 2f32.ln()).abs() < 1e-6);
        assert!((weight(10, 1) - (9.5f32 / 1.5 + 1.0).ln()).abs() < 1e-6);
        let weights: Vec<f32> = [0, 1, 5, 10].iter().map(|with| weight(10, *with)).collect();
        assert!(weights.is_sorted_by(|a, b| a > b) && weights[3] > 0.0, "{weights:?}");
        assert_eq!(weight(10, 11), weight(10, 10));
    }
}
