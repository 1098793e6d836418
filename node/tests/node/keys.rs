//! Keys over gRPC: made, used, rotated, revoked, and never shown again.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engram_node::{Node, NodeConfig};
use engram_proto::v1;
use engram_proto::v1::keys_client::KeysClient;
use engram_storage::catalog::ApiKey;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::running::{Running, definition, detail, point, settings, start, upsert};
use crate::security::{KEY, with_key};

fn by<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("api-key", key.parse().unwrap());
    request
}

fn for_tenant<T>(tenant: &str, message: T) -> Request<T> {
    let mut request = by(KEY, message);
    request.metadata_mut().insert("engram-tenant", tenant.parse().unwrap());
    request
}

fn client(running: &Running) -> KeysClient<Channel> {
    KeysClient::new(running.channel.clone())
}

fn new_key(role: v1::KeyRole) -> v1::CreateKeyRequest {
    v1::CreateKeyRequest {
        name: "test".into(),
        role: role.into(),
        all_collections: true,
        ..Default::default()
    }
}

/// Tenant acme and its admin key.
async fn acme(running: &Running) -> v1::NewKey {
    let mut keys = client(running);
    keys.create_tenant(by(KEY, v1::CreateTenantRequest { name: "acme".into() })).await.unwrap();
    let new = new_key(v1::KeyRole::Admin);
    keys.create_key(for_tenant("acme", new)).await.unwrap().into_inner()
}

async fn count(running: &Running, key: &str) -> Result<u64, tonic::Status> {
    let request = v1::CountRequest { collection: "docs".into(), ..Default::default() };
    running.points().count(by(key, request)).await.map(|answer| answer.into_inner().count)
}

#[tokio::test]
async fn a_tenant_works_with_keys_of_its_own() {
    let running = with_key().await;
    let admin = acme(&running).await.secret;
    running.collections().create_collection(by(&admin, definition("docs"))).await.unwrap();
    let mut keys = client(&running);
    let made = keys.create_key(by(&admin, new_key(v1::KeyRole::Write))).await.unwrap().into_inner();
    let points = upsert("docs", vec![point(1, &[0.0, 0.0], "{}")]);
    running.points().upsert(by(&made.secret, points)).await.unwrap();
    assert_eq!(count(&running, &made.secret).await.unwrap(), 1);
    // The root acts for the default tenant unless it names another.
    assert_eq!(count(&running, KEY).await.unwrap_err().code(), Code::NotFound);
    let request = v1::CountRequest { collection: "docs".into(), ..Default::default() };
    let seen = running.points().count(for_tenant("acme", request)).await.unwrap().into_inner().count;
    assert_eq!(seen, 1);
    let listed = keys.list_keys(by(&admin, v1::ListKeysRequest {})).await.unwrap().into_inner().keys;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|key| key.last_used_ms.is_some() && key.secrets == 1), "{listed:?}");
    let of_default = keys.list_keys(by(KEY, v1::ListKeysRequest {})).await.unwrap().into_inner().keys;
    assert!(of_default.is_empty());
    let used_by_a_tenant = running.admin().stats(by(&admin, v1::StatsRequest::default())).await.unwrap();
    assert_eq!(used_by_a_tenant.into_inner().resident_bytes, 0, "what all use together is not told");
}

