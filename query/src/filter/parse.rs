//! Reading a filter from JSON in Qdrant's dialect.
//!
//! One condition may stand where a list is expected, and `null` means a key is not there. Keys that are not known are
//! refused by name: a misspelled constraint must not become no constraint.

use engram_index::payload::{FieldPredicate, GeoPoint, PayloadPath, Polygon, Scalar, parse_datetime};
use engram_index::text::{TextMatch, TextMode};
use engram_storage::PointId;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::FilterError;
use super::ast::{Condition, Filter, MinShould};
use super::validate::{check_predicate, limit_conditions, limit_depth, limit_list, reason};

type Result<T> = std::result::Result<T, FilterError>;
type Object = Map<String, Value>;

const WHOLE: &str = "the filter";
const FILTER_KEYS: &str = "`must`, `should`, `must_not`, `min_should`";
const FIELD_KEYS: &str = "`key` and one of `match`, `range`, `geo_radius`, `geo_bounding_box`, `geo_polygon`, \
                          `values_count`, `is_empty`, `is_null`";
const CONDITION_KEYS: &str =
    "`key`, `has_id`, `has_vector`, `is_empty`, `is_null`, `nested` or the keys of a filter";
const MATCH_KEYS: &str = "one of `value`, `any`, `except`, `text`, `text_any`, `phrase`";
const BOUND_KEYS: &str = "`lt`, `lte`, `gt`, `gte`";

impl Filter {
    /// Reads a filter and checks its limits, as [`Filter::validate`] does.
    ///
    /// # Errors
    /// [`FilterError`]: what is wrong, and where.
    pub fn from_json(value: &Value) -> Result<Self> {
        Parser { conditions: 0 }.filter(object(value, WHOLE)?, WHOLE, 1)
    }
}

struct Parser {
    conditions: usize,
}

impl Parser {
    fn filter(&mut self, map: &Object, at: &str, depth: usize) -> Result<Filter> {
        limit_depth(depth)?;
        let mut filter = Filter::default();
        for (key, value) in present(map) {
            let list = match key {
                "must" => &mut filter.must,
                "should" => &mut filter.should,
                "must_not" => &mut filter.must_not,
                "min_should" => {
                    filter.min_should = Some(self.min_should(value, &inside(at, key), depth)?);
                    continue;
                }
                _ => return Err(unknown(key, at, FILTER_KEYS)),
            };
            *list = self.list(value, &inside(at, key), depth)?;
        }
        Ok(filter)
    }

    fn list(&mut self, value: &Value, at: &str, depth: usize) -> Result<Vec<Condition>> {
        match value {
            Value::Array(items) => {
                limit_conditions(items.len())?;
                let one = |(i, item)| self.condition(item, &format!("{at}[{i}]"), depth);
                items.iter().enumerate().map(one).collect()
            }
            one => Ok(vec![self.condition(one, at, depth)?]),
        }
    }

    fn min_should(&mut self, value: &Value, at: &str, depth: usize) -> Result<MinShould> {
        let (mut conditions, mut min_count) = (None, None);
        for (key, value) in present(object(value, at)?) {
            match key {
                "conditions" => conditions = Some(self.list(value, &inside(at, key), depth)?),
                "min_count" => min_count = value.as_u64().and_then(|n| usize::try_from(n).ok()),
                _ => return Err(unknown(key, at, "`conditions` and `min_count`")),
            }
        }
        match (conditions, min_count) {
            (Some(conditions), Some(min_count)) => Ok(MinShould { conditions, min_count }),
            _ => Err(invalid(at, "give `conditions` and `min_count`, a whole number that is not negative")),
        }
    }

