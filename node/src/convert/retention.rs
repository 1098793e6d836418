//! Purges and their receipts.

use engram_proto::v1;
use engram_query::database::PurgeScope;
use engram_storage::catalog::{FileChange, Receipt};
use engram_storage::engine::PurgePlan;
use tonic::Status;

use crate::status::invalid;

pub(crate) fn purge(wire: &v1::PurgeRequest, now_ms: i64) -> Result<PurgeScope, Status> {
    let age_ms = wire.older_than_s.checked_mul(1000).and_then(|ms| i64::try_from(ms).ok());
    let Some(age_ms) = age_ms else {
        return Err(invalid("older_than_s", format!("{} is too large; give seconds", wire.older_than_s)));
    };
    Ok(PurgeScope {
        collection: (!wire.collection.is_empty()).then(|| wire.collection.clone()),
        region: (!wire.region.is_empty()).then(|| wire.region.clone()),
        created_before: (age_ms > 0).then(|| now_ms.saturating_sub(age_ms)),
    })
}

pub(crate) fn wire_plan(plan: &PurgePlan) -> v1::PurgePlan {
    v1::PurgePlan {
        collections: plan.collections,
        shards: plan.shards,
        points: plan.points,
        segments: plan.segments,
        bytes: plan.bytes,
    }
}

pub(crate) fn wire_receipt(receipt: Receipt) -> v1::Receipt {
    let change = |c: FileChange| v1::FileChange { path: c.path, bytes: c.bytes, blake3: c.blake3 };
    v1::Receipt {
        id: receipt.id,
        collection: receipt.collection,
        region: receipt.region,
        cutoff_ms: receipt.cutoff_ms,
        state: receipt.state,
        error: receipt.error,
        shards: receipt.shards,
        points_before: receipt.points_before,
        points_erased: receipt.points_erased,
        points_after: receipt.points_after,
        created: receipt.created.into_iter().map(change).collect(),
        removed: receipt.removed.into_iter().map(change).collect(),
        log_bytes_removed: receipt.log_bytes_removed,
        accepted_at_ms: receipt.accepted_at_ms,
        invisible_at_ms: receipt.invisible_at_ms,
        erased_at_ms: receipt.erased_at_ms,
        server_version: receipt.server_version,
        previous_hash: receipt.previous_hash,
        hash: receipt.hash,
    }
}
