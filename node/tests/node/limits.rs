use engram_proto::v1;
use tonic::Code;

use crate::running::{detail, point, start, start_with, upsert};

fn with_payload_of(bytes: usize) -> v1::Point {
    point(1, &[0.0, 0.0], &format!(r#"{{"x":"{}"}}"#, "a".repeat(bytes)))
}

#[tokio::test]
async fn a_message_of_33_mib_is_refused_in_words() {
    let running = start().await;
    running.create("docs").await;
    let points = (0..33).map(|_| with_payload_of(1 << 20)).collect();
    let refused = running.points().upsert(upsert("docs", points)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(detail(&refused).code, "message_too_large");
    // The connection and the server live on.
    running.points().upsert(upsert("docs", vec![with_payload_of(10)])).await.unwrap();
}

#[tokio::test]
async fn requests_above_the_bound_are_told_to_try_later() {
    let running = start_with(|raw| {
        raw.limits.requests = 1;
        raw.limits.queue_wait_ms = 50;
    })
    .await;
    running.create("docs").await;
    // An open bulk stream occupies the one place.
    let (sender, receiver) = tokio::sync::mpsc::channel::<v1::BulkUpsertRequest>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let held = running.points().bulk_upsert(stream).await.unwrap();
    let busy = running.points().upsert(upsert("docs", vec![with_payload_of(1)])).await.unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted);
    let detail = detail(&busy);
    assert!(detail.retry_after_s > 0 && detail.message.contains("try again in"), "{detail:?}");
    assert_eq!(busy.metadata().get("retry-after").unwrap(), "1");
    // Health is answered all the same.
    let mut health = tonic_health::pb::health_client::HealthClient::new(running.channel.clone());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    drop((sender, held));
    for _ in 0..100 {
        if running.points().upsert(upsert("docs", vec![with_payload_of(1)])).await.is_ok() {
            return;
        }
    }
    panic!("the place never came free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_get_an_answer_or_a_clear_try_later() {
    let running = start_with(|raw| {
        raw.limits.requests = 64;
        raw.limits.inflight_bytes = 8 << 20;
        raw.limits.queue_wait_ms = 20;
    })
    .await;
    running.create("docs").await;
    let clients = (0..500u64).map(|n| {
        let mut client = running.points();
        tokio::spawn(async move {
            let big = v1::Point { id: Some(crate::running::num(n)), ..with_payload_of(200 << 10) };
            client.upsert(upsert("docs", vec![big])).await
        })
    });
    let mut written = 0;
    for client in clients.collect::<Vec<_>>() {
        match client.await.unwrap() {
            Ok(_) => written += 1,
            Err(busy) => {
                assert_eq!(busy.code(), Code::ResourceExhausted, "{busy:?}");
                assert!(detail(&busy).retry_after_s > 0);
            }
        }
    }
    assert!(written > 0);
    let count = v1::CountRequest { collection: "docs".into(), ..Default::default() };
    assert_eq!(running.points().count(count).await.unwrap().into_inner().count, written);
}

#[tokio::test]
async fn a_caller_is_kept_no_longer_than_it_will_wait() {
    let running = start_with(|raw| {
        raw.limits.requests = 1;
        raw.limits.queue_wait_ms = 60_000;
    })
    .await;
    running.create("docs").await;
    let (_sender, receiver) = tokio::sync::mpsc::channel::<v1::BulkUpsertRequest>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let _held = running.points().bulk_upsert(stream).await.unwrap();
    let mut request =
        tonic::Request::new(v1::CountRequest { collection: "docs".into(), ..Default::default() });
    request.set_timeout(std::time::Duration::from_millis(100));
    let started = std::time::Instant::now();
    let late = running.points().count(request).await.unwrap_err();
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn health_takes_short_messages_and_no_room() {
    let running = start_with(|raw| raw.limits.inflight_bytes = 1 << 20).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(running.channel.clone());
    let of = |len: usize| tonic_health::pb::HealthCheckRequest { service: "x".repeat(len) };
    assert_eq!(health.check(of(1000)).await.unwrap_err().code(), Code::NotFound);
    let refused = health.check(of(2000)).await.unwrap_err();
    assert_eq!(
        (refused.code(), detail(&refused).code.as_str()),
        (Code::InvalidArgument, "message_too_large")
    );
    // A watch stays open and holds nothing.
    let _watch = health.watch(of(0)).await.unwrap();
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("engram_inflight_bytes 0\n"), "{metrics}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_sent_is_refused_before_it_is_gathered() {
    let running = start_with(|raw| raw.limits.message_bytes = 64 << 10).await;
    running.create("docs").await;
    running.points().upsert(upsert("docs", vec![with_payload_of(10)])).await.unwrap();
    let scroll = |limit: u32, vectors: bool| v1::ScrollRequest {
        collection: "docs".into(),
        limit,
        selection: Some(v1::Selection { with_vectors: vectors, ..Default::default() }),
        ..Default::default()
    };
    let refused = running.points().scroll(scroll(9_000, true)).await.unwrap_err();
    assert_eq!((refused.code(), detail(&refused).code.as_str()), (Code::InvalidArgument, "answer_too_large"));
    // Without vectors, or with fewer, it may well fit.
    for (limit, vectors) in [(9_000, false), (8_000, true)] {
        let page = running.points().scroll(scroll(limit, vectors)).await.unwrap().into_inner();
        assert_eq!(page.points.len(), 1);
    }
}

#[tokio::test]
async fn an_address_has_its_part_of_the_connections_of_a_listener() {
    use tokio::io::AsyncReadExt;
    let running = start_with(|raw| raw.limits.connections_per_address = 1).await;
    running.create("docs").await;
    let mut second = tokio::net::TcpStream::connect(running.node.grpc_addr()).await.unwrap();
    let closed = tokio::time::timeout(std::time::Duration::from_secs(5), second.read_u8());
    closed.await.unwrap().unwrap_err();
    // The first goes on, and the other listener has places of its own.
    running.points().upsert(upsert("docs", vec![with_payload_of(10)])).await.unwrap();
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("engram_connections_refused_total 1\n"), "{metrics}");
}
