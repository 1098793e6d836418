//! Every limit at itself and one beyond.

use std::time::Duration;

use engram_index::vector::{Metric, MultiVector, SparseVector, VectorValue};
use engram_query::limits::*;
use engram_query::request::SearchRequest;
use engram_query::request::query::{
    ContextPair, Expression, FacetRequest, Formula, Fusion, MatrixRequest, OrderBy, Query, QueryRequest,
    RecommendStrategy, TextQuery, VectorInput,
};

use super::facets::{facet, matrix};
use super::groups::groups;
use super::*;

async fn small() -> Subject {
    Subject::new(Metric::Euclid, &[]).await
}

fn ids_stage(limit: usize) -> Stage {
    Stage { limit, ..Stage::default() }
}

fn nested(depth: usize) -> Stage {
    (0..depth).fold(ids_stage(3), |inner, _| Stage { prefetch: vec![inner], limit: 3, ..Stage::default() })
}

fn recommend(positive: Vec<VectorInput>, negative: Vec<VectorInput>, strategy: RecommendStrategy) -> Stage {
    stage(Query::Recommend { positive, negative, strategy }, 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_and_their_lists_are_bounded() {
    let mut s = small().await;
    let code = async |request: QueryRequest| s.try_query(request).await.err().map(|e| e.code());
    let limit = Some("limit_exceeded");
    assert_eq!(code(request(nested(MAX_PREFETCH_DEPTH))).await, None);
    assert_eq!(code(request(nested(MAX_PREFETCH_DEPTH + 1))).await, limit);
    let rrf = || Query::Fusion(Fusion::Rrf { k: None, weights: vec![] });
    let wide = |n: usize| request(Stage { prefetch: vec![ids_stage(2); n - 1], ..stage(rrf(), 3) });
    assert_eq!(code(wide(MAX_STAGES)).await, None);
    assert_eq!(code(wide(MAX_STAGES + 1)).await, limit);
    assert_eq!(code(request(ids_stage(MAX_K))).await, None);
    assert_eq!(code(request(ids_stage(MAX_K + 1))).await, limit);
    assert_eq!(code(request(ids_stage(0))).await, Some("invalid_argument"));
    let inner = |n| request(Stage { prefetch: vec![ids_stage(n)], ..stage(rrf(), 3) });
    assert_eq!(code(inner(MAX_K)).await, None);
    assert_eq!(code(inner(MAX_K + 1)).await, limit);
    let offset = |offset| QueryRequest { offset, ..request(ids_stage(1)) };
    assert_eq!(code(offset(MAX_OFFSET)).await, None);
    assert_eq!(code(offset(MAX_OFFSET + 1)).await, limit);
    let q = s.vector();
    let code = async |request: QueryRequest| s.try_query(request).await.err().map(|e| e.code());
    let examples = |n: usize| request(recommend(vec![value(&q); n], vec![], RecommendStrategy::SumScores));
    assert_eq!(code(examples(MAX_EXAMPLES)).await, None);
    assert_eq!(code(examples(MAX_EXAMPLES + 1)).await, limit);
    let pairs = |n| Query::Context(vec![ContextPair { positive: value(&q), negative: value(&q) }; n]);
    assert_eq!(code(request(stage(pairs(MAX_EXAMPLES / 2), 3))).await, None);
    assert_eq!(code(request(stage(pairs(MAX_EXAMPLES / 2 + 1), 3))).await, limit);
    let mmr =
        |candidates| Query::NearestDiverse { input: value(&q), diversity: 0.5, candidates: Some(candidates) };
    assert_eq!(code(request(stage(mmr(MAX_K), 3))).await, None);
    assert_eq!(code(request(stage(mmr(MAX_K + 1), 3))).await, limit);
    let sum = |n: usize| Formula {
        expression: Expression::Sum(vec![Expression::Constant(0.0); n - 1]),
        defaults: vec![],
    };
    let formula = |n| request(Stage { prefetch: vec![ids_stage(3)], ..stage(Query::Formula(sum(n)), 3) });
    assert_eq!(code(formula(MAX_FORMULA_NODES)).await, None);
    assert_eq!(code(formula(MAX_FORMULA_NODES + 1)).await, limit);
    let batch = |n: usize, k: usize| vec![request(ids_stage(k)); n];
    let run = async |requests| s.world.db.query_batch(OWNER, requests).await.err().map(|e| e.code());
    assert_eq!(run(batch(MAX_SEARCH_BATCH, 1)).await, None);
    assert_eq!(run(batch(MAX_SEARCH_BATCH + 1, 1)).await, limit);
    assert_eq!(run(batch(11, MAX_K)).await, limit);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_facets_and_matrices_are_bounded() {
    let s = small().await;
    let db = &s.world.db;
    let limit = Some("limit_exceeded");
    let group =
        async |n, size| db.query_groups(OWNER, groups(ids_stage(n), size)).await.err().map(|e| e.code());
    assert_eq!(group(MAX_GROUPS, 10).await, None);
    assert_eq!(group(MAX_GROUPS + 1, 1).await, limit);
    assert_eq!(group(10, MAX_GROUP_SIZE).await, None);
    assert_eq!(group(1, MAX_GROUP_SIZE + 1).await, limit);
    assert_eq!(group(100, 101).await, limit);
    assert_eq!(group(0, 1).await, Some("invalid_argument"));
    assert_eq!(group(1, 0).await, Some("invalid_argument"));
    let mut skipping = groups(ids_stage(3), 3);
    skipping.query.offset = 1;
    assert_eq!(db.query_groups(OWNER, skipping).await.unwrap_err().code(), "invalid_argument");
    let values = async |limit| {
        db.facet(OWNER, FacetRequest { ..facet("g", None, limit) }).await.err().map(|e| e.code())
    };
    assert_eq!(values(MAX_FACET_LIMIT).await, None);
    assert_eq!(values(MAX_FACET_LIMIT + 1).await, limit);
    assert_eq!(values(0).await, Some("invalid_argument"));
    let pairs = async |request: MatrixRequest| db.matrix(OWNER, request).await.err().map(|e| e.code());
    assert_eq!(pairs(matrix(MAX_MATRIX_SAMPLE, 1)).await, None);
    assert_eq!(pairs(matrix(MAX_MATRIX_SAMPLE + 1, 1)).await, limit);
    assert_eq!(pairs(matrix(5, MAX_K + 1)).await, limit);
    assert_eq!(pairs(matrix(0, 1)).await, Some("invalid_argument"));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_comparisons_is_bounded() {
    let s = small().await;
    let mut wide = collection("wide", &["eu"], 1);
    wide.vectors[0].dimension = 16_384;
    s.world.db.create_collection(OWNER, wide, false).await.unwrap();
    let most = MAX_COMPARED_COMPONENTS / 16_384;
    let sample = |sample| MatrixRequest { collection: "wide".into(), filter: None, ..matrix(sample, 1) };
    assert!(s.world.db.matrix(OWNER, sample(most)).await.is_ok());
    let e = s.world.db.matrix(OWNER, sample(most + 1)).await.unwrap_err();
    assert_eq!(e.code(), "limit_exceeded");
    let q = vec![1.0; 16_384];
    let mmr = |candidates| QueryRequest {
        collection: "wide".into(),
        ..request(stage(
            Query::NearestDiverse { input: value(&q), diversity: 0.5, candidates: Some(candidates) },
            3,
        ))
    };
    assert!(s.try_query(mmr(most)).await.is_ok());
    assert_eq!(s.try_query(mmr(most + 1)).await.unwrap_err().code(), "limit_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_comparisons_is_bounded_over_all_stages() {
    let s = small().await;
    let mut wide = collection("wide", &["eu"], 1);
    wide.vectors[0].dimension = 16_384;
    s.world.db.create_collection(OWNER, wide, false).await.unwrap();
    let vector = |x: f32| vec![x; 16_384];
    let named = |id| NewPoint {
        id: Some(PointId::Num(id)),
        vectors: vec![(String::new(), vector(id as f32).into())],
        ..NewPoint::default()
    };
    s.world.put("wide", (1..=2).map(named).collect()).await;
    let most = MAX_COMPARED_COMPONENTS / 16_384;
    let mmr = |input: VectorInput, candidates| {
        let query = Query::NearestDiverse { input, diversity: 0.5, candidates: Some(candidates) };
        Stage { query: Some(query), limit: 3, ..Stage::default() }
    };
    let fused = |stages: Vec<Stage>| QueryRequest {
        collection: "wide".into(),
        ..request(Stage {
            prefetch: stages,
            ..stage(Query::Fusion(Fusion::Rrf { k: None, weights: vec![] }), 3)
        })
    };
    let code = async |request: QueryRequest| s.try_query(request).await.err().map(|e| e.code());
    let limit = Some("limit_exceeded");
    let by_value = |candidates| mmr(value(&vector(1.0)), candidates);
    let half = most / 2;
    assert_eq!(code(fused(vec![by_value(half), by_value(most - half)])).await, None);
    assert_eq!(code(fused(vec![by_value(half), by_value(most - half + 1)])).await, limit);
    // Inside one another they are held one after the other, but nothing is given back before the end.
    let inner = Stage { prefetch: vec![by_value(half)], ..by_value(most - half + 1) };
    assert_eq!(code(fused(vec![inner])).await, limit);
    // Examples count too.
    assert_eq!(code(fused(vec![mmr(example(1), half), mmr(example(2), most - half - 2)])).await, None);
    assert_eq!(code(fused(vec![mmr(example(1), half), mmr(example(2), most - half - 1)])).await, limit);
    // What a server sets aside: nothing for plain queries, the largest ones of a batch that run at once.
    let bytes = |requests: &[QueryRequest]| {
        s.world.db.compared_bytes(OWNER, requests.iter().map(|request| (request, request.stage.limit)))
    };
    let plain = QueryRequest { collection: "wide".into(), ..request(ids_stage(10)) };
    assert_eq!(bytes(std::slice::from_ref(&plain)), 0);
    let diverse = fused(vec![mmr(example(1), 9), by_value(10)]);
    assert_eq!(bytes(std::slice::from_ref(&diverse)), 20 * 16_384 * 4);
    assert!(bytes(&[plain, diverse]) >= 20 * 16_384 * 4);
    assert_eq!(bytes(&[fused(vec![by_value(MAX_K)])]), MAX_COMPARED_COMPONENTS * 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_alone_is_never_too_much() {
    let world = World::with(DatabaseOptions { search_threads: 1, ..DatabaseOptions::default() }).await;
    world.create(NAME, &["eu"], 64).await;
    world.put(NAME, (0..512).map(point).collect()).await;
    // Each stage asks the pool for each shard: far more jobs than it takes at once.
    let order = OrderBy { key: "n".into(), descending: false, start_from: None };
    let inner = stage(Query::OrderBy(order), 100);
    let rrf = Query::Fusion(Fusion::Rrf { k: None, weights: vec![] });
    let all = Stage { prefetch: vec![inner; MAX_STAGES - 1], ..stage(rrf, 100) };
    let answer = world.db.query(OWNER, request(all)).await.unwrap();
    let found: Vec<u64> = found(&answer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, (0..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_batch_is_that_of_one_request() {
    let mut s = small().await;
    let read = ReadOptions { timeout: Some(Duration::from_millis(1)), ..ReadOptions::default() };
    // No one of them takes so long, but a thousand do.
    let one = QueryRequest { read: read.clone(), ..request(ids_stage(100)) };
    let e = s.world.db.query_batch(OWNER, vec![one; MAX_SEARCH_BATCH]).await.unwrap_err();
    assert_eq!(e.code(), "deadline_exceeded");
    let one = SearchRequest { read, ..crate::support::near(NAME, s.vector(), 100) };
    let e = s.world.db.batch_search(OWNER, vec![one; MAX_SEARCH_BATCH]).await.unwrap_err();
    assert_eq!(e.code(), "deadline_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said() {
    let mut s = small().await;
    let q = s.vector();
    let code = async |stage: Stage| s.try_query(request(stage)).await.unwrap_err().code();
    let with = |query| Stage { prefetch: vec![ids_stage(3)], ..stage(query, 3) };
    let sparse = VectorValue::Sparse(SparseVector { indices: vec![1], values: vec![1.0] });
    let multi = VectorValue::Multi(MultiVector { dimension: DIM, components: q.clone() });
    for other_kind in [sparse, multi] {
        let input = VectorInput::Value(other_kind);
        assert_eq!(code(stage(Query::Nearest(input.clone()), 3)).await, "wrong_vector_kind");
        assert_eq!(code(with(Query::Nearest(input))).await, "wrong_vector_kind");
    }
    let text = TextQuery { field: "body".into(), text: "words".into() };
    assert_eq!(code(stage(Query::Text(text), 3)).await, "no_text_index");
    assert_eq!(code(stage(Query::Fusion(Fusion::Dbsf), 3)).await, "invalid_argument");
    let rrf = Fusion::Rrf { k: None, weights: vec![1.0, 1.0] };
    assert_eq!(code(with(Query::Fusion(rrf))).await, "invalid_argument");
    let formula = Formula { expression: Expression::Constant(1.0), defaults: vec![] };
    assert_eq!(code(stage(Query::Formula(formula), 3)).await, "invalid_formula");
    for strategy in
        [RecommendStrategy::AverageVector, RecommendStrategy::BestScore, RecommendStrategy::SumScores]
    {
        assert_eq!(code(recommend(vec![], vec![], strategy)).await, "invalid_argument");
    }
    assert_eq!(
        code(recommend(vec![], vec![value(&q)], RecommendStrategy::AverageVector)).await,
        "invalid_argument"
    );
    assert_eq!(code(stage(Query::Context(vec![]), 3)).await, "invalid_argument");
    assert_eq!(code(with(Query::Nearest(value(&q[1..])))).await, "wrong_dimension");
    assert_eq!(code(with(Query::Nearest(example(9_999)))).await, "point_not_found");
    assert_eq!(
        code(Stage { field: "other".into(), ..with(Query::Nearest(value(&q))) }).await,
        "unknown_field"
    );
    assert_eq!(code(Stage { score_threshold: Some(f32::NAN), ..ids_stage(3) }).await, "not_finite");
    let diverse = Query::NearestDiverse { input: value(&q), diversity: 1.5, candidates: None };
    assert_eq!(code(stage(diverse, 3)).await, "invalid_argument");
}
