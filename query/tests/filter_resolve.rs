//! A filter over a run of rows matches exactly the live rows whose JSON it matches, whichever indexes there are.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engram_index::payload::{
    FieldIndex, FieldIndexBuilder, FieldPredicate, GeoPoint, PayloadIndexKind, PayloadPath, Scalar,
};
use engram_query::filter::{
    Condition, Filter, FilterError, FilterSource, MinShould, ResolveError, estimate, resolve,
};
use engram_storage::PointId;
use engram_storage::point::FieldId;
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::{Value, json};

struct Rows {
    payloads: Vec<Vec<u8>>,
    indexes: HashMap<String, FieldIndex>,
    deleted: RoaringBitmap,
    read: Mutex<HashSet<u32>>,
    /// Looks at the clock that find it is not late.
    looks: AtomicUsize,
}

impl FilterSource for Rows {
    fn rows(&self) -> u32 {
        self.payloads.len() as u32
    }
    fn index(&self, path: &str) -> Option<&FieldIndex> {
        self.indexes.get(path)
    }
    fn find(&self, id: &PointId) -> Option<u32> {
        match id {
            PointId::Num(n) => {
                u32::try_from(*n).ok().filter(|n| *n < self.rows() && !self.deleted.contains(*n))
            }
            PointId::Uuid(_) => None,
        }
    }
    fn id(&self, ordinal: u32) -> PointId {
        PointId::Num(u64::from(ordinal))
    }
    fn payload(&self, ordinal: u32) -> &[u8] {
        assert!(!self.deleted.contains(ordinal), "a dead row was read");
        assert!(self.read.lock().unwrap().insert(ordinal), "row {ordinal} was read twice");
        &self.payloads[ordinal as usize]
    }
    fn with_vector(&self, field: FieldId, within: &RoaringBitmap) -> RoaringBitmap {
        within.iter().filter(|ordinal| ordinal % u32::from(field) == 0).collect()
    }
    fn deleted(&self) -> &RoaringBitmap {
        &self.deleted
    }
    fn is_late(&self) -> bool {
        let left = |looks: usize| looks.checked_sub(1);
        self.looks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_err()
    }
}

fn rows(payloads: &[Value], indexes: &[(&str, PayloadIndexKind)], deleted: &[u32]) -> Rows {
    let build = |(path, kind): &(&str, PayloadIndexKind)| {
        let mut builder = FieldIndexBuilder::new(*kind);
        for (i, payload) in payloads.iter().enumerate() {
            builder.add(i as u32, payload, &PayloadPath::parse(path).unwrap());
        }
        (path.to_string(), builder.finish().unwrap())
    };
    Rows {
        payloads: payloads.iter().map(|p| p.to_string().into_bytes()).collect(),
        indexes: indexes.iter().map(build).collect(),
        deleted: deleted.iter().filter(|d| (**d as usize) < payloads.len()).collect(),
        read: Mutex::default(),
        looks: AtomicUsize::new(usize::MAX),
    }
}

fn truth(filter: &Filter, payloads: &[Value], deleted: &RoaringBitmap) -> RoaringBitmap {
    let live = (0..payloads.len() as u32).filter(|i| !deleted.contains(*i));
    live.filter(|i| filter.matches(PointId::Num(u64::from(*i)), &payloads[*i as usize])).collect()
}

const INDEXES: [(&str, PayloadIndexKind); 5] = [
    ("k", PayloadIndexKind::Keyword),
    ("n", PayloadIndexKind::Integer),
    ("n", PayloadIndexKind::Float),
    ("g", PayloadIndexKind::Geo),
    ("o.n", PayloadIndexKind::Integer),
];

fn key() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("k"), Just("n"), Just("g"), Just("o.n"), Just("o[].n"), Just("missing")]
}

fn value() -> BoxedStrategy<Value> {
    let one = prop_oneof![
        4 => (0..4i64).prop_map(|i| json!(i)),
        1 => Just(json!(1.5)),
        3 => (0..4usize).prop_map(|i| json!(["a", "b", "c", "2024-05-01"][i])),
        2 => (-20..20i32, -20..20i32).prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat})),
        1 => any::<bool>().prop_map(|b| json!(b)),
        1 => Just(Value::Null),
    ];
    prop_oneof![3 => one.clone(), 1 => prop::collection::vec(one, 0..3).prop_map(Value::Array)].boxed()
}

fn payload() -> impl Strategy<Value = Value> {
    let objects = prop::collection::vec((value(), value()).prop_map(|(n, k)| json!({"n": n, "k": k})), 0..3);
    (prop::option::of(value()), prop::option::of(value()), value(), objects).prop_map(|(k, n, g, o)| {
        let mut payload = json!({"g": g, "o": o});
        if let Some(k) = k {
            payload["k"] = k;
        }
        if let Some(n) = n {
            payload["n"] = n;
        }
        payload
    })
}

