//! Sparse and multi vectors: refused where they do not fit, found where they do, weighed by what the collection holds.

use std::collections::BTreeMap;

use crate::support::*;
use engram_index::vector::{Metric, MultiVector, SparseVector, VectorValue, multi, sparse};
use engram_query::database::CollectionChange;
use engram_query::request::{NewPoint, QueryVector, ReadOptions, SearchRequest, Selection, VectorUpdate};
use engram_storage::point::PointId;
use engram_storage::schema::{SparseModifier, VectorField, VectorKind};
use rand::{Rng, SeedableRng, rngs::StdRng};

const SHARDS: u32 = 3;

fn fields() -> Vec<VectorField> {
    let dense = collection("c", &["eu"], 1).vectors[0].clone();
    let sparse = |id, name: &str, modifier| VectorField {
        id,
        name: name.into(),
        dimension: 0,
        metric: Metric::Dot,
        kind: VectorKind::Sparse { modifier },
        ..dense.clone()
    };
    let multi = |id, name: &str, metric| VectorField {
        id,
        name: name.into(),
        dimension: 4,
        metric,
        kind: VectorKind::Multi,
        ..dense.clone()
    };
    vec![
        dense.clone(),
        sparse(1, "plain", SparseModifier::None),
        sparse(2, "words", SparseModifier::Idf),
        multi(3, "tokens", Metric::Cosine),
        multi(4, "near", Metric::Euclid),
    ]
}

async fn world(regions: &[&str]) -> World {
    let world = World::new().await;
    let mut new = collection("c", regions, SHARDS);
    new.vectors = fields();
    world.db.create_collection(OWNER, new, false).await.unwrap();
    world
}

fn drawn_sparse(rng: &mut StdRng) -> SparseVector {
    let map: BTreeMap<u32, f32> = (0..rng.random_range(0..6))
        .map(|_| (rng.random_range(0..30u32).pow(2), rng.random_range(-1.0..2.0)))
        .collect();
    let (indices, values) = map.into_iter().unzip();
    SparseVector { indices, values }
}

fn drawn_multi(rng: &mut StdRng) -> MultiVector {
    let components = (0..4 * rng.random_range(1..6)).map(|_| rng.random_range(-1.0..1.0)).collect();
    MultiVector { dimension: 4, components }
}

/// Points with most kinds each.
fn drawn(rng: &mut StdRng, ids: std::ops::Range<u64>, regions: &[&str]) -> Vec<NewPoint> {
    ids.map(|id| {
        let mut vectors: Vec<(String, VectorValue)> = Vec::new();
        for name in ["plain", "words"] {
            if rng.random_bool(0.8) {
                vectors.push((name.into(), drawn_sparse(rng).into()));
            }
        }
        for name in ["tokens", "near"] {
            if rng.random_bool(0.8) {
                vectors.push((name.into(), drawn_multi(rng).into()));
            }
        }
        let region = regions[id as usize % regions.len()];
        NewPoint { vectors, ..point_in(id, region) }
    })
    .collect()
}

fn search(field: &str, query: impl Into<VectorValue>, k: usize) -> SearchRequest {
    SearchRequest { field: field.into(), query: QueryVector::Vector(query.into()), ..near("c", vec![], k) }
}

fn value_of<'p>(point: &'p NewPoint, name: &str) -> Option<&'p VectorValue> {
    point.vectors.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