#[tokio::test]
async fn what_makes_no_sense_is_named() {
    let running = with_key().await;
    let mut keys = client(&running);
    let good = new_key(v1::KeyRole::Read);
    for (field, bad) in [
        ("role", v1::CreateKeyRequest { role: 0, ..good.clone() }),
        ("role", v1::CreateKeyRequest { role: 9, ..good.clone() }),
        ("collections", v1::CreateKeyRequest { all_collections: false, ..good.clone() }),
        ("collections", v1::CreateKeyRequest { collections: vec!["a".into()], ..good.clone() }),
        ("expires_in_s", v1::CreateKeyRequest { expires_in_s: u64::MAX, ..good.clone() }),
        ("name", v1::CreateKeyRequest { name: String::new(), ..good.clone() }),
    ] {
        let refused = keys.create_key(by(KEY, bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
    for id in ["", "x", "00000000000000FF", "00000000000000ff0"] {
        let refused = keys.revoke_key(by(KEY, v1::RevokeKeyRequest { id: id.into() })).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{id}");
    }
    let made = keys.create_key(by(KEY, good)).await.unwrap().into_inner().key.unwrap();
    let long = v1::RotateKeyRequest { id: made.id, grace_s: u64::MAX };
    assert_eq!(keys.rotate_key(by(KEY, long)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_rotated_key_has_two_secrets_and_a_revoked_one_none() {
    let running = with_key().await;
    let admin = acme(&running).await;
    running.collections().create_collection(by(&admin.secret, definition("docs"))).await.unwrap();
    let id = admin.key.unwrap().id;
    let mut keys = client(&running);
    // A key may rotate itself.
    let rotate = v1::RotateKeyRequest { id: id.clone(), grace_s: 3_600 };
    let second = keys.rotate_key(by(&admin.secret, rotate)).await.unwrap().into_inner();
    let told = second.key.unwrap();
    assert_eq!((told.id.as_str(), told.secrets), (id.as_str(), 2));
    assert!(told.earlier_secret_ends_ms.is_some());
    count(&running, &admin.secret).await.unwrap();
    count(&running, &second.secret).await.unwrap();
    let now = v1::RotateKeyRequest { id: id.clone(), grace_s: 0 };
    let third = keys.rotate_key(by(&second.secret, now)).await.unwrap().into_inner();
    for old in [&admin.secret, &second.secret] {
        assert_eq!(count(&running, old).await.unwrap_err().code(), Code::Unauthenticated);
    }
    count(&running, &third.secret).await.unwrap();
    let revoke = v1::RevokeKeyRequest { id };
    assert!(keys.revoke_key(for_tenant("acme", revoke)).await.unwrap().into_inner().revoked);
    let refused = count(&running, &third.secret).await.unwrap_err();
    let unknown = count(&running, "engram_0000000000000000_0").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (unknown.code(), unknown.message()));
}

#[tokio::test]
async fn a_stream_that_was_let_in_ends_when_its_key_is_revoked() {
    let running = with_key().await;
    let admin = acme(&running).await;
    running.collections().create_collection(by(&admin.secret, definition("docs"))).await.unwrap();
    let batch = |number: u64| v1::BulkUpsertRequest {
        collection: "docs".into(),
        batch: number,
        count: 1,
        num_ids: vec![number],
        vectors: vec![v1::VectorColumn { f32le: vec![0; 8].into(), ..Default::default() }],
        regions: vec!["us".into()],
        ..Default::default()
    };
    let (send, batches) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(batches);
    send.send(batch(1)).await.unwrap();
    let mut answers = running.points().bulk_upsert(by(&admin.secret, stream)).await.unwrap().into_inner();
    answers.next().await.unwrap().unwrap();
    let revoke = v1::RevokeKeyRequest { id: admin.key.unwrap().id };
    client(&running).revoke_key(for_tenant("acme", revoke)).await.unwrap();
    send.send(batch(2)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), answers.next()).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    let request = v1::CountRequest { collection: "docs".into(), ..Default::default() };
    let stored = running.points().count(for_tenant("acme", request)).await.unwrap().into_inner().count;
    assert_eq!(stored, 1);
}

#[tokio::test]
async fn keys_survive_a_restart_and_keep_the_server_closed() {
    let Running { node, directory, .. } = with_key().await;
    let root = engram_query::request::Principal::root(engram_storage::schema::DEFAULT_TENANT);
    let new = engram_storage::engine::NewKey {
        tenant: root.tenant,
        name: "k".into(),
        role: engram_storage::catalog::Role::Admin,
        scope: engram_storage::catalog::Scope::All,
        expires_at: None,
    };
    let (key, text) = node.database().create_key(root, new).await.unwrap();
    assert!(node.engine().authenticate(text.expose().as_bytes()).is_some());
    let used = node.engine().keys(root.tenant)[0].last_used;
    assert!(used.is_some());
    node.shutdown().await;

    // Without a root key in the configuration, the keys that are there still rule.
    let node = Node::start(NodeConfig::from_raw(&settings(&directory)).unwrap()).await.unwrap();
    assert_eq!(node.engine().keys(root.tenant)[0].last_used, used, "stored at shutdown");
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.grpc_addr())).unwrap();
    let running = Running { node, channel: endpoint.connect_lazy(), directory };
    let anonymous = running.collections().list_collections(v1::ListCollectionsRequest {}).await;
    assert_eq!(anonymous.unwrap_err().code(), Code::Unauthenticated);
    let list = || v1::ListCollectionsRequest {};
    running.collections().list_collections(by(text.expose(), list())).await.unwrap();
    let tenants = client(&running).list_tenants(by(text.expose(), v1::ListTenantsRequest {})).await;
    assert_eq!(tenants.unwrap_err().code(), Code::PermissionDenied, "an admin is no root");
    let revoke = v1::RevokeKeyRequest { id: key.id.to_string() };
    client(&running).revoke_key(by(text.expose(), revoke)).await.unwrap();
    let refused = running.collections().list_collections(by(text.expose(), list())).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated, "a revoked key does not open the server");
}

#[tokio::test]
async fn an_open_server_makes_no_keys_and_knows_one_tenant() {
    let running = start().await;
    running.create("docs").await;
    let mut keys = client(&running);
    let refused = keys.create_key(new_key(v1::KeyRole::Admin)).await.unwrap_err();
    assert_eq!(detail(&refused).code, "no_root_key");
    let refused = keys.create_tenant(v1::CreateTenantRequest { name: "acme".into() }).await.unwrap_err();
    assert_eq!(detail(&refused).code, "no_root_key");
    let tenants = keys.list_tenants(v1::ListTenantsRequest {}).await.unwrap().into_inner().tenants;
    assert_eq!(tenants.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["default"]);
    let list = |tenant: &str| {
        let mut request = Request::new(v1::ListCollectionsRequest {});
        request.metadata_mut().insert("engram-tenant", tenant.parse().unwrap());
        request
    };
    running.collections().list_collections(list("default")).await.unwrap();
    let refused = running.collections().list_collections(list("acme")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

/// Log lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn files(at: &std::path::Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
}

/// The runtime of this test has one thread, so that all of the server's lines of it come to the one subscriber.
#[tokio::test]
async fn a_secret_is_in_the_answer_and_nowhere_else() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let running = with_key().await;
    let admin = acme(&running).await;
    let mut keys = client(&running);
    let rotate = v1::RotateKeyRequest { id: admin.key.clone().unwrap().id, grace_s: 60 };
    let second = keys.rotate_key(by(&admin.secret, rotate)).await.unwrap().into_inner();
    let mut shown = format!("{admin:?} {second:#?}");
    for text in [&admin.secret, &second.secret] {
        running.collections().list_collections(by(text, v1::ListCollectionsRequest {})).await.unwrap();
        let refused = count(&running, text).await.unwrap_err();
        shown += &format!("{refused:?}");
        let broken = format!("{}0", &text[..text.len() - 1]);
        shown += &format!("{:?}", count(&running, &broken).await.unwrap_err());
    }
    let bearer = format!("Bearer {}", second.secret);
    let mut request = Request::new(v1::ListCollectionsRequest {});
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    running.collections().list_collections(request).await.unwrap();
    let metrics = running.raw("GET", "/metrics", &[("api-key", KEY)], b"").await;
    assert_eq!(metrics.status, 200, "{metrics:?}");
    shown += metrics.text();
    let listed = keys.list_keys(by(&second.secret, v1::ListKeysRequest {})).await.unwrap();
    shown += &format!("{listed:?} {:?}", running.node.engine().keys(engram_storage::TenantId(2)));
    let mut places = vec![("answers".to_owned(), shown.into_bytes())];
    files(running.directory.path(), &mut places);
    assert!(places.iter().any(|(name, _)| name.ends_with("catalog.redb")));
    running.node.shutdown().await;
    drop(guard);
    let logged = lines.0.lock().unwrap().clone();
    assert!(logged.len() > 1_000 && String::from_utf8_lossy(&logged).contains("a key was made"));
    places.push(("log".to_owned(), logged));
    for text in [&admin.secret, &second.secret] {
        let (_, secret) = ApiKey::parse(text.as_bytes()).unwrap();
        let raw: Vec<u8> = secret
            .chunks(2)
            .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
            .collect();
        for (place, bytes) in &places {
            for needle in [&secret[..32], &secret[32..], &raw[..16]] {
                assert!(
                    !bytes.windows(needle.len()).any(|window| window == needle),
                    "a secret is in {place}"
                );
            }
        }
    }
}
