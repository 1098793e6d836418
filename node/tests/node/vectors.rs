//! Sparse and multi vectors over gRPC.

use engram_proto::v1;
use tonic::Code;

use crate::running::{Running, detail, field, num, numbers, point, start, upsert};

fn sparse(indices: &[u32], values: &[f32]) -> v1::Vector {
    let sparse = v1::SparseVector { indices: indices.to_vec(), values: values.to_vec() };
    v1::Vector { sparse: Some(sparse), ..Default::default() }
}

fn multi(dimension: u32, values: &[f32]) -> v1::Vector {
    let multi = v1::MultiVector { dimension, values: values.to_vec(), ..Default::default() };
    v1::Vector { multi: Some(multi), ..Default::default() }
}

fn with(n: u64, vectors: &[(&str, v1::Vector)]) -> v1::Point {
    let vectors = vectors.iter().map(|(name, vector)| ((*name).to_owned(), vector.clone())).collect();
    v1::Point { vectors, ..point(n, &[], "{}") }
}

fn definition() -> v1::CreateCollectionRequest {
    let words = v1::VectorField {
        name: "words".into(),
        kind: v1::VectorKind::Sparse.into(),
        modifier: v1::SparseModifier::Idf.into(),
        ..Default::default()
    };
    let plain = v1::VectorField { name: "plain".into(), modifier: 0, ..words.clone() };
    let tokens = v1::VectorField {
        kind: v1::VectorKind::Multi.into(),
        metric: v1::Metric::Dot.into(),
        ..field("tokens", 2)
    };
    v1::CreateCollectionRequest {
        name: "docs".into(),
        vectors: vec![field("", 2), words, plain, tokens],
        shards_per_region: 2,
        ..Default::default()
    }
}

/// Four points: all have word 7, one has word 9.
async fn four(running: &Running) {
    running.collections().create_collection(definition()).await.unwrap();
    let points = (1..=4).map(|n| {
        let words = if n == 3 { sparse(&[9, 7], &[1.0, 1.0]) } else { sparse(&[7], &[1.0 + n as f32]) };
        let tokens = multi(2, &[n as f32, 0.0, 0.0, 10.0 - n as f32]);
        with(n, &[("words", words.clone()), ("plain", words), ("tokens", tokens)])
    });
    running.points().upsert(upsert("docs", points.collect())).await.unwrap();
}

fn search(field: &str, vector: v1::Vector) -> v1::SearchRequest {
    let (collection, field, vector) = ("docs".into(), field.into(), Some(vector));
    v1::SearchRequest { collection, field, vector, k: 10, ..Default::default() }
}

async fn found(running: &Running, request: v1::SearchRequest) -> Vec<(u64, f32)> {
    let hits = running.points().search(request).await.unwrap().into_inner().hits;
    let ids = numbers(&hits.iter().map(|h| h.point.clone().unwrap()).collect::<Vec<_>>());
    ids.into_iter().zip(hits.iter().map(|h| h.score)).collect()
}

#[tokio::test]
async fn values_of_every_kind_are_written_read_and_found() {
    let running = start().await;
    four(&running).await;
    let name = v1::GetCollectionRequest { name: "docs".into() };
    let made = running.collections().get_collection(name).await.unwrap().into_inner();
    let told: Vec<_> = made.vectors.iter().map(|f| (f.kind(), f.modifier(), f.dimension)).collect();
    let none = v1::SparseModifier::Unspecified;
    assert_eq!(
        told,
        [
            (v1::VectorKind::Dense, none, 2),
            (v1::VectorKind::Sparse, v1::SparseModifier::Idf, 0),
            (v1::VectorKind::Sparse, v1::SparseModifier::None, 0),
            (v1::VectorKind::Multi, none, 2),
        ]
    );

    let plain = found(&running, search("plain", sparse(&[9, 7, 1], &[2.0, 1.0, 5.0]))).await;
    assert_eq!(plain, [(4, 5.0), (2, 3.0), (3, 3.0), (1, 2.0)]);
    // What only one point has weighs ln(3.5 / 1.5 + 1), what all have ln(0.5 / 4.5 + 1).
    let words = found(&running, search("words", sparse(&[9, 7], &[1.0, 1.0]))).await;
    let (rare, common) = ((3.5f64 / 1.5 + 1.0).ln() as f32, (0.5f64 / 4.5 + 1.0).ln() as f32);
    assert_eq!(words.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 4, 2, 1]);
    assert!((words[0].1 - rare - common).abs() < 1e-6 && (words[1].1 - 5.0 * common).abs() < 1e-6);
    let tokens = found(&running, search("tokens", multi(2, &[1.0, 0.0, 0.0, 1.0]))).await;
    assert_eq!(tokens, [(1, 10.0), (2, 10.0), (3, 10.0), (4, 10.0)], "n and 10 - n");
    let one = v1::Vector { values: vec![1.0, 0.0], ..Default::default() };
    assert_eq!(found(&running, search("tokens", one)).await, [(4, 4.0), (3, 3.0), (2, 2.0), (1, 1.0)]);
    let like = v1::SearchRequest { vector: None, like: Some(num(3)), ..search("plain", sparse(&[], &[])) };
    assert_eq!(found(&running, like).await, [(4, 5.0), (2, 3.0), (1, 2.0)]);

    let selection = Some(v1::Selection { with_vectors: true, ..Default::default() });
    let get =
        v1::GetRequest { collection: "docs".into(), ids: vec![num(3)], selection, ..Default::default() };
    let read = &running.points().get(get).await.unwrap().into_inner().points[0].vectors;
    assert_eq!(read["words"], sparse(&[7, 9], &[1.0, 1.0]), "sorted by index");
    let tokens = read["tokens"].multi.as_ref().unwrap();
    let bytes: Vec<u8> = [3f32, 0.0, 0.0, 7.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!((tokens.dimension, tokens.f32le.as_ref()), (2, bytes.as_slice()));
    assert_eq!(read.len(), 3);
}

