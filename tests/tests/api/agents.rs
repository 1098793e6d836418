//! Shared memory for many agents: versions, conditions, idempotency, expiry, plain state.

use engram_proto::v1::{
    DeleteRequest, Metric, PayloadMode, Point, SetPayloadRequest, UpsertRequest, WriteOutcome,
};
use engram_tests::{wait, wire};
use serde_json::json;
use tonic::Code;

use super::{DIMENSION, loaded, server};

fn conditional(point: Point, version: u64) -> UpsertRequest {
    UpsertRequest {
        collection: "c".into(),
        points: vec![point],
        if_versions: vec![version],
        wait: true,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_writers_with_one_version_exactly_one_wins_each_round() {
    const ROUNDS: u64 = 25;
    let (server, client) = server().await;
    client.create_simple("c", 2, Metric::Euclid).await.unwrap();
    client.upsert("c", vec![wire::state(1, &json!({"n": 0}))]).await.unwrap();
    let mut tasks = Vec::new();
    for agent in 0..16u64 {
        let client = server.client().await.unwrap();
        tasks.push(tokio::spawn(async move {
            let mut won = 0u64;
            while won < ROUNDS {
                let held = client.get_nums("c", &[1]).await.unwrap().remove(0);
                let n = wire::payload(&held)["n"].as_u64().unwrap();
                let next = wire::state(1, &json!({"n": n + 1, "agent": agent}));
                let outcome = client.upsert_with(conditional(next, held.version)).await.unwrap().outcomes[0];
                match outcome.outcome() {
                    WriteOutcome::Applied => won += 1,
                    WriteOutcome::VersionMismatch => assert!(outcome.version > held.version),
                    other => panic!("{other:?}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let held = client.get_nums("c", &[1]).await.unwrap().remove(0);
    assert_eq!(wire::payload(&held)["n"], 16 * ROUNDS, "an increment was lost or counted twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_for_creation_deletion_and_payload() {
    let (_server, client) = server().await;
    client.create_simple("c", 2, Metric::Euclid).await.unwrap();
    let point = |n: u64| wire::state(5, &json!({"n": n}));
    let first = client.upsert_with(conditional(point(1), 0)).await.unwrap().outcomes[0];
    assert_eq!(first.outcome(), WriteOutcome::Applied);
    let again = client.upsert_with(conditional(point(2), 0)).await.unwrap().outcomes[0];
    assert_eq!((again.outcome(), again.version), (WriteOutcome::VersionMismatch, first.version));
    let delete = |version| DeleteRequest {
        collection: "c".into(),
        ids: vec![wire::num(5)],
        if_versions: vec![version],
        wait: true,
        ..Default::default()
    };
    let refused = client.delete_with(delete(first.version + 7)).await.unwrap().outcomes[0];
    assert_eq!(refused.outcome(), WriteOutcome::VersionMismatch);
    let set = SetPayloadRequest {
        collection: "c".into(),
        ids: vec![wire::num(5), wire::num(6)],
        mode: PayloadMode::Merge.into(),
        payload_json: b"{\"m\":1}".to_vec().into(),
        wait: true,
        ..Default::default()
    };
    let set = client.set_payload(set).await.unwrap();
    assert_eq!(set.outcomes[1].outcome(), WriteOutcome::NotFound);
    let version = set.outcomes[0].version;
    assert!(version > first.version);
    let held = client.get_nums("c", &[5]).await.unwrap().remove(0);
    assert_eq!((wire::payload(&held), held.version), (json!({"n": 1, "m": 1}), version));
    let gone = client.delete_with(delete(version)).await.unwrap().outcomes[0];
    assert_eq!(gone.outcome(), WriteOutcome::Applied);
    let absent = client.delete_with(delete(version)).await.unwrap().outcomes[0];
    assert_ne!(absent.outcome(), WriteOutcome::Applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_write_changes_nothing_also_after_a_crash() {
    let (mut server, client) = server().await;
    client.create_simple("c", 2, Metric::Euclid).await.unwrap();
    let request = |n: u64, key: &str| UpsertRequest {
        collection: "c".into(),
        points: vec![wire::state(1, &json!({"n": n}))],
        idempotency_key: key.into(),
        wait: true,
        ..Default::default()
    };
    let first = client.upsert_with(request(1, "key-1")).await.unwrap();
    assert!(!first.repeated);
    client.upsert_with(request(2, "key-2")).await.unwrap();
    for crash in [false, true] {
        if crash {
            server.kill9();
            server.start_again().unwrap();
        }
        let client = server.client().await.unwrap();
        let again = client.upsert_with(request(1, "key-1")).await.unwrap();
        assert!(again.repeated, "crash: {crash}");
        let held = client.get_nums("c", &[1]).await.unwrap().remove(0);
        assert_eq!(wire::payload(&held)["n"], 2, "an old write came back by being repeated");
        let other = client.upsert_with(request(9, "key-1")).await.unwrap_err();
        assert_eq!(other.code(), Code::AlreadyExists, "{other:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_expire_on_every_path() {
    let (_server, client) = server().await;
    let docs = loaded(&client, "c", 50, &[], 1).await;
    let soon = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 700;
    let expiring = docs[..20].iter().map(|d| Point { expires_at_ms: Some(soon), ..d.point() }).collect();
    client.upsert("c", expiring).await.unwrap();
    assert_eq!(client.count("c").await.unwrap(), 50);
    wait::until_some("the points to expire", std::time::Duration::from_secs(10), || async {
        Ok((client.count("c").await? == 30).then_some(()))
    })
    .await
    .unwrap();
    assert!(client.get_nums("c", &(0..20).collect::<Vec<_>>()).await.unwrap().is_empty());
    assert_eq!(client.scroll_all("c", 7).await.unwrap().len(), 30);
    for exact in [true, false] {
        let request = engram_proto::v1::SearchRequest {
            collection: "c".into(),
            vector: Some(wire::vector(&docs[3].vector)),
            k: 50,
            params: Some(engram_proto::v1::SearchParams { exact, ..Default::default() }),
            ..Default::default()
        };
        let hits = client.search(request).await.unwrap();
        assert_eq!(hits.len(), 30);
        assert!(hits.iter().all(|h| wire::number(h.point.as_ref().unwrap().id.as_ref()).unwrap() >= 20));
    }
    // A new version lives on.
    client.upsert("c", vec![docs[0].point()]).await.unwrap();
    assert_eq!(client.count("c").await.unwrap(), 31);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t18_the_last_of_a_repeated_id_in_one_batch_wins() {
    let (_server, client) = server().await;
    loaded(&client, "c", 5, &[], 1).await;
    let point = |n: u64| wire::point(3, &[n as f32; DIMENSION], &json!({"n": n}));
    client.upsert("c", vec![point(1), point(2), point(3)]).await.unwrap();
    let check = async || {
        assert_eq!(client.count("c").await.unwrap(), 5);
        let held = client.get_nums("c", &[3]).await.unwrap();
        assert_eq!(wire::payload(&held[0])["n"], 3);
        assert_eq!(wire::default_vector(&held[0]), Some(vec![3.0; DIMENSION]));
    };
    check().await;
    client.flush("c").await.unwrap();
    check().await;
    client.compact("c").await.unwrap();
    check().await;
}
