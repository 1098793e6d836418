//! Filters as JSON, in the dialect that vector databases share, turned into the wire's typed form.

use anyhow::{Context, Result, bail};
use engram_index::payload::{FieldPredicate, GeoPoint, Scalar};
use engram_index::text::TextMode;
use engram_proto::v1;
use engram_proto::v1::condition::Kind as ConditionKind;
use engram_proto::v1::field_condition::Kind as FieldKind;
use engram_query::filter::{Condition, Filter};
use engram_storage::PointId;

/// What `--filter` says about itself.
pub const HELP: &str = "Only points that match this JSON filter, for instance \
'{\"must\":[{\"key\":\"pos\",\"match\":{\"value\":\"noun\"}}]}' or \
'{\"must\":[{\"key\":\"year\",\"range\":{\"gte\":2020}}]}'.";

/// Reads and checks a filter.
pub fn parse(text: Option<&str>) -> Result<Option<v1::Filter>> {
    let Some(text) = text else { return Ok(None) };
    let json: serde_json::Value = serde_json::from_str(text).context("the filter is no JSON")?;
    let filter = Filter::from_json(&json)?;
    if let Some(what) = only_over_rest(&filter) {
        bail!("the filter uses `{what}`, which the gRPC interface does not know: search over REST with it");
    }
    Ok(Some(wire(&filter)))
}

/// The condition that the wire has no message for, if there is one. As deep as filters may be.
fn only_over_rest(filter: &Filter) -> Option<&'static str> {
    let counted = filter.min_should.iter().flat_map(|m| &m.conditions);
    let mut all = filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(counted);
    all.find_map(|condition| match condition {
        Condition::HasVector { .. } => Some("has_vector"),
        Condition::Field { predicate: FieldPredicate::GeoPolygon(_), .. } => Some("geo_polygon"),
        Condition::Nested { filter, .. } | Condition::Filter(filter) => only_over_rest(filter),
        Condition::Field { .. } | Condition::HasId(_) => None,
    })
}

fn wire(filter: &Filter) -> v1::Filter {
    v1::Filter {
        must: conditions(&filter.must),
        should: conditions(&filter.should),
        must_not: conditions(&filter.must_not),
        min_should: filter.min_should.as_ref().map(|m| v1::MinShould {
            conditions: conditions(&m.conditions),
            min_count: u32::try_from(m.min_count).unwrap_or(u32::MAX),
        }),
    }
}

fn conditions(list: &[Condition]) -> Vec<v1::Condition> {
    list.iter().map(|c| v1::Condition { kind: condition(c) }).collect()
}

fn condition(condition: &Condition) -> Option<ConditionKind> {
    Some(match condition {
        Condition::Field { path, predicate: FieldPredicate::IsEmpty } => {
            ConditionKind::IsEmpty(path.to_string())
        }
        Condition::Field { path, predicate: FieldPredicate::IsNull } => {
            ConditionKind::IsNull(path.to_string())
        }
        Condition::Field { path, predicate } => {
            ConditionKind::Field(v1::FieldCondition { key: path.to_string(), kind: field(predicate) })
        }
        Condition::HasId(ids) => ConditionKind::HasId(v1::HasId { ids: ids.iter().map(id).collect() }),
        Condition::Nested { path, filter } => {
            ConditionKind::Nested(v1::Nested { key: path.to_string(), filter: Some(wire(filter)) })
        }
        Condition::Filter(filter) => ConditionKind::Filter(wire(filter)),
        // Refused before.
        Condition::HasVector { .. } => return None,
    })
}

fn id(id: &PointId) -> v1::PointId {
    let kind = match id {
        PointId::Num(n) => v1::point_id::Kind::Num(*n),
        PointId::Uuid(u) => v1::point_id::Kind::Uuid(u.to_string()),
    };
    v1::PointId { kind: Some(kind) }
}

fn field(predicate: &FieldPredicate) -> Option<FieldKind> {
    let matching = |kind| Some(FieldKind::Match(v1::Match { kind: Some(kind) }));
    match predicate {
        FieldPredicate::Any(list) => matching(v1::r#match::Kind::Any(scalars(list))),
        FieldPredicate::Except(list) => matching(v1::r#match::Kind::Except(scalars(list))),
        FieldPredicate::Text(words) => {
            let text = words.text().to_owned();
            matching(match words.mode() {
                TextMode::All => v1::r#match::Kind::Text(text),
                TextMode::Any => v1::r#match::Kind::TextAny(text),
                TextMode::Phrase => v1::r#match::Kind::Phrase(text),
            })
        }
        FieldPredicate::Range { lt, lte, gt, gte } => {
            Some(FieldKind::Range(v1::Range { lt: *lt, lte: *lte, gt: *gt, gte: *gte }))
        }
        FieldPredicate::DatetimeRange { lt, lte, gt, gte } => {
            Some(FieldKind::DatetimeRange(v1::DatetimeRange {
                lt: lt.and_then(instant),
                lte: lte.and_then(instant),
                gt: gt.and_then(instant),
                gte: gte.and_then(instant),
            }))
        }
        FieldPredicate::GeoRadius { center, radius_m } => {
            Some(FieldKind::GeoRadius(v1::GeoRadius { center: Some(place(center)), radius_m: *radius_m }))
        }
        FieldPredicate::GeoBox { top_left, bottom_right } => {
            Some(FieldKind::GeoBoundingBox(v1::GeoBoundingBox {
                top_left: Some(place(top_left)),
                bottom_right: Some(place(bottom_right)),
            }))
        }
        FieldPredicate::ValuesCount { lt, lte, gt, gte } => {
            Some(FieldKind::ValuesCount(v1::ValuesCount { lt: *lt, lte: *lte, gt: *gt, gte: *gte }))
        }
        FieldPredicate::IsEmpty | FieldPredicate::IsNull | FieldPredicate::GeoPolygon(_) => None,
    }
}

fn scalars(list: &[Scalar]) -> v1::Scalars {
    let one = |scalar: &Scalar| {
        let kind = match scalar {
            Scalar::Bool(b) => v1::scalar::Kind::Boolean(*b),
            Scalar::Integer(i) => v1::scalar::Kind::Integer(*i),
            Scalar::Keyword(s) => v1::scalar::Kind::Keyword(s.to_string()),
        };
        v1::Scalar { kind: Some(kind) }
    };
    v1::Scalars { values: list.iter().map(one).collect() }
}

fn instant(micros: i64) -> Option<String> {
    jiff::Timestamp::from_microsecond(micros).ok().map(|t| t.to_string())
}

fn place(place: &GeoPoint) -> v1::GeoPoint {
    v1::GeoPoint { lon: place.lon, lat: place.lat }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_typed() {
        let text = r#"{"must":[{"key":"pos","match":{"value":"noun"}},{"is_empty":{"key":"a.b"}}],
            "must_not":[{"key":"n","range":{"gte":3}},{"has_id":[7]}]}"#;
        let filter = parse(Some(text)).unwrap().unwrap();
        assert_eq!((filter.must.len(), filter.must_not.len()), (2, 2));
        assert_eq!(filter.must[1].kind, Some(ConditionKind::IsEmpty("a.b".into())));
        assert!(parse(None).unwrap().is_none());
        assert!(parse(Some("{")).unwrap_err().to_string().contains("JSON"));
        assert!(parse(Some(r#"{"mist":[]}"#)).unwrap_err().to_string().contains("mist"));
    }
}