#[tokio::test]
async fn bulk_columns_of_every_kind_are_found() {
    let running = start().await;
    running.collections().create_collection(definition()).await.unwrap();
    let present = vec![1u8, 0, 1].into();
    let two = |a, b| [a, b].map(|v| v1::SparseVector { indices: vec![v], values: vec![1.0] }).into();
    let tokens = |x| v1::MultiVector { dimension: 2, values: vec![x, x, 1.0, 1.0], ..Default::default() };
    let batch = v1::BulkUpsertRequest {
        collection: "docs".into(),
        count: 3,
        num_ids: vec![1, 2, 3],
        vectors: vec![
            v1::VectorColumn { field: "plain".into(), present, sparse: two(4, 5), ..Default::default() },
            v1::VectorColumn {
                field: "tokens".into(),
                multi: [1.0, 2.0, 3.0].map(tokens).into(),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let answers = running.points().bulk_upsert(tokio_stream::iter([batch])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(answer.errors.is_empty(), "{answer:?}");
    let after = |request| v1::SearchRequest { token: answer.token.clone(), ..request };
    assert_eq!(found(&running, after(search("plain", sparse(&[5], &[2.0])))).await, [(3, 2.0)]);
    let best = found(&running, after(search("tokens", multi(2, &[1.0, 1.0])))).await;
    assert_eq!(best, [(3, 6.0), (2, 4.0), (1, 2.0)]);
}

#[tokio::test]
async fn wrong_kinds_and_definitions_are_refused_in_words() {
    let running = start().await;
    four(&running).await;
    for (name, vector, code) in [
        ("words", multi(2, &[1.0, 2.0]), "wrong_vector_kind"),
        ("tokens", sparse(&[1], &[1.0]), "wrong_vector_kind"),
        ("", sparse(&[1], &[1.0]), "wrong_vector_kind"),
        ("words", sparse(&[1, 1], &[1.0, 1.0]), "invalid_vector"),
        ("tokens", multi(3, &[1.0, 2.0, 3.0]), "wrong_dimension"),
    ] {
        let refused = running.points().upsert(upsert("docs", vec![with(9, &[(name, vector.clone())])])).await;
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), detail(&refused).code.as_str()), (Code::InvalidArgument, code));
        let refused = running.points().search(search(name, vector)).await.unwrap_err();
        assert_eq!((refused.code(), detail(&refused).code.as_str()), (Code::InvalidArgument, code));
    }
    let changes: [fn(&mut v1::VectorField); 5] = [
        |f| f.dimension = 3,
        |f| f.metric = v1::Metric::Cosine.into(),
        |f| f.kind = 99,
        |f| f.modifier = 99,
        |f| f.kind = v1::VectorKind::Multi.into(),
    ];
    for change in changes {
        let mut wrong = v1::CreateCollectionRequest { name: "other".into(), ..definition() };
        change(&mut wrong.vectors[1]);
        let refused = running.collections().create_collection(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("words"), "{refused:?}");
    }
}
