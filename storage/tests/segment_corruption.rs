//! Damage of every kind of file of a segment: opening it fails, naming the file.

use std::sync::Arc;

use engram_index::Mask;
use engram_index::payload::PayloadIndexKind;
use engram_index::vector::engine::build_graph;
use engram_index::vector::hnsw::{HnswIndex, HnswParams};
use engram_index::vector::{Metric, MultiVector, SearchParams, SparseVector, VectorValue};
use engram_storage::manifest::{SegmentEntry, SegmentId};
use engram_storage::object::{DurableStore, ObjectRef};
use engram_storage::schema::{PayloadIndexSpec, VectorField, VectorKind};
use engram_storage::segment::{Run, RunBuilder, Segment, SegmentWriter};
use engram_storage::{CollectionId, CollectionSchema, Point, PointId, RegionName, StorageError, TenantId};
use roaring::RoaringBitmap;
use uuid::Uuid;

fn schema() -> CollectionSchema {
    let region = RegionName::try_from("eu").unwrap();
    let (metric, graph_threshold) = (Metric::Euclid, 10);
    let field = |id: u16, name: &str| VectorField {
        id,
        name: name.to_owned(),
        dimension: 4,
        metric,
        hnsw_m: 8,
        hnsw_ef_construction: 40,
        graph_threshold,
        layout: Default::default(),
        kind: Default::default(),
    };
    CollectionSchema {
        id: CollectionId(Uuid::nil()),
        tenant: TenantId(1),
        name: "c".to_owned(),
        vectors: vec![
            field(0, ""),
            field(1, "few"),
            VectorField {
                dimension: 0,
                metric: Metric::Dot,
                kind: VectorKind::Sparse { modifier: Default::default() },
                ..field(2, "sparse")
            },
            VectorField { dimension: 2, kind: VectorKind::Multi, ..field(3, "multi") },
        ],
        next_field: 0,
        payload_indexes: vec![PayloadIndexSpec::new("n", PayloadIndexKind::Integer)],
        regions: vec![region.clone()],
        default_region: region,
        shards_per_region: 1,
        retention: Vec::new(),
        metadata: Default::default(),
        client_options: Default::default(),
        created_at: 0,
        revision: 1,
        lineage: Default::default(),
    }
}

fn point(n: u64) -> Point {
    let vector = vec![n as f32, 1.0, 2.0, (n * n) as f32];
    let mut vectors: Vec<(u16, VectorValue)> = vec![(0, vector.clone().into())];
    if n.is_multiple_of(2) {
        vectors.push((1, vector.clone().into()));
        vectors.push((2, SparseVector { indices: vec![1, n as u32 + 7], values: vec![0.5, 1.0] }.into()));
        vectors.push((3, MultiVector { dimension: 2, components: vector }.into()));
    }
    let id = if n < 50 { PointId::Num(n) } else { PointId::Uuid(Uuid::from_u128(n.into())) };
    let payload = format!(r#"{{"n":{n},"t":"text {n}"}}"#).into();
    Point { id, vectors, payload, created_at: n as i64, ingested_at: n as i64, expires_at: None, version: n }
}

async fn write(store: &DurableStore, schema: &CollectionSchema) -> SegmentEntry {
    let writer =
        SegmentWriter::new(store.clone(), schema.shard(&schema.default_region, 0), Arc::new(schema.clone()));
    let mut builder = RunBuilder::new(schema);
    (0..100).for_each(|n| builder.push(point(n)));
    let run = builder.finish().unwrap();
    let mut entry = writer
        .write(&SegmentId::new(1), vec![(run.clone(), RoaringBitmap::new())])
        .await
        .unwrap()
        .entry
        .unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let params = HnswParams { m: 8, ef_construction: 40 };
    let graph = HnswIndex::build(run.vector_set(0).unwrap().clone(), params, &pool, &stop).unwrap();
    let object = writer.add_graph(&entry, 0, Arc::new(graph)).await.unwrap();
    entry.blobs.insert("graph.0".to_owned(), object);
    entry
}

async fn refused(
    store: &DurableStore,
    entry: &SegmentEntry,
    schema: &CollectionSchema,
    path: &str,
    how: &str,
) {
    match Segment::open(store, entry, schema).await {
        Err(StorageError::Corrupt { path: p, .. }) if p == path => {}
        Err(e) => panic!("{how} of {path}: {e}"),
        Ok(_) => panic!("{how} of {path} went unnoticed"),
    }
}

/// Gives a file another content, as a new file: a read that a refused opening left behind may have the old one mapped.
fn replace(file: &std::path::Path, content: impl AsRef<[u8]>) {
    let new = file.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn segment_damage_of_any_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, schema) = (DurableStore::local(dir.path()).unwrap(), schema());
    let entry = write(&store, &schema).await;
    let other = write(&store, &schema).await;
    Segment::open(&store, &entry, &schema).await.unwrap();
    assert_eq!(entry.objects().count(), 8);
    let names: Vec<_> = std::iter::once("parquet".to_owned()).chain(entry.blobs.keys().cloned()).collect();
    for (object, name) in entry.objects().zip(&names) {
        let file = dir.path().join(&object.path);
        let good = std::fs::read(&file).unwrap();
        let check = |how: &'static str, bad: Vec<u8>| {
            replace(&file, bad);
            refused(&store, &entry, &schema, &object.path, how)
        };
        for step in 0..60 {
            let at = step * (good.len() - 1) / 59;
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            check("flip", bad).await;
            check("cut", good[..at].to_vec()).await;
            let mut bad = good.clone();
            let end = (at + 512).min(good.len());
            bad[at..end].fill(0);
            if bad != good {
                check("zero", bad).await;
            }
        }
        check("growth", [&good[..], &[0]].concat()).await;
        // Files of another segment with the same rows: all that differs may be the identity inside the Parquet file.
        let swapped = if name == "parquet" { &other.parquet } else { &other.blobs["rows"] };
        let swapped = std::fs::read(dir.path().join(&swapped.path)).unwrap();
        if swapped != good {
            check("swap", swapped).await;
        }
        std::fs::remove_file(&file).unwrap();
        refused(&store, &entry, &schema, &object.path, "removal").await;
        replace(&file, good);
    }
    Segment::open(&store, &entry, &schema).await.unwrap();
}

