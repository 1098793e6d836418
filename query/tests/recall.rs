//! Searches by recall, what answers say of theirs, and the re-check of sampled searches.

use crate::support::*;
use engram_query::database::{PurgeScope, RecallCount};
use engram_query::request::{NewPoint, QueryVector, SearchRequest};
use engram_query::{Database, DatabaseOptions};
use engram_storage::point::PointId;

const POINTS: u64 = 3_000;

fn every_search() -> DatabaseOptions {
    DatabaseOptions { recheck_one_in: 1, ..DatabaseOptions::default() }
}

/// Collection `name` with `POINTS` points in graphs.
async fn graphs(world: &World, name: &str, regions: &[&str], shards: u32) {
    let mut new = collection(name, regions, shards);
    new.vectors[0].graph_threshold = 500;
    world.db.create_collection(OWNER, new, false).await.unwrap();
    let place = |id: u64| regions[id as usize % regions.len()];
    world.put(name, (0..POINTS).map(|id| point_in(id, place(id))).collect()).await;
    world.compact().await;
}

fn walk(name: &str, seed: u64) -> SearchRequest {
    SearchRequest { exact: false, ..near(name, vector(100_000 + seed), 10) }
}

fn only(db: &Database) -> RecallCount {
    let counts = db.recall_counts();
    assert_eq!(counts.len(), 1, "{counts:?}");
    counts[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_recall_to_expect() {
    let world = World::new().await;
    graphs(&world, "c", &["eu"], 1).await;
    let expected = async |request: SearchRequest| world.search(request).await.expected_recall;
    let by = |recall| SearchRequest { recall: Some(recall), ..walk("c", 1) };
    let (low, high) = (expected(by(0.01)).await.unwrap(), expected(by(1.0)).await.unwrap());
    assert!(0.3 < low && low < high && high <= 1.0, "{low} {high}");
    assert_eq!(expected(walk("c", 1)).await, expected(by(0.98)).await, "the default");
    assert_eq!(expected(SearchRequest { ef: Some(50), ..walk("c", 1) }).await, None);
    assert_eq!(expected(SearchRequest { exact: true, ..by(0.5) }).await, Some(1.0));
    // What is not in a segment yet is compared with every query: it counts as found, by its rows.
    world.put("c", (POINTS..POINTS + 1_000).map(point).collect()).await;
    let mixed = expected(by(0.01)).await.unwrap();
    assert!((mixed - (low * 3.0 + 1.0) / 4.0).abs() < 1e-5, "{mixed} {low}");
    world.create("memtable", &["eu", "us"], 2).await;
    assert_eq!(expected(walk("memtable", 1)).await, Some(1.0));
    world.put("memtable", (0..100).map(point).collect()).await;
    assert_eq!(expected(walk("memtable", 1)).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_that_is_no_share_is_refused() {
    let world = World::new().await;
    world.create("c", &["eu"], 1).await;
    let refused = async |request| {
        let e = world.db.search(OWNER, request).await.unwrap_err();
        assert_eq!(e.code(), "invalid_argument");
        e.to_string()
    };
    for bad in [0.0, -1.0, 1.5, f32::NAN] {
        let why = refused(SearchRequest { recall: Some(bad), ..walk("c", 1) }).await;
        assert!(why.contains("recall is") && why.contains("above 0 and at most 1"), "{why}");
    }
    let why = refused(SearchRequest { recall: Some(0.9), ef: Some(100), ..walk("c", 1) }).await;
    assert!(why.contains("ef and recall"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sampled_searches_are_compared_with_the_truth() {
    let world = World::with(every_search()).await;
    graphs(&world, "c", &["eu", "us"], 2).await;
    assert!(world.db.recheck().await.is_none() && world.db.recall_counts().is_empty());
    // One for each answer, however many shards it came from; also for what is like a point.
    world.search(walk("c", 0)).await;
    world.search(SearchRequest { offset: 5, ..walk("c", 1) }).await;
    world.search(SearchRequest { query: QueryVector::Like(PointId::Num(7)), ..walk("c", 0) }).await;
    for checked in [10, 25, 35] {
        assert!(world.db.recheck().await.is_some());
        assert_eq!(only(&world.db).checked, checked);
    }
    assert!(world.db.recheck().await.is_none(), "each sample is checked once");
    let good = only(&world.db);
    assert!(good.tenant == OWNER.tenant && good.hits >= 30 && good.hits <= good.checked, "{good:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_check_measures_the_walk_as_it_was_asked_for() {
    let world = World::with(every_search()).await;
    graphs(&world, "c", &["eu"], 1).await;
    let mut missed = Vec::new();
    for ef in [1, 200] {
        let before = world.db.recall_counts().first().map_or(0, |c| c.checked - c.hits);
        for seed in 0..200 {
            world.search(SearchRequest { ef: Some(ef), k: 1, ..walk("c", seed) }).await;
            world.db.recheck().await.unwrap();
        }
        let count = only(&world.db);
        missed.push(count.checked - count.hits - before);
    }
    assert_eq!(only(&world.db).checked, 400);
    assert!(missed[0] > 0 && missed[1] < missed[0] && missed[1] < 10, "{missed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_check_sees_the_points_of_now() {
    let world = World::with(every_search()).await;
    graphs(&world, "c", &["eu"], 1).await;
    let found = ranking(&world.search(walk("c", 3)).await);
    let gone: Vec<u64> = found.iter().map(|(id, _)| if let PointId::Num(n) = id { *n } else { 0 }).collect();
    world.delete("c", &gone).await;
    let close = |id| NewPoint { vectors: vec![(String::new(), vector(100_003).into())], ..point(id) };
    world.put("c", (POINTS..POINTS + 10).map(close).collect()).await;
    world.db.recheck().await.unwrap();
    let count = only(&world.db);
    assert_eq!((count.checked, count.hits), (10, 10), "the new points are in the memtable, which is scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_without_a_graph_or_with_a_filter_are_not_sampled() {
    let world = World::with(every_search()).await;
    graphs(&world, "c", &["eu"], 1).await;
    world.create("memtable", &["eu"], 1).await;
    world.put("memtable", (0..100).map(point).collect()).await;
    world.search(walk("memtable", 1)).await;
    world.search(SearchRequest { exact: true, ..walk("c", 1) }).await;
    world.search(SearchRequest { filter: Some(odd()), ..walk("c", 1) }).await;
    assert!(world.db.recheck().await.is_none());
    let off = World::with(DatabaseOptions { recheck_one_in: 0, ..every_search() }).await;
    graphs(&off, "c", &["eu"], 1).await;
    off.search(walk("c", 1)).await;
    assert!(off.db.recheck().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_go_with_what_is_dropped_or_purged() {
    let world = World::with(every_search()).await;
    graphs(&world, "a", &["eu"], 1).await;
    graphs(&world, "b", &["eu"], 1).await;
    for name in ["a", "b"] {
        world.search(walk(name, 1)).await;
        world.db.recheck().await.unwrap();
    }
    assert_eq!(world.db.recall_counts().len(), 2);
    // Nothing of another tenant touches them.
    world.search(walk("a", 1)).await;
    assert!(!world.db.drop_collection(STRANGER, "a").await.unwrap());
    world.db.purge(STRANGER, PurgeScope::default()).await.unwrap();
    assert!(world.db.recheck().await.is_some());
    // A purge forgets queries; counts hold nothing of them and stay.
    world.search(walk("a", 1)).await;
    let scope = PurgeScope { collection: Some("a".into()), created_before: Some(1), ..PurgeScope::default() };
    world.db.purge(OWNER, scope).await.unwrap();
    assert!(world.db.recheck().await.is_none());
    assert_eq!(world.db.recall_counts().len(), 2);
    // A drop forgets both.
    world.search(walk("a", 1)).await;
    world.search(walk("b", 1)).await;
    assert!(world.db.drop_collection(OWNER, "a").await.unwrap());
    assert_eq!(only(&world.db).checked, 10);
    world.db.recheck().await.unwrap();
    assert!(world.db.recheck().await.is_none());
    let b = world.db.collection(OWNER, "b").unwrap().id;
    assert_eq!((only(&world.db).checked, only(&world.db).collection), (20, b));
}
