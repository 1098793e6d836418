//! An index answers what the JSON says: random rows, predicates and kinds, and decoders on damaged bytes.

use std::sync::Arc;

use bytes::Bytes;
use engram_index::payload::{
    FieldIndex, FieldIndexBuilder, FieldPredicate, GeoPoint, IndexedValue, Matcher, PayloadIndexKind,
    PayloadPath, Scalar,
};
use engram_index::text::{Analyzer, TextMatch, TextMode, TextOptions};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::{Value, json};

const KINDS: [PayloadIndexKind; 8] = [
    PayloadIndexKind::Keyword,
    PayloadIndexKind::Integer,
    PayloadIndexKind::Float,
    PayloadIndexKind::Bool,
    PayloadIndexKind::Datetime,
    PayloadIndexKind::Uuid,
    PayloadIndexKind::Geo,
    PayloadIndexKind::Text,
];

/// Strings: few of them, so that they meet; two UUIDs in several forms; dates in several forms.
const STRINGS: [&str; 17] = [
    "",
    "a",
    "b",
    "1",
    "true",
    "ü",
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "67E5504410B1426F9247BB680E5FE0C8",
    "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
    "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c9",
    "67e55044-10b1-426f-9247-bb680e5fe0c9",
    "2024-05-01T12:00:00Z",
    "2024-05-01T14:00:00+02:00",
    "2024-05-01",
    "2024-05-02 00:00:00",
    "2023-12-31T23:59:59.999999Z",
    "2024-99-01",
];
/// Texts of few words.
const TEXTS: [&str; 8] = ["a", "b a", "a b", "A b c", "c, a-b; c", "ü true", "1 b a b", "..."];
/// How words are made: as the index does, or not.
const OPTIONS: [&str; 5] = [
    "{}",
    r#"{"phrase_matching":true}"#,
    r#"{"tokenizer":"prefix","phrase_matching":true}"#,
    r#"{"tokenizer":"whitespace","lowercase":false}"#,
    r#"{"tokenizer":"multilingual","ascii_folding":true,"stopwords":{"custom":["b"]}}"#,
];
const DATES: [i64; 5] =
    [0, 1_714_521_600_000_000, 1_714_564_800_000_000, 1_714_564_800_000_001, 1_714_608_000_000_000];
const DEGREES: [f64; 12] =
    [-180.0, -179.9999, -179.0, -90.0, -1.0, 0.0, 0.25, 0.2500001, 89.9, 90.0, 179.5, 180.0];
const INTEGERS: [i64; 9] = [i64::MIN, -3, -1, 0, 1, 2, 3, (1 << 53) + 1, i64::MAX];
const FLOATS: [f64; 9] = [-1e300, -1.0, -0.0, 0.0, 1.0, 1.5, 9_007_199_254_740_992.0, 1e19, 1e300];

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &'static [T]) -> impl Strategy<Value = T> {
    (0..from.len()).prop_map(|i| from[i].clone())
}

fn degrees() -> impl Strategy<Value = (f64, f64)> {
    let any = prop_oneof![pick(&DEGREES), -180.0..180.0f64];
    (any, prop_oneof![pick(&DEGREES), -90.0..90.0f64])
}

/// A place on the globe: what predicates are given is validated.
fn place() -> impl Strategy<Value = GeoPoint> {
    degrees().prop_map(|(lon, lat)| GeoPoint { lon, lat: lat.clamp(-90.0, 90.0) })
}

fn scalar_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => pick(&STRINGS).prop_map(|s| json!(s)),
        4 => pick(&INTEGERS).prop_map(|i| json!(i)),
        1 => Just(json!(u64::MAX)),
        3 => pick(&FLOATS).prop_map(|f| json!(f)),
        2 => any::<bool>().prop_map(|b| json!(b)),
        4 => degrees().prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat})),
        1 => Just(json!({"lon": "x", "lat": 1})),
        1 => Just(json!({})),
        1 => Just(Value::Null),
    ]
}

/// Values mostly of what an index of `kind` keeps.
fn native_value(kind: PayloadIndexKind) -> BoxedStrategy<Value> {
    use PayloadIndexKind as K;
    match kind {
        K::Keyword => pick(&STRINGS).prop_map(|s| json!(s)).boxed(),
        K::Integer => pick(&INTEGERS).prop_map(|s| json!(s)).boxed(),
        K::Float => pick(&FLOATS).prop_map(|s| json!(s)).boxed(),
        K::Bool => any::<bool>().prop_map(|s| json!(s)).boxed(),
        K::Datetime => (11..16usize).prop_map(|i| json!(STRINGS[i])).boxed(),
        K::Uuid => (6..11usize).prop_map(|i| json!(STRINGS[i])).boxed(),
        K::Text => pick(&TEXTS).prop_map(|s| json!(s)).boxed(),
        K::Geo => degrees().prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat})).boxed(),
    }
}

