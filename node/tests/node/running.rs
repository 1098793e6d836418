//! A running node and its clients.

use std::time::Duration;

use engram_node::{Node, NodeConfig, RawConfig};
use engram_proto::v1::admin_client::AdminClient;
use engram_proto::v1::collections_client::CollectionsClient;
use engram_proto::v1::points_client::PointsClient;
use engram_proto::v1::retention_client::RetentionClient;
use engram_proto::v1::snapshots_client::SnapshotsClient;
use engram_proto::v1::{self, ErrorDetail};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};

pub struct Running {
    pub node: Node,
    pub channel: Channel,
    pub directory: TempDir,
}

/// Settings of a test: free ports, everything in `directory`.
pub fn settings(directory: &TempDir) -> RawConfig {
    let mut raw =
        RawConfig { data_dir: directory.path().join("data").display().to_string(), ..RawConfig::default() };
    raw.listen.grpc = "127.0.0.1:0".into();
    raw.listen.http = "127.0.0.1:0".into();
    raw.limits.drain_s = 2;
    raw
}

pub async fn start() -> Running {
    start_with(|_| ()).await
}

pub async fn start_with(edit: impl FnOnce(&mut RawConfig)) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let mut raw = settings(&directory);
    edit(&mut raw);
    let node = Node::start(NodeConfig::from_raw(&raw).unwrap()).await.unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", node.grpc_addr())).unwrap().connect_lazy();
    Running { node, channel, directory }
}

impl Running {
    pub fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone())
            .max_encoding_message_size(256 << 20)
            .max_decoding_message_size(64 << 20)
    }

    pub fn collections(&self) -> CollectionsClient<Channel> {
        CollectionsClient::new(self.channel.clone())
    }

    pub fn retention(&self) -> RetentionClient<Channel> {
        RetentionClient::new(self.channel.clone())
    }

    pub fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    pub fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    /// Creates a collection of two-dimensional euclidean vectors.
    pub async fn create(&self, name: &str) -> v1::Collection {
        self.collections().create_collection(definition(name)).await.unwrap().into_inner()
    }

    /// Status line and body of a `GET`.
    pub async fn get(&self, path: &str) -> (String, String) {
        let mut stream = tokio::net::TcpStream::connect(self.node.http_addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

pub fn definition(name: &str) -> v1::CreateCollectionRequest {
    v1::CreateCollectionRequest {
        name: name.into(),
        vectors: vec![field("", 2)],
        regions: vec!["eu".into(), "us".into()],
        shards_per_region: 2,
        ..Default::default()
    }
}

pub fn field(name: &str, dimension: u32) -> v1::VectorField {
    v1::VectorField { name: name.into(), dimension, metric: v1::Metric::Euclid.into(), ..Default::default() }
}

pub fn num(n: u64) -> v1::PointId {
    v1::PointId { kind: Some(v1::point_id::Kind::Num(n)) }
}

pub fn vector(values: &[f32]) -> v1::Vector {
    v1::Vector { values: values.to_vec(), ..Default::default() }
}

pub fn point(n: u64, values: &[f32], payload: &str) -> v1::Point {
    v1::Point {
        id: Some(num(n)),
        vectors: [(String::new(), vector(values))].into(),
        payload_json: payload.to_owned().into(),
        ..Default::default()
    }
}

pub fn upsert(collection: &str, points: Vec<v1::Point>) -> v1::UpsertRequest {
    v1::UpsertRequest { collection: collection.into(), points, wait: true, ..Default::default() }
}

/// Ids of points, as numbers.
pub fn numbers(points: &[v1::Point]) -> Vec<u64> {
    let number = |p: &v1::Point| match p.id.as_ref().unwrap().kind.as_ref().unwrap() {
        v1::point_id::Kind::Num(n) => *n,
        v1::point_id::Kind::Uuid(u) => panic!("{u}"),
    };
    points.iter().map(number).collect()
}

/// The details that every error carries.
pub fn detail(status: &tonic::Status) -> ErrorDetail {
    engram_node::status::detail_of(status).unwrap_or_else(|| panic!("no details: {status:?}"))
}