    fn condition(&mut self, value: &Value, at: &str, depth: usize) -> Result<Condition> {
        self.conditions += 1;
        limit_conditions(self.conditions)?;
        let map = object(value, at)?;
        if map.contains_key("key") {
            return field(map, at);
        }
        let mut keys = present(map);
        match (keys.next(), keys.next()) {
            (Some(("has_id", ids)), None) => Ok(Condition::HasId(point_ids(ids, at)?)),
            (Some(("is_empty", value)), None) => keyed(value, at, FieldPredicate::IsEmpty),
            (Some(("is_null", value)), None) => keyed(value, at, FieldPredicate::IsNull),
            (Some(("nested", value)), None) => self.nested(value, at, depth),
            (Some(("slice", _)), None) => {
                Err(unsupported(at, "slice", "scroll through the points by their ids"))
            }
            (Some(("has_vector", name)), None) => {
                let name =
                    name.as_str().ok_or_else(|| invalid(at, "`has_vector` is the name of a vector field"))?;
                Ok(Condition::HasVector { name: name.to_owned(), field: None })
            }
            (None, _) if map.is_empty() => Ok(Condition::Filter(Box::default())),
            (Some((key, _)), _) if is_filter_key(key) => {
                Ok(Condition::Filter(Box::new(self.filter(map, at, depth + 1)?)))
            }
            (Some((_, _)), Some((second, _))) if is_condition_key(second) => {
                Err(invalid(at, format!("`{second}` stands beside another condition: make them two")))
            }
            (Some((first, _)), Some((second, _))) => {
                Err(unknown(if is_condition_key(first) { second } else { first }, at, CONDITION_KEYS))
            }
            (Some((key, _)), None) => Err(unknown(key, at, CONDITION_KEYS)),
            (None, _) => Err(invalid(at, "a condition of nulls only")),
        }
    }

    fn nested(&mut self, value: &Value, at: &str, depth: usize) -> Result<Condition> {
        let at = format!("{at}.nested");
        let (mut path, mut filter) = (None, None);
        for (key, value) in present(object(value, &at)?) {
            match key {
                "key" => path = Some(payload_path(value, &at)?),
                "filter" => filter = Some(self.filter(object(value, &at)?, &at, depth + 1)?),
                _ => return Err(unknown(key, &at, "`key` and `filter`")),
            }
        }
        match (path, filter) {
            (Some(path), Some(filter)) => Ok(Condition::Nested { path, filter: Box::new(filter) }),
            _ => Err(invalid(&at, "give `key` and `filter`")),
        }
    }
}

fn is_filter_key(key: &str) -> bool {
    matches!(key, "must" | "should" | "must_not" | "min_should")
}

fn is_condition_key(key: &str) -> bool {
    matches!(key, "has_id" | "has_vector" | "is_empty" | "is_null" | "nested") || is_filter_key(key)
}

/// `{"key": .., <one predicate>}`.
fn field(map: &Object, at: &str) -> Result<Condition> {
    let (mut path, mut found, mut negated) = (None, None, false);
    for (key, value) in present(map) {
        let predicate = match key {
            "key" => {
                path = Some(payload_path(value, at)?);
                continue;
            }
            "match" => matching(value, &format!("{at}.match"))?,
            "range" => range(value, &format!("{at}.range"))?,
            "geo_radius" => geo_radius(value, &format!("{at}.geo_radius"))?,
            "geo_bounding_box" => geo_box(value, &format!("{at}.geo_bounding_box"))?,
            "values_count" => values_count(value, &format!("{at}.values_count"))?,
            "is_empty" | "is_null" => {
                negated = !value.as_bool().ok_or_else(|| invalid(at, format!("`{key}` is true or false")))?;
                if key == "is_empty" { FieldPredicate::IsEmpty } else { FieldPredicate::IsNull }
            }
            "geo_polygon" => geo_polygon(value, &format!("{at}.geo_polygon"))?,
            _ => return Err(unknown(key, at, FIELD_KEYS)),
        };
        if found.replace(predicate).is_some() {
            return Err(invalid(
                at,
                format!("more than one predicate; `{key}` needs a condition of its own"),
            ));
        }
    }
    let (Some(path), Some(predicate)) = (path, found) else {
        return Err(invalid(at, format!("give {FIELD_KEYS}")));
    };
    check_predicate(&predicate, || at.to_owned())?;
    let condition = Condition::Field { path, predicate };
    if negated {
        let filter = Filter { must_not: vec![condition], ..Filter::default() };
        return Ok(Condition::Filter(Box::new(filter)));
    }
    Ok(condition)
}

/// `{"is_empty": {"key": ..}}`.
fn keyed(value: &Value, at: &str, predicate: FieldPredicate) -> Result<Condition> {
    let map = object(value, at)?;
    if let Some((key, _)) = present(map).find(|(key, _)| *key != "key") {
        return Err(unknown(key, at, "`key`"));
    }
    let path = payload_path(map.get("key").unwrap_or(&Value::Null), at)?;
    Ok(Condition::Field { path, predicate })
}

/// What to do where parts of values cannot be compared.
const PARTS: &str = "match whole values, or words with `text`";

