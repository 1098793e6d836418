//! The API with short helpers.

use std::net::SocketAddr;
use std::time::Duration;

use engram_proto::v1::admin_client::AdminClient;
use engram_proto::v1::collections_client::CollectionsClient;
use engram_proto::v1::points_client::PointsClient;
use engram_proto::v1::retention_client::RetentionClient;
use engram_proto::v1::{
    BulkUpsertRequest, BulkUpsertResponse, Collection, CompactRequest, CompactResponse, CountRequest,
    CreateCollectionRequest, DeleteCollectionRequest, DeleteRequest, FlushRequest, GetRequest,
    ListCollectionsRequest, ListReceiptsRequest, Point, PointId, PurgeRequest, Receipt, ScoredPoint,
    ScrollRequest, SearchRequest, SetPayloadRequest, StatsRequest, StatsResponse, UpsertRequest,
    WriteResponse,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::wire;

/// Largest message, as the server has it.
const MESSAGE_BYTES: usize = 64 << 20;

/// A client; cloning shares the connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Collections and aliases.
    pub collections: CollectionsClient<Channel>,
    /// Points.
    pub points: PointsClient<Channel>,
    /// Purges and receipts.
    pub retention: RetentionClient<Channel>,
    /// Figures, flush, compaction.
    pub admin: AdminClient<Channel>,
}

