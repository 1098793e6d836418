//! Downloads of snapshots that a purge removes.

use std::path::PathBuf;

use engram_storage::engine::Engine;
use engram_storage::op::Op;
use engram_storage::schema::DEFAULT_TENANT;
use engram_storage::{ErrorKind, snapshot::SnapshotInfo};

use super::snapshots::{CANARY, shard_of};
use super::{DAY, Fixture, NOW, batch, point, upserts};

/// 20 points that are due in `eu`, and others in `us`.
async fn planted() -> (Fixture, SnapshotInfo) {
    let fixture = Fixture::new().await;
    let old = batch((0..20).map(|id| Op::Upsert(point(id, CANARY, NOW - 100 * DAY))));
    fixture.shard().await.write(old, true).await.unwrap();
    let us = shard_of(&fixture.engine, &fixture.schema, "us").await;
    us.write(upserts(100..110, "kept"), true).await.unwrap();
    let info = fixture.snapshot().await;
    (fixture, info)
}

/// Removed files below the directory that this process has open.
fn removed_and_open(fixture: &Fixture) -> Vec<PathBuf> {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = all.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let below = fixture.dir.path().canonicalize().unwrap();
    let gone = |path: &PathBuf| path.starts_with(&below) && path.to_string_lossy().contains(".snapshot");
    targets.filter(gone).filter(|path| path.to_string_lossy().ends_with("(deleted)")).collect()
}

async fn rest(engine: &Engine, info: &SnapshotInfo) -> usize {
    let (_, download) = engine.open_snapshot(DEFAULT_TENANT, "c", &info.name).await.unwrap();
    let mut bytes = 0;
    loop {
        match download.next(1 << 12).await.unwrap().len() {
            0 => return bytes,
            more => bytes += more,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_ends_downloads_of_what_it_removes_and_no_others() {
    let (fixture, info) = planted().await;
    assert_eq!(rest(&fixture.engine, &info).await as u64, info.bytes);
    let (_, download) = fixture.engine.open_snapshot(DEFAULT_TENANT, "c", &info.name).await.unwrap();
    assert_eq!(download.next(64).await.unwrap().len(), 64);
    let receipt = fixture.purge(Some("us"), 90 * DAY).await;
    assert_eq!(receipt.kept_snapshots, std::slice::from_ref(&info.name));
    assert_eq!(download.next(64).await.unwrap().len(), 64, "a snapshot that is kept is read on");

    let receipt = fixture.purge(Some("eu"), 90 * DAY).await;
    assert_eq!((receipt.state.as_str(), receipt.kept_snapshots.len()), ("complete", 0));
    let e = download.next(64).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    assert!(e.to_string().contains("purge"), "{e}");
    assert_eq!(removed_and_open(&fixture), Vec::<PathBuf>::new(), "its bytes are still on the disk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_ends_downloads_of_what_was_removed_before_it() {
    let (fixture, info) = planted().await;
    let (_, download) = fixture.engine.open_snapshot(DEFAULT_TENANT, "c", &info.name).await.unwrap();
    assert!(fixture.engine.delete_snapshot(DEFAULT_TENANT, "c", &info.name).await.unwrap());
    assert_eq!(download.next(64).await.unwrap().len(), 64, "a delete ends no download");
    assert_eq!(removed_and_open(&fixture).len(), 1, "the control");
    fixture.purge(Some("eu"), 90 * DAY).await;
    assert_eq!(download.next(64).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(removed_and_open(&fixture), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_collection_is_not_downloaded_any_more() {
    let (fixture, info) = planted().await;
    let (_, download) = fixture.engine.open_snapshot(DEFAULT_TENANT, "c", &info.name).await.unwrap();
    assert!(fixture.engine.drop_collection(DEFAULT_TENANT, "c").await.unwrap());
    assert_eq!(download.next(64).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(removed_and_open(&fixture), Vec::<PathBuf>::new());
}