fn field(kind: PayloadIndexKind, mixed: u32) -> impl Strategy<Value = Option<Value>> {
    let one = move || prop_oneof![10 => native_value(kind), mixed => scalar_value()];
    prop_oneof![
        6 => one().prop_map(Some),
        3 => prop::collection::vec(one(), 0..4).prop_map(|v| Some(Value::Array(v))),
        1 => prop::collection::vec(one(), 0..3).prop_map(|v| Some(json!([v]))),
        1 => Just(Some(Value::Null)),
        1 => Just(None),
    ]
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        4 => pick(&STRINGS).prop_map(|s| Scalar::Keyword(s.into())),
        3 => pick(&INTEGERS).prop_map(Scalar::Integer),
        2 => any::<bool>().prop_map(Scalar::Bool),
    ]
}

fn bounds<T: Clone + std::fmt::Debug + 'static>(from: &'static [T]) -> impl Strategy<Value = [Option<T>; 4]> {
    let one = || prop::option::weighted(0.4, pick(from));
    [one(), one(), one(), one()]
}

fn text_options(json: &str) -> TextOptions {
    serde_json::from_str(json).unwrap()
}

/// About words of some options, or about plain words.
fn text() -> impl Strategy<Value = TextMatch> {
    let mode = pick(&[TextMode::All, TextMode::Any, TextMode::Phrase]);
    (mode, pick(&TEXTS), prop::option::weighted(0.8, pick(&OPTIONS))).prop_map(|(mode, text, options)| {
        let text = TextMatch::new(mode, text);
        match options {
            Some(json) => text.bound(&Arc::new(Analyzer::new(&text_options(json)).unwrap())).unwrap(),
            None => text,
        }
    })
}

fn predicate() -> impl Strategy<Value = FieldPredicate> {
    use FieldPredicate as P;
    let list = || prop::collection::vec(scalar(), 0..12);
    prop_oneof![
        4 => list().prop_map(P::Any),
        2 => scalar().prop_map(|s| P::Any(vec![s])),
        4 => list().prop_map(P::Except),
        4 => bounds(&FLOATS).prop_map(|[lt, lte, gt, gte]| P::Range { lt, lte, gt, gte }),
        4 => bounds(&DATES).prop_map(|[lt, lte, gt, gte]| P::DatetimeRange { lt, lte, gt, gte }),
        3 => (place(), prop_oneof![Just(0.0), 1.0..50_000.0, 1e5..2.1e7])
            .prop_map(|(center, radius_m)| P::GeoRadius { center, radius_m }),
        3 => (place(), place()).prop_map(|(a, b)| P::GeoBox {
            top_left: GeoPoint { lat: a.lat.max(b.lat), ..a },
            bottom_right: GeoPoint { lat: a.lat.min(b.lat), ..b },
        }),
        2 => bounds(&[0u64, 1, 2, 3]).prop_map(|[lt, lte, gt, gte]| P::ValuesCount { lt, lte, gt, gte }),
        6 => text().prop_map(P::Text),
        1 => Just(P::IsEmpty),
        1 => Just(P::IsNull),
    ]
}

fn kinds() -> impl Strategy<Value = PayloadIndexKind> {
    pick(&KINDS)
}

fn rows() -> impl Strategy<Value = (PayloadIndexKind, Vec<Value>)> {
    (kinds(), prop_oneof![Just(0u32), Just(4u32)]).prop_flat_map(|(kind, mixed)| {
        let row = field(kind, mixed + 1).prop_map(move |v| match v {
            Some(v) => json!({"o": {"f": v}}),
            None => json!({"o": {}}),
        });
        let pure = prop_oneof![
            9 => native_value(kind).prop_map(|v| json!({"o": {"f": v}})),
            1 => Just(json!({})),
        ];
        let row = if mixed == 0 { pure.boxed() } else { row.boxed() };
        (Just(kind), prop::collection::vec(row, 0..60))
    })
}

fn path() -> PayloadPath {
    PayloadPath::parse("o.f").unwrap()
}

fn build(kind: PayloadIndexKind, rows: &[Value]) -> FieldIndex {
    let mut builder = match kind {
        // Which options is told by the rows, so that a case can be run again.
        PayloadIndexKind::Text => {
            FieldIndexBuilder::text(&text_options(OPTIONS[rows.len() % OPTIONS.len()])).unwrap()
        }
        kind => FieldIndexBuilder::new(kind),
    };
    for (i, row) in rows.iter().enumerate() {
        builder.add(i as u32, row, &path());
    }
    builder.finish().unwrap()
}

