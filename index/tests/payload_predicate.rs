//! What predicates mean, by example.

use engram_index::payload::{FieldPredicate, GeoPoint, PayloadPath, Scalar, parse_datetime};
use serde_json::{Value, json};

fn holds(predicate: &FieldPredicate, field: Value) -> bool {
    predicate.matches(&json!({ "f": field }), &PayloadPath::parse("f").unwrap())
}

fn any(list: &[Value]) -> FieldPredicate {
    FieldPredicate::Any(list.iter().map(|v| serde_json::from_value(v.clone()).unwrap()).collect())
}

#[test]
fn payload_match_is_by_exact_type() {
    assert!(holds(&any(&[json!(1)]), json!(1)));
    assert!(!holds(&any(&[json!(1)]), json!(1.0)));
    assert!(!holds(&any(&[json!(1)]), json!("1")));
    assert!(!holds(&any(&[json!(1)]), json!(true)));
    assert!(holds(&any(&[json!("x"), json!(true)]), json!([0, true])));
    assert!(!holds(&any(&[json!("x")]), json!("X")));
    assert!(!holds(&any(&[json!("x")]), json!([["x"]])));
    assert!(!holds(&any(&[]), json!("x")));
}

#[test]
fn payload_uuids_are_equal_in_all_forms() {
    let dashed = any(&[json!("67e55044-10b1-426f-9247-bb680e5fe0c8")]);
    for form in [
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "67E55044-10B1-426F-9247-BB680E5FE0C8",
        "67e5504410b1426f9247bb680e5fe0c8",
        "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
        "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
    ] {
        assert!(holds(&dashed, json!(form)), "{form}");
    }
    assert!(!holds(&dashed, json!("67e55044-10b1-426f-9247-bb680e5fe0c9")));
    assert!(!holds(&dashed, json!(" 67e55044-10b1-426f-9247-bb680e5fe0c8")));
}

#[test]
fn payload_except_wants_a_scalar() {
    let except = FieldPredicate::Except(vec![Scalar::Keyword("a".into()), Scalar::Integer(1)]);
    assert!(holds(&except, json!("b")) && holds(&except, json!(1.0)) && holds(&except, json!(["a", 2])));
    assert!(!holds(&except, json!("a")) && !holds(&except, json!(["a", 1])) && !holds(&except, Value::Null));
    assert!(!holds(&except, json!({"a": 1})) && !holds(&except, json!([])));
    assert!(!except.matches(&json!({}), &PayloadPath::parse("f").unwrap()));
}

#[test]
fn payload_ranges() {
    let range = FieldPredicate::Range { lt: None, lte: Some(2.0), gt: Some(1.0), gte: None };
    assert!(holds(&range, json!(2)) && holds(&range, json!(1.5)) && holds(&range, json!([0, 2.0])));
    assert!(!holds(&range, json!(1)) && !holds(&range, json!("2")) && !holds(&range, json!(u64::MAX)));
    let large = FieldPredicate::Range { lt: None, lte: None, gt: Some(1e18), gte: None };
    assert!(holds(&large, json!(u64::MAX)) && holds(&large, json!(1e200)));
    let noon = parse_datetime("2024-05-01T12:00:00Z");
    let date = FieldPredicate::DatetimeRange { lt: None, lte: noon, gt: None, gte: noon };
    assert!(holds(&date, json!("2024-05-01T14:00:00+02:00")) && holds(&date, json!("2024-05-01 12:00:00")));
    assert!(!holds(&date, json!("2024-05-01")) && !holds(&date, json!(1_714_564_800)));
}

#[test]
fn payload_emptiness_and_counts() {
    let path = PayloadPath::parse("f").unwrap();
    for (payload, empty, null, count) in [
        (json!({}), true, false, 0),
        (json!({"f": null}), true, true, 0),
        (json!({"f": []}), true, false, 0),
        (json!({"f": [null]}), false, false, 1),
        (json!({"f": [1, 2]}), false, false, 2),
        (json!({"f": 0}), false, false, 1),
        (json!({"f": {}}), false, false, 1),
    ] {
        let at = FieldPredicate::ValuesCount { lt: None, lte: Some(count), gt: None, gte: Some(count) };
        assert_eq!(FieldPredicate::IsEmpty.matches(&payload, &path), empty, "{payload}");
        assert_eq!(FieldPredicate::IsNull.matches(&payload, &path), null, "{payload}");
        assert!(at.matches(&payload, &path), "{payload}");
    }
}

#[test]
fn payload_predicates_are_validated() {
    let range = |v| FieldPredicate::Range { lt: Some(v), lte: None, gt: None, gte: None };
    assert!(range(f64::NAN).validate().is_err());
    assert!(range(1.0).validate().is_ok());
    let radius = |lat, radius_m| FieldPredicate::GeoRadius { center: GeoPoint { lon: 0.0, lat }, radius_m };
    for bad in [radius(91.0, 1.0), radius(f64::NAN, 1.0), radius(0.0, -1.0), radius(0.0, f64::INFINITY)] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
    assert!(radius(-90.0, 0.0).validate().is_ok());
    let corner = |lon, lat| GeoPoint { lon, lat };
    let bad = FieldPredicate::GeoBox { top_left: corner(0.0, 0.0), bottom_right: corner(1.0, 1.0) };
    assert!(bad.validate().is_err());
    let over_the_date_line =
        FieldPredicate::GeoBox { top_left: corner(170.0, 1.0), bottom_right: corner(-170.0, 0.0) };
    assert!(over_the_date_line.validate().is_ok());
}
