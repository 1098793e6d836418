//! Keywords and whole numbers that points have at a path.

use std::sync::Arc;

use engram_index::Pace;
use engram_index::payload::{PayloadPath, Scalar, canonical_keyword};
use engram_storage::StorageError;
use engram_storage::point::PointId;
use engram_storage::shard::{RunView, ShardSnapshot};
use serde_json::Value;

use super::compute::{Work, after, spend};
use super::read::{FIND_WORK, PROJECT_WORK};
use super::rows::{Place, Visibility, locate};
use crate::error::Result;
use crate::searcher::ShardKeysRequest;

/// A look at the values of some points.
pub(super) struct KeysJob {
    pub snapshot: Arc<ShardSnapshot>,
    pub shown: Visibility,
    pub request: ShardKeysRequest,
}

impl KeysJob {
    /// Estimated work.
    pub fn work(&self) -> Work {
        let each = self.snapshot.runs.len() * FIND_WORK + PROJECT_WORK;
        Work(self.request.ids.len().saturating_mul(each))
    }

    /// The points that are there with their values as they are stored, each value once.
    pub fn run(&self) -> Result<Vec<(PointId, Vec<Scalar>)>> {
        let mut found = Vec::with_capacity(self.request.ids.len());
        let late = after(self.request.scope.deadline);
        let pace = Pace::new(&late);
        for id in &self.request.ids {
            spend(&pace, FIND_WORK)?;
            let Some(Place { run, ordinal }) = locate(&self.snapshot, id) else { continue };
            let view = &self.snapshot.runs[run];
            if self.shown.shows(&view.run.meta(ordinal)) {
                spend(&pace, parse_work(view.run.payload(ordinal)))?;
                let mut keys = stored(&payload(view, ordinal)?, &self.request.path);
                keys.retain(|key| !matches!(key, Scalar::Bool(_)));
                // Spellings of one UUID are one value.
                keys.sort_by_cached_key(canonical);
                keys.dedup_by_key(|key| canonical(key));
                found.push((*id, keys));
            }
        }
        Ok(found)
    }
}

/// What parsing a payload and looking at its values costs, in nanoseconds or so.
pub(super) fn parse_work(payload: &[u8]) -> usize {
    payload.len().saturating_mul(8).saturating_add(500)
}

/// The payload of a row.
pub(super) fn payload(view: &RunView, ordinal: u32) -> Result<Value> {
    let bytes = view.run.payload(ordinal);
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(bytes).map_err(|e| StorageError::corrupt("payload", e.to_string()))?)
}

/// The value as it is compared: UUIDs in their dashed form.
pub(crate) fn canonical(value: &Scalar) -> Scalar {
    match value {
        Scalar::Keyword(s) => Scalar::Keyword(canonical_keyword(s).into_owned()),
        other => other.clone(),
    }
}

/// The values at `path` that can be matched exactly.
fn stored(payload: &Value, path: &PayloadPath) -> Vec<Scalar> {
    let scalar = |value: &Value| match value {
        Value::Bool(b) => Some(Scalar::Bool(*b)),
        Value::Number(n) => n.as_i64().map(Scalar::Integer),
        Value::String(s) => Some(Scalar::Keyword(s.clone())),
        _ => None,
    };
    path.values(payload).into_iter().filter_map(scalar).collect()
}

/// The values at `path` that can be matched exactly, ascending, each once; UUIDs in their dashed form.
pub(super) fn scalars(payload: &Value, path: &PayloadPath) -> Vec<Scalar> {
    let mut found: Vec<Scalar> = stored(payload, path).iter().map(canonical).collect();
    found.sort_unstable();
    found.dedup();
    found
}