fn matching(value: &Value, at: &str) -> Result<FieldPredicate> {
    let mut keys = present(object(value, at)?);
    let (Some((key, value)), None) = (keys.next(), keys.next()) else {
        return Err(invalid(at, format!("give {MATCH_KEYS}")));
    };
    match key {
        "value" => Ok(FieldPredicate::Any(vec![scalar(value, at)?])),
        "any" => Ok(FieldPredicate::Any(scalars(value, at)?)),
        "except" => Ok(FieldPredicate::Except(scalars(value, at)?)),
        "text" => text(TextMode::All, value, at),
        "text_any" => text(TextMode::Any, value, at),
        "phrase" => text(TextMode::Phrase, value, at),
        "substring" => Err(unsupported(at, "substring", PARTS)),
        "prefix" => Err(unsupported(at, "prefix", PARTS)),
        _ => Err(unknown(key, at, MATCH_KEYS)),
    }
}

fn text(mode: TextMode, value: &Value, at: &str) -> Result<FieldPredicate> {
    let text = value.as_str().ok_or_else(|| invalid(at, "a text is expected"))?;
    Ok(FieldPredicate::Text(TextMatch::new(mode, text)))
}

fn scalars(value: &Value, at: &str) -> Result<Vec<Scalar>> {
    let items = value.as_array().ok_or_else(|| invalid(at, "a list is expected"))?;
    limit_list(items.len())?;
    items.iter().map(|item| scalar(item, at)).collect()
}

fn scalar(value: &Value, at: &str) -> Result<Scalar> {
    match value {
        Value::Bool(b) => Ok(Scalar::Bool(*b)),
        Value::String(s) => Ok(Scalar::Keyword(s.clone())),
        Value::Number(n) => n.as_i64().map(Scalar::Integer).ok_or_else(|| {
            invalid(
                at,
                format!("{n} is no whole number of 64 bits with a sign: match other numbers by `range`"),
            )
        }),
        _ => Err(invalid(at, "a string, a whole number, true or false is expected")),
    }
}

/// Numbers make a range of numbers, dates a range of dates.
fn range(value: &Value, at: &str) -> Result<FieldPredicate> {
    let map = object(value, at)?;
    if present(map).any(|(_, v)| v.is_string()) {
        let why = "bounds are RFC 3339 dates, or all of them numbers";
        let [lt, lte, gt, gte] = bounds(map, at, why, |v| v.as_str().and_then(parse_datetime))?;
        return Ok(FieldPredicate::DatetimeRange { lt, lte, gt, gte });
    }
    let [lt, lte, gt, gte] = bounds(map, at, "bounds are numbers, or RFC 3339 dates", Value::as_f64)?;
    Ok(FieldPredicate::Range { lt, lte, gt, gte })
}

fn values_count(value: &Value, at: &str) -> Result<FieldPredicate> {
    let why = "bounds are whole numbers that are not negative";
    let [lt, lte, gt, gte] = bounds(object(value, at)?, at, why, Value::as_u64)?;
    Ok(FieldPredicate::ValuesCount { lt, lte, gt, gte })
}

