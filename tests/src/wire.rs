//! Short ways to write messages of the API.

use engram_proto::v1::{
    Condition, FieldCondition, Filter, HasId, Match, Point, PointId, Range, Scalar, Scalars, Selection,
    Vector, VectorField, condition, field_condition, r#match, point_id, scalar,
};

/// A numeric id.
pub fn num(n: u64) -> PointId {
    PointId { kind: Some(point_id::Kind::Num(n)) }
}

/// A UUID.
pub fn uuid(u: uuid::Uuid) -> PointId {
    PointId { kind: Some(point_id::Kind::Uuid(u.to_string())) }
}

/// The number of a numeric id.
pub fn number(id: Option<&PointId>) -> Option<u64> {
    match id?.kind.as_ref()? {
        point_id::Kind::Num(n) => Some(*n),
        point_id::Kind::Uuid(_) => None,
    }
}

/// An id as text.
pub fn id_text(id: Option<&PointId>) -> String {
    match id.and_then(|id| id.kind.as_ref()) {
        Some(point_id::Kind::Num(n)) => n.to_string(),
        Some(point_id::Kind::Uuid(u)) => u.clone(),
        None => "no id".into(),
    }
}

/// Little-endian bytes of floats.
pub fn f32le(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A vector.
pub fn vector(v: &[f32]) -> Vector {
    Vector { f32le: f32le(v).into(), ..Vector::default() }
}

/// The components of a vector, whichever form it has.
pub fn floats(v: &Vector) -> Vec<f32> {
    if v.f32le.is_empty() {
        return v.values.clone();
    }
    v.f32le.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// The default vector of a point.
pub fn default_vector(p: &Point) -> Option<Vec<f32>> {
    p.vectors.get("").map(floats)
}

/// The payload of a point.
pub fn payload(p: &Point) -> serde_json::Value {
    if p.payload_json.is_empty() {
        serde_json::json!({})
    } else {
        serde_json::from_slice(&p.payload_json).unwrap()
    }
}

/// A point with a default vector.
pub fn point(id: u64, v: &[f32], payload: &serde_json::Value) -> Point {
    Point { vectors: [(String::new(), vector(v))].into(), ..state(id, payload) }
}

/// A point without vectors.
pub fn state(id: u64, payload: &serde_json::Value) -> Point {
    Point { id: Some(num(id)), payload_json: payload.to_string().into_bytes().into(), ..Point::default() }
}

/// Everything of a point.
pub fn everything() -> Option<Selection> {
    Some(Selection { with_payload: true, with_vectors: true, ..Selection::default() })
}

/// The payload of a point.
pub fn payload_only() -> Option<Selection> {
    Some(Selection { with_payload: true, ..Selection::default() })
}

/// A vector field with the server's defaults.
pub fn field(name: &str, dimension: u32, metric: engram_proto::v1::Metric) -> VectorField {
    VectorField { name: name.into(), dimension, metric: metric.into(), ..VectorField::default() }
}

/// All of `conditions`.
pub fn must(conditions: Vec<Condition>) -> Filter {
    Filter { must: conditions, ..Filter::default() }
}

/// Any of `conditions`.
pub fn should(conditions: Vec<Condition>) -> Filter {
    Filter { should: conditions, ..Filter::default() }
}

/// None of `conditions`.
pub fn must_not(conditions: Vec<Condition>) -> Filter {
    Filter { must_not: conditions, ..Filter::default() }
}

/// A condition on a payload field.
pub fn on(key: &str, kind: field_condition::Kind) -> Condition {
    let field = FieldCondition { key: key.into(), kind: Some(kind) };
    Condition { kind: Some(condition::Kind::Field(field)) }
}

/// A text value.
pub fn keyword(s: &str) -> Scalar {
    Scalar { kind: Some(scalar::Kind::Keyword(s.into())) }
}

/// A whole number.
pub fn integer(n: i64) -> Scalar {
    Scalar { kind: Some(scalar::Kind::Integer(n)) }
}

/// `key` equals `value`.
pub fn equals(key: &str, value: Scalar) -> Condition {
    on(key, field_condition::Kind::Match(Match { kind: Some(r#match::Kind::Value(value)) }))
}

/// `key` equals one of `values`.
pub fn any_of(key: &str, values: Vec<Scalar>) -> Condition {
    on(key, field_condition::Kind::Match(Match { kind: Some(r#match::Kind::Any(Scalars { values })) }))
}

/// `key` has a value that is none of `values`.
pub fn except(key: &str, values: Vec<Scalar>) -> Condition {
    on(key, field_condition::Kind::Match(Match { kind: Some(r#match::Kind::Except(Scalars { values })) }))
}

/// `key` lies in `[gte, lt)`.
pub fn between(key: &str, gte: f64, lt: f64) -> Condition {
    on(key, field_condition::Kind::Range(Range { gte: Some(gte), lt: Some(lt), ..Range::default() }))
}

/// The id is one of `ids`.
pub fn has_id(ids: &[u64]) -> Condition {
    Condition { kind: Some(condition::Kind::HasId(HasId { ids: ids.iter().map(|n| num(*n)).collect() })) }
}

/// A group as a condition.
pub fn group(filter: Filter) -> Condition {
    Condition { kind: Some(condition::Kind::Filter(filter)) }
}
