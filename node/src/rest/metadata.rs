//! What Engram has more than the dialect, in the object `engram` of a collection's metadata: regions, shards, retention,
//! layout of graphs, and the payload fields in which points tell their region and age.

use std::fmt;

use engram_index::vector::graph::Layout;
use engram_query::request::NewPoint;
use engram_storage::op::PayloadChange;
use engram_storage::schema::{CollectionSchema, RegionName, RetentionRule};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::error::RestError;
use super::plain::Plain;

const KEY: &str = "engram";
/// Payload field of the region, where a collection has several and names none.
const REGION_FIELD: &str = "region";
/// Payload field of the time a point was made, where age matters and the collection names none.
const CREATED_AT_FIELD: &str = "created_at";
const MS: u64 = 1000;

/// `metadata.engram`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngramMetadata {
    /// Regions that points may be in.
    #[serde(default)]
    pub(crate) regions: Vec<String>,
    /// Region of points that name none; the first one where absent.
    #[serde(default)]
    pub(crate) default_region: Option<String>,
    /// Payload field with the region of a point.
    #[serde(default)]
    pub(crate) region_field: Option<String>,
    /// Payload field with the time a point was made: RFC 3339, or milliseconds since the epoch.
    #[serde(default)]
    pub(crate) created_at_field: Option<String>,
    /// Payload field with the time after which a point is gone.
    #[serde(default)]
    pub(crate) expires_at_field: Option<String>,
    /// Buckets of each region.
    #[serde(default)]
    pub(crate) shards_per_region: Option<u32>,
    /// How long points are kept.
    #[serde(default)]
    pub(crate) retention: Option<Vec<Retention>>,
    /// Rows of graphs: `fast` or `compact`.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub(crate) layout: Option<Layout>,
}

/// One rule of retention.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retention {
    /// All regions where absent.
    #[serde(default)]
    region: Option<String>,
    /// Seconds.
    max_age_s: u64,
}

impl EngramMetadata {
    /// What `metadata` says of it.
    pub(crate) fn of(metadata: &Map<String, Value>) -> Result<Self, RestError> {
        match metadata.get(KEY) {
            None => Ok(Self::default()),
            // Null would take the names of fields away that points are filed by.
            Some(value) => {
                Self::deserialize(value).map_err(|e| RestError::wrong(format!("metadata.engram: {e}")))
            }
        }
    }

    pub(crate) fn regions(&self) -> Result<Vec<RegionName>, RestError> {
        self.regions.iter().map(|name| region(name)).collect()
    }

    pub(crate) fn retention(&self) -> Result<Option<Vec<RetentionRule>>, RestError> {
        let Some(rules) = &self.retention else { return Ok(None) };
        let rule = |rule: &Retention| {
            let ms = rule.max_age_s.checked_mul(MS).and_then(|ms| i64::try_from(ms).ok());
            let max_age_ms =
                ms.ok_or_else(|| RestError::wrong("metadata.engram.retention: max_age_s is too large"))?;
            Ok(RetentionRule { region: rule.region.as_deref().map(region).transpose()?, max_age_ms })
        };
        rules.iter().map(rule).collect::<Result<_, RestError>>().map(Some)
    }
}

