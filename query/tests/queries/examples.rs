//! Recommendations, discovery, context and diversity against their formulas over all points.

use engram_index::vector::Metric;
use engram_query::request::NewPoint;
use engram_query::request::query::{ContextPair, Lookup, Query, RecommendStrategy, VectorInput};
use engram_storage::point::PointId;

use super::*;

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

fn sigmoid(x: f32) -> f32 {
    0.5 * (x / (1.0 + x.abs()) + 1.0)
}

/// Some examples by id and one by value, and their vectors.
fn examples_of(s: &mut Subject, n: usize) -> (Vec<VectorInput>, Vec<Vec<f32>>, Vec<u64>) {
    let (mut inputs, mut vectors, mut named) = (vec![], vec![], vec![]);
    for i in 0..n {
        if i == 1 {
            let vector = s.vector();
            inputs.push(value(&vector));
            vectors.push(vector);
        } else {
            let id = s.id();
            inputs.push(example(id));
            vectors.push(s.rows[&id].vector.clone());
            named.push(id);
        }
    }
    (inputs, vectors, named)
}

fn without(mut list: Vec<(u64, f32)>, named: &[u64]) -> Vec<(u64, f32)> {
    list.retain(|(id, _)| !named.contains(id));
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn recommendations_follow_their_strategy() {
    for metric in METRICS {
        let mut s = Subject::new(metric, &[]).await;
        let (positive, p, mut named) = examples_of(&mut s, 3);
        let (negative, n, more) = examples_of(&mut s, 2);
        named.extend(more);
        let ask =
            |strategy| Query::Recommend { positive: positive.clone(), negative: negative.clone(), strategy };
        let stage = |strategy| Stage { filter: Some(cheap()), ..stage(ask(strategy), 15) };

        let best =
            |e: &[Vec<f32>], v: &[f32]| e.iter().map(|x| s.like(x, v)).fold(f32::NEG_INFINITY, f32::max);
        let wanted = s.by_score(Some(&cheap()), |_, row| {
            let (for_it, against) = (best(&p, &row.vector), best(&n, &row.vector));
            Some(if for_it > against { sigmoid(for_it) } else { -sigmoid(against) })
        });
        let got = found(&s.query(stage(RecommendStrategy::BestScore)).await);
        same(&got, &without(wanted, &named)[..15]);

        let sum = |e: &[Vec<f32>], v: &[f32]| e.iter().map(|x| s.like(x, v)).sum::<f32>();
        let wanted = s.by_score(Some(&cheap()), |_, row| Some(sum(&p, &row.vector) - sum(&n, &row.vector)));
        let got = found(&s.query(stage(RecommendStrategy::SumScores)).await);
        same(&got, &without(wanted, &named)[..15]);

        let mean = |e: &[Vec<f32>], i: usize| e.iter().map(|x| x[i]).sum::<f32>() / e.len() as f32;
        let mut average: Vec<f32> = (0..DIM).map(|i| 2.0 * mean(&p, i) - mean(&n, i)).collect();
        engram_index::vector::metric::admit(metric, DIM, &mut average).unwrap();
        let wanted = s.nearest(&average, Some(&cheap()));
        let got = found(&s.query(stage(RecommendStrategy::AverageVector)).await);
        same(&got, &without(wanted, &named)[..15]);

        // Over prefetch stages: the same ranking of fewer points.
        let inner = Stage { limit: 25, ..Stage::default() };
        let outer = Stage { prefetch: vec![inner], ..super::stage(ask(RecommendStrategy::SumScores), 100) };
        let mut wanted =
            without(s.by_score(None, |_, row| Some(sum(&p, &row.vector) - sum(&n, &row.vector))), &named);
        // Examples are left out of the prefetch stage too, which then reaches further.
        let reach: Vec<u64> = s.rows.keys().copied().filter(|id| !named.contains(id)).take(25).collect();
        wanted.retain(|(id, _)| reach.contains(id));
        same(&found(&s.query(outer).await), &wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_counts_sides_first() {
    for metric in METRICS {
        let mut s = Subject::new(metric, &[]).await;
        let (targets, t, mut named) = examples_of(&mut s, 1);
        let (positive, p, more) = examples_of(&mut s, 3);
        named.extend(more);
        let (negative, n, more) = examples_of(&mut s, 3);
        named.extend(more);
        let context: Vec<ContextPair> = positive
            .into_iter()
            .zip(negative)
            .map(|(positive, negative)| ContextPair { positive, negative })
            .collect();
        let pairs: Vec<_> = p.iter().zip(&n).collect();

        let wanted = s.by_score(None, |_, row| {
            let side = |(p, n): &(&Vec<f32>, &Vec<f32>)| {
                s.like(p, &row.vector).total_cmp(&s.like(n, &row.vector)) as i32 as f32
            };
            Some(pairs.iter().map(side).sum::<f32>() + sigmoid(s.like(&t[0], &row.vector)))
        });
        let query = Query::Discover { target: targets[0].clone(), context: context.clone() };
        same(&found(&s.query(stage(query.clone(), 40)).await), &without(wanted.clone(), &named)[..40]);
        let threshold = Stage { score_threshold: Some(1.0), ..stage(query, 1_000) };
        let passed: Vec<_> = without(wanted, &named).into_iter().filter(|(_, score)| *score >= 1.0).collect();
        same(&found(&s.query(threshold).await), &passed);

        let named = &named[1..];
        let wanted = s.by_score(None, |_, row| {
            let loss = |(p, n): &(&Vec<f32>, &Vec<f32>)| {
                let d = (s.like(p, &row.vector) - s.like(n, &row.vector) - f32::EPSILON).min(0.0);
                d / (1.0 + d.abs())
            };
            Some(pairs.iter().map(loss).sum::<f32>())
        });
        let got = found(&s.query(stage(Query::Context(context), 40)).await);
        let mut wanted = without(wanted, named);
        wanted.truncate(40);
        same(&got, &wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn diversity_chooses_among_the_nearest() {
    for metric in METRICS {
        let mut s = Subject::new(metric, &[]).await;
        for diversity in [0.0, 0.3, 0.7, 1.0] {
            let q = s.vector();
            let query = Query::NearestDiverse { input: value(&q), diversity, candidates: Some(30) };
            let got = found(&s.query(stage(query, 10)).await);
            let mut rest = s.nearest(&q, None)[..30].to_vec();
            let mut chosen: Vec<(u64, f32)> = vec![];
            while chosen.len() < 10 {
                let score = |id: u64| {
                    let relevance = s.like(&q, &s.rows[&id].vector);
                    let alike = chosen.iter().map(|(c, _)| s.like(&s.rows[&id].vector, &s.rows[c].vector));
                    match alike.reduce(f32::max) {
                        None => relevance,
                        Some(most) => (1.0 - diversity) * relevance - diversity * most,
                    }
                };
                let mut best = 0;
                for at in 1..rest.len() {
                    if score(rest[at].0) > score(rest[best].0) {
                        best = at;
                    }
                }
                chosen.push(rest.remove(best));
            }
            same(&got, &chosen);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_come_from_other_collections_of_the_same_tenant() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let mut other = collection("other", &["eu"], 1);
    other.vectors[0].name = "text".into();
    s.world.db.create_collection(OWNER, other, false).await.unwrap();
    let id = s.id();
    let q = s.vector();
    let there = NewPoint {
        id: Some(PointId::Num(id)),
        vectors: vec![("text".into(), q.clone().into())],
        ..NewPoint::default()
    };
    s.world.put("other", vec![there]).await;
    let lookup = |collection: &str, field: &str| {
        Some(Lookup { collection: collection.into(), field: Some(field.into()) })
    };
    let ask = |lookup| Stage { lookup, ..stage(Query::Nearest(example(id)), 10) };
    // The point of that id in this collection is no example, and may be found.
    same(&found(&s.query(ask(lookup("other", "text"))).await), &s.nearest(&q, None)[..10]);
    // Looked up in the collection itself it is one.
    let own = found(&s.query(ask(lookup(NAME, ""))).await);
    assert!(!ids(&own).contains(&id));
    let code = async |stage: Stage| s.try_query(request(stage)).await.unwrap_err().code();
    assert_eq!(code(ask(lookup("other", "none"))).await, "unknown_field");
    assert_eq!(code(ask(lookup("absent", ""))).await, "collection_not_found");
    let absent = Stage { lookup: lookup("other", "text"), ..stage(Query::Nearest(example(999)), 3) };
    assert_eq!(code(absent).await, "point_not_found");
    let mut wide = collection("wide", &["eu"], 1);
    wide.vectors[0].dimension = DIM + 1;
    s.world.db.create_collection(OWNER, wide, false).await.unwrap();
    assert_eq!(code(ask(lookup("wide", ""))).await, "wrong_dimension");
    // A tenant's collections are not there for another one.
    let mut foreign = request(ask(lookup(NAME, "")));
    foreign.collection = "mine".into();
    let mut mine = collection("mine", &["eu"], 1);
    mine.tenant = STRANGER.tenant;
    s.world.db.create_collection(STRANGER, mine, false).await.unwrap();
    let e = s.world.db.query(STRANGER, foreign).await.unwrap_err();
    assert_eq!(e.code(), "collection_not_found");
}
