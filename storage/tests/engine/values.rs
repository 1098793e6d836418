//! Sparse and multi vectors from the log to the purge.

use engram_index::vector::{MultiVector, SparseVector, VectorValue};
use engram_storage::point::FieldId;
use engram_storage::schema::{SparseModifier, VectorKind};

use super::*;

const SPARSE: FieldId = 1;
const MULTI: FieldId = 2;

/// A collection with a field of each kind.
async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    let updated = fixture.engine.update_collection(DEFAULT_TENANT, "c", |schema| {
        let dense = schema.vectors[0].clone();
        let kind = VectorKind::Sparse { modifier: SparseModifier::Idf };
        let (id, name, metric) = (SPARSE, "words".to_owned(), Metric::Dot);
        schema.vectors.push(VectorField { id, name, metric, dimension: 0, kind, ..dense.clone() });
        let (id, name, kind) = (MULTI, "tokens".to_owned(), VectorKind::Multi);
        schema.vectors.push(VectorField { id, name, dimension: 3, kind, ..dense });
        Ok(())
    });
    Fixture { schema: updated.await.unwrap(), ..fixture }
}

fn sparse(id: u64, value: f32) -> VectorValue {
    let indices = (0..id as u32 % 4).map(|i| i * 1000 + id as u32 % 7).collect::<Vec<_>>();
    let values = indices.iter().map(|i| value + *i as f32).collect();
    SparseVector { indices, values }.into()
}

fn multi(id: u64, value: f32) -> VectorValue {
    let components = (0..3 * (1 + id % 5)).map(|i| value + i as f32).collect();
    MultiVector { dimension: 3, components }.into()
}

/// Every third point lacks each kind.
fn with_values(id: u64, value: f32) -> Point {
    let mut point = point(id, "", NOW);
    if id % 3 != 1 {
        point.vectors.push((SPARSE, sparse(id, value)));
    }
    if id % 3 != 2 {
        point.vectors.push((MULTI, multi(id, value)));
    }
    point
}

/// Vectors of the live points, by id.
fn vectors(shard: &Shard) -> Vec<(PointId, Vec<(FieldId, VectorValue)>)> {
    let snapshot = shard.snapshot();
    let mut found = Vec::new();
    for view in snapshot.runs.iter() {
        let live = (0..view.run.len() as u32).filter(|ord| !view.dead.contains(*ord));
        found.extend(live.map(|ord| view.run.point(ord)).map(|p| (p.id, p.vectors)));
    }
    found.sort_by_key(|(id, _)| *id);
    found
}

fn expected(ids: impl Iterator<Item = u64>) -> Vec<(PointId, Vec<(FieldId, VectorValue)>)> {
    ids.map(|id| (PointId::Num(id), with_values(id, id as f32).vectors)).collect()
}

#[tokio::test]
async fn every_kind_survives_replay_flush_compaction_and_restart() {
    let fixture = fixture().await;
    let shard = fixture.shard().await;
    for first in [0, 100, 200] {
        let points = (first..first + 100).map(|id| Op::Upsert(with_values(id, id as f32)));
        shard.write(batch(points), true).await.unwrap();
    }
    assert_eq!(vectors(&shard), expected(0..300));

    // From the log alone.
    drop(shard);
    let fixture = fixture.reopen().await;
    let shard = fixture.shard().await;
    assert_eq!(vectors(&shard), expected(0..300));

    // Changed beside a segment, then merged with it.
    shard.flush().await.unwrap();
    let wrong = (300..400).map(|id| Op::Upsert(with_values(id, -1.0)));
    shard.write(batch(wrong), true).await.unwrap();
    shard.flush().await.unwrap();
    let right = (300..400).map(|id| Op::UpdateVectors {
        id: PointId::Num(id),
        set: with_values(id, id as f32).vectors,
        remove: vec![],
        ingested_at: NOW,
    });
    shard.write(batch(right), true).await.unwrap();
    shard.write(batch((0..50).map(|id| Op::Delete(PointId::Num(id)))), true).await.unwrap();
    let gone = Op::UpdateVectors {
        id: PointId::Num(399),
        set: vec![],
        remove: vec![0, SPARSE, MULTI],
        ingested_at: NOW,
    };
    shard.write(batch([gone]), true).await.unwrap();
    // As many segments as are merged into one.
    for first in [400, 410] {
        shard.flush().await.unwrap();
        let points = (first..first + 10).map(|id| Op::Upsert(with_values(id, id as f32)));
        shard.write(batch(points), true).await.unwrap();
    }
    let mut want = expected(50..420);
    want[399 - 50].1.clear();
    assert_eq!(vectors(&shard), want);
    shard.compact().await.unwrap();
    assert_eq!(vectors(&shard), want);
    assert_eq!(shard.snapshot().runs.len(), 1);
    let run = shard.snapshot().runs[0].run.clone();
    assert_eq!(run.fields().collect::<Vec<_>>(), [0, SPARSE, MULTI]);
    assert!(run.vector_set(SPARSE).is_none() && run.sparse_index(SPARSE).is_some());

    drop((shard, run));
    let fixture = fixture.reopen().await;
    assert_eq!(vectors(&*fixture.shard().await), want);
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// How many files of segments and logs hold these floats side by side.
fn holding(dir: &Path, floats: &[f32]) -> usize {
    let needle: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
    let all = [files(&dir.join("objects")), files(&dir.join("log"))].concat();
    all.iter().filter(|file| file.windows(needle.len()).any(|part| part == needle)).count()
}

#[tokio::test]
async fn a_purge_leaves_no_bytes_of_sparse_and_multi_vectors() {
    let fixture = fixture().await;
    let shard = fixture.shard().await;
    let marks = [[0.123_456_7, -7.654_321], [31.415_926, -92.718_28]];
    let marked = |id: u64, mark: [f32; 2], created_at| {
        let mut point = point(id, "", created_at);
        let values = SparseVector { indices: vec![4, 777_777], values: mark.to_vec() };
        point.vectors.push((SPARSE, values.into()));
        let components = vec![1.0, mark[0], mark[1]];
        point.vectors.push((MULTI, MultiVector { dimension: 3, components }.into()));
        Op::Upsert(point)
    };
    shard.write(batch([marked(1, marks[0], NOW - 10 * DAY), marked(2, marks[1], NOW)]), true).await.unwrap();
    shard.flush().await.unwrap();
    // The Parquet file and the blobs of both kinds.
    for mark in marks {
        assert_eq!(holding(fixture.dir.path(), &mark), 3, "{mark:?}");
    }
    // Postings hold values one by one.
    assert_eq!(holding(fixture.dir.path(), &marks[0][1..]), 3);
    let request = PurgeRequest {
        tenant: DEFAULT_TENANT,
        collection: Some("c".into()),
        region: None,
        created_before: Some(NOW - DAY),
    };
    fixture.engine.purge(&request).await.unwrap();
    for part in [&marks[0][..], &marks[0][..1], &marks[0][1..]] {
        assert_eq!(holding(fixture.dir.path(), part), 0, "{part:?}");
    }
    assert_eq!(holding(fixture.dir.path(), &marks[1]), 3, "what is young stays");
}
