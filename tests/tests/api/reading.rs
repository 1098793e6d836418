//! Pages, counts, selections, tokens.

use engram_proto::v1::{CountRequest, GetRequest, ScrollRequest, Selection, UpsertRequest};
use engram_tests::wire;
use serde_json::json;
use tonic::Code;

use super::{DIMENSION, loaded, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_give_every_point_once_in_order() {
    let (_server, client) = server().await;
    let docs = loaded(&client, "c", 777, &["eu", "us"], 3).await;
    client.flush("c").await.unwrap();
    client.delete("c", &(0..777).step_by(5).collect::<Vec<_>>()).await.unwrap();
    let left: Vec<u64> = (0..777).filter(|n| n % 5 != 0).collect();
    for page in [1, 7, 100, 10_000] {
        let all = client.scroll_all("c", page).await.unwrap();
        let ids: Vec<u64> = all.iter().filter_map(|p| wire::number(p.id.as_ref())).collect();
        assert_eq!(ids, left, "pages of {page}");
        for p in &all {
            let doc = &docs[usize::try_from(wire::number(p.id.as_ref()).unwrap()).unwrap()];
            assert_eq!(
                (wire::payload(p), wire::default_vector(p).as_ref()),
                (doc.payload.clone(), Some(&doc.vector))
            );
            assert_eq!(p.region, doc.region);
        }
    }
    let filter = Some(wire::must(vec![wire::equals("group", wire::keyword("g5"))]));
    let request = ScrollRequest {
        collection: "c".into(),
        filter: filter.clone(),
        limit: 10,
        selection: wire::payload_only(),
        regions: vec!["us".into()],
        ..Default::default()
    };
    let some = client.scroll_pages(request).await.unwrap();
    let matches = |n: &&u64| docs[**n as usize].payload["group"] == "g5" && docs[**n as usize].region == "us";
    let expected: Vec<u64> = left.iter().filter(matches).copied().collect();
    assert_eq!(some.iter().filter_map(|p| wire::number(p.id.as_ref())).collect::<Vec<_>>(), expected);
    assert!(some.iter().all(|p| p.vectors.is_empty()), "vectors were not asked for");
    let count = CountRequest { collection: "c".into(), filter, regions: vec!["us".into()], token: None };
    assert_eq!(client.count_with(count).await.unwrap(), expected.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_come_before_uuids() {
    let (_server, client) = server().await;
    loaded(&client, "c", 5, &[], 2).await;
    let ids: Vec<uuid::Uuid> = (1..6u128).map(|n| uuid::Uuid::from_u128(n << 90)).collect();
    let point = |u: &uuid::Uuid| engram_proto::v1::Point {
        id: Some(wire::uuid(*u)),
        ..wire::state(0, &json!({"u": 1}))
    };
    client.upsert("c", ids.iter().rev().map(point).collect()).await.unwrap();
    let all = client.scroll_all("c", 3).await.unwrap();
    let texts: Vec<String> = all.iter().map(|p| wire::id_text(p.id.as_ref())).collect();
    let expected: Vec<String> =
        (0..5).map(|n: u64| n.to_string()).chain(ids.iter().map(ToString::to_string)).collect();
    assert_eq!(texts, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selections_return_what_was_asked_for() {
    let (_server, client) = server().await;
    loaded(&client, "c", 3, &[], 1).await;
    let get = |selection| {
        let request = GetRequest {
            collection: "c".into(),
            ids: vec![wire::num(1)],
            selection: Some(selection),
            token: None,
        };
        let mut points = client.points.clone();
        async move { points.get(request).await.unwrap().into_inner().points.remove(0) }
    };
    let bare = get(Selection::default()).await;
    assert!(bare.vectors.is_empty() && bare.payload_json.is_empty());
    let include = vec!["group".to_owned(), "place.lon".into()];
    let some = get(Selection { with_payload: true, payload_include: include, ..Default::default() }).await;
    let payload = wire::payload(&some);
    assert_eq!(payload.as_object().unwrap().keys().collect::<Vec<_>>(), ["group", "place"]);
    assert!(payload["place"].get("lat").is_none());
    let exclude = vec!["nested".to_owned(), "tags".into()];
    let rest = get(Selection { with_payload: true, payload_exclude: exclude, ..Default::default() }).await;
    assert!(wire::payload(&rest).get("nested").is_none() && wire::payload(&rest).get("price").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_makes_a_read_see_the_write() {
    let (_server, client) = server().await;
    loaded(&client, "c", 10, &["eu", "us"], 2).await;
    let mut last = None;
    for n in 0..200u64 {
        let points =
            (0..10).map(|i| wire::point(100 + i, &[n as f32; DIMENSION], &json!({"n": n}))).collect();
        let request = UpsertRequest { collection: "c".into(), points, ..Default::default() };
        let token = client.upsert_with(request).await.unwrap().token;
        assert!(token.is_some());
        let ids = (100..110).map(wire::num).collect();
        let request =
            GetRequest { collection: "c".into(), ids, selection: wire::payload_only(), token: token.clone() };
        let held = client.points.clone().get(request).await.unwrap().into_inner().points;
        assert_eq!(held.len(), 10);
        assert!(held.iter().all(|p| wire::payload(p)["n"] == n), "write {n} is not seen");
        last = token;
    }
    let mut bad = last.unwrap();
    bad.token.push_str("nonsense");
    let request = CountRequest { collection: "c".into(), token: Some(bad), ..Default::default() };
    assert_eq!(client.count_with(request).await.unwrap_err().code(), Code::InvalidArgument);
}
