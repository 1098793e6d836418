use engram_proto::v1;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::running::{Running, start, start_with};

fn batch(number: u64, ids: std::ops::Range<u64>) -> v1::BulkUpsertRequest {
    let components =
        ids.clone().flat_map(|n| [n as f32, 0.0]).flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    v1::BulkUpsertRequest {
        collection: "docs".into(),
        batch: number,
        count: (ids.end - ids.start) as u32,
        num_ids: ids.collect(),
        vectors: vec![v1::VectorColumn {
            field: String::new(),
            f32le: components.into(),
            ..Default::default()
        }],
        regions: vec!["us".into()],
        ..Default::default()
    }
}

async fn send(
    running: &Running,
    batches: Vec<v1::BulkUpsertRequest>,
) -> Result<Vec<v1::BulkUpsertResponse>, (Vec<v1::BulkUpsertResponse>, tonic::Status)> {
    let stream = running.points().bulk_upsert(tokio_stream::iter(batches)).await;
    let mut answers = stream.map_err(|e| (Vec::new(), e))?.into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => seen.push(answer),
            Err(status) => return Err((seen, status)),
        }
    }
    Ok(seen)
}

async fn count(running: &Running, token: Option<v1::ConsistencyToken>) -> u64 {
    let request = v1::CountRequest { collection: "docs".into(), token, ..Default::default() };
    running.points().count(request).await.unwrap().into_inner().count
}

#[tokio::test]
async fn batches_are_acknowledged_in_order_and_the_last_write_of_an_id_wins() {
    let running = start().await;
    running.create("docs").await;
    let mut batches: Vec<_> = (0..20).map(|n| batch(n, n * 50..n * 50 + 100)).collect();
    batches.push(batch(20, 0..1000));
    let last = batches.last_mut().unwrap();
    let components: Vec<u8> = (0..1000).flat_map(|_| [7f32, 7.0]).flat_map(f32::to_le_bytes).collect();
    last.vectors[0].f32le = components.into();
    let answers = send(&running, batches).await.unwrap();
    assert_eq!(answers.iter().map(|a| a.batch).collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
    assert!(answers.iter().all(|a| a.errors.is_empty() && a.token.is_some()));
    assert_eq!(count(&running, answers[20].token.clone()).await, 1050);
    let search = v1::SearchRequest {
        collection: "docs".into(),
        vector: Some(crate::running::vector(&[7.0, 7.0])),
        k: 1000,
        token: answers[20].token.clone(),
        ..Default::default()
    };
    let hits = running.points().search(search).await.unwrap().into_inner().hits;
    assert!(hits.iter().all(|hit| hit.score == 0.0), "an earlier batch overtook the last");
}

#[tokio::test]
async fn bad_rows_are_named_and_the_others_are_written() {
    let running = start().await;
    running.create("docs").await;
    let mut bad = batch(1, 0..4);
    bad.payload_json = vec!["{}".into(), "no json".into(), "{}".into(), "{}".into()];
    let answers = send(&running, vec![bad]).await.unwrap();
    assert_eq!(answers[0].errors.len(), 1);
    assert_eq!(answers[0].errors[0].row, 1);
    assert!(!answers[0].errors[0].code.is_empty());
    assert_eq!(count(&running, answers[0].token.clone()).await, 3);
}

#[tokio::test]
async fn a_batch_that_makes_no_sense_ends_the_stream_after_the_others() {
    let running = start().await;
    running.create("docs").await;
    let broken = v1::BulkUpsertRequest { count: 5, ..batch(1, 10..14) };
    let (answers, status) =
        send(&running, vec![batch(0, 0..10), broken, batch(2, 20..30)]).await.unwrap_err();
    assert_eq!(answers.iter().map(|a| a.batch).collect::<Vec<_>>(), [0]);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(count(&running, answers[0].token.clone()).await, 10);

    let nameless = v1::BulkUpsertRequest { collection: String::new(), ..batch(0, 0..1) };
    assert_eq!(send(&running, vec![nameless]).await.unwrap_err().1.code(), Code::InvalidArgument);
    let unknown = v1::BulkUpsertRequest { collection: "none".into(), ..batch(0, 0..1) };
    assert_eq!(send(&running, vec![unknown]).await.unwrap_err().1.code(), Code::NotFound);
}

#[tokio::test]
async fn a_small_budget_slows_a_load_down_and_refuses_nothing() {
    let running = start_with(|raw| raw.limits.inflight_bytes = 1 << 20).await;
    running.create("docs").await;
    let batches: Vec<_> = (0..30).map(|n| batch(n, n * 5000..(n + 1) * 5000)).collect();
    let answers = send(&running, batches).await.unwrap();
    assert_eq!(answers.len(), 30);
    assert_eq!(count(&running, answers[29].token.clone()).await % 5000, 0);
}
