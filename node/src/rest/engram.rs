//! Paths of our own under `/engram/v1/`: erasure, receipts, figures, flushes.

use std::sync::Arc;

use engram_query::database::PurgeScope;
use engram_storage::schema::CollectionSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::weight::Shape;
use crate::VERSION;
use crate::grpc::admin::shards;
use crate::metrics::{open_files, resident_bytes};

const DEFAULT_RECEIPTS: usize = 100;

/// What to erase.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PurgeBody {
    /// Only this collection.
    collection: Option<String>,
    /// Only this region.
    region: Option<String>,
    /// Points older than so many seconds; what the retention rules say where absent.
    older_than_s: Option<u64>,
    /// Answer when no live file holds the bytes any more, not when the purge is accepted.
    wait: bool,
    /// Count what would go and change nothing.
    dry_run: bool,
}

/// What a purge would erase.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct PurgePlanOut {
    collections: u64,
    shards: u64,
    points: u64,
    segments: u64,
    bytes: u64,
}

pub(crate) async fn purge(call: Call) -> Result<Answer, RestError> {
    let body: PurgeBody = call.json_or_default(Shape::Tree).await?;
    let age = body.older_than_s.map(|s| s.checked_mul(1000).and_then(|ms| i64::try_from(ms).ok()));
    let age_ms = match age {
        Some(None) => return Err(RestError::validation("older_than_s: is too large")),
        Some(Some(0)) => return Err(RestError::validation("older_than_s: must be 1 or larger")),
        Some(Some(ms)) => Some(ms),
        None => None,
    };
    let now = call.context.engine.clock().now_ms();
    let created_before = age_ms.map(|age| now.saturating_sub(age));
    let scope = PurgeScope { collection: body.collection, region: body.region, created_before };
    let (context, principal) = (call.context.clone(), call.principal);
    if body.dry_run {
        let plan = context.database.plan_purge(principal, scope).await?;
        return call.answer(&PurgePlanOut {
            collections: plan.collections,
            shards: plan.shards,
            points: plan.points,
            segments: plan.segments,
            bytes: plan.bytes,
        });
    }
    let receipt = finish(async move {
        let accepted = context.database.accept_purge(principal, scope).await?;
        let work = context.jobs.run_purge(&context.database, accepted.clone());
        if body.wait { Ok(work.await?) } else { Ok(accepted) }
    });
    let receipt = receipt.await?;
    call.answer(&receipt)
}

pub(crate) async fn receipts(call: Call) -> Result<Answer, RestError> {
    let limit = match call.parameter("limit") {
        None => DEFAULT_RECEIPTS,
        Some(text) => text.parse().map_err(|_| RestError::parameter("limit: is no whole number"))?,
    };
    let receipts = call.context.database.receipts(call.principal, limit).await?;
    call.answer(&json!({ "receipts": receipts }))
}

pub(crate) async fn receipt(call: Call) -> Result<Answer, RestError> {
    let receipt = call.context.database.receipt(call.principal, call.segment("id")).await?;
    call.answer(&receipt)
}

/// Of which collection; all where absent.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CollectionScope {
    collection: Option<String>,
}

fn named(call: &Call, name: Option<&str>) -> Result<Vec<Arc<CollectionSchema>>, RestError> {
    Ok(call.context.database.administered(call.principal, name.unwrap_or_default())?)
}

pub(crate) async fn stats(call: Call) -> Result<Answer, RestError> {
    let (mut collections, now) = (Vec::new(), call.context.engine.clock().now_ms());
    for schema in named(&call, call.parameter("collection"))? {
        let mut all = Vec::new();
        for shard in shards(&call.context, &schema).await? {
            let stats = shard.stats().await?;
            let shown = shard.points_shown(schema.retention_cutoff(&shard.key().region, now), now);
            let segments = stats.segments.iter().map(|s| {
                json!({ "id": s.id, "rows": s.rows, "deleted": s.deleted, "bytes": s.bytes, "graphs": s.graphs })
            });
            all.push(json!({
                "region": shard.key().region, "bucket": shard.key().bucket, "points": shown,
                // Past their time: no read sees them, and they wait to be erased.
                "hidden": stats.points.saturating_sub(shown),
                "memtable_rows": stats.memtable_rows, "memtable_bytes": stats.memtable_bytes,
                "log_bytes": stats.log_bytes, "applied_offset": stats.applied,
                "checkpoint_offset": stats.checkpoint, "epoch": stats.epoch,
                "manifest_version": stats.manifest_version, "state": stats.state,
                "indexed_vectors": stats.indexed_vectors, "pending_vectors": stats.pending_vectors,
                "segments": segments.collect::<Vec<_>>(),
            }));
        }
        collections.push(json!({ "name": schema.name, "id": schema.id.to_string(), "shards": all }));
    }
    call.answer(&json!({
        "version": VERSION,
        "uptime_s": call.context.started.elapsed().as_secs(),
        "resident_bytes": resident_bytes(),
        "open_files": open_files(),
        "collections": collections,
    }))
}

pub(crate) async fn flush(call: Call) -> Result<Answer, RestError> {
    let body: CollectionScope = call.json_or_default(Shape::Tree).await?;
    let (schemas, context) = (named(&call, body.collection.as_deref())?, call.context.clone());
    let flushed = finish(async move {
        let mut flushed = 0u64;
        for schema in schemas {
            for shard in shards(&context, &schema).await? {
                shard.flush().await?;
                flushed += 1;
            }
        }
        Ok(flushed)
    });
    let flushed = flushed.await?;
    call.answer(&json!({ "shards": flushed }))
}

pub(crate) async fn compact(call: Call) -> Result<Answer, RestError> {
    let body: CollectionScope = call.json_or_default(Shape::Tree).await?;
    let (schemas, context) = (named(&call, body.collection.as_deref())?, call.context.clone());
    let done = finish(async move {
        let (mut before, mut after) = (0, 0);
        for schema in schemas {
            for shard in shards(&context, &schema).await? {
                let (old, new) = shard.compact().await?;
                before += old;
                after += new;
            }
        }
        Ok((before, after))
    });
    let (before, after) = done.await?;
    call.answer(&json!({ "segments_before": before, "segments_after": after }))
}
