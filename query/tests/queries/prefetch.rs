//! Stages over stages: fusion, rescoring, formulas, filters, thresholds, offsets.

use std::collections::BTreeMap;

use engram_index::vector::Metric;
use engram_query::request::query::{Expression, Formula, Fusion, Query, QueryRequest, Stage, StageParams};
use engram_storage::point::PointId;
use serde_json::json;

use super::*;

fn near(vector: &[f32], limit: usize) -> Stage {
    Stage {
        params: StageParams { exact: true, ..Default::default() },
        ..stage(Query::Nearest(value(vector)), limit)
    }
}

fn rrf() -> Query {
    Query::Fusion(Fusion::Rrf { k: None, weights: vec![] })
}

fn reference_rrf(lists: &[Vec<(u64, f32)>], k: f32, weights: &[f32]) -> Vec<(u64, f32)> {
    let mut sums: BTreeMap<u64, f32> = BTreeMap::new();
    for (list, weight) in lists.iter().zip(weights) {
        for (rank, (id, _)) in list.iter().enumerate() {
            *sums.entry(*id).or_default() += 1.0 / ((rank as f32 + 1.0) / weight + k - 1.0);
        }
    }
    let mut all: Vec<_> = sums.into_iter().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_without_prefetch_searches() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan] {
        let mut s = Subject::new(metric, &[]).await;
        let (q, id) = (s.vector(), s.id());
        same(&found(&s.query(near(&q, 12)).await), &s.nearest(&q, None)[..12]);
        let filtered = Stage { filter: Some(cheap()), ..near(&q, 12) };
        same(&found(&s.query(filtered).await), &s.nearest(&q, Some(&cheap()))[..12]);
        // The example is left out.
        let like = s.rows[&id].vector.clone();
        let mut wanted = s.nearest(&like, None);
        wanted.retain(|(other, _)| *other != id);
        same(&found(&s.query(stage(Query::Nearest(example(id)), 9)).await), &wanted[..9]);
        // Without a query: the order of ids.
        let all: Vec<(u64, f32)> = s.rows.keys().map(|id| (*id, 1.0)).collect();
        let paged = QueryRequest { offset: 4, ..request(Stage { limit: 7, ..Stage::default() }) };
        assert_eq!(found(&s.try_query(paged).await.unwrap()), all[4..11]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_fuse_by_rank_over_all_shards() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let (a, b) = (s.vector(), s.vector());
    let prefetch = vec![near(&a, 20), Stage { filter: Some(cheap()), ..near(&b, 15) }];
    let lists = [s.nearest(&a, None)[..20].to_vec(), s.nearest(&b, Some(&cheap()))[..15].to_vec()];
    let wanted = reference_rrf(&lists, 2.0, &[1.0, 1.0]);
    let fused = Stage { prefetch: prefetch.clone(), ..stage(rrf(), 10) };
    same(&found(&s.query(fused.clone()).await), &wanted[..10]);
    let paged = QueryRequest { offset: 6, ..request(fused.clone()) };
    same(&found(&s.try_query(paged).await.unwrap()), &wanted[6..16]);
    let weighted = Query::Fusion(Fusion::Rrf { k: Some(60), weights: vec![3.0, 0.5] });
    let weighted = Stage { prefetch: prefetch.clone(), ..stage(weighted, 30) };
    let wanted_weighted = reference_rrf(&lists, 60.0, &[3.0, 0.5]);
    same(&found(&s.query(weighted).await), &wanted_weighted[..30.min(wanted_weighted.len())]);
    let threshold = Stage { score_threshold: Some(wanted[4].1 - 1e-6), ..fused.clone() };
    let passed = wanted.iter().filter(|(_, score)| *score >= wanted[4].1 - 1e-6).count().min(10);
    same(&found(&s.query(threshold).await), &wanted[..passed]);
    // The filter of the last stage is that of its prefetch stages too.
    let filtered = Stage { filter: Some(cheap()), ..fused };
    let lists = [s.nearest(&a, Some(&cheap()))[..20].to_vec(), lists[1].clone()];
    same(&found(&s.query(filtered).await), &reference_rrf(&lists, 2.0, &[1.0, 1.0])[..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_fuse_by_distribution() {
    let mut s = Subject::new(Metric::Dot, &[]).await;
    let (a, b) = (s.vector(), s.vector());
    let fused =
        Stage { prefetch: vec![near(&a, 20), near(&b, 20)], ..stage(Query::Fusion(Fusion::Dbsf), 40) };
    let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
    for list in [&s.nearest(&a, None)[..20], &s.nearest(&b, None)[..20]] {
        let mean = list.iter().map(|(_, x)| f64::from(*x)).sum::<f64>() / 20.0;
        let deviation = (list.iter().map(|(_, x)| (f64::from(*x) - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
        for (id, x) in list {
            *sums.entry(*id).or_default() += (f64::from(*x) - mean + 3.0 * deviation) / (6.0 * deviation);
        }
    }
    let got = found(&s.query(fused).await);
    assert_eq!(got.len(), sums.len());
    assert!(got.windows(2).all(|w| w[0].1 >= w[1].1));
    for (id, score) in got {
        assert!((f64::from(score) - sums[&id]).abs() < 1e-4, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outer_stage_ranks_what_inner_ones_found() {
    for metric in [Metric::Cosine, Metric::Euclid] {
        let mut s = Subject::new(metric, &[]).await;
        let (a, b, c) = (s.vector(), s.vector(), s.vector());
        let pool: Vec<u64> =
            [&s.nearest(&a, None)[..15], &s.nearest(&b, None)[..15]].iter().flat_map(|l| ids(l)).collect();
        let rescored = Stage { prefetch: vec![near(&a, 15), near(&b, 15)], ..near(&c, 10) };
        let mut wanted = s.nearest(&c, None);
        wanted.retain(|(id, _)| pool.contains(id));
        same(&found(&s.query(rescored.clone()).await), &wanted[..10]);
        // Three stages deep: the nearest 4 to `a` of those.
        let nested = Stage { prefetch: vec![rescored], ..near(&a, 4) };
        let inner = ids(&wanted[..10]);
        let mut wanted = s.nearest(&a, None);
        wanted.retain(|(id, _)| inner.contains(id));
        same(&found(&s.query(nested.clone()).await), &wanted[..4]);
        // One prefetch stage without a query above it is the answer, from its offset on.
        let passed = Stage { prefetch: vec![nested], limit: 3, ..Stage::default() };
        let passed = QueryRequest { offset: 1, ..request(passed) };
        same(&found(&s.try_query(passed).await.unwrap()), &wanted[1..4]);
        let two = Stage { prefetch: vec![near(&a, 5), near(&b, 5)], limit: 3, ..Stage::default() };
        assert_eq!(s.try_query(request(two)).await.unwrap_err().code(), "invalid_argument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_hold_at_each_stage() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let (a, b) = (s.vector(), s.vector());
    let close = s.nearest(&a, None);
    let inner = Stage { score_threshold: Some(close[6].1), ..near(&a, 50) };
    let mut wanted = s.nearest(&b, None);
    wanted.retain(|(id, _)| ids(&close[..7]).contains(id));
    same(&found(&s.query(Stage { prefetch: vec![inner.clone()], ..near(&b, 50) }).await), &wanted);
    let outer = Stage { prefetch: vec![inner], score_threshold: Some(wanted[2].1), ..near(&b, 50) };
    same(&found(&s.query(outer).await), &wanted[..3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn formulas_take_scores_and_payload() {
    let mut s = Subject::new(Metric::Cosine, &[]).await;
    let (a, b) = (s.vector(), s.vector());
    let condition = filter(r#"{"must":[{"key":"odd","match":{"value":true}}]}"#).must[0].clone();
    let variable = |name: &str| Expression::Variable(name.into());
    let expression = Expression::Sum(vec![
        variable("$score[0]"),
        Expression::Mult(vec![Expression::Constant(2.0), variable("$score[1]")]),
        Expression::Condition(Box::new(condition)),
        Expression::Div {
            left: Box::new(variable("price")),
            right: Box::new(Expression::Constant(100.0)),
            by_zero_default: None,
        },
    ]);
    let formula = Formula { expression, defaults: vec![("$score[1]".into(), json!(-0.25))] };
    let stage = Stage { prefetch: vec![near(&a, 30), near(&b, 30)], ..stage(Query::Formula(formula), 20) };
    let scores: Vec<BTreeMap<u64, f32>> =
        [&a, &b].iter().map(|q| s.nearest(q, None)[..30].iter().copied().collect()).collect();
    let wanted = s.by_score(None, |id, row| {
        let (first, second) = (scores[0].get(&id), scores[1].get(&id));
        if first.is_none() && second.is_none() {
            return None;
        }
        let odd = f32::from(u8::from(row.payload["odd"].as_bool().unwrap()));
        let price = row.payload["price"].as_f64().unwrap() as f32 / 100.0;
        Some(first.unwrap_or(&0.0) + 2.0 * second.unwrap_or(&-0.25) + odd + price)
    });
    same(&found(&s.query(stage.clone()).await), &wanted[..20]);
    let threshold = Stage { score_threshold: Some(wanted[3].1 - 1e-5), ..stage };
    same(&found(&s.query(threshold).await), &wanted[..4]);
    // What has no value fails the query, and names the point; the first one by id in its shard.
    let bad = Formula { expression: variable("absent"), defaults: vec![] };
    let bad = Stage { prefetch: vec![near(&a, 5)], ..super::stage(Query::Formula(bad), 5) };
    let e = s.try_query(request(bad)).await.unwrap_err();
    assert_eq!(e.code(), "invalid_formula");
    assert!(e.to_string().contains("`absent` of point "), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_answer_as_single_queries_do() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let mut requests = Vec::new();
    for _ in 0..20 {
        let (a, b) = (s.vector(), s.vector());
        requests.push(request(Stage { prefetch: vec![near(&a, 10), near(&b, 10)], ..stage(rrf(), 5) }));
    }
    let batch = s.world.db.query_batch(OWNER, requests.clone()).await.unwrap();
    for (request, answer) in requests.clone().into_iter().zip(batch) {
        assert_eq!(s.try_query(request).await.unwrap(), answer);
    }
    requests[7].stage.limit = 0;
    assert!(s.world.db.query_batch(OWNER, requests).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_points_that_match_each_as_likely() {
    let s = Subject::new(Metric::Euclid, &[]).await;
    let sample = |limit| Stage { filter: Some(cheap()), ..stage(Query::Sample, limit) };
    let all: Vec<u64> = ids(&s.by_score(Some(&cheap()), |_, _| Some(1.0)));
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for _ in 0..200 {
        let mut got = ids(&found(&s.query(sample(5)).await));
        got.iter().for_each(|id| *seen.entry(*id).or_default() += 1);
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 5);
    }
    assert!(seen.keys().all(|id| all.contains(id)));
    // 1,000 draws: each point is drawn more than 10 times and fewer than 60 times of about 20.
    assert!(seen.len() > all.len() * 9 / 10, "{} of {}", seen.len(), all.len());
    assert!(seen.values().all(|n| *n < 200 * 5 * 4 / all.len()), "{seen:?}");
    let mut got = ids(&found(&s.query(sample(10_000)).await));
    got.sort_unstable();
    assert_eq!(got, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn winners_come_as_selected_and_tenants_apart() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let a = s.vector();
    let fused = Stage { prefetch: vec![near(&a, 10)], ..stage(rrf(), 5) };
    let selection = Selection { vectors: true, ..Selection::default() };
    let answer = s.try_query(QueryRequest { selection, ..request(fused.clone()) }).await.unwrap();
    for hit in &answer.hits {
        assert!(hit.point.payload.is_empty());
        assert_eq!(hit.point.vectors.len(), 1);
    }
    let PointId::Num(first) = answer.hits[0].point.id else { panic!("a number") };
    assert_eq!(s.nearest(&a, None)[0].0, first);
    let e = s.world.db.query(STRANGER, request(fused)).await.unwrap_err();
    assert_eq!(e.code(), "collection_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_for_their_graph_can_be_left_out() {
    let world = World::new().await;
    let mut new = collection(NAME, &["eu"], 1);
    new.vectors[0].graph_threshold = 50;
    world.db.create_collection(OWNER, new, false).await.unwrap();
    world.put(NAME, (0..100).map(point).collect()).await;
    let params = StageParams { indexed_only: true, ..Default::default() };
    let indexed = || request(Stage { params, ..stage(Query::Nearest(value(&vector(1))), 1_000) });
    assert!(world.db.query(OWNER, indexed()).await.unwrap().hits.is_empty());
    // Too few vectors for a graph wait for none.
    world.put(NAME, (200..230).map(point).collect()).await;
    assert_eq!(world.db.query(OWNER, indexed()).await.unwrap().hits.len(), 30);
    world.compact().await;
    assert_eq!(world.db.query(OWNER, indexed()).await.unwrap().hits.len(), 130);
}
