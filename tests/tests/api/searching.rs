//! Searches, filters, batches, regions and shards.

use engram_proto::v1::{
    BatchSearchRequest, CountRequest, CreatePayloadIndexRequest, Filter, GeoBoundingBox, GeoPoint, GeoRadius,
    Metric, MinShould, Nested, PayloadIndex, PayloadIndexKind, SearchParams, SearchRequest, ValuesCount,
    condition, field_condition,
};
use engram_tests::corpus::{Corpus, Doc};
use engram_tests::{Client, oracle, wire};
use serde_json::Value;
use tonic::Code;

use super::{DIMENSION, SEED, load, loaded, server};

fn search(name: &str, query: &[f32], k: u32, exact: bool) -> SearchRequest {
    SearchRequest {
        collection: name.into(),
        vector: Some(wire::vector(query)),
        k,
        params: Some(SearchParams { exact, ..Default::default() }),
        ..Default::default()
    }
}

async fn answer(client: &Client, request: SearchRequest) -> Vec<(u64, f64)> {
    let hits = client.search(request).await.unwrap();
    hits.iter()
        .map(|h| (wire::number(h.point.as_ref().unwrap().id.as_ref()).unwrap(), f64::from(h.score)))
        .collect()
}

fn expected(docs: &[Doc], query: &[f32], k: usize, matches: impl Fn(&Doc) -> bool) -> Vec<(u64, f64)> {
    let points = docs.iter().filter(|d| matches(d)).map(|d| (d.id, d.vector.as_slice()));
    oracle::nearest(Metric::Euclid, query, k, points)
}