fn truth(rows: &[Value], predicate: &FieldPredicate) -> RoaringBitmap {
    let path = path();
    let matches = |(i, row): (usize, &Value)| predicate.matches(row, &path).then_some(i as u32);
    rows.iter().enumerate().filter_map(matches).collect()
}

fn check(index: &FieldIndex, rows: &[Value], predicate: &FieldPredicate) -> Result<(), TestCaseError> {
    prop_assert!(predicate.validate().is_ok());
    let truth = truth(rows, predicate);
    let (matcher, path) = (Matcher::new(predicate), path());
    for (i, row) in rows.iter().enumerate() {
        prop_assert_eq!(matcher.matches(row, &path), truth.contains(i as u32));
    }
    let probe = index.probe(predicate);
    prop_assert!((&probe.sure & &probe.maybe).is_empty());
    prop_assert!(probe.sure.is_subset(&truth), "{:?} says {:?}, is {:?}", predicate, probe, truth);
    prop_assert!(
        truth.is_subset(&(&probe.sure | &probe.maybe)),
        "{predicate:?} says {probe:?}, is {truth:?}"
    );
    let (min, max) = index.estimate(predicate);
    prop_assert!((min..=max).contains(&truth.len()), "{predicate:?} {min} {max} {truth:?}");
    prop_assert!(max <= rows.len() as u64);
    match index.matching(predicate) {
        Some(matching) => prop_assert_eq!(matching, truth.clone()),
        None => prop_assert!(!index.others().is_empty() || !index.indexed().is_empty()),
    }
    if let Some(cardinality) = index.cardinality(predicate) {
        prop_assert_eq!(cardinality, truth.len());
    }
    Ok(())
}

