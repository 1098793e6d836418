use engram_proto::v1;
use engram_storage::catalog::{Role, Scope};
use engram_storage::schema::DEFAULT_TENANT;
use tokio_stream::StreamExt;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::access::key_of;
use crate::running::{point, start, start_with, upsert};
use crate::security::KEY;

#[tokio::test]
async fn health_is_told_on_both_fronts() {
    let running = start().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(running.get(path).await, ("HTTP/1.1 200 OK".into(), "ok\n".into()), "{path}");
    }
    let mut health = tonic_health::pb::health_client::HealthClient::new(running.channel.clone());
    for service in ["", "engram.v1.Points"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
}

#[tokio::test]
async fn the_http_port_has_no_routes_but_those_of_its_table() {
    let running = start().await;
    let (status, body) = running.get("/").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains(r#""title":"engram""#) && body.contains("version"), "{body}");
    for path in ["/collection", "/debug", "/metrics/x", "/../etc/passwd"] {
        assert_eq!(running.get(path).await.0, "HTTP/1.1 404 Not Found", "{path}");
    }
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_nobody() {
    let running = start().await;
    running.create("secret-name").await;
    running.points().upsert(upsert("secret-name", vec![point(1, &[0.0, 0.0], "{}")])).await.unwrap();
    let _ = running.points().upsert(upsert("none", vec![point(1, &[0.0, 0.0], "{}")])).await.unwrap_err();
    let (_, text) = running.get("/metrics").await;
    for line in [
        r#"engram_requests_total{method="Points/Upsert",code="ok"} 1"#,
        r#"engram_requests_total{method="Points/Upsert",code="not_found"} 1"#,
        "engram_points_written_total 1",
        "engram_collections 1",
        "engram_request_seconds_bucket",
        "engram_build_info",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let value = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("engram_resident_bytes") > 1e6 && value("engram_open_files") > 3.0);
    assert!(!text.contains("secret-name"));
}

#[tokio::test]
async fn metrics_of_a_server_with_keys_are_for_the_root_and_for_scrapers() {
    const SCRAPER: &str = "fedcba9876543210fedcba9876543210";
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, key: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, format!("{key}\n")).unwrap();
        path.display().to_string()
    };
    let (root, scraper) = (file("root", KEY), file("scraper", SCRAPER));
    let running = start_with(|raw| {
        raw.auth.root_key_file = root;
        raw.auth.metrics_key_file = scraper;
    })
    .await;
    let (_, admin) = key_of(&running, DEFAULT_TENANT, Role::Admin, Scope::All).await;
    let status =
        async |path: &str, key: &str| running.raw("GET", path, &[("api-key", key)], b"").await.status;
    for (key, metrics, others) in
        [(KEY, 200, 200), (SCRAPER, 200, 401), (&*admin, 403, 200), ("wrong", 401, 401)]
    {
        assert_eq!(status("/metrics", key).await, metrics, "{key}");
        assert_eq!(status("/collections", key).await, others, "{key}");
    }
    let bearer = [("authorization", format!("Bearer {SCRAPER}"))];
    let answer = running.raw("GET", "/metrics", &[(bearer[0].0, &bearer[0].1)], b"").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.text().contains(SCRAPER) && answer.text().ends_with("# EOF\n"));
    assert_eq!(running.raw("GET", "/metrics", &[], b"").await.status, 401);
    // Not by gRPC either.
    let mut request = tonic::Request::new(v1::ListCollectionsRequest {});
    request.metadata_mut().insert("api-key", SCRAPER.parse().unwrap());
    let refused = running.collections().list_collections(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn metrics_of_a_server_without_keys_are_for_all_but_foreign_pages() {
    let running = start().await;
    assert_eq!(running.get("/metrics").await.0, "HTTP/1.1 200 OK");
    let foreign = [("origin", "http://evil.example")];
    assert_eq!(running.raw("GET", "/metrics", &foreign, b"").await.status, 403);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let running = start().await;
    let mut client = ServerReflectionClient::new(running.channel.clone());
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for service in ["Admin", "Collections", "Keys", "Points", "Retention", "Snapshots"] {
        assert!(names.contains(&format!("engram.v1.{service}").as_str()), "{names:?}");
    }
}

#[tokio::test]
async fn stats_flush_and_compact_answer() {
    let running = start().await;
    running.create("docs").await;
    let points = (0..100).map(|n| point(n, &[n as f32, 0.0], "{}")).collect();
    running.points().upsert(upsert("docs", points)).await.unwrap();
    let mut admin = running.admin();
    let flushed = admin.flush(v1::FlushRequest::default()).await.unwrap().into_inner();
    assert_eq!(flushed.shards, 2);
    admin.compact(v1::CompactRequest { collection: "docs".into() }).await.unwrap();
    let stats = admin.stats(v1::StatsRequest::default()).await.unwrap().into_inner();
    assert_eq!(stats.collections[0].points, 100);
    let shards = &stats.collections[0].shards;
    assert!(
        shards.iter().all(|s| s.region == "eu" && s.memtable_rows == 0 && s.segments.len() == 1),
        "{shards:?}"
    );
    assert!(stats.resident_bytes > 0 && stats.open_files > 0);
}