fn bounds<T>(
    map: &Object,
    at: &str,
    why: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<[Option<T>; 4]> {
    let mut out = [None, None, None, None];
    for (key, value) in present(map) {
        let place = match key {
            "lt" => 0,
            "lte" => 1,
            "gt" => 2,
            "gte" => 3,
            _ => return Err(unknown(key, at, BOUND_KEYS)),
        };
        out[place] = Some(read(value).ok_or_else(|| invalid(at, format!("`{key}`: {why}")))?);
    }
    Ok(out)
}

fn geo_radius(value: &Value, at: &str) -> Result<FieldPredicate> {
    let (mut center, mut radius) = (None, None);
    for (key, value) in present(object(value, at)?) {
        match key {
            "center" => center = Some(place(value, &format!("{at}.center"))?),
            "radius" => radius = value.as_f64(),
            _ => return Err(unknown(key, at, "`center` and `radius`")),
        }
    }
    match (center, radius) {
        (Some(center), Some(radius_m)) => Ok(FieldPredicate::GeoRadius { center, radius_m }),
        _ => Err(invalid(at, "give `center` and `radius`, in metres")),
    }
}

fn geo_box(value: &Value, at: &str) -> Result<FieldPredicate> {
    let (mut first, mut last) = (None, None);
    for (key, value) in present(object(value, at)?) {
        match key {
            "top_left" => first = Some(place(value, &format!("{at}.top_left"))?),
            "bottom_right" => last = Some(place(value, &format!("{at}.bottom_right"))?),
            _ => return Err(unknown(key, at, "`top_left` and `bottom_right`")),
        }
    }
    match (first, last) {
        (Some(top_left), Some(bottom_right)) => Ok(FieldPredicate::GeoBox { top_left, bottom_right }),
        _ => Err(invalid(at, "give `top_left` and `bottom_right`")),
    }
}

fn geo_polygon(value: &Value, at: &str) -> Result<FieldPredicate> {
    let (mut exterior, mut interiors) = (None, Vec::new());
    for (key, value) in present(object(value, at)?) {
        match key {
            "exterior" => exterior = Some(ring(value, &format!("{at}.exterior"))?),
            "interiors" => {
                let rings = value.as_array().ok_or_else(|| invalid(at, "`interiors` is a list of rings"))?;
                limit_list(rings.len())?;
                let at = format!("{at}.interiors");
                interiors = rings.iter().map(|hole| ring(hole, &at)).collect::<Result<_>>()?;
            }
            _ => return Err(unknown(key, at, "`exterior` and `interiors`")),
        }
    }
    let exterior = exterior.ok_or_else(|| invalid(at, "give `exterior`"))?;
    Ok(FieldPredicate::GeoPolygon(Polygon { exterior, interiors }))
}

/// `{"points": [..]}`.
fn ring(value: &Value, at: &str) -> Result<Vec<GeoPoint>> {
    let map = object(value, at)?;
    if let Some((key, _)) = present(map).find(|(key, _)| *key != "points") {
        return Err(unknown(key, at, "`points`"));
    }
    let points = map.get("points").and_then(Value::as_array);
    let points = points.ok_or_else(|| invalid(at, "give `points`, a list of places"))?;
    limit_list(points.len())?;
    points.iter().map(|point| place(point, at)).collect()
}

fn place(value: &Value, at: &str) -> Result<GeoPoint> {
    let map = object(value, at)?;
    if let Some((key, _)) = present(map).find(|(key, _)| !matches!(*key, "lon" | "lat")) {
        return Err(unknown(key, at, "`lon` and `lat`"));
    }
    let degrees = |key: &str| map.get(key).and_then(Value::as_f64);
    match (degrees("lon"), degrees("lat")) {
        (Some(lon), Some(lat)) => Ok(GeoPoint { lon, lat }),
        _ => Err(invalid(at, "give `lon` and `lat`, in degrees")),
    }
}

fn point_ids(value: &Value, at: &str) -> Result<Vec<PointId>> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    limit_list(items.len())?;
    let one = |item: &Value| match item {
        Value::Number(n) => n.as_u64().map(PointId::Num),
        Value::String(s) => Uuid::try_parse(s).ok().map(PointId::Uuid),
        _ => None,
    };
    let refuse = || invalid(at, "an id in `has_id` is an unsigned number or a UUID");
    items.iter().map(|item| one(item).ok_or_else(refuse)).collect()
}

fn payload_path(value: &Value, at: &str) -> Result<PayloadPath> {
    let text = value.as_str().ok_or_else(|| invalid(at, "`key` is the path of a payload field"))?;
    PayloadPath::parse(text).map_err(|e| invalid(at, reason(e)))
}

/// Where `key` of what stands at `at` is.
fn inside(at: &str, key: &str) -> String {
    if at == WHOLE { key.to_owned() } else { format!("{at}.{key}") }
}

/// The entries that are not null.
fn present(map: &Object) -> impl Iterator<Item = (&str, &Value)> {
    map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v))
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Object> {
    value.as_object().ok_or_else(|| invalid(at, "an object is expected"))
}

fn invalid(at: &str, why: impl Into<String>) -> FilterError {
    FilterError::Invalid { at: at.to_owned(), why: why.into() }
}

fn unsupported(at: &str, what: &'static str, instead: &'static str) -> FilterError {
    FilterError::Unsupported { at: at.to_owned(), what, instead }
}

fn unknown(key: &str, at: &str, known: &'static str) -> FilterError {
    // The key is the client's: an error must not grow with it.
    FilterError::UnknownKey { key: key.chars().take(64).collect(), at: at.to_owned(), known }
}
