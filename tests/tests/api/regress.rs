//! Failures that other vector databases had (`T-01` to `T-20` of the regression list; `tests/README.md`
//! says where each one is tested), as they would show here.

use std::fs;
use std::path::PathBuf;

use engram_proto::v1::{Metric, PurgeRequest};
use engram_tests::{Client, Server, ServerOptions, files, wire};
use serde_json::json;

use super::{DIMENSION, loaded, server};

fn of_type(server: &Server, kind: &str) -> Vec<PathBuf> {
    let mut found = files::all(server.data_dir()).unwrap();
    found.retain(|p| files::store_of(p) == kind);
    found
}

async fn ids(client: &Client) -> Vec<u64> {
    let all = client.scroll_all("c", 500).await.unwrap();
    all.iter().filter_map(|p| wire::number(p.id.as_ref())).collect()
}

/// A server killed with `count` points in segments and ten more in the log.
async fn killed(count: u64) -> Server {
    let (mut server, client) = server().await;
    loaded(&client, "c", count, &[], 1).await;
    client.flush("c").await.unwrap();
    let more = (0..10).map(|n| wire::point(count + n, &[0.5; DIMENSION], &json!({}))).collect();
    client.upsert("c", more).await.unwrap();
    server.kill9();
    server
}

/// Path of the file that the log of the only shard would begin next, as the name tells: the offset after its tail.
async fn next_log_file(server: &mut Server) -> PathBuf {
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    client.count("c").await.unwrap();
    let shard = client.stats("c").await.unwrap().collections.remove(0).shards.remove(0);
    server.kill9();
    let log = of_type(server, "log").pop().unwrap();
    log.with_file_name(format!("{:020}.log", shard.applied_offset + 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t01_a_torn_header_of_a_new_log_file_does_not_stop_the_start() {
    let mut server = killed(100).await;
    let next = next_log_file(&mut server).await;
    let whole = fs::read(of_type(&server, "log").pop().unwrap()).unwrap();
    for torn in [vec![], vec![0u8; 4096], b"ENGRAML".to_vec(), whole[..40].to_vec()] {
        // As if the power went while the next file was made: it holds nothing that was acknowledged.
        fs::write(&next, &torn).unwrap();
        server.start_again().unwrap_or_else(|e| panic!("header of {} bytes: {e:#}", torn.len()));
        let client = server.client().await.unwrap();
        assert_eq!(ids(&client).await.len(), 110);
        assert!(!next.exists(), "the torn file of {} bytes is still there", torn.len());
        server.kill9();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t01_a_torn_header_of_the_first_log_file_does_not_stop_the_start() {
    for torn in [vec![], vec![0u8; 96], b"ENGRAML".to_vec()] {
        let (mut server, client) = server().await;
        loaded(&client, "c", 3, &[], 1).await;
        server.kill9();
        let log = of_type(&server, "log").pop().unwrap();
        assert!(log.ends_with("00000000000000000001.log"), "{}", log.display());
        fs::write(&log, &torn).unwrap();
        server.start_again().unwrap_or_else(|e| panic!("header of {} bytes: {e:#}", torn.len()));
        let client = server.client().await.unwrap();
        assert!(ids(&client).await.is_empty());
        client.upsert("c", vec![wire::point(1, &[0.5; DIMENSION], &json!({}))]).await.unwrap();
        assert_eq!(ids(&client).await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t09_a_torn_tail_is_cut_and_told() {
    let mut server = killed(100).await;
    let log = of_type(&server, "log").pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(&bytes.clone()[96..150]);
    fs::write(&log, &bytes).unwrap();
    server.start_again().unwrap();
    assert_eq!(ids(&server.client().await.unwrap()).await.len(), 110);
    assert!(server.log().contains("cut"), "the cut is not told:\n{}", server.log());
    assert_eq!(fs::metadata(&log).unwrap().len(), whole as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t03_t09_stray_temporary_files_do_not_stop_the_start() {
    let mut server = killed(100).await;
    for kind in ["log", "parquet", "manifest", "rows"] {
        let file = of_type(&server, kind).pop().unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for stray in [format!("{name}#1"), format!(".atomicwrite-{name}"), format!("{name}.combined.tmp")] {
            fs::write(file.with_file_name(stray), b"half").unwrap();
        }
    }
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    assert_eq!(ids(&client).await.len(), 110);
    client.upsert("c", vec![wire::point(5_000, &[0.1; DIMENSION], &json!({}))]).await.unwrap();
    client.compact("c").await.unwrap();
    server.kill9();
    server.start_again().unwrap();
    assert_eq!(ids(&server.client().await.unwrap()).await.len(), 111);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t04_an_empty_side_file_is_passed_over_or_named() {
    let mut server = killed(100).await;
    // What a kill leaves while a file is made: nothing refers to it.
    let manifest = of_type(&server, "manifest").pop().unwrap();
    let log = of_type(&server, "log").pop().unwrap();
    let stray = [manifest.with_extension("manifest#7"), log.with_file_name("seal.tmp")];
    for path in &stray {
        fs::write(path, b"").unwrap();
    }
    server.start_again().unwrap();
    assert_eq!(ids(&server.client().await.unwrap()).await.len(), 110);
    server.kill9();
    // One that was complete once must be named: neither passed over nor "expected value at line 1 column 1".
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, b"").unwrap();
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    let told = client.scroll_all("c", 100).await.unwrap_err();
    let name = manifest.file_name().unwrap().to_string_lossy().into_owned();
    assert!(told.message().contains(&name), "{told:?} does not name {name}");
    server.kill9();
    fs::write(&manifest, whole).unwrap();
    server.start_again().unwrap();
    assert_eq!(ids(&server.client().await.unwrap()).await.len(), 110, "nothing was lost meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t05_a_kill_between_the_steps_of_a_flush_drops_nothing() {
    let mut server = killed(100).await;
    let home = tempfile::tempdir().unwrap();
    let (before, after) = (home.path().join("before"), home.path().join("after"));
    files::copy_dir(server.data_dir(), &before).unwrap();
    server.start_again().unwrap();
    server.client().await.unwrap().flush("c").await.unwrap();
    server.kill9();
    files::copy_dir(server.data_dir(), &after).unwrap();
    let is_manifest = |p: &std::path::Path| files::store_of(p) == "manifest";
    // Segment files there and the manifest not yet; then the manifest there and the log not yet trimmed.
    for with_manifest in [false, true] {
        let mixed = home.path().join(format!("mixed-{with_manifest}"));
        files::copy_dir(&before, &mixed).unwrap();
        for path in files::all(&after.join("objects")).unwrap() {
            let target = mixed.join(path.strip_prefix(&after).unwrap());
            if !target.exists() && (with_manifest || !is_manifest(&path)) {
                fs::copy(&path, target).unwrap();
            }
        }
        let mut again = ServerOptions::default().data_dir(&mixed).start().unwrap();
        for _ in 0..2 {
            let client = again.client().await.unwrap();
            assert_eq!(ids(&client).await, (0..110).collect::<Vec<_>>(), "manifest there: {with_manifest}");
            assert_eq!(client.count("c").await.unwrap(), 110);
            client.flush("c").await.unwrap();
            again.kill9();
            again.start_again().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t12_restarts_of_every_kind_keep_everything() {
    let mut server = killed(300).await;
    server.start_again().unwrap();
    let all = server.client().await.unwrap().scroll_all("c", 100).await.unwrap();
    assert_eq!(all.len(), 310);
    for round in 0..6 {
        match round % 3 {
            0 => server.restart().unwrap(),
            1 => {
                server.kill9();
                server.start_again().unwrap();
            }
            _ => {
                server.client().await.unwrap().flush("").await.unwrap();
                server.restart().unwrap();
            }
        }
        let client = server.client().await.unwrap();
        assert_eq!(client.list().await.unwrap().len(), 1);
        assert_eq!(client.scroll_all("c", 100).await.unwrap(), all, "restart {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t10_recovery_writes_nothing_new() {
    let mut server = killed(100).await;
    let bytes = |server: &Server| files::bytes(server.data_dir(), |p| files::store_of(p) == "log").unwrap();
    let before = bytes(&server);
    for _ in 0..5 {
        server.start_again().unwrap();
        assert_eq!(ids(&server.client().await.unwrap()).await.len(), 110);
        server.kill9();
        assert_eq!(bytes(&server), before, "a start wrote to the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t13_replay_does_not_count_twice() {
    let mut server = killed(300).await;
    for _ in 0..3 {
        server.start_again().unwrap();
        let client = server.client().await.unwrap();
        assert_eq!((client.count("c").await.unwrap(), ids(&client).await.len()), (310, 310));
        client.upsert("c", vec![wire::point(7, &[0.7; DIMENSION], &json!({}))]).await.unwrap();
        client.flush("c").await.unwrap();
        server.kill9();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t14_t15_t19_deleted_points_stay_deleted() {
    let (mut server, client) = server().await;
    loaded(&client, "c", 1_000, &[], 1).await;
    client.flush("c").await.unwrap();
    // Deletes land while segments are merged.
    let merging = {
        let client = client.clone();
        tokio::spawn(async move { client.compact("c").await })
    };
    let due: Vec<u64> = (0..1_000).filter(|n| n % 3 == 0).collect();
    for part in due.chunks(10) {
        client.delete("c", part).await.unwrap();
    }
    merging.await.unwrap().unwrap();
    let left: Vec<u64> = (0..1_000).filter(|n| n % 3 != 0).collect();
    assert_eq!(ids(&client).await, left);
    for round in 0..3 {
        let client = server.client().await.unwrap();
        client.flush("c").await.unwrap();
        client.compact("c").await.unwrap();
        assert_eq!(ids(&client).await, left, "round {round}");
        server.kill9();
        server.start_again().unwrap();
        let client = server.client().await.unwrap();
        assert_eq!(ids(&client).await, left, "after restart {round}");
        assert!(client.get_nums("c", &due).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t16_a_compaction_of_several_segments_skips_no_delete() {
    let (mut server, client) = server().await;
    let docs = loaded(&client, "c", 400, &[], 1).await;
    client.flush("c").await.unwrap();
    // Each segment holds rows that later ones replace or delete.
    for part in 1..4 {
        let rewritten = docs.iter().skip(part * 40).take(120).cloned().collect::<Vec<_>>();
        super::load(&client, "c", &rewritten).await;
        client.delete("c", &(0..400).filter(|n| *n as usize % 7 == part).collect::<Vec<_>>()).await.unwrap();
        client.flush("c").await.unwrap();
    }
    // 7 n + 3 went last; 7 n + 1 and 7 n + 2 may have been written again after their delete.
    let expected = ids(&client).await;
    assert!(expected.iter().all(|n| n % 7 != 3) && expected.len() < 400);
    client.compact("c").await.unwrap();
    for restart in [false, true] {
        if restart {
            server.kill9();
            server.start_again().unwrap();
        }
        let client = server.client().await.unwrap();
        assert_eq!(ids(&client).await, expected, "restart: {restart}");
        assert_eq!(client.count("c").await.unwrap(), expected.len() as u64);
        let gone: Vec<u64> = (0..400).filter(|n| expected.binary_search(n).is_err()).collect();
        assert!(client.get_nums("c", &gone).await.unwrap().is_empty());
        let request = engram_proto::v1::SearchRequest {
            collection: "c".into(),
            vector: Some(wire::vector(&docs[3].vector)),
            k: 400,
            ..Default::default()
        };
        let hits = client.search(request).await.unwrap();
        assert_eq!(hits.len(), expected.len());
    }
}

/// Runs the command line against a server and returns what it printed.
fn engram(server: &Server, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(engram_tests::binary::engram().unwrap());
    let output =
        command.args(arguments).arg("--server").arg(format!("http://{}", server.grpc())).output().unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "engram {arguments:?}: {told}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t17_export_and_load_carry_no_deleted_point() {
    let (server, client) = server().await;
    let docs = loaded(&client, "c", 300, &[], 1).await;
    client.flush("c").await.unwrap();
    super::load(&client, "c", &docs[100..200]).await;
    client.delete("c", &(0..300).step_by(3).collect::<Vec<_>>()).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backup.parquet").display().to_string();
    engram(&server, &["export", "--collection", "c", "--out", &file]);
    let progress = home.path().join("progress").display().to_string();
    let create = ["--collection", "restored", "--create", "--metric", "euclid", "--resume-file", &progress];
    engram(&server, &[&["load", &file], create.as_slice()].concat());
    let all = client.scroll_all("c", 100).await.unwrap();
    let restored = client.scroll_all("restored", 100).await.unwrap();
    assert_eq!((all.len(), restored.len()), (200, 200));
    for (a, b) in all.iter().zip(&restored) {
        assert_eq!((&a.id, &a.vectors, wire::payload(a)), (&b.id, &b.vectors, wire::payload(b)));
    }
    assert_eq!(client.count("restored").await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t20_delete_after_overwriting_everything_twice() {
    let (_server, client) = server().await;
    let docs = loaded(&client, "c", 200, &[], 1).await;
    client.flush("c").await.unwrap();
    super::load(&client, "c", &docs).await;
    let all: Vec<u64> = (0..200).collect();
    client.delete("c", &all).await.unwrap();
    assert_eq!((client.count("c").await.unwrap(), ids(&client).await.len()), (0, 0));
    client.compact("c").await.unwrap();
    assert_eq!(client.count("c").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t07_a_stop_while_a_graph_is_built_loses_nothing() {
    let (mut server, client) = server().await;
    loaded(&client, "c", 3_000, &[], 1).await;
    client.flush("c").await.unwrap();
    server.stop().unwrap();
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    assert_eq!(client.count("c").await.unwrap(), 3_000);
    client.compact("c").await.unwrap();
    let stats = client.stats("c").await.unwrap().collections.remove(0);
    assert_eq!((stats.points, stats.pending_vectors), (3_000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t06_erasure_of_some_leaves_the_vectors_of_others() {
    let (mut server, client) = server().await;
    let docs = loaded(&client, "c", 400, &[], 1).await;
    client.flush("c").await.unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let old = |d: &engram_tests::corpus::Doc| engram_proto::v1::Point {
        created_at_ms: Some(now - 1_000_000_000),
        ..d.point()
    };
    client.upsert("c", docs[..100].iter().map(old).collect()).await.unwrap();
    let request =
        PurgeRequest { collection: "c".into(), older_than_s: 500_000, wait: true, ..Default::default() };
    let receipt = client.purge(request).await.unwrap();
    assert_eq!((receipt.state.as_str(), receipt.points_erased), ("complete", 100));
    server.kill9();
    server.start_again().unwrap();
    let all = server.client().await.unwrap().scroll_all("c", 100).await.unwrap();
    assert_eq!(all.len(), 300);
    for p in &all {
        let doc = &docs[wire::number(p.id.as_ref()).unwrap() as usize];
        assert_eq!(wire::default_vector(p).as_ref(), Some(&doc.vector));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regress_t36_vectors_that_are_no_numbers_are_refused() {
    let (_server, client) = server().await;
    client.create_simple("c", 3, Metric::Cosine).await.unwrap();
    for v in [[f32::NAN, 0.0, 1.0], [f32::INFINITY, 0.0, 1.0], [0.0, 0.0, 0.0]] {
        let e = client.upsert("c", vec![wire::point(1, &v, &json!({}))]).await.unwrap_err();
        assert_eq!(e.code(), tonic::Code::InvalidArgument, "{v:?}");
        let request = engram_proto::v1::SearchRequest {
            collection: "c".into(),
            vector: Some(wire::vector(&v)),
            k: 1,
            ..Default::default()
        };
        assert_eq!(client.search(request).await.unwrap_err().code(), tonic::Code::InvalidArgument, "{v:?}");
    }
}
