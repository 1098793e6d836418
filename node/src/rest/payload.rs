//! Changes of payloads.

use axum::body::Bytes;
use engram_query::request::{Change, PointSelector};
use engram_storage::op::PayloadChange;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::point_id::Id;
use super::points::{PointsSelector, changed, selector};
use super::shard_key::NoShardKey;

/// Payload to set on points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPayload {
    /// Any JSON object.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<super::openapi::PointIdSchema>>)]
    points: Option<Vec<Id>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// Path of the object whose keys are set; the payload itself where absent. Not where a payload is overwritten.
    #[serde(default)]
    key: Option<String>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Paths to take out of payloads.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletePayload {
    keys: Vec<String>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<super::openapi::PointIdSchema>>)]
    points: Option<Vec<Id>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

impl SetPayload {
    fn parts(self) -> Result<(PointSelector, Bytes), RestError> {
        let payload = Bytes::from(String::from(Box::<str>::from(self.payload)));
        Ok((selector(self.points, self.filter)?, payload))
    }

    pub(crate) fn merge(self) -> Result<(PointSelector, Change), RestError> {
        let key = self.key.clone();
        let (points, update) = self.parts()?;
        let change = match key {
            Some(path) => PayloadChange::MergeAt { path, update },
            None => PayloadChange::Merge(update),
        };
        Ok((points, Change::Payload(change)))
    }

    pub(crate) fn overwrite(self) -> Result<(PointSelector, Change), RestError> {
        if self.key.is_some() {
            return Err(RestError::format("`key` goes with setting a payload, not with overwriting it"));
        }
        let (points, payload) = self.parts()?;
        Ok((points, Change::Payload(PayloadChange::Overwrite(payload))))
    }
}

impl DeletePayload {
    pub(crate) fn change(self) -> Result<(PointSelector, Change), RestError> {
        let points = selector(self.points, self.filter)?;
        Ok((points, Change::Payload(PayloadChange::DeleteKeys(self.keys))))
    }
}

pub(crate) async fn set(call: Call) -> Result<Answer, RestError> {
    let (points, change) = call.json::<SetPayload>()?.merge()?;
    changed(&call, points, change).await
}

pub(crate) async fn overwrite(call: Call) -> Result<Answer, RestError> {
    let (points, change) = call.json::<SetPayload>()?.overwrite()?;
    changed(&call, points, change).await
}

pub(crate) async fn delete_keys(call: Call) -> Result<Answer, RestError> {
    let (points, change) = call.json::<DeletePayload>()?.change()?;
    changed(&call, points, change).await
}

pub(crate) async fn clear(call: Call) -> Result<Answer, RestError> {
    let points = call.json::<PointsSelector>()?.selector()?;
    changed(&call, points, Change::Payload(PayloadChange::Clear)).await
}