/// The best `k` of all by looking at every one; scores where larger is better if `larger`.
fn best(scores: impl Iterator<Item = (u64, f32)>, k: usize, larger: bool) -> Vec<(PointId, f32)> {
    let mut all: Vec<(u64, f32)> = scores.collect();
    let order = |a: f32, b: f32| if larger { b.total_cmp(&a) } else { a.total_cmp(&b) };
    all.sort_by(|a, b| order(a.1, b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all.into_iter().map(|(id, score)| (PointId::Num(id), score)).collect()
}

fn brute_sparse(
    points: &BTreeMap<u64, NewPoint>,
    field: &str,
    query: &SparseVector,
    keep: impl Fn(u64) -> bool,
) -> Vec<(PointId, f32)> {
    let all: Vec<(u64, &SparseVector)> = points
        .iter()
        .filter_map(|(id, p)| match value_of(p, field)? {
            VectorValue::Sparse(v) => Some((*id, v)),
            _ => None,
        })
        .collect();
    let mut query = query.clone();
    if field == "words" {
        for (index, value) in query.indices.iter().zip(&mut query.values) {
            let with = all.iter().filter(|(_, v)| v.indices.contains(index)).count() as f64;
            *value *= ((all.len() as f64 - with + 0.5) / (with + 0.5) + 1.0).ln() as f32;
        }
    }
    let scored =
        |(id, v): &(u64, &SparseVector)| Some((*id, sparse::SparseRow::from(&query).dot((*v).into())? + 0.0));
    best(all.iter().filter(|(id, _)| keep(*id)).filter_map(scored), 10, true)
}

fn brute_multi(
    points: &BTreeMap<u64, NewPoint>,
    field: (&str, Metric),
    query: &MultiVector,
    keep: impl Fn(u64) -> bool,
) -> Vec<(PointId, f32)> {
    let admitted = |v: &MultiVector| {
        let mut v = v.clone();
        multi::admit(field.1, 4, &mut v).unwrap();
        v
    };
    let query = admitted(query);
    let scored =
        points.iter().filter(|(id, _)| keep(**id)).filter_map(|(id, p)| match value_of(p, field.0)? {
            VectorValue::Multi(v) => {
                Some((*id, field.1.score(multi::max_sim(field.1, &query, &admitted(v)))))
            }
            _ => None,
        });
    best(scored, 10, field.1.larger_is_closer())
}

/// Compares searches of every field with a look at every point.
async fn agree(world: &World, points: &BTreeMap<u64, NewPoint>, rng: &mut StdRng) {
    let is_odd = |id: u64| id % 2 == 1;
    for _ in 0..10 {
        for field in ["plain", "words"] {
            let query = drawn_sparse(rng);
            let found = ranking(&world.search(search(field, query.clone(), 10)).await);
            assert_eq!(found, brute_sparse(points, field, &query, |_| true), "{field} {query:?}");
            let filtered = SearchRequest { filter: Some(odd()), ..search(field, query.clone(), 10) };
            let found = ranking(&world.search(filtered).await);
            assert_eq!(found, brute_sparse(points, field, &query, is_odd), "{field} {query:?}");
        }
        for field in [("tokens", Metric::Cosine), ("near", Metric::Euclid)] {
            let query = drawn_multi(rng);
            let found = ranking(&world.search(search(field.0, query.clone(), 10)).await);
            assert_eq!(found, brute_multi(points, field, &query, |_| true), "{field:?}");
            let filtered = SearchRequest { filter: Some(odd()), ..search(field.0, query.clone(), 10) };
            let found = ranking(&world.search(filtered).await);
            assert_eq!(found, brute_multi(points, field, &query, is_odd), "{field:?}");
            // One vector is a multi vector of one.
            let one = MultiVector { dimension: 4, components: query.components[..4].to_vec() };
            let found = ranking(&world.search(search(field.0, one.components.clone(), 10)).await);
            assert_eq!(found, brute_multi(points, field, &one, |_| true), "{field:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_agree_with_a_look_at_every_point() {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let rng = &mut StdRng::seed_from_u64(seed);
    let regions = ["eu", "us"];
    let world = world(&regions).await;
    let mut points = BTreeMap::new();
    for first in [0, 150, 300] {
        let drawn = drawn(rng, first..first + 200, &regions);
        points.extend(drawn.iter().map(|p| (number(p), p.clone())));
        world.put("c", drawn).await;
        agree(&world, &points, rng).await;
        world.flush().await;
    }
    // Dead rows must weigh nothing: neither in results nor in frequencies.
    let gone: Vec<u64> = (0..500).filter(|_| rng.random_bool(0.4)).collect();
    world.delete("c", &gone).await;
    points.retain(|id, _| !gone.contains(id));
    agree(&world, &points, rng).await;
    world.compact().await;
    agree(&world, &points, rng).await;
}

fn number(point: &NewPoint) -> u64 {
    match point.id {
        Some(PointId::Num(n)) => n,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frequencies_are_those_of_the_whole_collection() {
    let world = world(&["eu", "us"]).await;
    let words = |indices: &[u32]| {
        let values = vec![1.0; indices.len()];
        VectorValue::from(SparseVector { indices: indices.to_vec(), values })
    };
    let with = |id, region, indices: &[u32]| NewPoint {
        vectors: vec![("words".into(), words(indices))],
        ..point_in(id, region)
    };
    world
        .put(
            "c",
            vec![with(1, "eu", &[1]), with(2, "eu", &[1, 2]), with(3, "us", &[2]), with(4, "us", &[2, 3])],
        )
        .await;
    // A word of one region is looked for, weighed by both.
    let read = ReadOptions { regions: vec!["eu".into()], ..ReadOptions::default() };
    let found = ranking(&world.search(SearchRequest { read, ..search("words", words(&[2]), 10) }).await);
    let weight = ((4.0f64 - 3.0 + 0.5) / 3.5 + 1.0).ln() as f32;
    assert_eq!(found, [(PointId::Num(2), weight)]);
    // Like a point: what it shares with others, itself left out.
    let like = SearchRequest { query: QueryVector::Like(PointId::Num(4)), ..search("words", vec![], 10) };
    let ids: Vec<_> = ranking(&world.search(like).await).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [PointId::Num(2), PointId::Num(3)]);
    // A threshold is one of scores.
    let above = SearchRequest { score_threshold: Some(weight * 1.01), ..search("words", words(&[2]), 10) };
    assert!(world.search(above).await.hits.is_empty());
    // No index in common is no result, and neither is an empty query.
    assert!(world.search(search("words", words(&[9]), 10)).await.hits.is_empty());
    assert!(world.search(search("words", words(&[]), 10)).await.hits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_refused_with_what_to_mend() {
    let world = world(&["eu"]).await;
    let sparse = |indices: &[u32], values: &[f32]| {
        VectorValue::from(SparseVector { indices: indices.to_vec(), values: values.to_vec() })
    };
    let multi = |dimension, components: Vec<f32>| VectorValue::from(MultiVector { dimension, components });
    let many = sparse::MAX_COMPONENTS as u32 + 1;
    let cases = [
        ("", sparse(&[1], &[1.0]), "wrong_vector_kind"),
        ("", multi(DIM, vec![1.0; DIM]), "wrong_vector_kind"),
        ("words", vec![1.0].into(), "wrong_vector_kind"),
        ("tokens", sparse(&[1], &[1.0]), "wrong_vector_kind"),
        ("words", sparse(&[1, 1], &[1.0, 2.0]), "invalid_vector"),
        ("words", sparse(&[1, 2], &[1.0]), "invalid_vector"),
        ("words", sparse(&[1], &[f32::NAN]), "not_finite"),
        ("words", sparse(&(0..many).collect::<Vec<_>>(), &vec![1.0; many as usize]), "invalid_vector"),
        ("tokens", multi(4, vec![]), "invalid_vector"),
        ("tokens", multi(0, vec![]), "invalid_vector"),
        ("tokens", multi(3, vec![1.0; 3]), "wrong_dimension"),
        ("tokens", multi(4, vec![1.0; 6]), "invalid_vector"),
        ("tokens", multi(4, vec![f32::INFINITY; 4]), "not_finite"),
        ("tokens", multi(4, vec![0.0; 4]), "invalid_vector"),
        ("near", multi(4, vec![0.0; 4 * (multi::MAX_VECTORS + 1)]), "invalid_vector"),
    ];
    for (field, value, code) in cases {
        let point = NewPoint { vectors: vec![(field.into(), value.clone())], ..point(1) };
        let refused = world.try_put("c", vec![point]).await.unwrap_err();
        assert_eq!(refused.code(), code, "{field}: {refused}");
        let refused = world.db.search(OWNER, search(field, value, 3)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{field}: {refused}");
    }
    // One vector is not stored as several: that would be a slip.
    let one = NewPoint { vectors: vec![("tokens".into(), vec![1.0; 4].into())], ..point(1) };
    assert_eq!(world.try_put("c", vec![one]).await.unwrap_err().code(), "wrong_vector_kind");
    assert_eq!(world.count("c").await, 0);

    // Out of order is no fault; what is stored is sorted.
    let unsorted = NewPoint { vectors: vec![("words".into(), sparse(&[7, 3], &[1.0, 2.0]))], ..point(1) };
    world.put("c", vec![unsorted]).await;
    let update = VectorUpdate {
        id: PointId::Num(1),
        set: vec![("tokens".into(), multi(4, vec![2.0, 0.0, 0.0, 0.0]))],
        remove: vec![],
        if_version: None,
    };
    world.db.update_vectors(OWNER, "c", vec![update], waiting()).await.unwrap();
    let all = Selection { vectors: true, ..Selection::default() };
    let found =
        world.db.get(OWNER, "c", (vec![PointId::Num(1)], all), &ReadOptions::default()).await.unwrap();
    let expected = [
        ("words".to_owned(), sparse(&[3, 7], &[2.0, 1.0])),
        ("tokens".to_owned(), multi(4, vec![1.0, 0.0, 0.0, 0.0])),
    ];
    assert_eq!(found[0].vectors, expected);
}

#[tokio::test]
async fn a_sparse_field_has_no_dimension_and_no_other_metric() {
    let world = World::new().await;
    for change in [|f: &mut VectorField| f.dimension = 3, |f: &mut VectorField| f.metric = Metric::Cosine] {
        let mut new = collection("c", &["eu"], 1);
        new.vectors = fields();
        change(&mut new.vectors[1]);
        let refused = world.db.create_collection(OWNER, new, false).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_argument");
    }
}

/// All vectors of a point, by name.
async fn values(world: &World, id: u64) -> Vec<(String, VectorValue)> {
    let selection = Selection { vectors: true, ..Selection::default() };
    let found = world.db.get(OWNER, "c", (vec![PointId::Num(id)], selection), &ReadOptions::default()).await;
    found.unwrap().remove(0).vectors
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_was_taken_away_leaves_nothing_for_one_of_its_name() {
    let world = world(&["eu"]).await;
    let multi = |x: f32| MultiVector { dimension: 4, components: vec![x, 0.0, 0.0, 1.0] };
    let with = |id: u64, x: f32| NewPoint {
        vectors: vec![(String::new(), vector(id).into()), ("near".into(), multi(x).into())],
        ..point(id)
    };
    world.put("c", (0..100).map(|id| with(id, id as f32)).collect()).await;
    world.flush().await;
    world.put("c", (100..200).map(|id| with(id, id as f32)).collect()).await;
    let change = |remove: &[&str], add: Vec<VectorField>| CollectionChange {
        remove_vectors: remove.iter().map(|name| (*name).to_owned()).collect(),
        add_vectors: add,
        ..CollectionChange::default()
    };
    // The field with the highest number: the next one must not get it.
    let old = world.db.collection(OWNER, "c").unwrap().vector_field("near").unwrap().clone();
    let gone = world.db.update_collection(OWNER, "c", change(&["near", "none"], vec![])).await.unwrap();
    assert!(gone.vector_field("near").is_none());
    assert_eq!(world.db.update_collection(OWNER, "c", change(&["near"], vec![])).await.unwrap(), gone);
    let e = world.db.search(OWNER, search("near", multi(1.0), 5)).await.unwrap_err();
    assert_eq!(e.code(), "unknown_field");
    assert_eq!(values(&world, 1).await, [(String::new(), vector(1).into())]);
    let back = world.db.update_collection(OWNER, "c", change(&[], vec![old.clone()])).await.unwrap();
    assert!(back.vector_field("near").unwrap().id > old.id);
    for round in 0..3 {
        let found = world.search(search("near", multi(1.0), 5)).await;
        assert_eq!(found.hits.len(), 0, "round {round}");
        for id in [1, 150] {
            assert_eq!(values(&world, id).await, [(String::new(), vector(id).into())], "round {round}");
        }
        if round == 0 { world.flush().await } else { world.compact().await }
    }
    world.put("c", vec![with(7, 0.5)]).await;
    let found = ranking(&world.search(search("near", multi(0.5), 5)).await);
    assert_eq!(found, [(PointId::Num(7), 0.0)]);
    // Taken away and made anew in one change.
    world.db.update_collection(OWNER, "c", change(&["near"], vec![old])).await.unwrap();
    assert_eq!(world.search(search("near", multi(0.5), 5)).await.hits.len(), 0);
}
