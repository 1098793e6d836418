//! The order of a field, with and without an index over it.

use std::cmp::Ordering;

use engram_index::payload::{PayloadIndexKind, parse_datetime};
use engram_index::vector::Metric;
use engram_query::database::Page;
use engram_query::request::ScrollRequest;
use engram_query::request::query::{OrderBy, Query};
use serde_json::{Value, json};

use super::*;

const INDEXES: [&[(&str, PayloadIndexKind)]; 4] = [
    &[],
    &[("n", PayloadIndexKind::Integer)],
    &[("n", PayloadIndexKind::Float)],
    &[("n", PayloadIndexKind::Datetime)],
];

fn order(descending: bool, start_from: Option<Value>) -> OrderBy {
    OrderBy { key: "n".into(), descending, start_from }
}

/// Points by each of their different values, as numbers.
fn reference(s: &Subject, filter: Option<&Filter>, order: &OrderBy) -> Vec<(u64, f64)> {
    let mut all: Vec<(u64, f64)> = vec![];
    let as_number =
        |v: &Value| v.as_f64().or_else(|| v.as_str().and_then(parse_datetime).map(|micros| micros as f64));
    for (id, _) in s.by_score(filter, |_, _| Some(0.0)) {
        let values = match &s.rows[&id].payload["n"] {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        let mut values: Vec<f64> = values.iter().filter_map(as_number).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        all.extend(values.into_iter().map(|v| (id, v)));
    }
    let compare = |a: &f64, b: &f64| if order.descending { b.total_cmp(a) } else { a.total_cmp(b) };
    let start = order.start_from.as_ref().and_then(as_number);
    all.retain(|(_, v)| start.is_none_or(|start| compare(v, &start) != Ordering::Less));
    all.sort_by(|a, b| compare(&a.1, &b.1).then(a.0.cmp(&b.0)));
    all
}

fn orders() -> Vec<OrderBy> {
    let starts =
        [None, Some(json!(3)), Some(json!(3.5)), Some(json!("2024-05-10T00:00:00Z")), Some(json!(-100))];
    starts.into_iter().flat_map(|start| [order(false, start.clone()), order(true, start)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_order_by_each_value() {
    for indexes in INDEXES {
        let s = Subject::new(Metric::Euclid, indexes).await;
        for order in orders() {
            for filter in [None, Some(cheap())] {
                let wanted = reference(&s, filter.as_ref(), &order);
                for limit in [1, 7, 10_000] {
                    let stage =
                        Stage { filter: filter.clone(), ..stage(Query::OrderBy(order.clone()), limit) };
                    let answer = s.query(stage).await;
                    let got: Vec<(u64, f64)> = answer
                        .hits
                        .iter()
                        .map(|h| (number(h.point.id), h.order_value.as_ref().unwrap().as_f64().unwrap()))
                        .collect();
                    assert_eq!(got, wanted[..limit.min(wanted.len())], "{order:?} {indexes:?}");
                }
            }
        }
        // Of what other stages found.
        let wanted = reference(&s, None, &order(true, None));
        let pool: Vec<u64> = s.rows.keys().copied().take(30).collect();
        let inner = Stage { limit: 30, ..Stage::default() };
        let outer = Stage { prefetch: vec![inner], ..stage(Query::OrderBy(order(true, None)), 100) };
        let got = ids(&found(&s.query(outer).await));
        assert_eq!(got, wanted.iter().map(|(id, _)| *id).filter(|id| pool.contains(id)).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_from_the_last_value() {
    let s = Subject::new(Metric::Euclid, &[]).await;
    let scroll = async |order_by: OrderBy, filter: Option<Filter>, limit: usize| -> Page {
        let request = ScrollRequest {
            collection: NAME.into(),
            filter,
            from: None,
            order_by: Some(order_by),
            limit,
            selection: Selection::default(),
            read: ReadOptions::default(),
        };
        s.world.db.scroll(OWNER, request).await.unwrap()
    };
    let all = scroll(order(false, None), None, 10_000).await;
    let wanted = reference(&s, None, &order(false, None));
    assert_eq!(
        all.points.iter().map(|p| number(p.id)).collect::<Vec<_>>(),
        wanted.iter().map(|w| w.0).collect::<Vec<_>>()
    );
    assert_eq!(all.order_values.len(), all.points.len());
    assert_eq!(all.next, None);
    // As clients page: from the last value on, without the points that were seen.
    let (mut start, mut seen) = (None, vec![]);
    loop {
        let without = format!(r#"{{"must_not":[{{"has_id":{}}}]}}"#, json!(seen));
        let page = scroll(order(false, start.clone()), Some(filter(&without)), 9).await;
        if page.points.is_empty() {
            break;
        }
        seen.extend(page.points.iter().map(|p| number(p.id)));
        start = page.order_values.last().cloned();
    }
    let mut different = seen.clone();
    different.sort_unstable();
    different.dedup();
    let mut every: Vec<u64> = wanted.iter().map(|w| w.0).collect();
    every.sort_unstable();
    every.dedup();
    assert_eq!(different, every);
    let both = ScrollRequest {
        collection: NAME.into(),
        filter: None,
        from: Some(engram_storage::point::PointId::Num(3)),
        order_by: Some(order(false, None)),
        limit: 3,
        selection: Selection::default(),
        read: ReadOptions::default(),
    };
    assert_eq!(s.world.db.scroll(OWNER, both).await.unwrap_err().code(), "invalid_argument");
}
