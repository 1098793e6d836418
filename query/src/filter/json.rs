//! Writing a filter as the JSON that [`Filter::from_json`] reads.

use engram_index::payload::{FieldPredicate, GeoPoint, Scalar};
use engram_index::text::TextMode;
use engram_storage::PointId;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::ast::{Condition, Filter};

impl Filter {
    /// This filter in Qdrant's dialect, for logs and for the way between nodes.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        for (key, list) in [("must", &self.must), ("should", &self.should), ("must_not", &self.must_not)] {
            if !list.is_empty() {
                out.insert(key.into(), conditions(list));
            }
        }
        if let Some(min) = &self.min_should {
            let value = json!({ "conditions": conditions(&min.conditions), "min_count": min.min_count });
            out.insert("min_should".into(), value);
        }
        Value::Object(out)
    }
}

fn conditions(list: &[Condition]) -> Value {
    list.iter().map(condition).collect()
}

fn condition(condition: &Condition) -> Value {
    match condition {
        Condition::Field { path, predicate } => field(path.to_string(), predicate),
        Condition::HasId(ids) => json!({ "has_id": ids.iter().map(point_id).collect::<Value>() }),
        Condition::HasVector { name, .. } => json!({ "has_vector": name }),
        Condition::Nested { path, filter } => {
            json!({ "nested": { "key": path.to_string(), "filter": filter.to_json() } })
        }
        Condition::Filter(filter) => filter.to_json(),
    }
}

fn field(key: String, predicate: &FieldPredicate) -> Value {
    match predicate {
        FieldPredicate::Any(list) => json!({ "key": key, "match": { "any": scalars(list) } }),
        FieldPredicate::Except(list) => json!({ "key": key, "match": { "except": scalars(list) } }),
        FieldPredicate::Range { lt, lte, gt, gte } => {
            json!({ "key": key, "range": bounds([lt, lte, gt, gte], |b| json!(b)) })
        }
        FieldPredicate::DatetimeRange { lt, lte, gt, gte } => {
            let range = bounds([lt, lte, gt, gte], |b| json!(timestamp(*b).to_string()));
            // Without a bound the text would not tell it from a range of numbers.
            let range =
                if range == json!({}) { json!({ "gte": timestamp(i64::MIN).to_string() }) } else { range };
            json!({ "key": key, "range": range })
        }
        FieldPredicate::GeoRadius { center, radius_m } => {
            json!({ "key": key, "geo_radius": { "center": place(center), "radius": radius_m } })
        }
        FieldPredicate::GeoBox { top_left, bottom_right } => {
            let corners = json!({ "top_left": place(top_left), "bottom_right": place(bottom_right) });
            json!({ "key": key, "geo_bounding_box": corners })
        }
        FieldPredicate::GeoPolygon(polygon) => {
            let ring =
                |places: &Vec<GeoPoint>| json!({ "points": places.iter().map(place).collect::<Value>() });
            let interiors: Value = polygon.interiors.iter().map(ring).collect();
            let polygon = json!({ "exterior": ring(&polygon.exterior), "interiors": interiors });
            json!({ "key": key, "geo_polygon": polygon })
        }
        FieldPredicate::ValuesCount { lt, lte, gt, gte } => {
            json!({ "key": key, "values_count": bounds([lt, lte, gt, gte], |b| json!(b)) })
        }
        FieldPredicate::Text(text) => {
            let name = match text.mode() {
                TextMode::All => "text",
                TextMode::Any => "text_any",
                TextMode::Phrase => "phrase",
            };
            json!({ "key": key, "match": { name: text.text() } })
        }
        FieldPredicate::IsEmpty => json!({ "is_empty": { "key": key } }),
        FieldPredicate::IsNull => json!({ "is_null": { "key": key } }),
    }
}

fn bounds<T>(bounds: [&Option<T>; 4], write: impl Fn(&T) -> Value) -> Value {
    let named = ["lt", "lte", "gt", "gte"].into_iter().zip(bounds);
    let given = named.filter_map(|(name, bound)| bound.as_ref().map(|b| (name.to_owned(), write(b))));
    Value::Object(given.collect())
}

/// Instants beyond the calendar become its first or last: no payload has a date beyond them.
fn timestamp(micros: i64) -> Timestamp {
    let edge = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(edge)
}

fn place(place: &GeoPoint) -> Value {
    json!({ "lon": place.lon, "lat": place.lat })
}

fn scalars(list: &[Scalar]) -> Value {
    let one = |scalar: &Scalar| match scalar {
        Scalar::Bool(b) => json!(b),
        Scalar::Integer(i) => json!(i),
        Scalar::Keyword(s) => json!(s),
    };
    list.iter().map(one).collect()
}

fn point_id(id: &PointId) -> Value {
    match id {
        PointId::Num(n) => json!(n),
        PointId::Uuid(u) => json!(u.to_string()),
    }
}