/// What is not said anew of `metadata.engram` stays as it is.
pub(crate) fn engram_over(old: &Map<String, Value>, new: &mut Map<String, Value>) {
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (old.get(KEY), new.get_mut(KEY)) else {
        return;
    };
    for (key, value) in old {
        new.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

pub(crate) fn region(name: &str) -> Result<RegionName, RestError> {
    RegionName::try_from(name).map_err(RestError::wrong)
}

/// Payload fields with a meaning, each with whether it was named by the collection.
#[derive(Debug, Default)]
pub(crate) struct PointFields {
    region: Option<String>,
    created_at: Option<(String, bool)>,
    expires_at: Option<String>,
}

impl PointFields {
    /// Those of a collection. Metadata that cannot be read was refused when it was written.
    pub(crate) fn of(schema: &CollectionSchema) -> Self {
        let named = EngramMetadata::of(&schema.metadata).unwrap_or_default();
        let (many, ages) = (schema.regions.len() > 1, !schema.retention.is_empty());
        let guessed = (many || ages).then(|| (CREATED_AT_FIELD.to_owned(), false));
        Self {
            region: many.then(|| named.region_field.unwrap_or_else(|| REGION_FIELD.to_owned())),
            created_at: named.created_at_field.map(|field| (field, true)).or(guessed),
            expires_at: named.expires_at_field,
        }
    }

    fn is_empty(&self) -> bool {
        self.region.is_none() && self.created_at.is_none() && self.expires_at.is_none()
    }

    /// Refuses a change of the payload that would leave the point where it is while its payload says otherwise: only
    /// an upsert moves a point to another region or gives it other times.
    pub(crate) fn keep(&self, change: &PayloadChange) -> Result<(), RestError> {
        if self.is_empty() {
            return Ok(());
        }
        let found = match change {
            PayloadChange::Clear => return Ok(()),
            PayloadChange::Merge(json) | PayloadChange::Overwrite(json) => {
                let found = Wanted(self).deserialize(&mut serde_json::Deserializer::from_slice(json));
                let found = found.map_err(RestError::format)?;
                found.region.or(found.created_at).or(found.expires_at).is_some()
            }
            PayloadChange::MergeAt { path, .. } => self.names(path),
            PayloadChange::DeleteKeys(paths) => paths.iter().any(|path| self.names(path)),
        };
        if !found {
            return Ok(());
        }
        let names: Vec<&str> = self.fields().collect();
        Err(RestError::wrong(format!(
            "the region and the times of a point ({}) change by an upsert of the whole point alone; leave them out",
            names.join(", ")
        )))
    }

    fn fields(&self) -> impl Iterator<Item = &str> {
        let created_at = self.created_at.as_ref().map(|(field, _)| field.as_str());
        [self.region.as_deref(), created_at, self.expires_at.as_deref()].into_iter().flatten()
    }

    /// Whether a path begins with one of them.
    fn names(&self, path: &str) -> bool {
        let begins = |field: &str| {
            path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.fields().any(begins)
    }

    /// Puts what the payload says into the point.
    pub(crate) fn read(&self, payload: &str, point: &mut NewPoint) -> Result<(), RestError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut reader = serde_json::Deserializer::from_str(payload);
        let found = Wanted(self).deserialize(&mut reader).map_err(RestError::format)?;
        match found.region.map(|value| value.0) {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) => point.region = Some(name),
            Some(other) => {
                return Err(RestError::wrong(format!("the region of a point is {other}: give its name")));
            }
        }
        if let (Some((field, strict)), Some(value)) = (&self.created_at, &found.created_at) {
            point.created_at = time(field, &value.0, *strict)?;
        }
        if let (Some(field), Some(value)) = (&self.expires_at, &found.expires_at) {
            point.expires_at = time(field, &value.0, true)?;
        }
        Ok(())
    }
}

/// Milliseconds since the epoch. What is no time is refused where the collection said that it is one.
fn time(field: &str, value: &Value, strict: bool) -> Result<Option<i64>, RestError> {
    let read = match value {
        Value::Null => return Ok(None),
        Value::Number(n) => n.as_i64(),
        Value::String(text) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        _ => None,
    };
    match read {
        None if strict => Err(RestError::wrong(format!(
            "payload field {field:?} is no time: give RFC 3339 with an offset, or milliseconds since the epoch"
        ))),
        read => Ok(read),
    }
}

#[derive(Default)]
struct Found {
    region: Option<Plain>,
    created_at: Option<Plain>,
    expires_at: Option<Plain>,
}

/// Reads the wanted keys of an object and skips all others.
struct Wanted<'a>(&'a PointFields);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Found;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Found, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a payload, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<String>()? {
            if self.0.region.as_ref() == Some(&key) {
                found.region = Some(map.next_value()?);
            } else if self.0.created_at.as_ref().is_some_and(|(field, _)| *field == key) {
                found.created_at = Some(map.next_value()?);
            } else if self.0.expires_at.as_ref() == Some(&key) {
                found.expires_at = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