impl Client {
    /// Connects to a server.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true);
        Ok(Self::over(endpoint.connect().await?))
    }

    /// A client over a connection.
    pub fn over(channel: Channel) -> Self {
        Self {
            collections: CollectionsClient::new(channel.clone()),
            points: PointsClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES),
            retention: RetentionClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES),
            admin: AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES),
        }
    }

    /// Creates a collection.
    ///
    /// # Errors
    /// The server's.
    pub async fn create(&self, request: CreateCollectionRequest) -> Result<Collection, Status> {
        Ok(self.collections.clone().create_collection(request).await?.into_inner())
    }

    /// Creates a collection of one default vector field in the default region.
    ///
    /// # Errors
    /// The server's.
    pub async fn create_simple(
        &self,
        name: &str,
        dimension: u32,
        metric: engram_proto::v1::Metric,
    ) -> Result<Collection, Status> {
        let vectors = vec![wire::field("", dimension, metric)];
        self.create(CreateCollectionRequest { name: name.into(), vectors, ..Default::default() }).await
    }

    /// All collections.
    ///
    /// # Errors
    /// The server's.
    pub async fn list(&self) -> Result<Vec<Collection>, Status> {
        Ok(self
            .collections
            .clone()
            .list_collections(ListCollectionsRequest {})
            .await?
            .into_inner()
            .collections)
    }

    /// Drops a collection.
    ///
    /// # Errors
    /// The server's.
    pub async fn drop_collection(&self, name: &str) -> Result<bool, Status> {
        let request = DeleteCollectionRequest { name: name.into() };
        Ok(self.collections.clone().delete_collection(request).await?.into_inner().existed)
    }

    /// Writes points and waits until they are searchable.
    ///
    /// # Errors
    /// The server's.
    pub async fn upsert(&self, collection: &str, points: Vec<Point>) -> Result<WriteResponse, Status> {
        let request =
            UpsertRequest { collection: collection.into(), points, wait: true, ..Default::default() };
        self.upsert_with(request).await
    }

    /// Writes points.
    ///
    /// # Errors
    /// The server's.
    pub async fn upsert_with(&self, request: UpsertRequest) -> Result<WriteResponse, Status> {
        Ok(self.points.clone().upsert(request).await?.into_inner())
    }

    /// Sends batches through one stream and returns their acknowledgements.
    ///
    /// # Errors
    /// The server's.
    pub async fn bulk(&self, batches: Vec<BulkUpsertRequest>) -> Result<Vec<BulkUpsertResponse>, Status> {
        let mut answers = self.points.clone().bulk_upsert(tokio_stream::iter(batches)).await?.into_inner();
        let mut acks = Vec::new();
        while let Some(ack) = answers.message().await? {
            acks.push(ack);
        }
        Ok(acks)
    }

    /// Deletes points by number and waits until they are gone.
    ///
    /// # Errors
    /// The server's.
    pub async fn delete(&self, collection: &str, ids: &[u64]) -> Result<WriteResponse, Status> {
        let ids = ids.iter().map(|n| wire::num(*n)).collect();
        self.delete_with(DeleteRequest {
            collection: collection.into(),
            ids,
            wait: true,
            ..Default::default()
        })
        .await
    }

    /// Deletes points.
    ///
    /// # Errors
    /// The server's.
    pub async fn delete_with(&self, request: DeleteRequest) -> Result<WriteResponse, Status> {
        Ok(self.points.clone().delete(request).await?.into_inner())
    }

    /// Changes payloads.
    ///
    /// # Errors
    /// The server's.
    pub async fn set_payload(&self, request: SetPayloadRequest) -> Result<WriteResponse, Status> {
        Ok(self.points.clone().set_payload(request).await?.into_inner())
    }

    /// Reads points with everything.
    ///
    /// # Errors
    /// The server's.
    pub async fn get(&self, collection: &str, ids: Vec<PointId>) -> Result<Vec<Point>, Status> {
        let request =
            GetRequest { collection: collection.into(), ids, selection: wire::everything(), token: None };
        Ok(self.points.clone().get(request).await?.into_inner().points)
    }

    /// Reads points by number with everything.
    ///
    /// # Errors
    /// The server's.
    pub async fn get_nums(&self, collection: &str, ids: &[u64]) -> Result<Vec<Point>, Status> {
        self.get(collection, ids.iter().map(|n| wire::num(*n)).collect()).await
    }

    /// Searches.
    ///
    /// # Errors
    /// The server's.
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<ScoredPoint>, Status> {
        Ok(self.points.clone().search(request).await?.into_inner().hits)
    }

    /// Counts the points of a collection.
    ///
    /// # Errors
    /// The server's.
    pub async fn count(&self, collection: &str) -> Result<u64, Status> {
        self.count_with(CountRequest { collection: collection.into(), ..Default::default() }).await
    }

    /// Counts points.
    ///
    /// # Errors
    /// The server's.
    pub async fn count_with(&self, request: CountRequest) -> Result<u64, Status> {
        Ok(self.points.clone().count(request).await?.into_inner().count)
    }

    /// All points of a collection with everything, page by page.
    ///
    /// # Errors
    /// The server's.
    pub async fn scroll_all(&self, collection: &str, page: u32) -> Result<Vec<Point>, Status> {
        let first = ScrollRequest {
            collection: collection.into(),
            limit: page,
            selection: wire::everything(),
            ..Default::default()
        };
        self.scroll_pages(first).await
    }

    /// All points from a first page on.
    ///
    /// # Errors
    /// The server's; `Internal` where the pages do not end.
    pub async fn scroll_pages(&self, mut request: ScrollRequest) -> Result<Vec<Point>, Status> {
        let mut all = Vec::new();
        for _ in 0..1_000_000 {
            let page = self.points.clone().scroll(request.clone()).await?.into_inner();
            all.extend(page.points);
            match page.next {
                Some(next) => request.from = Some(next),
                None => return Ok(all),
            }
        }
        Err(Status::internal("the pages of the scroll do not end"))
    }

    /// Seals memtables into segments (empty: of all collections).
    ///
    /// # Errors
    /// The server's.
    pub async fn flush(&self, collection: &str) -> Result<u64, Status> {
        let request = FlushRequest { collection: collection.into() };
        Ok(self.admin.clone().flush(request).await?.into_inner().shards)
    }

    /// Merges segments (empty: of all collections).
    ///
    /// # Errors
    /// The server's.
    pub async fn compact(&self, collection: &str) -> Result<CompactResponse, Status> {
        let request = CompactRequest { collection: collection.into() };
        Ok(self.admin.clone().compact(request).await?.into_inner())
    }

    /// Figures (empty: of all collections).
    ///
    /// # Errors
    /// The server's.
    pub async fn stats(&self, collection: &str) -> Result<StatsResponse, Status> {
        Ok(self.admin.clone().stats(StatsRequest { collection: collection.into() }).await?.into_inner())
    }

    /// Erases.
    ///
    /// # Errors
    /// The server's.
    pub async fn purge(&self, request: PurgeRequest) -> Result<Receipt, Status> {
        Ok(self.retention.clone().purge(request).await?.into_inner())
    }

    /// The newest receipts, newest first.
    ///
    /// # Errors
    /// The server's.
    pub async fn receipts(&self, limit: u32) -> Result<Vec<Receipt>, Status> {
        Ok(self.retention.clone().list_receipts(ListReceiptsRequest { limit }).await?.into_inner().receipts)
    }
}

/// Stable code and sentence of an error, from its trailer.
pub fn detail(status: &Status) -> (String, String) {
    engram_node::status::detail_of(status)
        .map_or_else(|| (String::new(), status.message().to_owned()), |detail| (detail.code, detail.message))
}
