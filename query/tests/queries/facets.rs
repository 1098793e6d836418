//! Facets and matrices.

use std::collections::HashMap;

use engram_index::payload::PayloadIndexKind;
use engram_index::vector::Metric;
use engram_query::request::query::{FacetRequest, FacetValue, MatrixRequest};
use engram_storage::point::PointId;
use serde_json::{Value, json};

use super::*;

pub fn facet(key: &str, filter: Option<Filter>, limit: usize) -> FacetRequest {
    let read = ReadOptions::default();
    FacetRequest { collection: NAME.into(), key: key.into(), filter, limit, exact: true, read }
}

/// The values at a key of a payload that count: keywords, whole numbers and truth values, each once.
pub fn values(payload: &Value, key: &str) -> Vec<Value> {
    let all = match &payload[key] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let mut counted: Vec<Value> = vec![];
    for value in all {
        let value = match value {
            Value::String(s) if s.len() > 30 => json!("67e55044-10b1-426f-9247-bb680e5fe0c8"),
            Value::String(_) | Value::Bool(_) => value,
            Value::Number(ref n) if n.is_i64() => value,
            _ => continue,
        };
        if !counted.contains(&value) {
            counted.push(value);
        }
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn facets_count_points_of_each_value() {
    let kinds = [
        None,
        Some(PayloadIndexKind::Keyword),
        Some(PayloadIndexKind::Integer),
        Some(PayloadIndexKind::Bool),
        Some(PayloadIndexKind::Uuid),
        Some(PayloadIndexKind::Float),
    ];
    for kind in kinds {
        let indexes: Vec<_> = kind.map(|kind| ("g", kind)).into_iter().collect();
        let s = Subject::new(Metric::Euclid, &indexes).await;
        for filter in [None, Some(cheap())] {
            let mut counts: HashMap<String, (Value, u64)> = HashMap::new();
            for (id, _) in s.by_score(filter.as_ref(), |_, _| Some(0.0)) {
                for value in values(&s.rows[&id].payload, "g") {
                    counts.entry(value.to_string()).or_insert((value, 0)).1 += 1;
                }
            }
            let mut wanted: Vec<_> = counts.into_values().collect();
            let rank = |v: &Value| if v.is_string() { 0 } else { 1 + u8::from(v.is_boolean()) };
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            wanted.sort_by(|(a, m), (b, n)| {
                (n.cmp(m))
                    .then(rank(a).cmp(&rank(b)))
                    .then(text(a).cmp(&text(b)))
                    .then(a.as_i64().cmp(&b.as_i64()))
            });
            let wanted: Vec<_> =
                wanted.into_iter().map(|(value, count)| FacetValue { value, count }).collect();
            assert!(wanted.len() >= 6);
            for limit in [2, 10_000] {
                let got = s.world.db.facet(OWNER, facet("g", filter.clone(), limit)).await.unwrap();
                assert_eq!(got, wanted[..limit.min(wanted.len())], "{kind:?}");
            }
        }
        assert!(s.world.db.facet(OWNER, facet("absent", None, 5)).await.unwrap().is_empty());
        assert_eq!(
            s.world.db.facet(OWNER, facet("a..b", None, 5)).await.unwrap_err().code(),
            "invalid_argument"
        );
        let e = s.world.db.facet(STRANGER, facet("g", None, 5)).await.unwrap_err();
        assert_eq!(e.code(), "collection_not_found");
    }
}

pub fn matrix(sample: usize, limit: usize) -> MatrixRequest {
    let read = ReadOptions::default();
    MatrixRequest {
        collection: NAME.into(),
        field: String::new(),
        filter: Some(cheap()),
        sample,
        limit,
        read,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn matrices_hold_the_nearest_of_the_sample() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan] {
        let s = Subject::new(metric, &[]).await;
        let all = ids(&s.by_score(Some(&cheap()), |_, _| Some(0.0)));
        for (sample, limit) in [(10, 3), (25, 100), (4_096, 2)] {
            let got = s.world.db.matrix(OWNER, matrix(sample, limit)).await.unwrap();
            let sampled: Vec<u64> = got.ids.iter().map(|id| number(*id)).collect();
            assert_eq!(sampled.len(), sample.min(all.len()));
            assert!(sampled.is_sorted() && sampled.iter().all(|id| all.contains(id)));
            for (row, id) in sampled.iter().enumerate() {
                let mut wanted = s.nearest(&s.rows[id].vector, None);
                wanted.retain(|(other, _)| other != id && sampled.contains(other));
                wanted.truncate(limit);
                let pairs = got.pairs.iter().filter(|pair| pair.0 == row);
                same(&pairs.map(|pair| (sampled[pair.1], pair.2)).collect::<Vec<_>>(), &wanted);
            }
        }
        let none = filter(r#"{"must":[{"has_id":[1]}]}"#);
        let one = MatrixRequest { filter: Some(none), ..matrix(5, 5) };
        assert_eq!(s.world.db.matrix(OWNER, one).await.unwrap().ids, Vec::<PointId>::new());
    }
}
