//! `engram.v1.Admin`.

use std::sync::Arc;

use engram_proto::v1;
use engram_proto::v1::admin_server::Admin;
use engram_query::request::Principal;
use engram_storage::schema::CollectionSchema;
use engram_storage::shard::{Shard, ShardStats};
use tonic::{Request, Response, Status};

use super::{Context, principal, to_the_end};
use crate::VERSION;
use crate::metrics::{open_files, resident_bytes};
use crate::status::{from_query, from_storage};

pub(crate) struct AdminService(pub(crate) Arc<Context>);

impl AdminService {
    /// The collection of this name, or all that the principal sees.
    fn named(&self, principal: Principal, name: &str) -> Result<Vec<Arc<CollectionSchema>>, Status> {
        self.0.database.administered(principal, name).map_err(|e| from_query(&e))
    }
}

/// Shards that hold anything; the others are not opened for the question.
pub(crate) async fn shards(context: &Context, schema: &CollectionSchema) -> Result<Vec<Arc<Shard>>, Status> {
    let mut found = Vec::new();
    for key in schema.shards() {
        found.extend(context.engine.existing_shard(&key).await.map_err(from_storage)?);
    }
    Ok(found)
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn stats(&self, request: Request<v1::StatsRequest>) -> Result<Response<v1::StatsResponse>, Status> {
        let principal = principal(&request)?;
        let schemas = self.named(principal, &request.get_ref().collection)?;
        let mut collections = Vec::with_capacity(schemas.len());
        for schema in schemas {
            let mut collection = v1::CollectionStats { name: schema.name.clone(), ..Default::default() };
            for shard in shards(&self.0, &schema).await? {
                let stats = shard.stats().await.map_err(from_storage)?;
                collection.points += stats.points;
                collection.indexed_vectors += stats.indexed_vectors;
                collection.pending_vectors += stats.pending_vectors;
                collection.shards.push(wire_shard(&shard, stats));
            }
            collections.push(collection);
        }
        Ok(Response::new(v1::StatsResponse {
            version: VERSION.to_owned(),
            uptime_s: self.0.started.elapsed().as_secs(),
            collections,
            // What all tenants use together is nothing for one of them.
            resident_bytes: if principal.is_root() { resident_bytes() } else { 0 },
            open_files: if principal.is_root() { open_files() } else { 0 },
        }))
    }

    async fn flush(&self, request: Request<v1::FlushRequest>) -> Result<Response<v1::FlushResponse>, Status> {
        let schemas = self.named(principal(&request)?, &request.get_ref().collection)?;
        let context = self.0.clone();
        to_the_end(async move {
            let mut flushed = 0;
            for schema in schemas {
                for shard in shards(&context, &schema).await? {
                    shard.flush().await.map_err(from_storage)?;
                    flushed += 1;
                }
            }
            Ok(Response::new(v1::FlushResponse { shards: flushed }))
        })
        .await
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let schemas = self.named(principal(&request)?, &request.get_ref().collection)?;
        let context = self.0.clone();
        to_the_end(async move {
            let mut answer = v1::CompactResponse::default();
            for schema in schemas {
                for shard in shards(&context, &schema).await? {
                    let (before, after) = shard.compact().await.map_err(from_storage)?;
                    answer.segments_before += before as u64;
                    answer.segments_after += after as u64;
                }
            }
            Ok(Response::new(answer))
        })
        .await
    }
}

fn wire_shard(shard: &Shard, stats: ShardStats) -> v1::ShardStats {
    let segments = stats.segments.into_iter().map(|s| v1::SegmentStats {
        id: s.id,
        rows: s.rows,
        deleted: s.deleted,
        bytes: s.bytes,
        graphs: s.graphs,
    });
    v1::ShardStats {
        region: shard.key().region.to_string(),
        bucket: shard.key().bucket,
        points: stats.points,
        memtable_rows: stats.memtable_rows,
        memtable_bytes: stats.memtable_bytes,
        log_bytes: stats.log_bytes,
        applied_offset: stats.applied,
        checkpoint_offset: stats.checkpoint,
        epoch: stats.epoch,
        manifest_version: stats.manifest_version,
        segments: segments.collect(),
        state: stats.state.to_owned(),
    }
}
