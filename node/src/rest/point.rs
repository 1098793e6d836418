//! Points in answers.

use engram_query::request::query::Scored;
use engram_query::request::{Selection, StoredPoint};
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::vector::VectorsOut;

/// A point as it is stored.
pub(crate) struct RecordOut<'a> {
    pub(crate) point: &'a StoredPoint,
    pub(crate) selection: &'a Selection,
}

/// A result of a query.
pub(crate) struct ScoredOut<'a> {
    pub(crate) scored: &'a Scored,
    pub(crate) selection: &'a Selection,
}

/// Points as they are stored.
pub(crate) fn records<'a>(points: &'a [StoredPoint], selection: &'a Selection) -> Vec<RecordOut<'a>> {
    points.iter().map(|point| RecordOut { point, selection }).collect()
}

/// Results of a query.
pub(crate) fn scored<'a>(hits: &'a [Scored], selection: &'a Selection) -> Vec<ScoredOut<'a>> {
    hits.iter().map(|scored| ScoredOut { scored, selection }).collect()
}

fn content<M: SerializeMap>(map: &mut M, point: &StoredPoint, selection: &Selection) -> Result<(), M::Error> {
    if selection.payload {
        let text = std::str::from_utf8(&point.payload).map_err(M::Error::custom)?;
        let text = if text.is_empty() { "{}" } else { text };
        let raw: &RawValue = serde_json::from_str(text).map_err(M::Error::custom)?;
        map.serialize_entry("payload", raw)?;
    }
    if selection.vectors {
        map.serialize_entry("vector", &VectorsOut(&point.vectors))?;
    }
    Ok(())
}

impl Serialize for RecordOut<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("id", &self.point.id)?;
        content(&mut map, self.point, self.selection)?;
        map.end()
    }
}

impl Serialize for ScoredOut<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Scored { point, score, order_value } = self.scored;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("id", &point.id)?;
        map.serialize_entry("version", &point.version)?;
        map.serialize_entry("score", score)?;
        content(&mut map, point, self.selection)?;
        if let Some(value) = order_value {
            map.serialize_entry("order_value", value)?;
        }
        map.end()
    }
}