type Rule = (&'static str, Filter, fn(&Value) -> bool);

fn field(kind: field_condition::Kind, key: &str) -> Filter {
    wire::must(vec![wire::on(key, kind)])
}

/// Filters of every kind beside what they mean.
fn rules() -> Vec<Rule> {
    use field_condition::Kind;
    let nested = Nested {
        key: "nested".into(),
        filter: Some(wire::must(vec![
            wire::equals("a", wire::integer(1)),
            wire::equals("b", wire::integer(2)),
        ])),
    };
    let conditions = vec![
        wire::equals("group", wire::keyword("g1")),
        wire::equals(
            "flag",
            engram_proto::v1::Scalar { kind: Some(engram_proto::v1::scalar::Kind::Boolean(true)) },
        ),
        wire::between("price", 0.0, 50.0),
    ];
    let min_should = Filter { min_should: Some(MinShould { conditions, min_count: 2 }), ..Filter::default() };
    let one =
        |kind| Filter { must: vec![engram_proto::v1::Condition { kind: Some(kind) }], ..Filter::default() };
    vec![
        ("equals", wire::must(vec![wire::equals("group", wire::keyword("g3"))]), |p| p["group"] == "g3"),
        ("integer", wire::must(vec![wire::equals("level", wire::integer(7))]), |p| p["level"] == 7),
        (
            "any",
            wire::must(vec![wire::any_of("tags", vec![wire::keyword("t1"), wire::keyword("t5")])]),
            |p| p["tags"].as_array().unwrap().iter().any(|t| t == "t1" || t == "t5"),
        ),
        (
            "except",
            wire::must(vec![wire::except("group", vec![wire::keyword("g0"), wire::keyword("g1")])]),
            |p| p["group"] != "g0" && p["group"] != "g1",
        ),
        ("range", wire::must(vec![wire::between("price", 20.0, 30.0)]), |p| {
            (20.0..30.0).contains(&p["price"].as_f64().unwrap())
        }),
        (
            "should",
            wire::should(vec![wire::equals("group", wire::keyword("g2")), wire::between("price", 0.0, 5.0)]),
            |p| p["group"] == "g2" || (0.0..5.0).contains(&p["price"].as_f64().unwrap()),
        ),
        ("must not", wire::must_not(vec![wire::between("price", 10.0, 100.0)]), |p| {
            !(10.0..100.0).contains(&p["price"].as_f64().unwrap())
        }),
        (
            "group in a group",
            wire::must(vec![wire::group(wire::must_not(vec![wire::equals("group", wire::keyword("g4"))]))]),
            |p| p["group"] != "g4",
        ),
        ("is null", one(condition::Kind::IsNull("note".into())), |p| {
            p.get("note").is_some_and(Value::is_null)
        }),
        ("is empty", one(condition::Kind::IsEmpty("tags".into())), |p| {
            p["tags"].as_array().unwrap().is_empty()
        }),
        ("has id", wire::must(vec![wire::has_id(&[3, 5, 8, 999_999])]), |p| {
            [3, 5, 8].contains(&p["n"].as_u64().unwrap())
        }),
        ("nested", one(condition::Kind::Nested(nested)), |p| {
            p["nested"].as_array().unwrap().iter().any(|o| o["a"] == 1 && o["b"] == 2)
        }),
        ("min should", min_should, |p| {
            let price = p["price"].as_f64().unwrap();
            let held = [p["group"] == "g1", p["flag"] == true, (0.0..50.0).contains(&price)];
            held.iter().filter(|h| **h).count() >= 2
        }),
        (
            "values count",
            field(Kind::ValuesCount(ValuesCount { gte: Some(2), ..Default::default() }), "tags"),
            |p| p["tags"].as_array().unwrap().len() >= 2,
        ),
    ]
}

/// Filters on times and places beside what they mean.
fn rules_of_times_and_places() -> Vec<Rule> {
    use field_condition::Kind;
    vec![
        (
            "datetime",
            field(
                Kind::DatetimeRange(engram_proto::v1::DatetimeRange {
                    gte: Some("2026-06-01T00:00:00Z".into()),
                    lt: Some("2026-07-01T02:00:00+02:00".into()),
                    ..Default::default()
                }),
                "at",
            ),
            |p| p["at"].as_str().unwrap().starts_with("2026-06"),
        ),
        (
            "geo box",
            field(
                Kind::GeoBoundingBox(GeoBoundingBox {
                    top_left: Some(GeoPoint { lon: -20.0, lat: 60.0 }),
                    bottom_right: Some(GeoPoint { lon: 60.0, lat: -10.0 }),
                }),
                "place",
            ),
            |p| {
                let (lon, lat) = (p["place"]["lon"].as_f64().unwrap(), p["place"]["lat"].as_f64().unwrap());
                (-20.0..=60.0).contains(&lon) && (-10.0..=60.0).contains(&lat)
            },
        ),
        (
            "geo radius",
            field(
                Kind::GeoRadius(GeoRadius {
                    center: Some(GeoPoint { lon: 10.0, lat: 50.0 }),
                    radius_m: 4_000_000.0,
                }),
                "place",
            ),
            |p| {
                let rad = |key: &str| p["place"][key].as_f64().unwrap().to_radians();
                let (lat, lon) = (rad("lat"), rad("lon"));
                let (lat0, lon0) = (50f64.to_radians(), 10f64.to_radians());
                let h = ((lat - lat0) / 2.0).sin().powi(2)
                    + lat.cos() * lat0.cos() * ((lon - lon0) / 2.0).sin().powi(2);
                2.0 * 6_371_000.0 * h.sqrt().asin() <= 4_000_000.0
            },
        ),
    ]
}

async fn check_rules(client: &Client, name: &str, docs: &[Doc], when: &str) {
    let query = Corpus::new(SEED + 1, DIMENSION, &[]).vector();
    for (what, filter, means) in rules().into_iter().chain(rules_of_times_and_places()) {
        let matching = docs.iter().filter(|d| means(&d.payload)).count() as u64;
        let request =
            CountRequest { collection: name.into(), filter: Some(filter.clone()), ..Default::default() };
        assert_eq!(client.count_with(request).await.unwrap(), matching, "count of `{what}` {when}");
        for exact in [true, false] {
            let request = SearchRequest { filter: Some(filter.clone()), ..search(name, &query, 25, exact) };
            let got = answer(client, request).await;
            let right = expected(docs, &query, 25, |d| means(&d.payload));
            assert_eq!(got.len(), right.len(), "`{what}` {when}: number of results (exact: {exact})");
            if exact {
                oracle::same_answer(&right, &got).unwrap_or_else(|e| panic!("`{what}` {when}: {e}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_mean_the_same_with_and_without_indexes() {
    let (mut server, client) = server().await;
    let docs = loaded(&client, "c", 3_000, &[], 1).await;
    check_rules(&client, "c", &docs, "in memory").await;
    client.flush("c").await.unwrap();
    check_rules(&client, "c", &docs, "in a segment").await;
    use PayloadIndexKind as K;
    let kinds = [
        ("group", K::Keyword),
        ("price", K::Float),
        ("level", K::Integer),
        ("flag", K::Bool),
        ("at", K::Datetime),
        ("tags", K::Keyword),
        ("place", K::Geo),
    ];
    for (field, kind) in kinds {
        let index = Some(PayloadIndex { field: field.into(), kind: kind.into(), text: None });
        let request = CreatePayloadIndexRequest { collection: "c".into(), index };
        client.collections.clone().create_payload_index(request).await.unwrap();
    }
    check_rules(&client, "c", &docs, "with indexes wanted").await;
    client.compact("c").await.unwrap();
    check_rules(&client, "c", &docs, "with indexes built").await;
    server.kill9();
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    check_rules(&client, "c", &docs, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_of_four_shards_answer_as_one_shard_does() {
    let (_server, client) = server().await;
    let docs = loaded(&client, "many", 4_000, &["eu", "us"], 4).await;
    let request = engram_proto::v1::CreateCollectionRequest {
        name: "one".into(),
        vectors: vec![wire::field("", u32::try_from(DIMENSION).unwrap(), Metric::Euclid)],
        ..Default::default()
    };
    client.create(request).await.unwrap();
    let plain: Vec<Doc> = docs.iter().cloned().map(|d| Doc { region: String::new(), ..d }).collect();
    load(&client, "one", &plain).await;
    client.flush("many").await.unwrap();
    let mut corpus = Corpus::new(SEED + 2, DIMENSION, &[]);
    for n in 0..100 {
        let query = corpus.vector();
        let k = 1 + n % 40;
        let (many, one) = (
            answer(&client, search("many", &query, k, true)).await,
            answer(&client, search("one", &query, k, true)).await,
        );
        assert_eq!(many, one, "query {n}");
        oracle::same_answer(&expected(&docs, &query, k as usize, |_| true), &one).unwrap();
        let request = SearchRequest { regions: vec!["us".into()], ..search("many", &query, k, true) };
        let us = answer(&client, request).await;
        oracle::same_answer(&expected(&docs, &query, k as usize, |d| d.region == "us"), &us).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_answer_as_single_searches_do() {
    let (_server, client) = server().await;
    loaded(&client, "c", 1_000, &["eu", "us"], 2).await;
    let mut corpus = Corpus::new(SEED + 3, DIMENSION, &[]);
    let searches: Vec<_> = (0..20).map(|_| search("c", &corpus.vector(), 10, true)).collect();
    let batch = BatchSearchRequest { searches: searches.clone() };
    let results = client.points.clone().batch_search(batch).await.unwrap().into_inner().results;
    assert_eq!(results.len(), searches.len());
    for (n, (one, many)) in searches.into_iter().zip(results).enumerate() {
        let alone = client.search(one).await.unwrap();
        assert_eq!(alone.len(), many.hits.len(), "search {n}");
        for (place, (a, b)) in alone.iter().zip(&many.hits).enumerate() {
            assert_eq!(a, b, "search {n}, place {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_thresholds_and_likeness() {
    let (_server, client) = server().await;
    let docs = loaded(&client, "c", 500, &[], 1).await;
    let query = Corpus::new(SEED + 4, DIMENSION, &[]).vector();
    let all = answer(&client, search("c", &query, 50, true)).await;
    let paged = answer(&client, SearchRequest { offset: 20, ..search("c", &query, 10, true) }).await;
    assert_eq!(paged, all[20..30]);
    let limit = (all[9].1 + all[10].1) / 2.0;
    let near = SearchRequest { score_threshold: Some(limit as f32), ..search("c", &query, 50, true) };
    assert_eq!(answer(&client, near).await, all[..10]);
    let like = SearchRequest { like: Some(wire::num(7)), vector: None, ..search("c", &query, 10, true) };
    let alike = answer(&client, like).await;
    oracle::same_answer(&expected(&docs, &docs[7].vector, 10, |d| d.id != 7), &alike).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t37_a_huge_limit_is_refused_before_memory_is_taken() {
    let (_server, client) = server().await;
    loaded(&client, "c", 100, &[], 1).await;
    let query = vec![0.1; DIMENSION];
    assert_eq!(answer(&client, search("c", &query, 10_000, false)).await.len(), 100);
    for (k, offset) in [(10_001, 0), (u32::MAX, 0), (1, u32::MAX), (0, 0)] {
        let request = SearchRequest { offset, ..search("c", &query, k, false) };
        assert_eq!(
            client.search(request).await.unwrap_err().code(),
            Code::InvalidArgument,
            "k {k}, offset {offset}"
        );
    }
    let ef = SearchRequest {
        params: Some(SearchParams { ef: u32::MAX, ..Default::default() }),
        ..search("c", &query, 10, false)
    };
    assert_eq!(client.search(ef).await.unwrap_err().code(), Code::InvalidArgument);
}
