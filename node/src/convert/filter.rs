//! Filters. Limits are checked by `Filter::validate`; the depth of the tree is bounded by the protobuf decoder before.

use engram_index::payload::datetime::parse_datetime;
use engram_index::payload::{FieldPredicate, GeoPoint, PayloadPath, Scalar};
use engram_index::text::{TextMatch, TextMode};
use engram_proto::v1;
use engram_query::error::QueryError;
use engram_query::filter::{Condition, Filter, MinShould};
use tonic::Status;

use super::{point_id, shorten};
use crate::status::{from_query, invalid};

/// A checked filter.
pub(crate) fn filter(wire: v1::Filter) -> Result<Filter, Status> {
    let filter = tree(wire)?;
    filter.validate().map_err(|e| from_query(&QueryError::from(e)))?;
    Ok(filter)
}

fn tree(wire: v1::Filter) -> Result<Filter, Status> {
    let min_should = wire.min_should.map(|m| {
        let conditions = conditions(m.conditions)?;
        Ok::<_, Status>(MinShould { conditions, min_count: m.min_count as usize })
    });
    Ok(Filter {
        must: conditions(wire.must)?,
        should: conditions(wire.should)?,
        must_not: conditions(wire.must_not)?,
        min_should: min_should.transpose()?,
    })
}

fn conditions(wire: Vec<v1::Condition>) -> Result<Vec<Condition>, Status> {
    wire.into_iter().map(condition).collect()
}

fn condition(wire: v1::Condition) -> Result<Condition, Status> {
    use v1::condition::Kind;
    match wire.kind {
        None => Err(invalid(
            "filter",
            "a condition is empty; give field, filter, has_id, is_empty, is_null or nested",
        )),
        Some(Kind::Field(field)) => field_condition(field),
        Some(Kind::Filter(inner)) => Ok(Condition::Filter(Box::new(tree(inner)?))),
        Some(Kind::HasId(list)) => {
            let ids = list.ids.iter().map(|id| point_id("filter.has_id", Some(id)));
            Ok(Condition::HasId(ids.collect::<Result<_, _>>()?))
        }
        Some(Kind::IsEmpty(key)) => {
            Ok(Condition::Field { path: path(&key)?, predicate: FieldPredicate::IsEmpty })
        }
        Some(Kind::IsNull(key)) => {
            Ok(Condition::Field { path: path(&key)?, predicate: FieldPredicate::IsNull })
        }
        Some(Kind::Nested(nested)) => {
            let inner = nested.filter.ok_or_else(|| invalid("filter.nested.filter", "is missing"))?;
            Ok(Condition::Nested { path: path(&nested.key)?, filter: Box::new(tree(inner)?) })
        }
    }
}

fn path(key: &str) -> Result<PayloadPath, Status> {
    PayloadPath::parse(key).map_err(|e| invalid("filter.key", format!("`{}`: {e}", shorten(key))))
}

fn field_condition(wire: v1::FieldCondition) -> Result<Condition, Status> {
    use v1::field_condition::Kind;
    let path = path(&wire.key)?;
    let missing =
        |what: &str| invalid("filter.field", format!("`{}`: {what} is missing", shorten(&wire.key)));
    let predicate = match wire.kind {
        None => return Err(missing("the predicate (match, range, ...)")),
        Some(Kind::Match(m)) => {
            matching(m.kind.ok_or_else(|| missing("value, any, except, text, text_any or phrase of match"))?)?
        }
        Some(Kind::Range(r)) => FieldPredicate::Range { lt: r.lt, lte: r.lte, gt: r.gt, gte: r.gte },
        Some(Kind::DatetimeRange(r)) => FieldPredicate::DatetimeRange {
            lt: date(r.lt)?,
            lte: date(r.lte)?,
            gt: date(r.gt)?,
            gte: date(r.gte)?,
        },
        Some(Kind::GeoRadius(g)) => FieldPredicate::GeoRadius {
            center: place(g.center.ok_or_else(|| missing("center of geo_radius"))?),
            radius_m: g.radius_m,
        },
        Some(Kind::GeoBoundingBox(g)) => FieldPredicate::GeoBox {
            top_left: place(g.top_left.ok_or_else(|| missing("top_left of geo_bounding_box"))?),
            bottom_right: place(g.bottom_right.ok_or_else(|| missing("bottom_right of geo_bounding_box"))?),
        },
        Some(Kind::ValuesCount(c)) => {
            FieldPredicate::ValuesCount { lt: c.lt, lte: c.lte, gt: c.gt, gte: c.gte }
        }
    };
    Ok(Condition::Field { path, predicate })
}

fn matching(wire: v1::r#match::Kind) -> Result<FieldPredicate, Status> {
    use v1::r#match::Kind;
    let list = |scalars: v1::Scalars| scalars.values.into_iter().map(scalar).collect::<Result<Vec<_>, _>>();
    Ok(match wire {
        Kind::Value(value) => FieldPredicate::Any(vec![scalar(value)?]),
        Kind::Any(values) => FieldPredicate::Any(list(values)?),
        Kind::Except(values) => FieldPredicate::Except(list(values)?),
        Kind::Text(text) => FieldPredicate::Text(TextMatch::new(TextMode::All, text)),
        Kind::TextAny(text) => FieldPredicate::Text(TextMatch::new(TextMode::Any, text)),
        Kind::Phrase(text) => FieldPredicate::Text(TextMatch::new(TextMode::Phrase, text)),
    })
}

fn scalar(wire: v1::Scalar) -> Result<Scalar, Status> {
    use v1::scalar::Kind;
    match wire.kind {
        Some(Kind::Keyword(text)) => Ok(Scalar::Keyword(text)),
        Some(Kind::Integer(n)) => Ok(Scalar::Integer(n)),
        Some(Kind::Boolean(b)) => Ok(Scalar::Bool(b)),
        None => Err(invalid("filter.match", "a value is empty; give keyword, integer or boolean")),
    }
}

fn date(text: Option<String>) -> Result<Option<i64>, Status> {
    let Some(text) = text else { return Ok(None) };
    let why = || format!("`{}` is no RFC 3339 date; write it like 2026-01-31T12:00:00Z", shorten(&text));
    parse_datetime(&text).map(Some).ok_or_else(|| invalid("filter.datetime_range", why()))
}

fn place(wire: v1::GeoPoint) -> GeoPoint {
    GeoPoint { lon: wire.lon, lat: wire.lat }
}
