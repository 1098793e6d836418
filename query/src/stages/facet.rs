//! How often the values of a field occur, over all shards.

use std::collections::HashMap;
use std::sync::Arc;

use engram_index::payload::{PayloadPath, Scalar};
use serde_json::Value;

use crate::coordinator::{Fan, scatter};
use crate::error::Result;
use crate::filter::Bound;
use crate::request::query::FacetValue;
use crate::searcher::ShardFacetRequest;

/// The `limit` most frequent values, most points first, then by value. Exact.
pub(crate) async fn facet(
    fan: &Fan,
    path: Arc<PayloadPath>,
    filter: Option<Bound>,
    limit: usize,
) -> Result<Vec<FacetValue>> {
    let call = |_, scope| {
        fan.searcher.facet(ShardFacetRequest { scope, path: path.clone(), filter: filter.clone() })
    };
    let (shards, late): (Vec<Vec<(Scalar, u64)>>, _) = scatter(fan, call).await?;
    if let Some(e) = late {
        return Err(e);
    }
    let mut counts: HashMap<Scalar, u64> = HashMap::new();
    for (value, count) in shards.into_iter().flatten() {
        *counts.entry(value).or_default() += count;
    }
    let mut values: Vec<(Scalar, u64)> = counts.into_iter().collect();
    values.sort_unstable_by(|a, b| {
        b.1.cmp(&a.1).then_with(|| kind(&a.0).cmp(&kind(&b.0))).then_with(|| a.0.cmp(&b.0))
    });
    values.truncate(limit);
    Ok(values.into_iter().map(|(value, count)| FacetValue { value: json(value), count }).collect())
}

/// Keywords come before numbers, these before truth values.
fn kind(value: &Scalar) -> u8 {
    match value {
        Scalar::Keyword(_) => 0,
        Scalar::Integer(_) => 1,
        Scalar::Bool(_) => 2,
    }
}

/// As clients read it.
pub(crate) fn json(value: Scalar) -> Value {
    match value {
        Scalar::Keyword(text) => Value::from(text),
        Scalar::Integer(n) => Value::from(n),
        Scalar::Bool(b) => Value::from(b),
    }
}
