//! Filters in Qdrant's dialect: what is read, what is refused and how the refusal reads.

use engram_index::payload::{FieldPredicate, PayloadPath, Scalar};
use engram_query::filter::{Condition, Filter, FilterError, MAX_CONDITIONS, MAX_DEPTH, MAX_LIST};
use engram_storage::PointId;
use serde_json::{Value, json};

fn parse(value: Value) -> Filter {
    let filter = Filter::from_json(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
    filter.validate().unwrap();
    assert_eq!(Filter::from_json(&filter.to_json()).unwrap(), filter, "{value}");
    filter
}

fn refusal(value: Value) -> String {
    match Filter::from_json(&value) {
        Ok(filter) => panic!("{value} was read as {filter:?}"),
        Err(e) => e.to_string(),
    }
}

fn field(key: &str, predicate: FieldPredicate) -> Condition {
    Condition::Field { path: PayloadPath::parse(key).unwrap(), predicate }
}

#[test]
fn filter_lists_may_be_single_empty_or_null() {
    let one = json!({"key": "a", "match": {"value": "x"}});
    assert_eq!(parse(json!({"must": one})), parse(json!({"must": [one]})));
    for none in [json!({}), json!({"must": []}), json!({"should": []}), json!({"must": null, "must_not": []})]
    {
        let filter = parse(none);
        assert!(filter.is_unconstrained());
        assert!(filter.matches(PointId::Num(1), &json!({})));
    }
    assert!(!parse(json!({"must": one})).is_unconstrained());
}

#[test]
fn filter_reads_every_condition() {
    let keyword = |s: &str| Scalar::Keyword(s.into());
    let filter = parse(json!({
        "must": [
            {"key": "metadata.source", "match": {"value": "x"}},
            {"key": "n", "match": {"any": [1, 2]}},
            {"key": "b", "match": {"except": ["a", "b"]}},
            {"key": "r", "range": {"gt": 1, "lte": 2.5, "lt": null}},
            {"key": "d", "range": {"gte": "2024-05-01T00:00:00Z"}},
            {"key": "g", "geo_radius": {"center": {"lon": 13.4, "lat": 52.5}, "radius": 1000}},
            {"key": "g", "geo_bounding_box":
                {"top_left": {"lon": 170, "lat": 1}, "bottom_right": {"lon": -170, "lat": -1}}},
            {"key": "g", "geo_polygon": {
                "exterior": {"points": [
                    {"lon": 0, "lat": 0}, {"lon": 9, "lat": 0}, {"lon": 9, "lat": 9}, {"lon": 0, "lat": 0}]},
                "interiors": []}},
            {"has_vector": "image"},
            {"key": "l", "values_count": {"gte": 2}},
            {"is_empty": {"key": "e"}},
            {"is_null": {"key": "e"}},
            {"key": "e", "is_null": true},
            {"key": "e", "is_empty": false},
            {"has_id": [1, "67e5504410b1426f9247bb680e5fe0c8"]},
            {"nested": {"key": "o", "filter": {"must": {"key": "p", "match": {"value": true}}}}},
            {"should": {"key": "a", "match": {"value": "y"}}},
        ],
        "min_should": {"conditions": [{"is_null": {"key": "e"}}], "min_count": 1},
    }));
    assert_eq!(filter.must.len(), 17);
    assert_eq!(filter.must[0], field("metadata.source", FieldPredicate::Any(vec![keyword("x")])));
    assert_eq!(filter.must[2], field("b", FieldPredicate::Except(vec![keyword("a"), keyword("b")])));
    let range = FieldPredicate::Range { lt: None, lte: Some(2.5), gt: Some(1.0), gte: None };
    assert_eq!(filter.must[3], field("r", range));
    assert!(matches!(
        filter.must[4],
        Condition::Field {
            predicate: FieldPredicate::DatetimeRange { gte: Some(1_714_521_600_000_000), .. },
            ..
        }
    ));
    assert_eq!(filter.must[12], filter.must[11]);
    assert!(matches!(&filter.must[13], Condition::Filter(f) if f.must_not == [filter.must[10].clone()]));
    assert!(matches!(&filter.must[14], Condition::HasId(ids) if ids[0] == PointId::Num(1) && ids.len() == 2));
    assert_eq!(filter.must[8], Condition::HasVector { name: "image".into(), field: None });
    assert_eq!(filter.min_should.as_ref().unwrap().min_count, 1);
}

#[test]
fn filter_refusals_name_what_is_wrong() {
    for (value, part) in [
        (json!([]), "an object is expected"),
        (json!({"most": []}), "unknown key `most` in the filter"),
        (json!({"must": [{"key": "a", "mach": {}}]}), "unknown key `mach` in must[0]"),
        (json!({"must": [{"key": "a", "match": {"valu": 1}}]}), "unknown key `valu` in must[0].match"),
        (json!({"must": [{"should": [{"colour": 1}]}]}), "unknown key `colour` in must[0].should[0]"),
        (json!({"must": {"key": "a", "range": {"min": 1}}}), "unknown key `min` in must.range"),
        (json!({"must": {"is_empty": {"key": "a", "x": 1}}}), "unknown key `x`"),
        (json!({"must": {"nested": {"key": "a", "filter": {}, "x": 1}}}), "unknown key `x`"),
        (json!({"min_should": {"conditions": [], "min_count": 1, "x": 1}}), "unknown key `x`"),
        (json!({"min_should": {"conditions": []}}), "min_count"),
        (json!({"must": {"key": "a", "match": {"substring": "x"}}}), "does not support"),
        (json!({"must": {"has_vector": 1}}), "the name of a vector field"),
        (json!({"must": {"key": "a", "geo_polygon": {}}}), "give `exterior`"),
        (json!({"must": {"key": "a", "geo_polygon": {"exterior": {"points": []}}}}), "the last is the first"),
        (json!({"must": {"key": "a", "geo_polygon": {"exterior": [1]}}}), "an object is expected"),
        (json!({"must": {"key": "a"}}), "give `key` and one of"),
        (json!({"must": {"key": "a..b", "match": {"value": 1}}}), "no payload path"),
        (json!({"must": {"key": "a", "match": {"value": 1.5}}}), "by `range`"),
        (json!({"must": {"key": "a", "match": {"value": null}}}), "give one of"),
        (json!({"must": {"key": "a", "match": {"any": "x"}}}), "a list is expected"),
        (json!({"must": {"key": "a", "match": {"value": 1}, "range": {}}}), "more than one predicate"),
        (json!({"must": {"key": "a", "range": {"lt": "soon"}}}), "RFC 3339"),
        (json!({"must": {"key": "a", "range": {"lt": "2024-01-01", "gt": 1}}}), "RFC 3339"),
        (json!({"must": {"key": "a", "values_count": {"lt": -1}}}), "not negative"),
        (
            json!({"must": {"key": "a", "geo_radius": {"center": {"lon": 0, "lat": 91}, "radius": 1}}}),
            "no place",
        ),
        (json!({"must": {"has_id": [-1]}}), "unsigned number or a UUID"),
        (json!({"must": {"has_id": ["5"]}}), "unsigned number or a UUID"),
        (json!({"must": {"has_id": [1], "is_null": {"key": "a"}}}), "make them two"),
        (json!({"must": [1]}), "must[0]: an object is expected"),
    ] {
        let message = refusal(value.clone());
        assert!(message.contains(part), "{value}: {message}");
    }
    assert!(refusal(json!({"k".repeat(100_000): 1})).len() < 300);
}

fn nested(depth: usize) -> Value {
    let mut value = json!({"must": {"is_null": {"key": "a"}}});
    for i in 1..depth {
        value = if i % 2 == 0 {
            json!({"must": value})
        } else {
            json!({"must": {"nested": {"key": "a", "filter": value}}})
        };
    }
    value
}

#[test]
fn filter_limits_hold_at_and_above() {
    parse(nested(MAX_DEPTH));
    assert!(refusal(nested(MAX_DEPTH + 1)).contains("a depth of 17 is above the limit of 16"));
    let many = |n: usize| json!({"should": vec![json!({"is_null": {"key": "a"}}); n]});
    parse(many(MAX_CONDITIONS));
    assert!(refusal(many(MAX_CONDITIONS + 1)).contains("limit of 256"));
    let spread = |n: usize| json!({"must": [many(n)], "must_not": many(n)});
    parse(spread(127));
    assert!(matches!(Filter::from_json(&spread(128)), Err(FilterError::Limit { limit: MAX_CONDITIONS, .. })));
    let list = |n: usize| json!({"must": {"key": "a", "match": {"any": vec![1; n]}}});
    parse(list(MAX_LIST));
    assert!(refusal(list(MAX_LIST + 1)).contains("limit of 10000"));
    let ids = |n: usize| json!({"must": {"has_id": vec![1; n]}});
    parse(ids(MAX_LIST));
    assert!(refusal(ids(MAX_LIST + 1)).contains("limit of 10000"));
    let made = |n: usize| Filter::only(Condition::HasId(vec![PointId::Num(1); n]));
    assert!(made(MAX_LIST).validate().is_ok());
    assert!(made(MAX_LIST + 1).validate().is_err());
    let infinite = FieldPredicate::Range { lt: Some(f64::INFINITY), lte: None, gt: None, gte: None };
    assert!(Filter::only(field("a", infinite)).validate().is_err());
}

#[test]
fn filter_min_should_and_nested_mean_what_they_say() {
    let holds = |filter: Value, payload: &Value| parse(filter).matches(PointId::Num(7), payload);
    let payload = json!({"a": 1, "b": 2, "l": [{"x": 1, "y": 1}, {"x": 2, "y": 2}], "o": {"x": 1, "y": 2}});
    let eq = |key: &str, value: i64| json!({"key": key, "match": {"value": value}});
    let min = |min_count: usize| json!({"min_should": {"conditions": [eq("a", 1), eq("b", 2), eq("b", 3)], "min_count": min_count}});
    assert!(holds(min(0), &payload) && holds(min(2), &payload));
    assert!(!holds(min(3), &payload) && !holds(min(4), &payload));
    let both = |key: &str, x: i64, y: i64| json!({"must": {"nested": {"key": key, "filter": {"must": [eq("x", x), eq("y", y)]}}}});
    assert!(holds(both("l", 2, 2), &payload) && holds(both("l[]", 2, 2), &payload));
    assert!(!holds(both("l", 1, 2), &payload));
    assert!(holds(both("o", 1, 2), &payload));
    assert!(holds(json!({"must": [eq("l[].x", 1), eq("l[].y", 2)]}), &payload));
    assert!(holds(json!({"must": {"has_id": [7, 8]}}), &payload));
    assert!(!holds(json!({"must_not": {"has_id": [7, 8]}}), &payload));
}