fn predicate() -> impl Strategy<Value = FieldPredicate> {
    use FieldPredicate as P;
    let scalar = prop_oneof![
        (0..4i64).prop_map(Scalar::Integer),
        (0..3usize).prop_map(|i| Scalar::Keyword(["a", "b", "c"][i].into())),
        any::<bool>().prop_map(Scalar::Bool),
    ];
    let list = prop::collection::vec(scalar, 0..10);
    let bound = || prop::option::of(-1..5i32);
    prop_oneof![
        4 => list.clone().prop_map(P::Any),
        2 => list.prop_map(P::Except),
        4 => (bound(), bound()).prop_map(|(lt, gte)| P::Range {
            lt: lt.map(f64::from), lte: None, gt: None, gte: gte.map(f64::from)
        }),
        1 => Just(P::DatetimeRange { lt: None, lte: None, gt: Some(0), gte: None }),
        2 => (-20..20i32, -20..20i32, 0.0..3e6).prop_map(|(lon, lat, radius_m)| P::GeoRadius {
            center: GeoPoint { lon: lon.into(), lat: lat.into() }, radius_m
        }),
        1 => (0..3u64).prop_map(|n| P::ValuesCount { lt: None, lte: None, gt: None, gte: Some(n) }),
        1 => Just(P::IsEmpty),
        1 => Just(P::IsNull),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        8 => (key(), predicate()).prop_map(|(key, predicate)| Condition::Field {
            path: PayloadPath::parse(key).unwrap(), predicate
        }),
        1 => prop::collection::vec(0..40u64, 0..20)
            .prop_map(|ids| Condition::HasId(ids.into_iter().map(PointId::Num).collect())),
    ];
    let condition = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            3 => filter_of(inner.clone()).prop_map(|f| Condition::Filter(Box::new(f))),
            1 => filter_of(inner).prop_map(|f| Condition::Nested {
                path: PayloadPath::parse("o").unwrap(), filter: Box::new(f)
            }),
        ]
    });
    filter_of(condition)
}

fn filter_of(condition: impl Strategy<Value = Condition> + Clone + 'static) -> impl Strategy<Value = Filter> {
    let list = || prop_oneof![1 => Just(vec![]), 2 => prop::collection::vec(condition.clone(), 1..4)];
    let min = (prop::collection::vec(condition.clone(), 0..5), 0..4usize)
        .prop_map(|(conditions, min_count)| MinShould { conditions, min_count });
    (list(), list(), list(), prop::option::weighted(0.3, min))
        .prop_map(|(must, should, must_not, min_should)| Filter { must, should, must_not, min_should })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filter_resolve_equals_eval(
        payloads in prop::collection::vec(payload(), 0..40),
        // A later index of the same path takes the place of an earlier one.
        chosen in prop::sample::subsequence(INDEXES.to_vec(), 0..=INDEXES.len()),
        deleted in prop::collection::vec(0..40u32, 0..15),
        filter in filter(),
    ) {
        let source = rows(&payloads, &chosen, &deleted);
        let truth = truth(&filter, &payloads, &source.deleted);
        let resolution = resolve(&filter, &source).unwrap();
        prop_assert_eq!(&resolution.matches, &truth);
        prop_assert_eq!(resolution.rows_read as usize, source.read.lock().unwrap().len());
        let (min, max) = estimate(&filter, &source);
        prop_assert!((min..=max).contains(&truth.len()), "{} {} {:?}", min, max, truth);
        match Filter::from_json(&filter.to_json()) {
            // What the generator made may be more than a client may send.
            Err(FilterError::Limit { what: "a number of conditions", .. }) => {}
            parsed => prop_assert_eq!(parsed.unwrap(), filter),
        }
    }
}

fn equals(key: &str, value: Scalar) -> Condition {
    Condition::Field { path: PayloadPath::parse(key).unwrap(), predicate: FieldPredicate::Any(vec![value]) }
}

