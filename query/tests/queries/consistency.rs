//! Deadlines, partial answers, tokens, and points that change while queries run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engram_index::vector::Metric;
use engram_query::request::NewPoint;
use engram_query::request::query::{Expression, Formula, Fusion, Query, QueryRequest, Stage};
use engram_storage::ErrorKind;
use engram_storage::point::PointId;
use serde_json::{Value, json};

use super::groups::groups;
use super::*;

fn fused(vector: &[f32]) -> Stage {
    let rrf = Query::Fusion(Fusion::Rrf { k: None, weights: vec![] });
    let inner = Stage { limit: 30, ..Stage::default() };
    Stage { prefetch: vec![stage(Query::Nearest(value(vector)), 30), inner], ..stage(rrf, 10) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_is_an_error_or_flagged() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let read = ReadOptions { timeout: Some(Duration::from_nanos(1)), ..ReadOptions::default() };
    let q = s.vector();
    let formula = Formula { expression: Expression::Variable("$score".into()), defaults: vec![] };
    for late in [
        fused(&q),
        Stage { limit: 3, ..Stage::default() },
        stage(Query::Sample, 3),
        Stage { prefetch: vec![fused(&q)], ..stage(Query::Formula(formula), 3) },
        stage(Query::NearestDiverse { input: value(&q), diversity: 0.5, candidates: None }, 3),
    ] {
        let request = QueryRequest { read: read.clone(), ..request(late) };
        let e = s.try_query(request.clone()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
        let answer = s.try_query(QueryRequest { allow_partial: true, ..request }).await.unwrap();
        assert!(answer.partial && answer.hits.is_empty());
    }
    let mut late = groups(fused(&q), 2);
    (late.query.read, late.query.allow_partial) = (read, true);
    let e = s.world.db.query_groups(OWNER, late).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_narrow_every_stage() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let q = s.vector();
    let read = ReadOptions { regions: vec!["us".into()], ..ReadOptions::default() };
    let answer = s.try_query(QueryRequest { read: read.clone(), ..request(fused(&q)) }).await.unwrap();
    assert!(!answer.hits.is_empty() && answer.hits.iter().all(|hit| hit.point.region.as_str() == "us"));
    // An example may live anywhere.
    let id = *s.rows.keys().find(|id| !id.is_multiple_of(3)).unwrap();
    let outer = Stage { prefetch: vec![fused(&q)], ..stage(Query::Nearest(example(id)), 5) };
    let answer = s.try_query(QueryRequest { read, ..request(outer) }).await.unwrap();
    assert!(!answer.hits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_makes_queries_wait_for_its_write() {
    let s = Subject::new(Metric::Euclid, &[]).await;
    let new = NewPoint {
        id: Some(PointId::Num(5_000)),
        vectors: vec![(String::new(), vec![9.0; DIM].into())],
        ..NewPoint::default()
    };
    let options = engram_query::request::WriteOptions::default();
    let written = s.world.db.upsert(OWNER, NAME, vec![new], options).await.unwrap();
    let read = ReadOptions { token: Some(written.token), ..ReadOptions::default() };
    let request = QueryRequest { read, ..request(fused(&[9.0; DIM])) };
    let answer = s.try_query(request).await.unwrap();
    assert!(answer.hits.iter().any(|hit| hit.point.id == PointId::Num(5_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_hold_points_as_they_were_ranked() {
    let world = World::new().await;
    world.create(NAME, &["eu", "us"], 2).await;
    let write = |n: u64| -> Vec<NewPoint> {
        (0..40)
            .map(|id| NewPoint {
                id: Some(PointId::Num(id)),
                vectors: vec![(String::new(), vec![n as f32 + id as f32 / 100.0; DIM].into())],
                payload: json!({"n": n}).to_string().into(),
                ..NewPoint::default()
            })
            .collect()
    };
    world.put(NAME, write(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (db, stop, first) = (world.db.clone(), stop.clone(), write(1));
        async move {
            let mut n = 1;
            while !stop.load(Ordering::Relaxed) {
                let mut points = first.clone();
                points.iter_mut().for_each(|p| p.payload = json!({"n": n}).to_string().into());
                db.upsert(OWNER, NAME, points, waiting()).await.unwrap();
                n += 1;
            }
            n
        }
    });
    let formula = Formula { expression: Expression::Variable("n".into()), defaults: vec![] };
    let near = stage(Query::Nearest(value(&[0.0; DIM])), 40);
    let scored = Stage { prefetch: vec![near], ..stage(Query::Formula(formula), 40) };
    for _ in 0..60 {
        let answer = world.db.query(OWNER, request(scored.clone())).await.unwrap();
        assert_eq!(answer.hits.len(), 40);
        for hit in &answer.hits {
            let payload: Value = serde_json::from_slice(&hit.point.payload).unwrap();
            assert_eq!(payload["n"].as_f64().unwrap() as f32, hit.score, "{:?}", hit.point.id);
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 1);
}