/// Damage that came with a fitting checksum: headers and lengths are checked all the same, and nothing panics.
#[tokio::test]
async fn segment_headers_are_checked_behind_the_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let (store, schema) = (DurableStore::local(dir.path()).unwrap(), schema());
    let entry = write(&store, &schema).await;
    for (name, object) in &entry.blobs {
        let file = dir.path().join(&object.path);
        let good = std::fs::read(&file).unwrap();
        for at in 0..good.len().min(40 + 16 * 8) {
            for value in [0x00, 0x01, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let mut changed = entry.clone();
                changed.blobs.insert(name.clone(), ObjectRef::of(&object.path, &bad));
                replace(&file, &bad);
                let opened = Segment::open(&store, &changed, &schema).await;
                // Padding after the header is the one thing that may change. A segment opens without a graph that cannot
                // be read: it is built anew.
                let without = |run: &Run| name == "graph.0" && !run.has_graph(0);
                if let Err(e) = opened {
                    assert!(matches!(&e, StorageError::Corrupt { path, .. } if *path == object.path), "{e}");
                } else if value != good[at] && !opened.is_ok_and(|run| without(&run)) {
                    let sections = u64::from_le_bytes(good[32..40].try_into().unwrap()) as usize;
                    assert!(at >= 40 + 16 * sections, "byte {at} of {name} went unnoticed");
                }
            }
        }
        replace(&file, good);
    }
    // Blobs exchanged inside one segment, references and all.
    for (a, b) in [("vec.0", "vec.1"), ("rows", "vec.0"), ("pidx.0", "graph.0"), ("sparse.2", "multi.3")] {
        let mut changed = entry.clone();
        let (x, y) = (entry.blobs[a].clone(), entry.blobs[b].clone());
        changed.blobs.insert(a.to_owned(), y);
        changed.blobs.insert(b.to_owned(), x);
        assert!(matches!(Segment::open(&store, &changed, &schema).await, Err(StorageError::Corrupt { .. })));
    }
    let mut changed = entry.clone();
    changed.rows += 1;
    assert!(Segment::open(&store, &changed, &schema).await.is_err());
}

/// A graph of our own kind is not read whole when its segment is opened. Whatever is damaged in it, the segment is refused
/// or its answers are rows at the distances they have.
#[tokio::test]
async fn segment_damage_of_a_graph_that_checks_itself_never_shows_in_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, schema) = (DurableStore::local(dir.path()).unwrap(), schema());
    let mut entry = write(&store, &schema).await;
    let run = Segment::open(&store, &entry, &schema).await.unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (stop, params) = (std::sync::atomic::AtomicBool::new(false), HnswParams::default());
    let set = run.vector_set(0).unwrap().clone();
    let graph = build_graph(set.clone(), params, Default::default(), &pool, &stop).unwrap();
    let writer =
        SegmentWriter::new(store.clone(), schema.shard(&schema.default_region, 0), Arc::new(schema.clone()));
    entry.blobs.remove("graph.0");
    let object = writer.add_graph(&entry, 0, graph).await.unwrap();
    entry.blobs.insert("graph.0".to_owned(), object.clone());
    let file = dir.path().join(&object.path);
    let good = std::fs::read(&file).unwrap();
    let exact = SearchParams { k: 100, exact: true, ..SearchParams::default() };
    let walk = SearchParams { k: 5, recall: Some(0.9), ..SearchParams::default() };
    let (mut refused, mut noticed) = (0, 0);
    for step in 0..400 {
        let mut bad = good.clone();
        bad[step * (good.len() - 1) / 399] ^= 0x10;
        replace(&file, &bad);
        let run = match Segment::open(&store, &entry, &schema).await {
            Ok(run) => run,
            Err(StorageError::Corrupt { path, .. }) if path == object.path => {
                refused += 1;
                continue;
            }
            Err(e) => panic!("{e}"),
        };
        let index = run.vector_index(0).unwrap();
        for query in (0..100).step_by(7).map(|at| set.vector(at)) {
            let found = index.search(query, &walk, Mask::All).unwrap();
            let all = index.search(query, &exact, Mask::All).unwrap();
            assert!(found.len() == 5 && found.iter().all(|hit| all.contains(hit)), "flip {step}: {found:?}");
        }
        noticed += usize::from(index.damaged());
    }
    assert!(refused > 0 && noticed > 0, "{refused} refused, {noticed} noticed");
    for at in [0, 40, good.len() / 2, good.len() - 1] {
        replace(&file, &good[..at]);
        assert!(matches!(Segment::open(&store, &entry, &schema).await, Err(StorageError::Corrupt { .. })));
    }
}
