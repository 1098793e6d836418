//! All routes of the REST interface: the router, the description of it and the metrics are made of this table.

use axum::http::Method;

use super::route::{Route, list_of, lists_of, schema_of};
use super::update_result::UpdateResult;
use super::{
    absent, aliases, batch, cluster, collections, engram, facet, groups, index, openapi, payload,
    point_vectors, points, query, scroll, search, snapshot_file, snapshots, upsert,
};
use crate::access::Access;

/// `route!(access, METHOD path, name, tag, summary => handler)`, then what it takes and gives.
macro_rules! route {
    ($access:ident, $method:ident $path:literal, $name:literal, $tag:literal, $summary:literal => $handler:path) => {
        Route::new(Method::$method, (Access::$access, $path), ($name, $tag), $summary, |call| {
            Box::pin($handler(call))
        })
    };
}

/// The table.
pub(crate) static ROUTES: &[Route] = &[
    route!(Read, GET "/collections", "list_collections", "Collections", "Names of all collections" => collections::list)
        .gives(schema_of::<collections::CollectionsList>),
    route!(Read, GET "/collections/{collection_name}", "get_collection", "Collections", "Definition and figures of a collection" => collections::get)
        .gives(schema_of::<openapi::CollectionInfo>),
    route!(Admin, PUT "/collections/{collection_name}", "create_collection", "Collections", "Make a collection" => collections::create)
        .takes(schema_of::<collections::CreateCollection>)
        .gives(schema_of::<bool>),
    route!(Admin, PATCH "/collections/{collection_name}", "update_collection", "Collections", "Change a collection" => collections::update)
        .takes(schema_of::<collections::UpdateCollection>)
        .gives(schema_of::<bool>),
    route!(Admin, DELETE "/collections/{collection_name}", "delete_collection", "Collections", "Drop a collection with its points" => collections::drop)
        .gives(schema_of::<bool>),
    route!(Read, GET "/collections/{collection_name}/exists", "collection_exists", "Collections", "Whether there is such a collection" => collections::exists)
        .gives(schema_of::<collections::CollectionExists>),
    route!(Admin, PUT "/collections/{collection_name}/index", "create_field_index", "Collections", "Index a payload field" => index::create)
        .takes(schema_of::<index::CreateIndex>)
        .gives(schema_of::<UpdateResult>),
    route!(Admin, DELETE "/collections/{collection_name}/index/{field_name}", "delete_field_index", "Collections", "Drop a payload index" => index::delete)
        .gives(schema_of::<UpdateResult>),
    route!(Admin, PUT "/collections/{collection_name}/vectors/{vector_name}", "create_vector_name", "Collections", "Add a vector field" => index::create_vector)
        .takes(schema_of::<index::CreateVector>)
        .gives(schema_of::<UpdateResult>),
    route!(Admin, DELETE "/collections/{collection_name}/vectors/{vector_name}", "delete_vector_name", "Collections", "Take a vector field away" => index::delete_vector)
        .gives(schema_of::<UpdateResult>),
    route!(Admin, POST "/collections/aliases", "update_aliases", "Aliases", "Make, rename and delete aliases" => aliases::change)
        .takes(schema_of::<aliases::ChangeAliases>)
        .gives(schema_of::<bool>),
    route!(Read, GET "/aliases", "get_collections_aliases", "Aliases", "All aliases" => aliases::list)
        .gives(schema_of::<aliases::AliasesList>),
    route!(Read, GET "/collections/{collection_name}/aliases", "get_collection_aliases", "Aliases", "Aliases of a collection" => aliases::of_collection)
        .gives(schema_of::<aliases::AliasesList>),
    route!(Write, PUT "/collections/{collection_name}/points", "upsert_points", "Points", "Write points" => upsert::upsert)
        .takes(schema_of::<upsert::UpsertPoints>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Read, POST "/collections/{collection_name}/points", "get_points", "Points", "Points by their ids" => points::retrieve)
        .takes(schema_of::<points::RetrievePoints>)
        .gives(list_of::<openapi::Record>),
    route!(Read, GET "/collections/{collection_name}/points/{id}", "get_point", "Points", "One point" => points::get_one)
        .gives(schema_of::<openapi::Record>),
    route!(Write, POST "/collections/{collection_name}/points/delete", "delete_points", "Points", "Delete points by ids or a filter" => points::delete)
        .takes(schema_of::<points::PointsSelector>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, PUT "/collections/{collection_name}/points/vectors", "update_vectors", "Points", "Set vectors of points" => point_vectors::update)
        .takes(schema_of::<point_vectors::UpdateVectors>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, POST "/collections/{collection_name}/points/vectors/delete", "delete_vectors", "Points", "Take vectors out of points" => point_vectors::delete)
        .takes(schema_of::<point_vectors::DeleteVectors>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, POST "/collections/{collection_name}/points/payload", "set_payload", "Points", "Set keys of payloads" => payload::set)
        .takes(schema_of::<payload::SetPayload>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, PUT "/collections/{collection_name}/points/payload", "overwrite_payload", "Points", "Put payloads in place of others" => payload::overwrite)
        .takes(schema_of::<payload::SetPayload>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, POST "/collections/{collection_name}/points/payload/delete", "delete_payload", "Points", "Take keys out of payloads" => payload::delete_keys)
        .takes(schema_of::<payload::DeletePayload>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, POST "/collections/{collection_name}/points/payload/clear", "clear_payload", "Points", "Empty payloads" => payload::clear)
        .takes(schema_of::<points::PointsSelector>)
        .gives(schema_of::<UpdateResult>)
        .writes(),
    route!(Write, POST "/collections/{collection_name}/points/batch", "batch_update", "Points", "Several writes" => batch::batch)
        .takes(schema_of::<batch::UpdateOperations>)
        .gives(list_of::<UpdateResult>)
        .writes(),
    route!(Read, POST "/collections/{collection_name}/points/scroll", "scroll_points", "Points", "A page of points" => scroll::scroll)
        .takes(schema_of::<scroll::ScrollBody>)
        .gives(schema_of::<openapi::RecordPage>),
    route!(Read, POST "/collections/{collection_name}/points/count", "count_points", "Points", "Number of points" => scroll::count)
        .takes(schema_of::<scroll::CountBody>)
        .gives(schema_of::<scroll::CountResult>),
    route!(Read, POST "/collections/{collection_name}/facet", "facet", "Points", "How often values of a payload field occur" => facet::facet)
        .takes(schema_of::<facet::FacetBody>)
        .gives(schema_of::<facet::FacetHits>),
    route!(Read, POST "/collections/{collection_name}/points/query", "query_points", "Search", "Query: nearest, hybrid, recommend, order, formula" => query::query)
        .takes(schema_of::<query::QueryBody>)
        .gives(schema_of::<openapi::QueryResult>),
    route!(Read, POST "/collections/{collection_name}/points/query/batch", "query_batch_points", "Search", "Several queries" => query::batch)
        .takes(schema_of::<query::QueryBatch>)
        .gives(list_of::<openapi::QueryResult>),
    route!(Read, POST "/collections/{collection_name}/points/query/groups", "query_points_groups", "Search", "A query grouped by a payload field" => groups::groups)
        .takes(schema_of::<groups::GroupsBody>)
        .gives(schema_of::<openapi::GroupsResult>),
    route!(Read, POST "/collections/{collection_name}/points/search", "search_points", "Search", "Nearest points (older clients)" => search::search)
        .takes(schema_of::<search::SearchBody>)
        .gives(list_of::<openapi::ScoredPoint>),
    route!(Read, POST "/collections/{collection_name}/points/search/batch", "search_batch_points", "Search", "Several searches (older clients)" => search::batch)
        .takes(schema_of::<search::SearchBatch>)
        .gives(lists_of::<openapi::ScoredPoint>),
    route!(Read, POST "/collections/{collection_name}/points/search/matrix/pairs", "search_matrix_pairs", "Search", "Distances among a sample, as pairs" => facet::pairs)
        .takes(schema_of::<facet::MatrixBody>)
        .gives(schema_of::<facet::MatrixPairs>),
    route!(Read, POST "/collections/{collection_name}/points/search/matrix/offsets", "search_matrix_offsets", "Search", "Distances among a sample, as places" => facet::offsets)
        .takes(schema_of::<facet::MatrixBody>)
        .gives(schema_of::<facet::MatrixOffsets>),
    route!(Read, GET "/cluster", "cluster_status", "Cluster", "State of the cluster" => cluster::status),
    route!(Read, GET "/collections/{collection_name}/cluster", "collection_cluster_info", "Cluster", "Shards of a collection" => cluster::of_collection),
    route!(Read, GET "/collections/{collection_name}/shards", "list_shard_keys", "Cluster", "Shard keys, of which there are none" => cluster::shard_keys),
    route!(Read, GET "/telemetry", "telemetry", "Cluster", "What this server is" => cluster::telemetry),
    route!(Admin, PUT "/collections/{collection_name}/shards", "create_shard_key", "Cluster", "Make a shard key" => absent::only_in_a_cluster)
        .absent(),
    route!(Admin, POST "/collections/{collection_name}/shards/delete", "delete_shard_key", "Cluster", "Delete a shard key" => absent::only_in_a_cluster)
        .absent(),
    route!(Admin, POST "/collections/{collection_name}/cluster", "update_collection_cluster", "Cluster", "Move shards" => absent::only_in_a_cluster)
        .absent(),
    route!(Admin, GET "/cluster/telemetry", "cluster_telemetry", "Cluster", "What the cluster is" => absent::only_in_a_cluster)
        .absent(),
    route!(Admin, POST "/cluster/recover", "recover_current_peer", "Cluster", "Recover this peer" => absent::only_in_a_cluster)
        .absent(),
    route!(Admin, DELETE "/cluster/peer/{peer_id}", "remove_peer", "Cluster", "Take a peer out" => absent::only_in_a_cluster)
        .absent(),
    route!(Admin, GET "/collections/{collection_name}/snapshots", "list_snapshots", "Snapshots", "Snapshots of a collection, the oldest first" => snapshots::list)
        .gives(list_of::<snapshots::SnapshotDescription>),
    route!(Admin, POST "/collections/{collection_name}/snapshots", "create_snapshot", "Snapshots", "Make a snapshot" => snapshots::create)
        .gives(schema_of::<snapshots::SnapshotDescription>)
        .accepts(),
    route!(Admin, GET "/collections/{collection_name}/snapshots/{snapshot_name}", "get_snapshot", "Snapshots", "Download a snapshot" => snapshot_file::download)
        .gives_file(),
    route!(Admin, DELETE "/collections/{collection_name}/snapshots/{snapshot_name}", "delete_snapshot", "Snapshots", "Delete a snapshot" => snapshots::delete)
        .gives(schema_of::<bool>)
        .accepts(),
    route!(Admin, PUT "/collections/{collection_name}/snapshots/recover", "recover_from_snapshot", "Snapshots", "Make or replace a collection from a snapshot of the listing" => snapshots::recover)
        .takes(schema_of::<snapshots::RecoverBody>)
        .gives(schema_of::<bool>)
        .accepts(),
    route!(Admin, POST "/collections/{collection_name}/snapshots/upload", "recover_from_uploaded_snapshot", "Snapshots", "Make or replace a collection from a file" => snapshot_file::upload)
        .takes_file(schema_of::<snapshot_file::SnapshotForm>)
        .gives(schema_of::<bool>),
    route!(Admin, GET "/snapshots", "list_full_snapshots", "Snapshots", "Snapshots of all" => absent::not_implemented)
        .absent(),
    route!(Admin, POST "/snapshots", "create_full_snapshot", "Snapshots", "Make a snapshot of all" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/snapshots/{snapshot_name}", "get_full_snapshot", "Snapshots", "Download a snapshot of all" => absent::not_implemented)
        .absent(),
    route!(Admin, DELETE "/snapshots/{snapshot_name}", "delete_full_snapshot", "Snapshots", "Delete a snapshot of all" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/collections/{collection_name}/shards/{shard_id}/snapshots", "list_shard_snapshots", "Snapshots", "Snapshots of a shard" => absent::not_implemented)
        .absent(),
    route!(Admin, POST "/collections/{collection_name}/shards/{shard_id}/snapshots", "create_shard_snapshot", "Snapshots", "Make a snapshot of a shard" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}", "get_shard_snapshot", "Snapshots", "Download a snapshot of a shard" => absent::not_implemented)
        .absent(),
    route!(Admin, DELETE "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}", "delete_shard_snapshot", "Snapshots", "Delete a snapshot of a shard" => absent::not_implemented)
        .absent(),
    route!(Admin, PUT "/collections/{collection_name}/shards/{shard_id}/snapshots/recover", "recover_shard_from_snapshot", "Snapshots", "Recover a shard" => absent::not_implemented)
        .absent(),
    route!(Admin, POST "/collections/{collection_name}/shards/{shard_id}/snapshots/upload", "recover_shard_from_uploaded_snapshot", "Snapshots", "Recover a shard from an upload" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/collections/{collection_name}/shards/{shard_id}/snapshot", "stream_shard_snapshot", "Snapshots", "Stream a shard" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/collections/{collection_name}/optimizations", "get_optimizations", "Service", "Work in the background" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/quotas", "get_quotas", "Service", "Quotas" => absent::not_implemented)
        .absent(),
    route!(Admin, PUT "/quotas", "set_quotas", "Service", "Set quotas" => absent::not_implemented)
        .absent(),
    route!(Admin, GET "/issues", "get_issues", "Service", "Issues" => absent::not_implemented)
        .absent(),
    route!(Admin, DELETE "/issues", "clear_issues", "Service", "Clear issues" => absent::not_implemented)
        .absent(),
    route!(Admin, POST "/engram/v1/purge", "purge", "Engram", "Erase points for good" => engram::purge)
        .takes(schema_of::<engram::PurgeBody>),
    route!(Read, GET "/engram/v1/receipts", "list_receipts", "Engram", "Proofs of erasures, newest first" => engram::receipts),
    route!(Read, GET "/engram/v1/receipts/{id}", "get_receipt", "Engram", "One proof" => engram::receipt),
    route!(Admin, GET "/engram/v1/stats", "stats", "Engram", "Figures of shards and the process" => engram::stats),
    route!(Admin, POST "/engram/v1/flush", "flush", "Engram", "Write memtables to segments" => engram::flush)
        .takes(schema_of::<engram::CollectionScope>),
    route!(Admin, POST "/engram/v1/compact", "compact", "Engram", "Merge segments" => engram::compact)
        .takes(schema_of::<engram::CollectionScope>),
];