/// Writes a matching checksum into damaged bytes, so that the decoder behind it is reached.
fn mend_checksum(bytes: &mut [u8]) {
    if bytes.len() >= 16 {
        let mut rest = bytes[..12].to_vec();
        rest.extend_from_slice(&bytes[16..]);
        let crc = crc_fast::crc32_iscsi(&rest);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payload_index_equals_json((kind, rows) in rows(), predicates in prop::collection::vec(predicate(), 1..6)) {
        let index = build(kind, &rows);
        prop_assert_eq!(index.rows() as usize, rows.len());
        let bytes = index.encode();
        let opened = FieldIndex::open(Bytes::from(bytes.clone())).unwrap();
        prop_assert_eq!(opened.encode(), bytes.clone());
        // One byte off its alignment: columns are copied.
        let mut shifted = vec![0u8];
        shifted.extend_from_slice(&bytes);
        let copied = FieldIndex::open(Bytes::from(shifted).slice(1..)).unwrap();
        for predicate in &predicates {
            check(&index, &rows, predicate)?;
            check(&opened, &rows, predicate)?;
            prop_assert_eq!(copied.probe(predicate), index.probe(predicate));
        }
    }

    #[test]
    fn payload_index_survives_damage(
        (kind, rows) in rows(),
        predicate in predicate(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
        mend in any::<bool>(),
    ) {
        let good = build(kind, &rows).encode();
        let mut bad = good.clone();
        for (at, byte) in changes {
            let at = at.index(bad.len());
            bad[at] = byte;
        }
        let cut = cut.index(good.len());
        prop_assert!(FieldIndex::open(Bytes::copy_from_slice(&good[..cut])).is_err());
        if mend {
            mend_checksum(&mut bad);
            for len in [bad.len(), cut] {
                let mut part = bad[..len].to_vec();
                mend_checksum(&mut part);
                if let Ok(index) = FieldIndex::open(Bytes::from(part)) {
                    // A forged blob may lie; it must not panic.
                    let _ = (index.probe(&predicate), index.estimate(&predicate), index.cardinality(&predicate));
                }
            }
        } else if bad != good {
            prop_assert!(FieldIndex::open(Bytes::from(bad)).is_err());
        }
    }
}

#[test]
fn payload_index_with_many_rows_of_one_key() {
    let rows: Vec<Value> = (0..20_000)
        .map(|i| match i % 7 {
            0 => json!({"o": {"f": i}}),
            1 => json!({"o": {"f": [1, 2]}}),
            2 => json!({}),
            _ => json!({"o": {"f": i % 3}}),
        })
        .collect();
    let single: Vec<Value> = rows.iter().filter(|r| !r["o"]["f"].is_array()).cloned().collect();
    for rows in [rows, single] {
        for kind in [PayloadIndexKind::Integer, PayloadIndexKind::Float] {
            let index = build(kind, &rows);
            let opened = FieldIndex::open(Bytes::from(index.encode())).unwrap();
            let range = |gte: f64, lt: f64| FieldPredicate::Range {
                lt: Some(lt),
                lte: None,
                gt: None,
                gte: Some(gte),
            };
            for predicate in [
                range(0.0, 1.0),
                range(1.0, 3.0),
                range(2.0, 15_000.0),
                range(5.0, 60.0),
                range(3.0, 2.0),
                FieldPredicate::Except(vec![Scalar::Integer(1), Scalar::Integer(7)]),
                FieldPredicate::Any((0..9000).map(Scalar::Integer).collect()),
                FieldPredicate::IsEmpty,
            ] {
                check(&index, &rows, &predicate).unwrap();
                check(&opened, &rows, &predicate).unwrap();
            }
        }
    }
}

#[test]
fn payload_index_answers_none_rather_than_wrong() {
    let rows = [json!({"o": {"f": 1}}), json!({"o": {"f": 1.5}}), json!({"o": {"f": "x"}})];
    let index = build(PayloadIndexKind::Integer, &rows);
    let range = FieldPredicate::Range { lt: None, lte: None, gt: Some(0.0), gte: None };
    assert_eq!(index.matching(&range), None);
    assert_eq!(index.cardinality(&range), None);
    let probe = index.probe(&range);
    assert_eq!((probe.sure.len(), probe.maybe.len()), (1, 1));
    let one = FieldPredicate::Any(vec![Scalar::Integer(1)]);
    assert_eq!(index.cardinality(&one), Some(1));
    assert_eq!(index.matching(&FieldPredicate::Any(vec![Scalar::Keyword("x".into())])), None);
    assert_eq!(index.cardinality(&FieldPredicate::Except(vec![Scalar::Integer(1)])), Some(2));
}

#[test]
fn payload_index_tells_its_values_in_order_with_their_rows() {
    // Rows 0, 3, 6, ... hold both words; 2,000 rows of one key are more than lists hold.
    let words: Vec<Value> = (0..6_000)
        .map(|i| {
            if i % 3 == 0 {
                json!({"o": {"f": ["b", format!("a{}", i % 5)]}})
            } else {
                json!({"o": {"f": i}})
            }
        })
        .collect();
    let index = build(PayloadIndexKind::Keyword, &words);
    let reopened = FieldIndex::open(Bytes::from(index.encode())).unwrap();
    for index in [index, reopened] {
        let values = index.values().unwrap();
        let word = |text: &str| IndexedValue::Scalar(Scalar::Keyword(text.to_owned()));
        let wanted = ["a0", "a1", "a2", "a3", "a4", "b"];
        assert_eq!(values.len(), wanted.len());
        let some: RoaringBitmap = (0..300).collect();
        for (rank, text) in wanted.iter().enumerate() {
            assert_eq!(values.value(rank), Some(word(text)));
            let has = |row: &u32| match *text {
                "b" => row.is_multiple_of(3),
                a => row.is_multiple_of(3) && format!("a{}", row % 5) == a,
            };
            let rows: Vec<u32> = (0..300).filter(has).collect();
            assert_eq!(values.rows(rank).in_rows(&some).collect::<Vec<_>>(), rows);
            assert_eq!(values.rows(rank).count_in(&some), rows.len() as u64);
        }
        assert_eq!(index.others().len(), 4_000);
    }
    let of = |kind, rows: &[Value]| {
        let index = build(kind, rows);
        let values = index.values().unwrap();
        (0..values.len()).map(|rank| format!("{:?}", values.value(rank).unwrap())).collect::<Vec<_>>()
    };
    let row = |value: Value| json!({"o": {"f": value}});
    let rows = [row(json!([3, -1])), row(json!(true)), row(json!("1970-01-01T00:00:01Z"))];
    assert_eq!(of(PayloadIndexKind::Integer, &rows), ["Scalar(Integer(-1))", "Scalar(Integer(3))"]);
    assert_eq!(of(PayloadIndexKind::Float, &rows), ["Number(-1.0)", "Number(3.0)"]);
    assert_eq!(of(PayloadIndexKind::Bool, &rows), ["Scalar(Bool(true))"]);
    assert_eq!(of(PayloadIndexKind::Datetime, &rows), ["Datetime(1000000)"]);
    assert!(build(PayloadIndexKind::Geo, &rows).values().is_none());
}
