//! What is told of the cluster and of the process: one node, all shards its own.

use serde_json::json;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use crate::VERSION;
use crate::grpc::admin::shards;

pub(crate) async fn status(call: Call) -> Result<Answer, RestError> {
    call.answer(&json!({ "status": "disabled" }))
}

pub(crate) async fn of_collection(call: Call) -> Result<Answer, RestError> {
    let schema = call.schema()?;
    let (mut local, now) = (Vec::new(), call.context.engine.clock().now_ms());
    for shard in shards(&call.context, &schema).await? {
        let points = shard.points_shown(schema.retention_cutoff(&shard.key().region, now), now);
        // Regions one after the other, in the order of the collection.
        let region = schema.regions.iter().position(|region| *region == shard.key().region).unwrap_or(0);
        let id = region * schema.shards_per_region as usize + shard.key().bucket as usize;
        local.push(json!({ "shard_id": id, "points_count": points, "state": "Active" }));
    }
    call.answer(&json!({
        "peer_id": 0,
        "shard_count": schema.shards().count(),
        "local_shards": local,
        "remote_shards": [],
        "shard_transfers": [],
    }))
}

/// Shards are made by region and bucket; there are none by key.
pub(crate) async fn shard_keys(call: Call) -> Result<Answer, RestError> {
    call.schema()?;
    call.answer(&json!({ "shard_keys": [] }))
}

pub(crate) async fn telemetry(call: Call) -> Result<Answer, RestError> {
    let collections = call.context.database.collections(call.principal).len();
    call.answer(&json!({
        "id": "engram",
        "app": { "name": "engram", "version": VERSION },
        "collections": { "number_of_collections": collections },
    }))
}
