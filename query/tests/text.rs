//! Text searches and text conditions over shards and segments: the same answer however points lie.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::*;
use bytes::Bytes;
use engram_index::payload::PayloadIndexKind;
use engram_index::text::TextOptions;
use engram_query::QueryError;
use engram_query::filter::Filter;
use engram_query::request::query::{Query, QueryRequest, Stage, TextQuery, TextSearchRequest};
use engram_query::request::{NewPoint, ReadOptions, ScrollRequest, SearchAnswer, Selection};
use engram_storage::engine::NewCollection;
use engram_storage::point::PointId;
use engram_storage::schema::PayloadIndexSpec;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const POINTS: u64 = 900;

/// Words of point `id` in its `round`: common and rare ones; some points have none, some several strings.
fn texts(id: u64, round: u64) -> Value {
    let mut rng = StdRng::seed_from_u64(id * 10 + round);
    let mut text = || {
        let mut word = || format!("w{}", (rng.random::<f64>().powi(3) * 50.0) as u32);
        (0..id % 9).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    match id % 4 {
        0 => json!([text(), text()]),
        _ => json!(text()),
    }
}

fn written(id: u64, round: u64, region: &str) -> NewPoint {
    let payload = json!({ "body": texts(id, round), "odd": id % 2 == 1, "o": [{ "t": texts(id, round) }] });
    NewPoint { payload: Bytes::from(payload.to_string()), ..point_in(id, region) }
}

fn index(options: &str) -> PayloadIndexSpec {
    let options: TextOptions = serde_json::from_str(options).unwrap();
    PayloadIndexSpec { text: Some(options), ..PayloadIndexSpec::new("body", PayloadIndexKind::Text) }
}

fn ask(name: &str, text: &str, limit: usize) -> TextSearchRequest {
    TextSearchRequest {
        collection: name.into(),
        query: TextQuery { field: "body".into(), text: text.into() },
        filter: None,
        limit,
        offset: 0,
        score_threshold: None,
        selection: Selection { payload: true, ..Selection::default() },
        read: ReadOptions::default(),
        allow_partial: false,
    }
}

async fn found(world: &World, request: TextSearchRequest) -> SearchAnswer {
    world.db.search_text(OWNER, request).await.unwrap()
}

fn scores(answer: &SearchAnswer) -> Vec<(PointId, f32)> {
    answer.hits.iter().map(|hit| (hit.point.id, hit.score)).collect()
}

/// BM25 by the book over what a map holds.
fn brute(live: &BTreeMap<u64, Value>, query: &str, keep: impl Fn(u64) -> bool) -> Vec<(PointId, f64)> {
    let split = |value: &Value| -> Vec<String> {
        let strings = match value {
            Value::Array(items) => items.iter().map(|v| v.as_str().unwrap()).collect(),
            one => vec![one.as_str().unwrap()],
        };
        strings.iter().flat_map(|text| text.split_whitespace().map(str::to_owned)).collect()
    };
    let docs: Vec<(u64, Vec<String>)> =
        live.iter().map(|(id, text)| (*id, split(text))).filter(|(_, words)| !words.is_empty()).collect();
    let n = docs.len() as f64;
    let average = docs.iter().map(|(_, words)| words.len() as f64).sum::<f64>() / n;
    let mut out = Vec::new();
    for (id, words) in docs.iter().filter(|(id, _)| keep(*id)) {
        let mut score = 0.0;
        for word in query.split_whitespace() {
            let df = docs.iter().filter(|(_, words)| words.iter().any(|w| w == word)).count() as f64;
            let tf = words.iter().filter(|w| *w == word).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * words.len() as f64 / average));
        }
        if score > 0.0 {
            out.push((PointId::Num(*id), score));
        }
    }
    out.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    out
}

