use std::time::Duration;

use engram_proto::v1;
use serde_json::{Value, json};
use tonic::Code;

use crate::running::{Running, detail, point, start, start_with, upsert};
use crate::wait::until_some;

const DAY_MS: i64 = 86_400_000;

/// Three old points and two of today, in region `us`.
async fn five(running: &Running) {
    running.create("docs").await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let dated = |n: u64| v1::Point {
        region: "us".into(),
        created_at_ms: Some(if n < 3 { now - 100 * DAY_MS } else { now }),
        ..point(n, &[n as f32, 0.0], "{}")
    };
    running.points().upsert(upsert("docs", (0..5).map(dated).collect())).await.unwrap();
}

fn older_than_90_days(wait: bool) -> v1::PurgeRequest {
    v1::PurgeRequest { collection: "docs".into(), region: "us".into(), older_than_s: 90 * 86_400, wait }
}

async fn count(running: &Running) -> u64 {
    let request = v1::CountRequest { collection: "docs".into(), ..Default::default() };
    running.points().count(request).await.unwrap().into_inner().count
}

#[tokio::test]
async fn a_purge_erases_what_its_dry_run_said() {
    let running = start().await;
    five(&running).await;
    let mut client = running.retention();
    assert_eq!(client.dry_run(older_than_90_days(false)).await.unwrap().into_inner().points, 3);
    assert_eq!(count(&running).await, 5);
    let receipt = client.purge(older_than_90_days(true)).await.unwrap().into_inner();
    assert_eq!((receipt.state.as_str(), receipt.points_erased), ("complete", 3));
    assert!(!receipt.hash.is_empty());
    assert_eq!(count(&running).await, 2);
    let by_id = v1::GetReceiptRequest { id: receipt.id.clone() };
    assert_eq!(client.get_receipt(by_id).await.unwrap().into_inner(), receipt);
    let all = client.list_receipts(v1::ListReceiptsRequest::default()).await.unwrap().into_inner().receipts;
    assert_eq!(all, [receipt]);
    let none = client.get_receipt(v1::GetReceiptRequest { id: "x".into() }).await.unwrap_err();
    assert_eq!((none.code(), detail(&none).code.as_str()), (Code::NotFound, "receipt_not_found"));
}

#[tokio::test]
async fn a_purge_without_wait_completes_by_itself() {
    let running = start().await;
    five(&running).await;
    let mut client = running.retention();
    let accepted = client.purge(older_than_90_days(false)).await.unwrap().into_inner();
    assert_eq!(accepted.state, "running");
    let complete = until_some("the purge to complete", Duration::from_secs(10), || {
        let mut client = client.clone();
        let by_id = v1::GetReceiptRequest { id: accepted.id.clone() };
        async move {
            let receipt = client.get_receipt(by_id).await?.into_inner();
            Ok((receipt.state == "complete").then_some(receipt))
        }
    });
    assert_eq!(complete.await.unwrap().points_erased, 3);
}

#[tokio::test]
async fn the_retention_job_enforces_rules_on_its_own() {
    let running = start_with(|raw| raw.retention.interval_s = 1).await;
    five(&running).await;
    let rule = v1::RetentionRule { region: "us".into(), max_age_s: 90 * 86_400 };
    let update = v1::UpdateCollectionRequest {
        name: "docs".into(),
        set_retention: true,
        retention: vec![rule],
        ..Default::default()
    };
    running.collections().update_collection(update).await.unwrap();
    // Hidden at once, erased by the next run.
    assert_eq!(count(&running).await, 2);
    let erased = until_some("the retention job to erase the points", Duration::from_secs(10), || {
        let mut client = running.retention();
        async move {
            let receipts =
                client.list_receipts(v1::ListReceiptsRequest::default()).await?.into_inner().receipts;
            let erased = receipts.iter().any(|r| r.state == "complete" && r.points_erased == 3);
            Ok(erased.then_some(()))
        }
    });
    erased.await.unwrap();
}

/// What a rule hides is in no figure of the collection, although it is not erased yet.
#[tokio::test]
async fn figures_of_a_collection_count_what_searches_see() {
    let running = start_with(|raw| raw.retention.interval_s = 0).await;
    five(&running).await;
    let counts = async || {
        let info = running.ok("GET", "/collections/docs", Value::Null).await;
        let cluster = running.ok("GET", "/collections/docs/cluster", Value::Null).await;
        let shards = cluster["local_shards"].as_array().unwrap().iter();
        let shards: u64 = shards.map(|shard| shard["points_count"].as_u64().unwrap()).sum();
        (info["points_count"].as_u64().unwrap(), shards, count(&running).await)
    };
    assert_eq!(counts().await, (5, 5, 5));
    let change =
        json!({ "metadata": { "engram": { "retention": [{ "region": "us", "max_age_s": 90 * 86_400 }] } } });
    running.ok("PATCH", "/collections/docs", change).await;
    assert_eq!(counts().await, (2, 2, 2));
}
