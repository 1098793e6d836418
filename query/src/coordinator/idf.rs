//! Weights of a sparse query by inverse document frequency.

use std::sync::Arc;
use std::time::Instant;

use engram_index::vector::VectorValue;
use engram_storage::schema::{SparseModifier, VectorField, VectorKind};

use super::{Fan, gather};
use crate::error::Result;
use crate::searcher::{Frequencies, FrequencyRequest, ShardScope};

/// The admitted `query` with its components weighed as `field` asks: by the points of all shards of `fan`, which should be
/// those of the whole collection, whatever the search is narrowed to. Where a partial answer will do, the weights are
/// those of the shards that answered in a quarter of the time.
pub(crate) async fn weighed(
    fan: &Fan,
    field: &VectorField,
    query: VectorValue,
    allow_partial: bool,
) -> Result<VectorValue> {
    let mut sparse = match query {
        VectorValue::Sparse(sparse)
            if field.kind == (VectorKind::Sparse { modifier: SparseModifier::Idf })
                && !sparse.indices.is_empty() =>
        {
            sparse
        }
        query => return Ok(query),
    };
    let indices: Arc<[u32]> = sparse.indices.as_slice().into();
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
    for (value, with) in sparse.values.iter_mut().zip(&all.with) {
        *value *= weight(all.points, *with);
    }
    Ok(VectorValue::Sparse(sparse))
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
