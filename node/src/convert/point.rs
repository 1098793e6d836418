//! Points and selections of points.

use engram_index::vector::VectorValue;
use engram_proto::v1;
use engram_query::request::{Change, NewPoint, PointSelector, VectorUpdate};
use engram_storage::op::PayloadChange;
use tonic::Status;

use super::{filter, if_versions, known_enum, point_id, vector};
use crate::status::invalid;

/// Points to write, each with its condition.
pub(crate) fn new_points(points: Vec<v1::Point>, versions: &[u64]) -> Result<Vec<NewPoint>, Status> {
    let condition = if_versions(versions, points.len())?;
    points.into_iter().enumerate().map(|(i, point)| new_point(i, point, condition(i))).collect()
}

fn new_point(i: usize, wire: v1::Point, if_version: Option<u64>) -> Result<NewPoint, Status> {
    let id = point_id("points.id", wire.id.as_ref()).map_err(|e| at(i, &e))?;
    let vectors = vectors(wire.vectors).map_err(|e| at(i, &e))?;
    Ok(NewPoint {
        id: Some(id),
        vectors,
        payload: wire.payload_json,
        region: (!wire.region.is_empty()).then_some(wire.region),
        created_at: wire.created_at_ms,
        expires_at: wire.expires_at_ms,
        if_version,
    })
}

/// The same error, with the place in the list.
fn at(i: usize, error: &Status) -> Status {
    invalid(&format!("points[{i}]"), error.message())
}

fn vectors(
    wire: std::collections::BTreeMap<String, v1::Vector>,
) -> Result<Vec<(String, VectorValue)>, Status> {
    let one = |(name, wire): (String, v1::Vector)| {
        let vector = vector::value(&format!("vectors[{name:?}]"), wire)?;
        Ok((name, vector))
    };
    wire.into_iter().map(one).collect()
}

/// Exactly one of ids and a filter.
pub(crate) fn selector(
    ids: &[v1::PointId],
    wire: Option<v1::Filter>,
    versions: &[u64],
) -> Result<PointSelector, Status> {
    match wire {
        Some(_) if !ids.is_empty() => Err(invalid("filter", "is given beside ids; give one of them")),
        Some(_) if !versions.is_empty() => Err(invalid("if_versions", "need ids; a filter has none")),
        Some(wire) => Ok(PointSelector::Filter(filter::filter(wire)?)),
        // An empty selection means nothing, not all.
        None if ids.is_empty() => Err(invalid("ids", "is empty and there is no filter; give one of them")),
        None => {
            let condition = if_versions(versions, ids.len())?;
            let one = |(i, id)| Ok((point_id(&format!("ids[{i}]"), Some(id))?, condition(i)));
            ids.iter().enumerate().map(one).collect::<Result<_, Status>>().map(PointSelector::Ids)
        }
    }
}

/// What a `SetPayload` does.
pub(crate) fn payload_change(request: &mut v1::SetPayloadRequest) -> Result<Change, Status> {
    let mode: v1::PayloadMode = known_enum("mode", request.mode)?;
    let has_json = !request.payload_json.is_empty();
    let has_keys = !request.keys.is_empty();
    let takes_json = matches!(mode, v1::PayloadMode::Merge | v1::PayloadMode::Overwrite);
    if has_json && !takes_json {
        return Err(invalid("payload_json", "is not used by this mode; leave it out"));
    }
    if takes_json && !has_json {
        return Err(invalid("payload_json", "is empty; give one JSON object"));
    }
    if has_keys != (mode == v1::PayloadMode::DeleteKeys) {
        return Err(invalid("keys", "go with mode DELETE_KEYS, which needs at least one"));
    }
    let json = std::mem::take(&mut request.payload_json);
    Ok(Change::Payload(match mode {
        v1::PayloadMode::Unspecified => {
            return Err(invalid("mode", "is missing; give MERGE, OVERWRITE, DELETE_KEYS or CLEAR"));
        }
        v1::PayloadMode::Merge => PayloadChange::Merge(json),
        v1::PayloadMode::Overwrite => PayloadChange::Overwrite(json),
        v1::PayloadMode::DeleteKeys => PayloadChange::DeleteKeys(std::mem::take(&mut request.keys)),
        v1::PayloadMode::Clear => PayloadChange::Clear,
    }))
}

pub(crate) fn vector_updates(
    points: Vec<v1::PointVectors>,
    versions: &[u64],
) -> Result<Vec<VectorUpdate>, Status> {
    let condition = if_versions(versions, points.len())?;
    let one = |(i, wire): (usize, v1::PointVectors)| {
        Ok(VectorUpdate {
            id: point_id("points.id", wire.id.as_ref()).map_err(|e| at(i, &e))?,
            set: vectors(wire.vectors).map_err(|e| at(i, &e))?,
            remove: wire.remove,
            if_version: condition(i),
        })
    };
    points.into_iter().enumerate().map(one).collect()
}
