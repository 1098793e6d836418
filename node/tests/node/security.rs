use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use engram_node::{Node, NodeConfig};
use engram_proto::v1;
use engram_proto::v1::collections_client::CollectionsClient;
use tokio::io::AsyncReadExt;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

use crate::running::{Running, detail, point, settings, start, start_with, upsert};

pub const KEY: &str = "0123456789abcdef0123456789abcdef";

pub async fn with_key() -> Running {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
    start_with(|raw| raw.auth.root_key_file = file.path().display().to_string()).await
}

fn list(header: Option<(&'static str, &str)>) -> Request<v1::ListCollectionsRequest> {
    let mut request = Request::new(v1::ListCollectionsRequest {});
    if let Some((name, value)) = header {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn with_a_root_key_only_its_holder_is_answered() {
    let running = with_key().await;
    let mut client = running.collections();
    for wrong in [None, Some(("api-key", "wrong")), Some(("authorization", "Bearer wrong"))] {
        let refused = client.list_collections(list(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(detail(&refused).code, "unauthenticated");
        assert!(!refused.message().contains(KEY));
    }
    client.list_collections(list(Some(("api-key", KEY)))).await.unwrap();
    client.list_collections(list(Some(("authorization", &format!("Bearer {KEY}"))))).await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(running.channel.clone());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn without_the_key_no_method_of_the_api_answers() {
    use prost::Message;
    let running = with_key().await;
    let files = prost_types::FileDescriptorSet::decode(engram_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut tried = 0;
    for service in files.file.iter().flat_map(|f| &f.service) {
        for method in &service.method {
            let path = format!("/engram.v1.{}/{}", service.name(), method.name());
            let mut grpc = tonic::client::Grpc::new(running.channel.clone());
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<v1::GetRequest, v1::GetResponse>::default();
            let request = Request::new(v1::GetRequest::default());
            let refused = grpc.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{path}");
            tried += 1;
        }
    }
    assert!(tried > 20);
}

#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused() {
    let running = start().await;
    let config = NodeConfig::from_raw(&settings(&running.directory)).unwrap();
    let refused = Node::start(config).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut raw = settings(&directory);
    raw.listen.grpc = running.node.grpc_addr().to_string();
    let refused = Node::start(NodeConfig::from_raw(&raw).unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("listen.grpc") && refused.contains("another program"), "{refused}");
}

#[tokio::test]
async fn tls_encrypts_both_fronts() {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let running = start_with(|raw| {
        raw.tls.cert = cert.display().to_string();
        raw.tls.key = key.display().to_string();
    })
    .await;

    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(made.cert.pem()))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", running.node.grpc_addr())).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    CollectionsClient::new(channel).list_collections(list(None)).await.unwrap();

    // Plain text is not understood.
    running.collections().list_collections(list(None)).await.unwrap_err();
    let mut stream = tokio::net::TcpStream::connect(running.node.http_addr()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_is_none_is_refused_by_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pem");
    std::fs::write(&file, "not a certificate").unwrap();
    let mut raw = settings(&directory);
    raw.tls.cert = file.display().to_string();
    raw.tls.key = file.display().to_string();
    let refused = Node::start(NodeConfig::from_raw(&raw).unwrap()).await.unwrap_err().to_string();
    assert!(refused.contains("tls."), "{refused}");
}

/// Also those of an earlier version, which made them for everyone.
#[tokio::test]
async fn files_of_the_server_are_its_users_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for open in [data.clone(), data.join("log"), data.join("objects")] {
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    }
    // Without it the directory is not the server's own, and stays as it is.
    std::fs::write(data.join("LOCK"), b"").unwrap();
    let node = Node::start(NodeConfig::from_raw(&settings(&directory)).unwrap()).await.unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", node.grpc_addr())).unwrap().connect_lazy();
    let running = Running { node, channel, directory };
    running.create("docs").await;
    running.points().upsert(upsert("docs", vec![point(1, &[1.0, 0.0], "{}")])).await.unwrap();
    running.admin().flush(v1::FlushRequest::default()).await.unwrap();
    let snapshot = v1::CreateSnapshotRequest { collection: "docs".into() };
    running.snapshots().create_snapshot(snapshot).await.unwrap();
    let (mut dirs, mut files) = (vec![data], 0);
    while let Some(dir) = dirs.pop() {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
                files += 1;
            }
        }
    }
    assert!(files > 6, "log, manifest, segment, snapshot, catalog and lock: {files}");
}
