//! "A point's region never changes", in collections with several regions.
//!
//! An id has one shard per region: the same bucket of each. Before a write of such a collection is routed, its ids are
//! looked up in all of them. From the look-up until the record is durable the ids are held by striped locks, and every
//! look-up waits until what is durable in a shard is applied there. So two concurrent upserts of one id in two regions
//! cannot both win, whether or not they wait for their own application.
//!
//! Nothing of a point but its id ever reaches the shard of another region, not even for an instant.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use engram_storage::op::{ConditionalOp, Op, OpBatch};
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionId, ShardKey};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Writer, write_shard};
use crate::error::{QueryError, Result};
use crate::local::rows::{Place, locate};

/// Locks; a power of two.
const STRIPES: usize = 1024;

/// Striped locks over (collection, id).
pub(crate) struct Stripes(Vec<Arc<Mutex<()>>>);

impl Stripes {
    /// Free locks.
    pub fn new() -> Self {
        Self((0..STRIPES).map(|_| Arc::default()).collect())
    }

    /// Holds the stripes of `ids`. They are taken in ascending order, so two writers never wait for each other.
    pub(super) async fn hold(&self, writer: &Writer, ids: &[PointId]) -> Result<Vec<OwnedMutexGuard<()>>> {
        let wanted: BTreeSet<usize> = ids.iter().map(|id| stripe(&writer.schema.id, id)).collect();
        let held = async {
            let mut held = Vec::with_capacity(wanted.len());
            for stripe in wanted {
                held.push(self.0[stripe].clone().lock_owned().await);
            }
            held
        };
        tokio::time::timeout(writer.timeout, held).await.map_err(|_| QueryError::Unavailable {
            code: "overloaded",
            message: "other writes to the same points are still under way; nothing was written, try again"
                .to_owned(),
        })
    }
}

fn stripe(collection: &CollectionId, id: &PointId) -> usize {
    // Ids spread by their bucket hash; the collection shifts them, so that equal ids of two collections rarely meet.
    let shift = collection.0.as_u128() as u32;
    (id.bucket(u32::MAX).wrapping_add(shift) as usize) % STRIPES
}

/// A shard in which an id is alive.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub id: PointId,
    pub shard: ShardKey,
    /// False where it has expired or aged out: no read shows it any more.
    pub shown: bool,
}

/// Where `ids` are alive, over all regions. Ids that are nowhere are not in the map.
pub(super) async fn homes(writer: &Writer, ids: &[PointId]) -> Result<HashMap<PointId, Vec<Home>>> {
    let mut by_bucket: HashMap<u32, BTreeSet<PointId>> = HashMap::new();
    for id in ids {
        by_bucket.entry(id.bucket(writer.schema.shards_per_region)).or_default().insert(*id);
    }
    let now = writer.now();
    let mut homes: HashMap<PointId, Vec<Home>> = HashMap::new();
    for (bucket, ids) in by_bucket {
        for region in &writer.schema.regions {
            let key = writer.schema.shard(region, bucket);
            let Some(shard) = writer.engine.existing_shard(&key).await? else { continue };
            shard.wait_applied(shard.tail(), writer.deadline()).await?;
            let snapshot = shard.snapshot();
            let cutoff = writer.schema.retention_cutoff(region, now);
            for id in &ids {
                let Some(Place { run, ordinal }) = locate(&snapshot, id) else { continue };
                let meta = snapshot.runs[run].run.meta(ordinal);
                let shown =
                    cutoff.is_none_or(|c| meta.created_at >= c) && meta.expires_at.is_none_or(|at| at > now);
                homes.entry(*id).or_default().push(Home { id: *id, shard: key.clone(), shown });
            }
        }
    }
    Ok(homes)
}

/// Deletes points that no read shows any more, so that their ids are free for another region.
pub(super) async fn bury(writer: &Writer, expired: Vec<Home>) -> Result<()> {
    let mut by_shard: HashMap<ShardKey, Vec<ConditionalOp>> = HashMap::new();
    for Home { id, shard, .. } in expired {
        by_shard.entry(shard).or_default().push(ConditionalOp { op: Op::Delete(id), if_version: None });
    }
    for (shard, ops) in by_shard {
        write_shard(&writer.engine, &shard, OpBatch { ops, idempotency: None }, true).await?;
    }
    Ok(())
}
