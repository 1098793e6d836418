//! Every route x every role x {own tenant, other tenant, none}, made from the descriptors of the services: a method that
//! is not in the tables here and in `access.rs` fails the test.

use engram_index::payload::PayloadIndexKind;
use engram_query::request::{NewPoint, Principal, WriteOptions};
use engram_storage::catalog::{KeyId, Role, Scope};
use engram_storage::engine::{NewCollection, NewKey};
use engram_storage::point::PointId;
use engram_storage::schema::{DEFAULT_TENANT, PayloadIndexSpec, RegionName, TenantId};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

use crate::running::{Running, detail, start};
use crate::samples::Level::{self, Admin, Nobody, Read, Root, Write};
use crate::samples::{ABSENT, FRESH, NEEDLE, Names, SPARE, sample};
use crate::security::{KEY, with_key};

/// Paths of all methods of the server.
fn routes() -> Vec<String> {
    let sets = [
        engram_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.map(|set| prost_types::FileDescriptorSet::decode(set).unwrap().file);
    let mut paths = Vec::new();
    for file in files.iter().flatten() {
        for service in &file.service {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            paths.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    assert!(paths.len() >= 38, "{paths:?}");
    paths
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; src.remaining()];
        src.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

pub type Headers = Vec<(&'static str, String)>;

/// Calls any method, whatever its kind, and returns the bytes of its answer.
async fn call(running: &Running, path: &str, message: Vec<u8>, headers: &Headers) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(running.channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::iter([message]));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let mut answers = grpc.streaming(request, path.parse().unwrap(), Raw).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.extend(answer);
        if path.ends_with("/Watch") {
            break;
        }
    }
    Ok(all)
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    pub what: String,
    pub headers: Headers,
    pub level: Level,
    /// What it sees: tenant acme, or another.
    pub own: bool,
    /// The header names a tenant that the caller may not act for.
    pub misled: bool,
}

/// A server with two tenants, and all who may call it.
pub struct Stage {
    pub running: Running,
    pub acme: TenantId,
    pub callers: Vec<Caller>,
    pub names: Names,
}

pub async fn key_of(running: &Running, tenant: TenantId, role: Role, scope: Scope) -> (KeyId, String) {
    let new = NewKey { tenant, name: format!("{NEEDLE}-{role:?}"), role, scope, expires_at: None };
    let made = running.node.database().create_key(Principal::root(tenant), new).await.unwrap();
    (made.0.id, made.1.expose().to_owned())
}

fn root_callers() -> Vec<Caller> {
    let root = |what: &str, tenant: Option<&str>, misled| {
        let mut headers = vec![("api-key", KEY.to_owned())];
        headers.extend(tenant.map(|name| ("engram-tenant", name.to_owned())));
        Caller { what: what.into(), headers, level: Root, own: tenant == Some("acme"), misled }
    };
    vec![
        root("root of the default tenant", None, false),
        root("root for acme", Some("acme"), false),
        root("root for other", Some("other"), false),
        root("root for nobody", Some("nobody"), true),
    ]
}

impl Stage {
    pub async fn new() -> Self {
        let running = with_key().await;
        let database = running.node.database().clone();
        let root = Principal::root(DEFAULT_TENANT);
        let acme = database.create_tenant(root, "acme").await.unwrap().id;
        let other = database.create_tenant(root, "other").await.unwrap().id;
        let mut callers = root_callers();
        let nobody = |what: &str, headers| Caller {
            what: what.into(),
            headers,
            level: Nobody,
            own: false,
            misled: false,
        };
        callers.push(nobody("anonymous", vec![]));
        callers.push(nobody("anonymous for acme", vec![("engram-tenant", "acme".into())]));
        callers.push(nobody("a wrong key", vec![("api-key", "0123456789abcdef0123456789abcdee".into())]));
        let (id, text) = key_of(&running, acme, Role::Admin, Scope::All).await;
        database.revoke_key(Principal::root(acme), id).await.unwrap();
        callers.push(nobody("a revoked key", vec![("api-key", text)]));
        for (role, level) in [(Role::Read, Read), (Role::Write, Write), (Role::Admin, Admin)] {
            for (tenant, own) in [(acme, true), (other, false)] {
                let text = key_of(&running, tenant, role, Scope::All).await.1;
                let named =
                    [(None, false), (Some("acme"), !own), (Some("other"), own), (Some("nobody"), true)];
                for (name, misled) in named {
                    let mut headers = vec![("authorization", format!("Bearer {text}"))];
                    headers.extend(name.map(|name| ("engram-tenant", name.to_owned())));
                    let what =
                        format!("{role:?} key of {}, header {name:?}", if own { "acme" } else { "other" });
                    callers.push(Caller { what, headers, level, own, misled });
                }
            }
        }
        let names = Names { collection: "docs".into(), ..Names::default() };
        let mut stage = Self { running, acme, callers, names };
        stage.prepare().await;
        let scope = engram_query::database::PurgeScope {
            collection: Some("docs".into()),
            region: None,
            created_before: Some(0),
        };
        stage.names.receipt = database.purge(Principal::root(acme), scope).await.unwrap().id;
        stage.names.key = key_of(&stage.running, acme, Role::Read, Scope::All).await.0.to_string();
        stage
    }

    /// Puts back what calls have changed.
    pub async fn prepare(&self) {
        let (database, acme) = (self.running.node.database(), Principal::root(self.acme));
        let root = Principal::root(DEFAULT_TENANT);
        if database.collection(acme, "docs").is_err() {
            create(&self.running, acme, "docs").await;
        }
        for tenant in database.tenants(root).unwrap() {
            if database.collection(Principal::root(tenant.id), FRESH).is_ok() {
                database.drop_collection(Principal::root(tenant.id), FRESH).await.unwrap();
            }
        }
        database.delete_tenant(root, FRESH).await.unwrap();
        if self.running.node.engine().tenant(SPARE).is_none() {
            database.create_tenant(root, SPARE).await.unwrap();
        }
        let key = KeyId::parse(&self.names.key);
        if key.is_some_and(|id| self.running.node.engine().live_key(id).is_none()) {
            panic!("a key that others rely on was revoked: take another one");
        }
    }

    /// A snapshot that no purge and no call before has reached, in the place of the last one.
    pub async fn take_snapshot(&mut self) {
        let (database, acme) = (self.running.node.database(), Principal::root(self.acme));
        database.delete_snapshot(acme, "docs", &self.names.snapshot).await.unwrap();
        self.names.snapshot = database.create_snapshot(acme, "docs").await.unwrap().name;
        let mut file = database.open_snapshot(acme, "docs", &self.names.snapshot).await.unwrap();
        self.names.file.clear();
        while let Some(part) = file.next_part().await.unwrap() {
            self.names.file.extend_from_slice(&part);
        }
    }

    async fn call(&self, path: &str, names: &Names, caller: &Caller) -> Result<Vec<u8>, Status> {
        let (_, message) = sample(path, names).unwrap();
        call(&self.running, path, message, &caller.headers).await
    }
}

/// A collection with a point.
pub async fn create(running: &Running, who: Principal, name: &str) {
    let database = running.node.database();
    let eu = RegionName::try_from("eu").unwrap();
    let field = engram_storage::schema::VectorField {
        id: 0,
        name: String::new(),
        dimension: 2,
        metric: engram_index::vector::Metric::Euclid,
        hnsw_m: 16,
        hnsw_ef_construction: 100,
        graph_threshold: 1_000,
        layout: Default::default(),
        kind: Default::default(),
    };
    let words = PayloadIndexSpec::new("words", PayloadIndexKind::Text);
    let new = NewCollection {
        tenant: who.tenant,
        name: name.into(),
        vectors: vec![field],
        payload_indexes: vec![words],
        regions: vec![eu.clone()],
        default_region: eu,
        shards_per_region: 1,
        retention: vec![],
        metadata: Default::default(),
        client_options: Default::default(),
    };
    database.create_collection(who, new, false).await.unwrap();
    let point = NewPoint {
        id: Some(PointId::Num(1)),
        vectors: vec![(String::new(), vec![1.0, 2.0].into())],
        payload: format!("{{\"secret\":\"{NEEDLE}\"}}").into(),
        ..NewPoint::default()
    };
    let wait = WriteOptions { wait: true, ..WriteOptions::default() };
    database.upsert(who, name, vec![point], wait).await.unwrap();
}

/// What a caller can tell one answer from another by, with what it named itself taken out.
fn visible(answer: &Result<Vec<u8>, Status>, names: &Names) -> (Code, String, String) {
    match answer {
        Ok(_) => (Code::Ok, String::new(), String::new()),
        Err(status) => {
            let detail = engram_node::status::detail_of(status).unwrap_or_default();
            let mut text = format!("{} / {}", status.message(), detail.message);
            for name in [&names.collection, &names.receipt, &names.key, &names.snapshot] {
                if !name.is_empty() {
                    text = text.replace(name.as_str(), "NAME");
                }
            }
            (status.code(), detail.code, text)
        }
    }
}

pub fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn every_route_asks_every_caller_for_its_role_and_its_tenant() {
    let mut stage = Stage::new().await;
    let absent = Names {
        collection: ABSENT.into(),
        receipt: "0198c0de-0000-7000-8000-000000000000".into(),
        key: "00000000000000ff".into(),
        ..Names::default()
    };
    let mut cells = 0;
    for path in routes() {
        let Some((needs, _)) = sample(&path, &stage.names) else {
            panic!("{path} is new: say here and in access.rs which role it needs");
        };
        for caller in stage.callers.clone() {
            cells += 1;
            let cell = format!("{path} by {}", caller.what);
            stage.prepare().await;
            if path.contains(".Snapshots/") {
                stage.take_snapshot().await;
            }
            let absent = Names { file: stage.names.file.clone(), ..absent.clone() };
            let answer = stage.call(&path, &stage.names, &caller).await;
            if needs == Nobody {
                answer.unwrap_or_else(|e| panic!("{cell}: {e:?}"));
                continue;
            }
            if caller.level == Nobody {
                let refused = answer.unwrap_err();
                assert_eq!(refused.code(), Code::Unauthenticated, "{cell}");
                assert_eq!(detail(&refused).code, "unauthenticated", "{cell}");
            } else if caller.misled {
                let code = if caller.level == Root { Code::NotFound } else { Code::PermissionDenied };
                let refused = answer.unwrap_err();
                assert_eq!(refused.code(), code, "{cell}");
                // Whether there is such a tenant does not show.
                assert!(
                    !refused.message().contains("other") && !refused.message().contains("acme"),
                    "{cell}"
                );
            } else if caller.level < needs {
                let refused = answer.unwrap_err();
                assert_eq!(refused.code(), Code::PermissionDenied, "{cell}");
                assert_eq!(detail(&refused).code, "forbidden", "{cell}");
            } else if caller.own {
                answer.unwrap_or_else(|e| panic!("{cell}: {e:?}"));
            } else {
                stage.prepare().await;
                let nothing = stage.call(&path, &absent, &caller).await;
                assert_eq!(visible(&answer, &stage.names), visible(&nothing, &absent), "{cell}");
                for answer in [answer, nothing].into_iter().flatten() {
                    // Tenants are the root's to see.
                    let names: &[&str] = if needs == Root { &[NEEDLE] } else { &[NEEDLE, "docs", "acme"] };
                    let own = path.ends_with("Key") || path.ends_with("ListKeys");
                    assert!(own || names.iter().all(|n| !contains(&answer, n)), "{cell}: {answer:?}");
                }
            }
            if path.ends_with("/RevokeKey") {
                stage.names.key =
                    key_of(&stage.running, stage.acme, Role::Read, Scope::All).await.0.to_string();
            }
        }
    }
    println!("cells {cells}, wrong 0");
    assert!(cells > 800);
    let (database, read) = (stage.running.node.database(), engram_query::request::ReadOptions::default());
    let count = database.count(Principal::root(stage.acme), "docs", None, &read);
    assert_eq!(count.await.unwrap(), 1, "nobody else reached acme's points");
}

#[tokio::test]
async fn a_collection_out_of_a_keys_scope_is_like_an_absent_one_on_every_route() {
    let stage = Stage::new().await;
    create(&stage.running, Principal::root(stage.acme), "hidden").await;
    let database = stage.running.node.database();
    database.set_alias(Principal::root(stage.acme), "alias", "hidden").await.unwrap();
    let hidden = Names { collection: "hidden".into(), ..stage.names.clone() };
    let absent = Names { collection: ABSENT.into(), ..stage.names.clone() };
    for (role, level) in [(Role::Read, Read), (Role::Write, Write), (Role::Admin, Admin)] {
        let scope = Scope::Collections(["docs".to_owned()].into());
        let text = key_of(&stage.running, stage.acme, role, scope).await.1;
        let headers = vec![("api-key", text)];
        let caller = Caller { what: format!("{role:?}"), headers, level, own: true, misled: false };
        for path in routes() {
            let (needs, _) = sample(&path, &hidden).unwrap();
            let cell = format!("{path} by {role:?} of docs");
            let answer = stage.call(&path, &hidden, &caller).await;
            let nothing = stage.call(&path, &absent, &caller).await;
            assert_eq!(visible(&answer, &hidden), visible(&nothing, &absent), "{cell}");
            if needs > level {
                assert_eq!(answer.as_ref().unwrap_err().code(), Code::PermissionDenied, "{cell}");
            }
            for answer in [answer, nothing].into_iter().flatten() {
                assert!(!contains(&answer, "hidden"), "{cell}: {answer:?}");
            }
        }
        assert_eq!(database.collections(Principal::root(stage.acme)).len(), 2);
        assert_eq!(database.aliases(Principal::root(stage.acme)).len(), 1);
    }
}

#[tokio::test]
async fn a_path_that_is_no_method_is_refused() {
    let open = start().await;
    let closed = with_key().await;
    let root = vec![("api-key", KEY.to_owned())];
    for path in ["/engram.v1.Points/Nothing", "/engram.v1.Points/", "/grpc.health.v1.Health/Else", "/x"] {
        for (running, headers) in [(&open, &vec![]), (&closed, &root)] {
            let refused = call(running, path, Vec::new(), headers).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented, "{path}");
            assert_eq!(detail(&refused).code, "unknown_method", "{path}");
        }
        let refused = call(&closed, path, Vec::new(), &vec![]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}: the credential comes first");
    }
}