#[test]
fn filter_reads_only_rows_that_indexes_leave_open() {
    let payloads: Vec<Value> =
        (0..10_000).map(|i| json!({"k": format!("k{}", i % 100), "n": i, "free": i % 2, "s": 1})).collect();
    let indexes = [("k", PayloadIndexKind::Keyword), ("n", PayloadIndexKind::Integer)];
    let keyword = equals("k", Scalar::Keyword("k7".into()));
    let range = FieldPredicate::Range { lt: Some(5000.0), lte: None, gt: None, gte: None };
    let range = Condition::Field { path: PayloadPath::parse("n").unwrap(), predicate: range };
    let check = |filter: Filter, read: u64| {
        let source = rows(&payloads, &indexes, &[7, 107]);
        let resolution = resolve(&filter, &source).unwrap();
        assert_eq!(resolution.matches, truth(&filter, &payloads, &source.deleted));
        assert_eq!(resolution.rows_read, read);
    };
    let free = equals("free", Scalar::Integer(1));
    let must = |must: Vec<Condition>| Filter { must, ..Filter::default() };
    check(Filter::default(), 0);
    check(must(vec![keyword.clone(), range.clone()]), 0);
    check(must(vec![free.clone(), range.clone(), keyword.clone()]), 48);
    check(Filter { must: vec![keyword.clone()], must_not: vec![range.clone()], ..Filter::default() }, 0);
    // Rows that an index already found need not be read for the other alternative.
    check(Filter { should: vec![free.clone(), range.clone()], ..Filter::default() }, 5000);
    let few = Condition::HasId(vec![PointId::Num(1), PointId::Num(7), PointId::Num(99_999)]);
    // One live row is left: reading it is cheaper than gathering 5000 entries.
    check(must(vec![range.clone(), few]), 1);
    let none = equals("k", Scalar::Keyword("absent".into()));
    check(must(vec![free, none]), 0);
    let source = rows(&payloads, &indexes, &[7, 107]);
    assert_eq!(estimate(&must(vec![range]), &source), (4998, 5000));
}

#[test]
fn filter_ignores_an_index_that_does_not_cover_the_rows() {
    let payloads: Vec<Value> = (0..10).map(|i| json!({"n": i})).collect();
    let mut source = rows(&payloads, &[], &[]);
    source.indexes = rows(&payloads[..5], &[("n", PayloadIndexKind::Integer)], &[]).indexes;
    let filter = Filter::only(equals("n", Scalar::Integer(9)));
    assert_eq!(resolve(&filter, &source).unwrap().matches, RoaringBitmap::from([9]));
    assert_eq!(estimate(&filter, &source), (0, 10));
}

#[test]
fn filter_reports_a_damaged_payload() {
    let mut source = rows(&[json!({"n": 1}), json!({"n": 2})], &[], &[]);
    source.payloads[1] = b"{\"n\": ".to_vec();
    let result = resolve(&Filter::only(equals("n", Scalar::Integer(1))), &source);
    assert!(matches!(result, Err(ResolveError::Payload { ordinal: 1, .. })));
    source.payloads[1].clear();
    source.read.lock().unwrap().clear();
    let resolution = resolve(&Filter::only(equals("n", Scalar::Integer(1))), &source).unwrap();
    assert_eq!(resolution.matches, RoaringBitmap::from([0]));
}

/// Looks at the clock that a filter takes, each of which may find that it is late.
fn looks(filter: &Filter, of: impl Fn() -> Rows) -> usize {
    let counted = of();
    resolve(filter, &counted).unwrap();
    let looks = usize::MAX - counted.looks.load(Ordering::Relaxed);
    for last in [0, looks / 2, looks - 1] {
        let late = of();
        late.looks.store(last, Ordering::Relaxed);
        assert_eq!(resolve(filter, &late), Err(ResolveError::Late), "after {last} of {looks}");
    }
    looks
}

#[test]
fn a_filter_looks_at_the_clock_by_the_work_it_does() {
    let texts = |n: usize| (0..n).map(|i| json!({"n": i, "t": "a ".repeat(50)}));
    let of = |payloads: &[Value]| rows(payloads, &[], &[]);
    let parsed = |json: &str| Filter::from_json(&serde_json::from_str(json).unwrap()).unwrap();
    let cheap = parsed(r#"{"must":[{"key":"n","range":{"gte":0}}]}"#);
    let few: Vec<Value> = texts(2_000).collect();
    let of_few = looks(&cheap, || of(&few));
    // A hundred conditions on the same rows.
    let texts_of = |n: usize| {
        let conditions: Vec<String> =
            (0..n).map(|i| format!(r#"{{"key":"t","match":{{"text":"x{i}"}}}}"#)).collect();
        parsed(&format!(r#"{{"should":[{}]}}"#, conditions.join(",")))
    };
    let costly = looks(&texts_of(100), || of(&few));
    assert!(costly > 10 * of_few, "{costly} {of_few}");
    // One row that costs as much as all of these; inside an array of objects, too.
    let long = "a ".repeat(200_000);
    let one = [json!({ "t": long })];
    assert!(looks(&texts_of(20), || of(&one)) > 50);
    let phrase = format!(r#"{{"must":[{{"key":"t","match":{{"phrase":"{}b"}}}}]}}"#, "a ".repeat(2_000));
    assert!(looks(&parsed(&phrase), || of(&one)) > 100);
    let many = [json!({ "o": (0..20_000).map(|n| json!({ "n": n })).collect::<Vec<_>>() })];
    let nested = r#"{"must":[{"nested":{"key":"o","filter":{"must":[{"key":"n","range":{"lt":0}}]}}}]}"#;
    assert!(looks(&parsed(nested), || of(&many)) > 5);
}
