//! One gRPC client, as an application has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use engram_proto::v1;
use engram_proto::v1::admin_client::AdminClient;
use engram_proto::v1::point_id::Kind;
use engram_proto::v1::points_client::PointsClient;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Largest answer taken.
const MAX_MESSAGE: usize = 64 << 20;

/// What a search asks beyond its vector.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Collection.
    pub collection: String,
    /// Results.
    pub k: usize,
    /// Candidate list; the server's default where absent.
    pub ef: Option<usize>,
    /// Compare with every vector.
    pub exact: bool,
}

impl Ask {
    /// The request on the wire.
    pub fn wire(&self, query: &[f32]) -> v1::SearchRequest {
        let bytes: Vec<u8> = query.iter().flat_map(|x| x.to_le_bytes()).collect();
        let ef = self.ef.map_or(0, |ef| u32::try_from(ef).unwrap_or(u32::MAX));
        v1::SearchRequest {
            collection: self.collection.clone(),
            vector: Some(v1::Vector { f32le: bytes.into(), ..Default::default() }),
            k: u32::try_from(self.k).unwrap_or(u32::MAX),
            params: Some(v1::SearchParams { ef, exact: self.exact, recall: None }),
            ..Default::default()
        }
    }
}

/// Clients of the services over one connection.
#[derive(Clone, Debug)]
pub struct Client {
    points: PointsClient<Channel>,
    admin: AdminClient<Channel>,
    health: HealthClient<Channel>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        let channel = endpoint.connect().await.context("connect to the server")?;
        Ok(Self {
            points: PointsClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            admin: AdminClient::new(channel.clone()),
            health: HealthClient::new(channel),
        })
    }

    /// An empty call: what the way there and back costs.
    ///
    /// # Errors
    /// Where it fails.
    pub async fn health(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let answer =
            self.health.check(HealthCheckRequest { service: String::new() }).await.map_err(refused)?;
        let time = start.elapsed();
        // 1 is SERVING.
        if answer.into_inner().status != 1 {
            bail!("the server says that it does not serve");
        }
        Ok(time)
    }

    /// A search with its time (the request is made before the clock runs) and the server's own time.
    ///
    /// # Errors
    /// What the server says.
    pub async fn search(&mut self, request: v1::SearchRequest) -> Result<(Vec<u64>, Duration, Duration)> {
        let start = Instant::now();
        let answer = self.points.search(request).await.map_err(refused)?;
        let time = start.elapsed();
        let answer = answer.into_inner();
        let inside = Duration::from_micros(answer.took_us);
        Ok((numbers(&answer)?, time, inside))
    }

    /// Many searches in one call, with the server's own time.
    ///
    /// # Errors
    /// What the server says.
    pub async fn batch_search(
        &mut self,
        searches: Vec<v1::SearchRequest>,
    ) -> Result<(Vec<Vec<u64>>, Duration)> {
        let request = v1::BatchSearchRequest { searches };
        let answer = self.points.batch_search(request).await.map_err(refused)?.into_inner();
        let took = answer.results.first().map_or(0, |answer| answer.took_us);
        Ok((answer.results.iter().map(numbers).collect::<Result<_>>()?, Duration::from_micros(took)))
    }

    /// Number of points of a collection.
    ///
    /// # Errors
    /// What the server says.
    pub async fn count(&mut self, collection: &str) -> Result<u64> {
        let request = v1::CountRequest { collection: collection.to_owned(), ..Default::default() };
        Ok(self.points.count(request).await.map_err(refused)?.into_inner().count)
    }

    /// Seals memtables.
    ///
    /// # Errors
    /// What the server says.
    pub async fn flush(&mut self, collection: &str) -> Result<()> {
        self.admin.flush(v1::FlushRequest { collection: collection.to_owned() }).await.map_err(refused)?;
        Ok(())
    }

    /// Merges segments and builds what is missing.
    ///
    /// # Errors
    /// What the server says.
    pub async fn compact(&mut self, collection: &str) -> Result<()> {
        self.admin
            .compact(v1::CompactRequest { collection: collection.to_owned() })
            .await
            .map_err(refused)?;
        Ok(())
    }

    /// Statistics of one collection.
    ///
    /// # Errors
    /// What the server says.
    pub async fn stats(&mut self, collection: &str) -> Result<v1::CollectionStats> {
        let request = v1::StatsRequest { collection: collection.to_owned() };
        let answer = self.admin.stats(request).await.map_err(refused)?.into_inner();
        answer.collections.into_iter().next().context("no statistics of the collection")
    }
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow!("{}: {}", status.code(), status.message())
}

/// Ids of an answer.
pub(crate) fn numbers(answer: &v1::SearchResponse) -> Result<Vec<u64>> {
    let id = |hit: &v1::ScoredPoint| match hit.point.as_ref()?.id.as_ref()?.kind.as_ref()? {
        Kind::Num(number) => Some(*number),
        Kind::Uuid(_) => None,
    };
    answer.hits.iter().map(|hit| id(hit).context("an answer has no number as id")).collect()
}
