//! Collections, aliases, retention rules, health.

use engram_proto::v1::{
    CreateCollectionRequest, DeleteAliasRequest, GetCollectionRequest, ListAliasesRequest, Metric,
    RetentionRule, SetAliasRequest, UpdateCollectionRequest,
};
use engram_tests::client::detail;
use engram_tests::wire;
use serde_json::json;
use tonic::Code;

use super::{DIMENSION, loaded, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_are_created_listed_changed_and_dropped() {
    let (mut server, client) = server().await;
    let request = CreateCollectionRequest {
        name: "a b ü".into(),
        vectors: vec![wire::field("", 4, Metric::Cosine), wire::field("title", 3, Metric::Dot)],
        regions: vec!["eu".into(), "us".into()],
        shards_per_region: 3,
        ..Default::default()
    };
    let made = client.create(request.clone()).await.unwrap();
    assert_eq!((made.default_region.as_str(), made.shards_per_region), ("eu", 3));
    let twice = client.create(request.clone()).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists, "{twice:?}");
    let same =
        client.create(CreateCollectionRequest { if_not_exists: true, ..request.clone() }).await.unwrap();
    assert_eq!(same.id, made.id);
    for name in ["", "a/b", "a\u{0}b"] {
        let e = client
            .create(CreateCollectionRequest { name: name.into(), ..request.clone() })
            .await
            .unwrap_err();
        assert_eq!(e.code(), Code::InvalidArgument, "{name:?}: {e:?}");
        assert!(!detail(&e).0.is_empty(), "no code for {name:?}");
    }
    let retention = vec![RetentionRule { region: "us".into(), max_age_s: 86_400 }];
    let update = UpdateCollectionRequest {
        name: "a b ü".into(),
        add_regions: vec!["ap".into()],
        set_retention: true,
        retention: retention.clone(),
        ..Default::default()
    };
    let changed = client.collections.clone().update_collection(update).await.unwrap().into_inner();
    assert_eq!(changed.regions, ["eu", "us", "ap"]);
    server.restart().unwrap();
    let client = server.client().await.unwrap();
    let list = client.list().await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0], changed);
    assert!(client.drop_collection("a b ü").await.unwrap());
    assert!(!client.drop_collection("a b ü").await.unwrap());
    let gone = GetCollectionRequest { name: "a b ü".into() };
    let e = client.collections.clone().get_collection(gone).await.unwrap_err();
    assert_eq!((e.code(), detail(&e).0.as_str()), (Code::NotFound, "collection_not_found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_stands_for_a_collection_and_moves() {
    let (_server, client) = server().await;
    for (name, x) in [("v1", 1.0), ("v2", 2.0)] {
        client.create_simple(name, 2, Metric::Euclid).await.unwrap();
        client.upsert(name, vec![wire::point(1, &[x, 0.0], &json!({"of": name}))]).await.unwrap();
    }
    let mut aliases = client.collections.clone();
    let set = |collection: &str| SetAliasRequest { alias: "live".into(), collection: collection.into() };
    for name in ["v1", "v2"] {
        aliases.set_alias(set(name)).await.unwrap();
        let held = client.get_nums("live", &[1]).await.unwrap();
        assert_eq!(wire::payload(&held[0]), json!({"of": name}));
    }
    let all = aliases.list_aliases(ListAliasesRequest {}).await.unwrap().into_inner().aliases;
    assert_eq!(all.len(), 1);
    assert_eq!(aliases.set_alias(set("absent")).await.unwrap_err().code(), Code::NotFound);
    client.upsert("live", vec![wire::point(2, &[0.0, 1.0], &json!({}))]).await.unwrap();
    assert_eq!(client.count("v2").await.unwrap(), 2);
    let removed =
        aliases.delete_alias(DeleteAliasRequest { alias: "live".into() }).await.unwrap().into_inner();
    assert!(removed.existed);
    assert_eq!(client.count("live").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_answer() {
    let (server, client) = server().await;
    loaded(&client, "c", 50, &[], 1).await;
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.http_get(path).unwrap().0, 200, "{path}");
    }
    let (status, metrics) = server.http_get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE") && metrics.contains("engram"), "{metrics}");
    assert_eq!(server.http_get("/no/such/path").unwrap().0, 404);
    let stats = client.stats("").await.unwrap();
    assert_eq!(stats.collections[0].points, 50);
    assert!(stats.resident_bytes > 1 << 20 && stats.open_files > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_request_is_said_and_nothing_is_written() {
    let (_server, client) = server().await;
    loaded(&client, "c", 10, &["eu"], 1).await;
    let good = vec![0.5; DIMENSION];
    let mut bad = Vec::new();
    for v in [vec![], vec![1.0; DIMENSION + 1], vec![f32::NAN; DIMENSION], vec![f32::INFINITY; DIMENSION]] {
        bad.push(wire::point(77, &v, &json!({})));
    }
    bad.push(engram_proto::v1::Point {
        payload_json: b"[1]".to_vec().into(),
        ..wire::point(77, &good, &json!({}))
    });
    bad.push(engram_proto::v1::Point {
        payload_json: b"{\"a\":".to_vec().into(),
        ..wire::point(77, &good, &json!({}))
    });
    bad.push(engram_proto::v1::Point { region: "mars".into(), ..wire::point(77, &good, &json!({})) });
    bad.push(engram_proto::v1::Point { id: None, ..wire::point(77, &good, &json!({})) });
    for point in bad {
        let told = format!("{point:?}");
        let batch = vec![wire::point(78, &good, &json!({})), point];
        let e = client.upsert("c", batch).await.expect_err(&told);
        assert_eq!(e.code(), Code::InvalidArgument, "{e:?} for {told}");
        let (code, sentence) = detail(&e);
        assert!(!code.is_empty() && sentence.len() > 10, "{code}: {sentence}");
    }
    assert_eq!(client.count("c").await.unwrap(), 10, "the good neighbours of bad points were written");
}
