use engram_proto::v1;
use tonic::Code;

use crate::running::{Running, detail, num, numbers, point, start, upsert, vector};

const ALL: Option<v1::Selection> = Some(v1::Selection {
    with_payload: true,
    payload_include: Vec::new(),
    payload_exclude: Vec::new(),
    with_vectors: true,
    vector_names: Vec::new(),
});

fn search(k: u32) -> v1::SearchRequest {
    v1::SearchRequest {
        collection: "docs".into(),
        vector: Some(vector(&[0.0, 0.0])),
        k,
        ..Default::default()
    }
}

fn tag_is(tag: &str) -> Option<v1::Filter> {
    let scalar = v1::Scalar { kind: Some(v1::scalar::Kind::Keyword(tag.into())) };
    let value = v1::Match { kind: Some(v1::r#match::Kind::Value(scalar)) };
    let field = v1::FieldCondition { key: "tag".into(), kind: Some(v1::field_condition::Kind::Match(value)) };
    let condition = v1::Condition { kind: Some(v1::condition::Kind::Field(field)) };
    Some(v1::Filter { must: vec![condition], ..Default::default() })
}

/// Ten points on a line: id = distance from the origin, odd and even ones tagged.
async fn ten(running: &Running) -> v1::WriteResponse {
    running.create("docs").await;
    let payload = |n: u64| format!(r#"{{"tag":"{}","n":{n}}}"#, if n % 2 == 1 { "odd" } else { "even" });
    let points = (1..=10).map(|n| point(n, &[n as f32, 0.0], &payload(n))).collect();
    running.points().upsert(upsert("docs", points)).await.unwrap().into_inner()
}

#[tokio::test]
async fn written_points_are_found_in_every_way() {
    let running = start().await;
    let written = ten(&running).await;
    assert_eq!(written.affected, 10);
    assert!(written.outcomes.iter().all(|o| o.outcome == v1::WriteOutcome::Applied as i32 && o.version > 0));
    let mut client = running.points();

    let found = client.search(v1::SearchRequest { selection: ALL, ..search(3) }).await.unwrap().into_inner();
    assert_eq!(found.hits.iter().map(|h| h.score).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    let first = found.hits[0].point.as_ref().unwrap();
    assert_eq!(first.vectors[""].f32le.as_ref(), [1f32.to_le_bytes(), 0f32.to_le_bytes()].concat());
    assert_eq!(first.payload_json.as_ref(), br#"{"tag":"odd","n":1}"#);
    assert!(!found.partial && first.region == "eu" && first.created_at_ms.is_some());
    assert_eq!(found.expected_recall, Some(1.0), "a memtable is compared as a whole");

    let even = v1::SearchRequest { filter: tag_is("even"), ..search(3) };
    let like = v1::SearchRequest { vector: None, like: Some(num(5)), ..search(2) };
    let both = v1::BatchSearchRequest { searches: vec![even, like] };
    let both = client.batch_search(both).await.unwrap().into_inner().results;
    let ids = |r: &v1::SearchResponse| {
        numbers(&r.hits.iter().map(|h| h.point.clone().unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(ids(&both[0]), [2, 4, 6]);
    assert_eq!(ids(&both[1]), [4, 6]);

    let get = v1::GetRequest {
        collection: "docs".into(),
        ids: vec![num(7), num(99), num(2)],
        ..Default::default()
    };
    assert_eq!(numbers(&client.get(get).await.unwrap().into_inner().points), [7, 2]);

    let count = v1::CountRequest { collection: "docs".into(), filter: tag_is("odd"), ..Default::default() };
    assert_eq!(client.count(count).await.unwrap().into_inner().count, 5);

    let mut scroll = v1::ScrollRequest { collection: "docs".into(), limit: 4, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = client.scroll(scroll.clone()).await.unwrap().into_inner();
        seen.extend(numbers(&page.points));
        scroll.from = page.next;
        if scroll.from.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_change_by_filter_tells_how_many_payloads_would_be_too_large() {
    let running = start().await;
    ten(&running).await;
    let mut client = running.points();
    let merge = |key: &str, ids: Vec<v1::PointId>| v1::SetPayloadRequest {
        collection: "docs".into(),
        filter: ids.is_empty().then(v1::Filter::default),
        ids,
        mode: v1::PayloadMode::Merge.into(),
        payload_json: format!(r#"{{"{key}":"{}"}}"#, "x".repeat(600 << 10)).into(),
        wait: true,
        ..Default::default()
    };
    let first = client.set_payload(merge("a", vec![num(1), num(2)])).await.unwrap().into_inner();
    assert_eq!((first.affected, first.payload_too_large), (2, 0));
    let all = client.set_payload(merge("b", vec![])).await.unwrap().into_inner();
    assert_eq!((all.affected, all.payload_too_large, all.outcomes.len()), (8, 2, 0));
    let named = client.set_payload(merge("b", vec![num(1), num(3)])).await.unwrap().into_inner();
    assert_eq!((named.affected, named.payload_too_large), (1, 1));
    assert_eq!(named.outcomes[0].outcome(), v1::WriteOutcome::PayloadTooLarge);
}

#[tokio::test]
async fn points_change_and_go() {
    let running = start().await;
    ten(&running).await;
    let mut client = running.points();
    let set = |mode: v1::PayloadMode, json: &str, keys: &[&str]| v1::SetPayloadRequest {
        collection: "docs".into(),
        ids: vec![num(1)],
        mode: mode.into(),
        payload_json: json.to_owned().into(),
        keys: keys.iter().map(ToString::to_string).collect(),
        wait: true,
        ..Default::default()
    };
    for (request, expected) in [
        (set(v1::PayloadMode::Merge, r#"{"n":2}"#, &[]), r#"{"tag":"odd","n":2}"#),
        (set(v1::PayloadMode::DeleteKeys, "", &["tag"]), r#"{"n":2}"#),
        (set(v1::PayloadMode::Overwrite, r#"{"x":1}"#, &[]), r#"{"x":1}"#),
        (set(v1::PayloadMode::Clear, "", &[]), "{}"),
    ] {
        assert_eq!(client.set_payload(request).await.unwrap().into_inner().affected, 1);
        let get =
            v1::GetRequest { collection: "docs".into(), ids: vec![num(1)], selection: ALL, token: None };
        let point = client.get(get).await.unwrap().into_inner().points.remove(0);
        let value: serde_json::Value = serde_json::from_slice(&point.payload_json).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }

    let vectors = v1::PointVectors {
        id: Some(num(10)),
        vectors: [(String::new(), vector(&[0.5, 0.0]))].into(),
        remove: vec![],
    };
    let update = v1::UpdateVectorsRequest {
        collection: "docs".into(),
        points: vec![vectors],
        wait: true,
        ..Default::default()
    };
    client.update_vectors(update).await.unwrap();
    let nearest = client.search(search(1)).await.unwrap().into_inner();
    assert_eq!(nearest.hits[0].score, 0.5);

    let by_filter = v1::DeleteRequest {
        collection: "docs".into(),
        filter: tag_is("even"),
        wait: true,
        ..Default::default()
    };
    assert_eq!(client.delete(by_filter).await.unwrap().into_inner().affected, 5);
    let by_id = v1::DeleteRequest {
        collection: "docs".into(),
        ids: vec![num(3), num(4)],
        wait: true,
        ..Default::default()
    };
    let answer = client.delete(by_id).await.unwrap().into_inner();
    let outcomes: Vec<i32> = answer.outcomes.iter().map(|o| o.outcome).collect();
    assert_eq!(outcomes, [v1::WriteOutcome::Applied as i32, v1::WriteOutcome::NotFound as i32]);
    let count = v1::CountRequest { collection: "docs".into(), token: answer.token, ..Default::default() };
    assert_eq!(client.count(count).await.unwrap().into_inner().count, 4);
}

#[tokio::test]
async fn conditions_and_repeats_are_decided_once() {
    let running = start().await;
    running.create("docs").await;
    let mut client = running.points();
    let only_new = |key: &str, x: f32| v1::UpsertRequest {
        if_versions: vec![0],
        idempotency_key: key.into(),
        ..upsert("docs", vec![point(1, &[x, 0.0], "{}")])
    };
    let first = client.upsert(only_new("a", 1.0)).await.unwrap().into_inner();
    assert_eq!(first.outcomes[0].outcome, v1::WriteOutcome::Applied as i32);
    let repeat = client.upsert(only_new("a", 1.0)).await.unwrap().into_inner();
    assert!(repeat.repeated);
    let late = client.upsert(only_new("b", 2.0)).await.unwrap().into_inner();
    assert_eq!(late.outcomes[0].outcome, v1::WriteOutcome::VersionMismatch as i32);
    assert_eq!(late.outcomes[0].version, first.outcomes[0].version);
    let other = client.upsert(only_new("a", 3.0)).await.unwrap_err();
    assert_eq!(detail(&other).code, "idempotency_mismatch");
}

#[tokio::test]
async fn requests_that_make_no_sense_say_what_to_mend() {
    let running = start().await;
    running.create("docs").await;
    let mut client = running.points();
    let refused = |status: tonic::Status, code: Code, text: &str| {
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{text}: {}", status.message());
        assert_eq!(detail(&status).message, status.message());
    };
    let no_collection = v1::SearchRequest { collection: "none".into(), ..search(1) };
    refused(client.search(no_collection).await.unwrap_err(), Code::NotFound, "none");
    let no_vector = v1::SearchRequest { vector: None, ..search(1) };
    refused(client.search(no_vector).await.unwrap_err(), Code::InvalidArgument, "vector");
    refused(client.search(search(0)).await.unwrap_err(), Code::InvalidArgument, "k");
    refused(client.search(search(10_001)).await.unwrap_err(), Code::InvalidArgument, "k");
    let long = v1::SearchRequest { vector: Some(vector(&[0.0; 3])), ..search(1) };
    refused(client.search(long).await.unwrap_err(), Code::InvalidArgument, "3");
    let nan = v1::SearchRequest { vector: Some(vector(&[f32::NAN, 0.0])), ..search(1) };
    refused(client.search(nan).await.unwrap_err(), Code::InvalidArgument, "");
    let with = |params| v1::SearchRequest { params: Some(params), ..search(1) };
    for recall in [0.0, -1.0, 1.01, f32::NAN] {
        let params = v1::SearchParams { recall: Some(recall), ..Default::default() };
        let why = client.search(with(params)).await.unwrap_err();
        refused(why, Code::InvalidArgument, "params.recall: is no share; give the share");
    }
    let both = v1::SearchParams { ef: 100, recall: Some(0.9), exact: false };
    refused(
        client.search(with(both)).await.unwrap_err(),
        Code::InvalidArgument,
        "params.recall: is given beside ef",
    );
    let no_kind = v1::Filter { must: vec![v1::Condition { kind: None }], ..Default::default() };
    let empty_condition = v1::SearchRequest { filter: Some(no_kind), ..search(1) };
    refused(client.search(empty_condition).await.unwrap_err(), Code::InvalidArgument, "condition is empty");
    let no_points = v1::DeleteRequest { collection: "docs".into(), ..Default::default() };
    refused(client.delete(no_points).await.unwrap_err(), Code::InvalidArgument, "ids");
    let mode =
        v1::SetPayloadRequest { collection: "docs".into(), ids: vec![num(1)], mode: 9, ..Default::default() };
    refused(client.set_payload(mode).await.unwrap_err(), Code::InvalidArgument, "mode");
    let no_id = v1::Point { id: None, ..point(1, &[0.0, 0.0], "{}") };
    refused(
        client.upsert(upsert("docs", vec![no_id])).await.unwrap_err(),
        Code::InvalidArgument,
        "points[0]",
    );
    let bad_json = point(1, &[0.0, 0.0], "[1]");
    refused(
        client.upsert(upsert("docs", vec![bad_json])).await.unwrap_err(),
        Code::InvalidArgument,
        "payload",
    );
    let versions =
        v1::UpsertRequest { if_versions: vec![1, 2], ..upsert("docs", vec![point(1, &[0.0, 0.0], "{}")]) };
    refused(client.upsert(versions).await.unwrap_err(), Code::InvalidArgument, "if_versions");
    let token = Some(v1::ConsistencyToken { token: "junk".into() });
    let stale = v1::CountRequest { collection: "docs".into(), token, ..Default::default() };
    refused(client.count(stale).await.unwrap_err(), Code::InvalidArgument, "token");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let running = start().await;
    ten(&running).await;
    running.node.shutdown().await;
    let raw = crate::running::settings(&running.directory);
    let node = engram_node::Node::start(engram_node::NodeConfig::from_raw(&raw).unwrap()).await.unwrap();
    let address = format!("http://{}", node.grpc_addr());
    let mut client = v1::points_client::PointsClient::connect(address).await.unwrap();
    let count = v1::CountRequest { collection: "docs".into(), ..Default::default() };
    assert_eq!(client.count(count).await.unwrap().into_inner().count, 10);
    node.shutdown().await;
}