/// One shard with one segment, eight shards with many segments and memtables, and what both hold.
async fn filled(options: &str) -> (World, BTreeMap<u64, Value>) {
    let world = World::new().await;
    for (name, regions, shards) in [("one", &["eu"][..], 1), ("many", &["eu", "us"][..], 4)] {
        let new =
            NewCollection { payload_indexes: vec![index(options)], ..collection(name, regions, shards) };
        world.db.create_collection(OWNER, new, false).await.unwrap();
    }
    let mut live = BTreeMap::new();
    for (step, ids) in [0..500, 300..700, 650..POINTS].into_iter().enumerate() {
        let round = step as u64;
        let region = |id: u64| if id.is_multiple_of(3) { "us" } else { "eu" };
        world.put("one", ids.clone().map(|id| written(id, round, "eu")).collect()).await;
        world.put("many", ids.clone().map(|id| written(id, round, region(id))).collect()).await;
        live.extend(ids.map(|id| (id, texts(id, round))));
        if step < 2 {
            world.flush().await;
        }
        let dead: Vec<u64> =
            (step as u64 * 7..POINTS).step_by(13).filter(|id| live.contains_key(id)).collect();
        for name in ["one", "many"] {
            world.delete(name, &dead).await;
        }
        live.retain(|id, _| !dead.contains(id));
    }
    for shard in world.db.engine().open_shards() {
        if shard.key().collection == world.db.collection(OWNER, "one").unwrap().id {
            shard.compact().await.unwrap();
        }
    }
    (world, live)
}

const QUERIES: [&str; 6] = ["w0", "w3 w17", "w1 w1 w40", "w49 w2 w5 absent", "absent", "W0, w9!"];

