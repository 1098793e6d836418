//! Searches over many shards: exact order, never short, hidden what is gone.

use crate::support::*;
use engram_query::database::CollectionChange;
use engram_query::request::{
    AnswerBudget, QueryVector, ReadOptions, ScrollRequest, SearchRequest, Selection, StoredPoint,
};
use engram_query::token::ConsistencyToken;
use engram_storage::ErrorKind;
use engram_storage::point::PointId;
use engram_storage::schema::RetentionRule;

const POINTS: u64 = 600;

async fn filled() -> World {
    let world = World::new().await;
    world.create("one", &["eu"], 1).await;
    world.create("many", &["eu", "us"], 4).await;
    for chunk in 0..3 {
        let ids = || chunk * POINTS / 3..(chunk + 1) * POINTS / 3;
        world.put("one", ids().map(point).collect()).await;
        let region = |id: u64| if id.is_multiple_of(3) { "us" } else { "eu" };
        world.put("many", ids().map(|id| point_in(id, region(id))).collect()).await;
        if chunk == 1 {
            world.flush().await;
        }
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_shards_rank_like_one() {
    let world = filled().await;
    for (seed, k) in [(1_000, 1), (1_001, 10), (1_002, 100), (1_003, POINTS as usize), (1_004, 10_000)] {
        let one = world.search(near("one", vector(seed), k)).await;
        let many = world.search(near("many", vector(seed), k)).await;
        assert_eq!(ranking(&one), ranking(&many));
        assert_eq!(one.hits.len(), k.min(POINTS as usize));
        let paged = SearchRequest { offset: 5, ..near("many", vector(seed), k) };
        let rest = ranking(&one)[5.min(one.hits.len())..].to_vec();
        let paged = ranking(&world.search(paged).await);
        assert_eq!(paged[..rest.len()], rest[..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ties_go_by_id_across_shards() {
    let world = World::new().await;
    world.create("many", &["eu", "us"], 4).await;
    let same = |id: u64| engram_query::request::NewPoint {
        vectors: vec![(String::new(), vector(7).into())],
        ..point_in(id, if id.is_multiple_of(2) { "eu" } else { "us" })
    };
    world.put("many", (0..100).map(same).collect()).await;
    let found = ranking(&world.search(near("many", vector(8), 20)).await);
    let ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (0..20).map(PointId::Num).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn regress_t33_answers_are_not_short_under_filters_and_deletes() {
    let world = filled().await;
    let gone: Vec<u64> = (0..POINTS).filter(|id| id % 10 != 1).collect();
    for name in ["one", "many"] {
        world.delete(name, &gone).await;
        for exact in [true, false] {
            let all = SearchRequest { exact, ..near(name, vector(5_000), 100) };
            assert_eq!(world.search(all.clone()).await.hits.len(), 60);
            let filtered = SearchRequest { filter: Some(odd()), k: 60, ..all.clone() };
            assert_eq!(world.search(filtered.clone()).await.hits.len(), 60);
            let none = filter(r#"{"must":[{"key":"odd","match":{"value":false}}]}"#);
            assert!(world.search(SearchRequest { filter: Some(none), ..all }).await.hits.is_empty());
        }
        assert_eq!(world.count(name).await, 60);
    }
    let one = world.search(near("one", vector(5_001), 25)).await;
    let many = world.search(near("many", vector(5_001), 25)).await;
    assert_eq!(ranking(&one), ranking(&many));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gives_the_same_answer() {
    let world = filled().await;
    let request = SearchRequest { filter: Some(odd()), exact: false, ..near("many", vector(9_000), 50) };
    let first = world.search(request.clone()).await;
    for _ in 0..20 {
        assert_eq!(world.search(request.clone()).await.hits, first.hits);
    }
    let batch = world.db.batch_search(OWNER, vec![request; 30]).await.unwrap();
    assert!(batch.iter().all(|answer| answer.hits == first.hits));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_its_order() {
    let world = filled().await;
    let requests: Vec<_> = (0..40).map(|seed| near("many", vector(20_000 + seed), 3)).collect();
    let batch = world.db.batch_search(OWNER, requests.clone()).await.unwrap();
    for (request, answer) in requests.into_iter().zip(batch) {
        assert_eq!(world.search(request).await.hits, answer.hits);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn like_leaves_the_point_itself_out() {
    let world = filled().await;
    let like = SearchRequest { query: QueryVector::Like(PointId::Num(42)), ..near("many", vec![], 5) };
    let found = ranking(&world.search(like.clone()).await);
    let expected = ranking(&world.search(near("many", vector(42), 6)).await);
    assert_eq!(expected[0].0, PointId::Num(42));
    assert_eq!(found, expected[1..]);
    let absent = SearchRequest { query: QueryVector::Like(PointId::Num(POINTS)), ..like.clone() };
    let e = world.db.search(OWNER, absent).await.unwrap_err();
    assert_eq!((e.kind(), e.code()), (ErrorKind::NotFound, "point_not_found"));
    let e = world.db.search(STRANGER, like).await.unwrap_err();
    assert_eq!(e.code(), "collection_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_and_regions_narrow_the_answer() {
    let world = filled().await;
    let all = ranking(&world.search(near("many", vector(77_000), 50)).await);
    let threshold = SearchRequest { score_threshold: Some(all[9].1), ..near("many", vector(77_000), 50) };
    assert_eq!(ranking(&world.search(threshold).await), all[..10]);
    let us = ReadOptions { regions: vec!["us".into()], ..ReadOptions::default() };
    let found = world.search(SearchRequest { read: us.clone(), ..near("many", vector(77_000), 1_000) }).await;
    assert_eq!(found.hits.len() as u64, POINTS / 3);
    assert!(found.hits.iter().all(|hit| hit.point.region.as_str() == "us"));
    let mars = ReadOptions { regions: vec!["mars".into()], ..ReadOptions::default() };
    let e = world.db.count(OWNER, "many", None, &mars).await.unwrap_err();
    assert_eq!(e.code(), "unknown_region");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_points_are_hidden_at_the_very_millisecond() {
    let world = World::new().await;
    world.create("c", &["eu"], 2).await;
    let short = |id| engram_query::request::NewPoint { expires_at: Some(NOW + 1_000), ..point(id) };
    world.put("c", vec![short(1), short(2), point(3)]).await;
    world.flush().await;
    world.put("c", vec![short(4), point(5)]).await;
    world.clock.advance(999);
    assert_eq!(world.count("c").await, 5);
    world.clock.advance(1);
    assert_eq!(world.count("c").await, 2);
    assert_eq!(world.search(near("c", vector(1), 10)).await.hits.len(), 2);
    let ids = (1..=5).map(PointId::Num).collect();
    let read = ReadOptions::default();
    let points = world.db.get(OWNER, "c", (ids, Selection::default()), &read).await.unwrap();
    assert_eq!(points.iter().map(|p| p.id).collect::<Vec<_>>(), [PointId::Num(3), PointId::Num(5)]);
}

fn retention(rules: Vec<RetentionRule>) -> CollectionChange {
    CollectionChange { retention: Some(rules), ..CollectionChange::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_hides_by_region_at_the_very_millisecond() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 2).await;
    world.put("c", vec![point_in(1, "eu"), point_in(2, "us")]).await;
    world.flush().await;
    let rule = RetentionRule { region: Some(region("eu")), max_age_ms: 5_000 };
    world.db.update_collection(OWNER, "c", retention(vec![rule])).await.unwrap();
    world.clock.advance(5_000);
    assert_eq!(world.count("c").await, 2);
    world.clock.advance(1);
    assert_eq!(world.count("c").await, 1);
    let found = ranking(&world.search(near("c", vector(1), 10)).await);
    assert_eq!(found[0].0, PointId::Num(2));
    // The id is free for the other region once nothing shows its old point.
    world.put("c", vec![point_in(1, "us")]).await;
    assert_eq!(world.count("c").await, 2);
    world.db.update_collection(OWNER, "c", retention(vec![])).await.unwrap();
    assert_eq!(world.count("c").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_every_match_once() {
    let world = filled().await;
    for name in ["one", "many"] {
        for (filter, expected) in [(None, POINTS), (Some(odd()), POINTS / 2)] {
            let (mut from, mut seen) = (None, Vec::new());
            loop {
                let request = ScrollRequest {
                    collection: name.into(),
                    filter: filter.clone(),
                    from,
                    order_by: None,
                    limit: 37,
                    selection: Selection::default(),
                    read: ReadOptions::default(),
                };
                let page = world.db.scroll(OWNER, request).await.unwrap();
                seen.extend(page.points.iter().map(|p| p.id));
                from = page.next;
                if from.is_none() {
                    break;
                }
                assert_eq!(page.points.len(), 37);
            }
            assert_eq!(seen.len() as u64, expected);
            assert!(seen.is_sorted());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_many_shards_gathers_no_more_than_its_answer_may_have() {
    let world = filled().await;
    let page = |bytes: Option<usize>, odd_only: bool| {
        let budget = bytes.map(AnswerBudget::new).unwrap_or_default();
        let selection = Selection { payload: true, vectors: true, budget, ..Selection::default() };
        let request = ScrollRequest {
            collection: "many".into(),
            filter: odd_only.then(odd),
            from: Some(PointId::Num(101)),
            order_by: None,
            limit: 64,
            selection,
            read: ReadOptions::default(),
        };
        world.db.scroll(OWNER, request)
    };
    for odd_only in [false, true] {
        let whole = page(None, odd_only).await.unwrap();
        let bytes: usize = whole.points.iter().map(StoredPoint::bytes).sum();
        let step = if odd_only { 2 } else { 1 };
        let ids: Vec<PointId> = (0..64).map(|i| PointId::Num(101 + step * i)).collect();
        assert_eq!(whole.points.iter().map(|p| p.id).collect::<Vec<_>>(), ids);
        assert_eq!(whole.next, Some(PointId::Num(101 + step * 64)));
        assert_eq!(page(Some(bytes), odd_only).await.unwrap(), whole);
        // All shards share it.
        let refused = page(Some(bytes / 3), odd_only).await.unwrap_err();
        assert_eq!(refused.code(), "answer_too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_makes_a_read_see_its_write() {
    let world = World::new().await;
    world.create("c", &["eu"], 4).await;
    for id in 0..50 {
        let options = engram_query::request::WriteOptions::default();
        let token = world.db.upsert(OWNER, "c", vec![point(id)], options).await.unwrap().token;
        let token: ConsistencyToken = token.to_string().parse().unwrap();
        let read = ReadOptions { token: Some(token), ..ReadOptions::default() };
        assert_eq!(world.db.count(OWNER, "c", None, &read).await.unwrap(), id + 1);
    }
    let later = ReadOptions {
        token: Some("1:eu.0=1000000".parse().unwrap()),
        timeout: Some(std::time::Duration::from_millis(500)),
        ..ReadOptions::default()
    };
    let e = world.db.count(OWNER, "c", None, &later).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
    let partial = SearchRequest { read: later, allow_partial: true, ..near("c", vector(0), 50) };
    let answer = world.search(partial).await;
    assert!(answer.partial && !answer.hits.is_empty() && answer.hits.len() < 50);
    let foreign = ReadOptions { token: Some("1:mars.0=1".parse().unwrap()), ..ReadOptions::default() };
    assert_eq!(world.db.count(OWNER, "c", None, &foreign).await.unwrap_err().code(), "invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_stay_whole_while_points_are_rewritten() {
    let world = filled().await;
    let (db, stop) = (world.db.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = stop.clone();
    let writer = tokio::spawn(async move {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            db.upsert(OWNER, "one", (0..100).map(point).collect(), waiting()).await.unwrap();
        }
    });
    let expected = ranking(&world.search(near("one", vector(3), 200)).await);
    for _ in 0..100 {
        assert_eq!(ranking(&world.search(near("one", vector(3), 200)).await), expected);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.await.unwrap();
}
