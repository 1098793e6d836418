//! Segments are Parquet files that other tools open: pyarrow and DuckDB see what the API gives.

use std::path::PathBuf;
use std::process::Command;

use engram_proto::v1::{CreateCollectionRequest, Metric, PayloadIndex, PayloadIndexKind};
use engram_tests::binary::repository;
use engram_tests::corpus::Corpus;
use engram_tests::{ServerOptions, files, wire};
use serde_json::{Value, json};

/// A Python that has both tools: `ENGRAM_PYTHON`, that of `tests/run`, or the system's.
fn python() -> Option<PathBuf> {
    let candidates = [
        std::env::var_os("ENGRAM_PYTHON").map(PathBuf::from),
        Some(repository().join(".work/venv/bin/python")),
        Some(PathBuf::from("python3")),
    ];
    let has_both = |python: &PathBuf| {
        Command::new(python).args(["-c", "import pyarrow, duckdb"]).output().is_ok_and(|o| o.status.success())
    };
    candidates.into_iter().flatten().find(has_both)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyarrow_and_duckdb_read_segments_as_the_api_does() {
    let Some(python) = python() else {
        println!("SKIPPED: no Python with pyarrow and duckdb; tests/run installs them");
        return;
    };
    let server = ServerOptions::default().start().unwrap();
    let client = server.client().await.unwrap();
    let index = |field: &str, kind: PayloadIndexKind| PayloadIndex {
        field: field.into(),
        kind: kind.into(),
        text: None,
    };
    let request = CreateCollectionRequest {
        name: "c".into(),
        vectors: vec![wire::field("", 24, Metric::Euclid)],
        payload_indexes: vec![
            index("group", PayloadIndexKind::Keyword),
            index("price", PayloadIndexKind::Float),
        ],
        regions: vec!["eu".into(), "us".into()],
        ..Default::default()
    };
    client.create(request).await.unwrap();
    let docs = Corpus::new(5, 24, &["eu", "us"]).docs(0..500);
    client.upsert("c", docs.iter().map(|d| d.point()).collect()).await.unwrap();
    client
        .upsert("c", vec![wire::state(1_000, &json!({"state": true, "text": "ü \"quoted\" \n"}))])
        .await
        .unwrap();
    client.delete("c", &(0..500).step_by(9).collect::<Vec<_>>()).await.unwrap();
    // A flush may leave deleted rows behind a bitmap; a compaction leaves the live ones only.
    client.flush("c").await.unwrap();
    client.compact("c").await.unwrap();
    let points = client.scroll_all("c", 100).await.unwrap();
    let as_json = |p: &engram_proto::v1::Point| {
        json!({
            "id": wire::id_text(p.id.as_ref()),
            "vector": wire::default_vector(p),
            "payload": wire::payload(p),
            "version": p.version,
            "created_at_ms": p.created_at_ms,
        })
    };
    let expected = json!({
        "count": client.count("c").await.unwrap(),
        "points": points.iter().map(as_json).collect::<Vec<Value>>(),
    });
    let dir = tempfile::tempdir().unwrap();
    let expected_file = dir.path().join("expected.json");
    std::fs::write(&expected_file, expected.to_string()).unwrap();
    // Segments that a merge replaced go with the next collection of garbage: the manifest's own are named by the stats.
    let stats = client.stats("c").await.unwrap().collections.remove(0);
    let live: Vec<String> =
        stats.shards.iter().flat_map(|s| s.segments.iter().map(|g| g.id.clone())).collect();
    let mut segments = files::all(server.data_dir()).unwrap();
    segments.retain(|p| {
        let stem = p.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        files::store_of(p) == "parquet" && live.contains(&stem)
    });
    assert_eq!(segments.len(), live.len(), "segments of the stats are not all there as files");
    let output = Command::new(python)
        .arg(repository().join("tests/interop/parquet.py"))
        .arg(&expected_file)
        .args(&segments)
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{told}");
}