#[tokio::test(flavor = "multi_thread")]
async fn scores_do_not_depend_on_how_points_lie() {
    let (world, live) = filled("{}").await;
    for query in QUERIES {
        let plain = query.to_lowercase().replace([',', '!'], "");
        let truth = brute(&live, &plain, |_| true);
        for name in ["one", "many"] {
            let all = scores(&found(&world, ask(name, query, 10_000)).await);
            assert_eq!(all.len(), truth.len(), "{query} in {name}");
            let expected: BTreeMap<PointId, f64> = truth.iter().copied().collect();
            for (id, score) in &all {
                assert!((f64::from(*score) - expected[id]).abs() < 1e-4, "{query} in {name}: {id} {score}");
            }
            assert!(all.windows(2).all(|w| w[0].1 > w[1].1 || (w[0].1 == w[1].1 && w[0].0 < w[1].0)));
            let page = TextSearchRequest { offset: 3, ..ask(name, query, 4) };
            assert_eq!(
                scores(&found(&world, page).await),
                all.iter().skip(3).take(4).copied().collect::<Vec<_>>()
            );
        }
        let (one, many) =
            (found(&world, ask("one", query, 50)).await, found(&world, ask("many", query, 50)).await);
        assert_eq!(scores(&one), scores(&many), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_thresholds_and_regions_narrow_the_answer_and_not_the_scores() {
    let (world, live) = filled("{}").await;
    let truth = brute(&live, "w3 w1", |id| id % 2 == 1);
    for name in ["one", "many"] {
        let answer =
            found(&world, TextSearchRequest { filter: Some(odd()), ..ask(name, "w3 w1", 500) }).await;
        assert_eq!(answer.hits.len(), truth.len());
        for (hit, (_, score)) in answer.hits.iter().zip(&truth) {
            assert!((f64::from(hit.score) - score).abs() < 1e-4);
            assert!(String::from_utf8_lossy(&hit.point.payload).contains("\"odd\":true"));
        }
        let middle = answer.hits[answer.hits.len() / 2].score;
        let above = TextSearchRequest {
            filter: Some(odd()),
            score_threshold: Some(middle),
            ..ask(name, "w3 w1", 500)
        };
        let above = found(&world, above).await;
        assert_eq!(above.hits.len(), answer.hits.iter().filter(|hit| hit.score >= middle).count());
    }
    let read = ReadOptions { regions: vec!["us".into()], ..ReadOptions::default() };
    let us = found(&world, TextSearchRequest { read, ..ask("many", "w1", 500) }).await;
    assert!(!us.hits.is_empty() && us.hits.iter().all(|hit| hit.point.region.as_str() == "us"));
    let truth: BTreeMap<PointId, f64> = brute(&live, "w1", |_| true).into_iter().collect();
    for hit in &us.hits {
        let score = truth[&hit.point.id];
        assert!((f64::from(hit.score) - score).abs() < 1e-4, "{}: {} {score}", hit.point.id, hit.score);
    }
    let stage = Stage {
        query: Some(Query::Text(TextQuery { field: "body".into(), text: "w1".into() })),
        limit: 500,
        ..Stage::default()
    };
    let query = QueryRequest {
        collection: "many".into(),
        stage,
        offset: 0,
        selection: Selection::default(),
        read: ReadOptions { regions: vec!["us".into()], ..ReadOptions::default() },
        allow_partial: false,
    };
    let staged = world.db.query(OWNER, query).await.unwrap();
    let staged: Vec<(PointId, f32)> = staged.hits.iter().map(|hit| (hit.point.id, hit.score)).collect();
    assert_eq!(staged, scores(&us), "a stage scores as a search does");
}

async fn ids(world: &World, name: &str, filter: &str) -> BTreeSet<PointId> {
    let request = ScrollRequest {
        collection: name.into(),
        filter: Some(Filter::from_json(&serde_json::from_str(filter).unwrap()).unwrap()),
        from: None,
        limit: 10_000,
        selection: Selection::default(),
        read: ReadOptions::default(),
        order_by: None,
    };
    world.db.scroll(OWNER, request).await.unwrap().points.iter().map(|point| point.id).collect()
}

const CONDITIONS: [&str; 6] = [
    r#"{"must":[{"key":"body","match":{"text":"W1 w0"}}]}"#,
    r#"{"must":[{"key":"body","match":{"text_any":"w30 W20"}}]}"#,
    r#"{"must":[{"key":"body","match":{"phrase":"w0 w1"}}]}"#,
    r#"{"must_not":[{"key":"body","match":{"text":"w0"}}]}"#,
    r#"{"must":[{"key":"body","match":{"phrase":"..."}}]}"#,
    r#"{"must":[{"key":"body","match":{"text":"w0"}},{"key":"odd","match":{"value":true}}]}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn conditions_mean_the_same_with_and_without_the_index_of_a_run() {
    for options in ["{}", r#"{"phrase_matching":true}"#] {
        let (world, _) = filled(options).await;
        let mut answers = Vec::new();
        for condition in CONDITIONS {
            let one = ids(&world, "one", condition).await;
            assert_eq!(one, ids(&world, "many", condition).await, "{condition}");
            answers.push(one);
        }
        assert!(answers.iter().filter(|ids| !ids.is_empty()).count() == 5, "one of them has no word");
        // Other options: no run has their index now, and all say what it will say once it is built.
        let spec = index(r#"{"stopwords":{"custom":["w2"]},"tokenizer":"whitespace"}"#);
        world.db.create_payload_index(OWNER, "one", spec.clone()).await.unwrap();
        let mut before = Vec::new();
        for condition in CONDITIONS {
            before.push(ids(&world, "one", condition).await);
        }
        let ranked = scores(&found(&world, ask("one", "w1 w2 w7", 500)).await);
        world.compact().await;
        for (condition, before) in CONDITIONS.into_iter().zip(before) {
            assert_eq!(ids(&world, "one", condition).await, before, "{condition}");
        }
        assert_eq!(scores(&found(&world, ask("one", "w1 w2 w7", 500)).await), ranked);
        assert!(!ranked.is_empty());
        // Without any index plain words are compared, and nothing can be ranked.
        assert!(world.db.delete_payload_index(OWNER, "one", "body").await.unwrap());
        assert!(!ids(&world, "one", CONDITIONS[0]).await.is_empty());
        let part = r#"{"must":[{"key":"body","match":{"text":"1 w"}}]}"#;
        assert!(ids(&world, "one", part).await.is_empty(), "parts of words are none");
        let e = world.db.search_text(OWNER, ask("one", "w1", 5)).await.unwrap_err();
        assert_eq!(e.code(), "no_text_index");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_inside_objects_is_used_by_nested_conditions() {
    let (world, _) = filled("{}").await;
    let nested =
        r#"{"must":[{"nested":{"key":"o","filter":{"must":[{"key":"t","match":{"text":"W1 W0"}}]}}}]}"#;
    let plain = ids(&world, "one", nested).await;
    assert!(!plain.is_empty());
    let spec = PayloadIndexSpec::new("o[].t", PayloadIndexKind::Text);
    world.db.create_payload_index(OWNER, "one", spec).await.unwrap();
    assert_eq!(ids(&world, "one", nested).await, ids(&world, "one", CONDITIONS[0]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_options_are_bounded() {
    let (world, _) = filled("{}").await;
    let refused =
        |request: TextSearchRequest| async { world.db.search_text(OWNER, request).await.unwrap_err() };
    let words = |n: usize| (0..n).map(|i| format!("x{i}")).collect::<Vec<_>>().join(" ");
    let limit = |e: &QueryError| e.code() == "limit_exceeded";
    assert!(world.db.search_text(OWNER, ask("one", &words(256), 5)).await.is_ok());
    assert!(limit(&refused(ask("one", &words(257), 5)).await));
    assert!(world.db.search_text(OWNER, ask("one", &"x".repeat(4_096), 5)).await.is_ok());
    assert!(limit(&refused(ask("one", &"x".repeat(4_097), 5)).await));
    assert_eq!(refused(ask("one", "w1", 0)).await.code(), "invalid_argument");
    assert!(limit(&refused(ask("one", "w1", 10_001)).await));
    let nan = TextSearchRequest { score_threshold: Some(f32::NAN), ..ask("one", "w1", 5) };
    assert_eq!(refused(nan).await.code(), "not_finite");
    assert!(found(&world, ask("one", "... !", 5)).await.hits.is_empty());
    let stranger = world.db.search_text(STRANGER, ask("one", "w1", 5)).await.unwrap_err();
    assert_eq!(stranger.code(), "collection_not_found");

    let many = format!(r#"{{"must":[{{"key":"body","match":{{"text":"{}"}}}}]}}"#, words(257));
    let filter = Filter::from_json(&serde_json::from_str(&many).unwrap()).unwrap();
    let e = world.db.count(OWNER, "one", Some(filter), &ReadOptions::default()).await.unwrap_err();
    assert!(e.to_string().contains("257 words"), "{e}");
    let long = json!({"must": [{"key": "body", "match": {"phrase": "x".repeat(4_097)}}]});
    assert!(Filter::from_json(&long).is_err());

    let e =
        world.db.create_payload_index(OWNER, "one", index(r#"{"min_token_len":9,"max_token_len":2}"#)).await;
    assert!(e.unwrap_err().to_string().contains("`min_token_len` 9"), "says what to mend");
    let wrong = PayloadIndexSpec { kind: PayloadIndexKind::Keyword, ..index("{}") };
    assert_eq!(
        world.db.create_payload_index(OWNER, "one", wrong).await.unwrap_err().code(),
        "invalid_argument"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_expired_points_count_no_more() {
    let world = World::new().await;
    let new = NewCollection { payload_indexes: vec![index("{}")], ..collection("c", &["eu"], 1) };
    world.db.create_collection(OWNER, new, false).await.unwrap();
    let mut points: Vec<NewPoint> = (0..100).map(|id| written(id, 0, "eu")).collect();
    let live: BTreeMap<u64, Value> = (0..80).map(|id| (id, texts(id, 0))).collect();
    for point in &mut points[80..] {
        point.expires_at = Some(NOW + 1_000);
    }
    world.put("c", points).await;
    world.flush().await;
    world.clock.advance(2_000);
    let truth = brute(&live, "w1 w4", |_| true);
    let answer = found(&world, ask("c", "w1 w4", 500)).await;
    assert_eq!(answer.hits.len(), truth.len());
    for (hit, (_, score)) in answer.hits.iter().zip(&truth) {
        assert!((f64::from(hit.score) - score).abs() < 1e-4);
    }
}
