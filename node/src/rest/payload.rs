//! Changes of payloads.

use axum::body::Bytes;
use engram_query::filter::Filter;
use engram_query::limits::MAX_PATHS;
use engram_query::request::{Change, PointSelector};
use engram_storage::op::PayloadChange;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::given::Given;
use super::points::{Ids, PointsSelector, changed, selector};
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::weight::Shape;

/// Payload to set on points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetPayload {
    /// Any JSON object.
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<super::openapi::PointIdSchema>>)]
    points: Option<Ids>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
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
    #[schema(value_type = Vec<String>)]
    keys: UpTo<String, MAX_PATHS>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<super::openapi::PointIdSchema>>)]
    points: Option<Ids>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
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
        Ok((points, Change::Payload(PayloadChange::DeleteKeys(self.keys.list("keys")?))))
    }
}

pub(crate) async fn set(call: Call) -> Result<Answer, RestError> {
    let (points, change) = call.json::<SetPayload>(Shape::Points).await?.merge()?;
    changed(&call, points, change).await
}

pub(crate) async fn overwrite(call: Call) -> Result<Answer, RestError> {
    let (points, change) = call.json::<SetPayload>(Shape::Points).await?.overwrite()?;
    changed(&call, points, change).await
}

pub(crate) async fn delete_keys(call: Call) -> Result<Answer, RestError> {
    let (points, change) = call.json::<DeletePayload>(Shape::Points).await?.change()?;
    changed(&call, points, change).await
}

pub(crate) async fn clear(call: Call) -> Result<Answer, RestError> {
    let points = call.json::<PointsSelector>(Shape::Points).await?.selector()?;
    changed(&call, points, Change::Payload(PayloadChange::Clear)).await
}
