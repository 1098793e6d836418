//! Indexes of words: built with segments and after them, kept over restarts, gone with what was purged.

use engram_index::payload::PayloadIndexKind;
use engram_index::text::{TextIndex, TextOptions};
use engram_storage::engine::PurgeRequest;
use engram_storage::op::Op;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionSchema, DEFAULT_TENANT, PayloadIndexSpec};
use engram_storage::segment::run::Run;
use engram_storage::shard::Shard;

use super::{DAY, Fixture, NOW, batch, files_with, point, upserts};

fn spec(options: &str) -> PayloadIndexSpec {
    let options: TextOptions = serde_json::from_str(options).unwrap();
    PayloadIndexSpec { text: Some(options), ..PayloadIndexSpec::new("text", PayloadIndexKind::Text) }
}

async fn create(fixture: &Fixture, spec: PayloadIndexSpec) {
    let edit = |schema: &mut CollectionSchema| {
        schema.payload_indexes.retain(|other| other.field != spec.field);
        schema.payload_indexes.push(spec.clone());
        Ok(())
    };
    fixture.engine.update_collection(DEFAULT_TENANT, "c", edit).await.unwrap();
}

fn words(run: &Run) -> Option<&TextIndex> {
    run.payload_index("text").and_then(|index| index.text())
}

/// Rows with `word` over all runs, and the number of runs that have no index of words.
fn frequency(shard: &Shard, word: &str) -> (u64, usize) {
    let snapshot = shard.snapshot();
    let runs: Vec<&Run> = snapshot.runs.iter().map(|view| &view.run).collect();
    let found = runs.iter().filter_map(|run| words(run)).map(|index| index.frequency(word).unwrap()).sum();
    (found, runs.iter().filter(|run| words(run).is_none()).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_indexed_with_segments_after_them_and_over_restarts() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(upserts(0..200, "Before it"), true).await.unwrap();
    shard.flush().await.unwrap();
    create(&fixture, spec("{}")).await;
    // Built for the segment that was there, and with the next one.
    shard.write(upserts(200..300, "after it"), true).await.unwrap();
    assert_eq!(frequency(&shard, "after").0, 100, "the memtable has one too");
    shard.flush().await.unwrap();
    shard.compact().await.unwrap();
    assert_eq!([frequency(&shard, "before"), frequency(&shard, "after")], [(200, 0), (100, 0)]);
    assert_eq!(frequency(&shard, "it"), (300, 0));
    assert_eq!(frequency(&shard, "Before"), (0, 0));
    drop(shard);
    let fixture = fixture.reopen().await;
    let shard = fixture.shard().await;
    assert_eq!([frequency(&shard, "before"), frequency(&shard, "after")], [(200, 0), (100, 0)]);
    let snapshot = shard.snapshot();
    assert!(snapshot.runs.iter().filter_map(|view| words(&view.run)).all(|index| index.heap_bytes() == 0));
    drop(snapshot);

    // Other options: built anew from the rows.
    create(&fixture, spec(r#"{"lowercase":false}"#)).await;
    shard.compact().await.unwrap();
    assert_eq!([frequency(&shard, "before"), frequency(&shard, "Before")], [(0, 0), (200, 0)]);
    drop(shard);
    let fixture = fixture.reopen().await;
    assert_eq!(frequency(&*fixture.shard().await, "Before"), (200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_leaves_no_word_of_a_purged_text() {
    let fixture = Fixture::new().await;
    create(&fixture, spec(r#"{"phrase_matching":true}"#)).await;
    let shard = fixture.shard().await;
    let canary = "canary5f0c1d2e3a4b59687766554433221100";
    let points = |ids: std::ops::Range<u64>, text: &str, age: i64| {
        batch(ids.map(|id| Op::Upsert(point(id, text, NOW - age))).collect::<Vec<_>>())
    };
    shard.write(points(0..80, &format!("old {canary}"), 100 * DAY), true).await.unwrap();
    shard.flush().await.unwrap();
    shard.write(points(60..160, "new text", DAY), true).await.unwrap();
    shard.write(points(200..300, &format!("old {canary}"), 100 * DAY), true).await.unwrap();
    shard.write(batch([Op::Delete(PointId::Num(3))]), true).await.unwrap();
    assert_eq!(frequency(&shard, canary).0, 180, "dead rows are there until they are erased");
    let before = files_with(fixture.dir.path(), b"ETXT");
    let request = PurgeRequest {
        tenant: DEFAULT_TENANT,
        collection: None,
        region: None,
        created_before: Some(NOW - 90 * DAY),
    };
    let receipt = fixture.engine.purge(&request).await.unwrap();
    assert_eq!(receipt.state, "complete");
    assert_eq!([frequency(&shard, canary), frequency(&shard, "new")], [(0, 0), (100, 0)]);
    // A dictionary may hold a word from its end to its beginning.
    let reversed: String = canary.chars().rev().collect();
    for bytes in [canary, &reversed] {
        assert_eq!(files_with(fixture.dir.path(), bytes.as_bytes()), Vec::<String>::new());
    }
    let left: Vec<&String> = before.iter().filter(|path| std::path::Path::new(path).exists()).collect();
    assert!(!before.is_empty() && left.is_empty(), "{left:?}");
}
