//! Snapshots over the wire.

use engram_proto::v1;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::running::{Running, detail, point, start, upsert};

async fn filled(running: &Running) -> v1::Snapshot {
    running.create("docs").await;
    let points = (0..40u64).map(|n| {
        let region = if n % 2 == 0 { "eu" } else { "us" };
        v1::Point { region: region.into(), ..point(n, &[n as f32, 1.0], &format!(r#"{{"n":{n}}}"#)) }
    });
    running.points().upsert(upsert("docs", points.collect())).await.unwrap();
    let request = v1::CreateSnapshotRequest { collection: "docs".into() };
    running.snapshots().create_snapshot(request).await.unwrap().into_inner()
}

async fn download(running: &Running, snapshot: &str) -> Vec<u8> {
    let request = v1::DownloadSnapshotRequest { collection: "docs".into(), snapshot: snapshot.into() };
    let mut parts = running.snapshots().download_snapshot(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part.unwrap().data);
    }
    bytes
}

async fn upload(
    running: &Running,
    (target, replace): (&str, bool),
    bytes: &[u8],
) -> Result<v1::Collection, tonic::Status> {
    let mut messages: Vec<_> = bytes
        .chunks(10_000)
        .map(|data| v1::UploadSnapshotRequest { data: data.to_vec().into(), ..Default::default() })
        .collect();
    if let Some(first) = messages.first_mut() {
        (first.target, first.replace) = (target.to_owned(), replace);
    }
    running.snapshots().upload_snapshot(tokio_stream::iter(messages)).await.map(tonic::Response::into_inner)
}

async fn answers(running: &Running, collection: &str) -> Vec<(Option<v1::PointId>, u32)> {
    let request = v1::SearchRequest {
        collection: collection.into(),
        vector: Some(crate::running::vector(&[7.2, 0.3])),
        k: 40,
        params: Some(v1::SearchParams { exact: true, ..Default::default() }),
        ..Default::default()
    };
    let hits = running.points().search(request).await.unwrap().into_inner().hits;
    hits.into_iter().map(|hit| (hit.point.unwrap().id, hit.score.to_bits())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_travels_and_answers_as_before() {
    let running = start().await;
    let made = filled(&running).await;
    assert_eq!(made.points, 40);
    let before = answers(&running, "docs").await;
    assert_eq!(before.len(), 40);
    let bytes = download(&running, &made.name).await;
    assert_eq!(bytes.len() as u64, made.bytes);
    let list = || v1::ListSnapshotsRequest { collection: "docs".into() };
    let all = running.snapshots().list_snapshots(list()).await.unwrap().into_inner().snapshots;
    assert_eq!(all, std::slice::from_ref(&made));

    // By name, into a new collection; by upload, on another server.
    let request = v1::RecoverSnapshotRequest {
        collection: "docs".into(),
        snapshot: made.name.clone(),
        target: "copy".into(),
        replace: false,
    };
    let copy = running.snapshots().recover_snapshot(request.clone()).await.unwrap().into_inner();
    assert_eq!((copy.name.as_str(), copy.regions.len(), copy.shards_per_region), ("copy", 2, 2));
    assert_eq!(answers(&running, "copy").await, before);
    let taken = running.snapshots().recover_snapshot(request).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    let other = start().await;
    upload(&other, ("docs", false), &bytes).await.unwrap();
    assert_eq!(answers(&other, "docs").await, before);
    // In the place of one that went on.
    other.points().upsert(upsert("docs", vec![point(99, &[7.2, 0.3], "{}")])).await.unwrap();
    assert_ne!(answers(&other, "docs").await, before);
    upload(&other, ("docs", true), &bytes).await.unwrap();
    assert_eq!(answers(&other, "docs").await, before);

    let delete = v1::DeleteSnapshotRequest { collection: "docs".into(), snapshot: made.name };
    assert!(running.snapshots().delete_snapshot(delete.clone()).await.unwrap().into_inner().existed);
    assert!(!running.snapshots().delete_snapshot(delete).await.unwrap().into_inner().existed);
    assert!(running.snapshots().list_snapshots(list()).await.unwrap().into_inner().snapshots.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_snapshot_is_refused_in_words() {
    let running = start().await;
    let made = filled(&running).await;
    let bytes = download(&running, &made.name).await;
    let code = |status: tonic::Status| (status.code(), detail(&status).code);
    let refused = upload(&running, ("r", false), b"PK\x03\x04 something else").await.unwrap_err();
    assert_eq!(code(refused), (Code::InvalidArgument, "not_a_snapshot".into()));
    let refused = upload(&running, ("r", false), &bytes[..bytes.len() - 1]).await.unwrap_err();
    assert_eq!(code(refused), (Code::InvalidArgument, "snapshot_truncated".into()));
    let mut bad = bytes.clone();
    let at = bad.len() / 2;
    bad[at] ^= 8;
    let refused = upload(&running, ("r", false), &bad).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(detail(&refused).code.starts_with("snapshot_"), "{refused:?}");
    let refused = upload(&running, ("", false), &bytes).await.unwrap_err();
    assert_eq!(code(refused), (Code::InvalidArgument, "invalid_name".into()));
    for name in
        ["../../catalog.redb", "/etc/passwd", "%2e%2e%2fx", "file:///etc/passwd", "http://127.0.0.1/x"]
    {
        let request = v1::RecoverSnapshotRequest {
            collection: "docs".into(),
            snapshot: name.into(),
            target: "r".into(),
            replace: true,
        };
        let refused = running.snapshots().recover_snapshot(request).await.unwrap_err();
        assert_eq!(code(refused), (Code::NotFound, "snapshot_not_found".into()), "{name}");
    }
    let absent = v1::CreateSnapshotRequest { collection: "absent".into() };
    let refused = running.snapshots().create_snapshot(absent).await.unwrap_err();
    assert_eq!(code(refused), (Code::NotFound, "collection_not_found".into()));
    let found = running.collections().list_collections(v1::ListCollectionsRequest {}).await.unwrap();
    assert_eq!(found.into_inner().collections.len(), 1, "nothing was made of what was refused");
}
