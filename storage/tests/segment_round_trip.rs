//! Segments: what is written comes back, from the blobs and from the Parquet file.

use std::collections::BTreeMap;
use std::sync::Arc;

use engram_index::payload::PayloadIndexKind;
use engram_index::vector::{Metric, MultiVector, SparseVector, VectorValue};
use engram_storage::manifest::SegmentId;
use engram_storage::object::DurableStore;
use engram_storage::schema::{PayloadIndexSpec, SparseModifier, VectorField, VectorKind};
use engram_storage::segment::{Run, RunBuilder, Segment, SegmentWriter};
use engram_storage::{CollectionId, CollectionSchema, Point, PointId, RegionName, TenantId};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::{Value, json};
use uuid::Uuid;

fn field(id: u16, name: &str, dimension: usize, metric: Metric) -> VectorField {
    let (hnsw_m, hnsw_ef_construction, graph_threshold) = (16, 100, 20_000);
    VectorField {
        id,
        name: name.to_owned(),
        dimension,
        metric,
        hnsw_m,
        hnsw_ef_construction,
        graph_threshold,
        layout: Default::default(),
        kind: VectorKind::Dense,
    }
}

fn schema(vectors: Vec<VectorField>, indexes: &[(&str, PayloadIndexKind)]) -> CollectionSchema {
    let region = RegionName::try_from("eu").unwrap();
    let spec = |&(field, kind): &(&str, PayloadIndexKind)| PayloadIndexSpec::new(field, kind);
    CollectionSchema {
        id: CollectionId(Uuid::from_u128(7)),
        tenant: TenantId(1),
        name: "memories".to_owned(),
        vectors,
        next_field: 0,
        payload_indexes: indexes.iter().map(spec).collect(),
        regions: vec![region.clone()],
        default_region: region,
        shards_per_region: 1,
        retention: Vec::new(),
        metadata: Default::default(),
        client_options: Default::default(),
        created_at: 0,
        revision: 3,
        lineage: Default::default(),
    }
}

fn rich_schema() -> CollectionSchema {
    use PayloadIndexKind::*;
    let vectors = vec![
        field(0, "", 3, Metric::Cosine),
        field(2, "image", 5, Metric::Dot),
        field(3, "e", 1, Metric::Euclid),
        VectorField {
            kind: VectorKind::Sparse { modifier: SparseModifier::Idf },
            ..field(5, "words", 0, Metric::Dot)
        },
        VectorField { kind: VectorKind::Multi, ..field(7, "tokens", 2, Metric::Dot) },
        field(9, "m", 2, Metric::Manhattan),
    ];
    let indexes = [
        ("topic", Keyword),
        ("n", Integer),
        ("score", Float),
        ("done", Bool),
        ("at", Datetime),
        ("uid", Uuid),
        ("place", Geo),
        ("deep.n", Integer),
    ];
    schema(vectors, &indexes)
}

fn unit(n: u64) -> Vec<f32> {
    let v = [1.0 + n as f32, 2.0, -(n as f32)];
    let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
    v.iter().map(|x| x / length).collect()
}

/// A point of which every part depends on `n`; some parts are missing for some.
fn rich_point(n: u64) -> Point {
    let id = if n.is_multiple_of(3) {
        PointId::Uuid(Uuid::from_u128(u128::from(n) << 70))
    } else {
        PointId::Num(n)
    };
    let mut vectors: Vec<(u16, VectorValue)> = Vec::new();
    if !n.is_multiple_of(4) {
        vectors.push((0, unit(n).into()));
    }
    if n.is_multiple_of(2) {
        vectors.push((2, vec![n as f32, 0.5, -1.0, 1e-30, f32::MAX].into()));
    }
    vectors.push((3, vec![n as f32].into()));
    if !n.is_multiple_of(6) {
        let indices: Vec<u32> = (0..n as u32 % 5).map(|i| i * 1_000_000_007 / 3 + n as u32).collect();
        let values = indices.iter().map(|i| *i as f32 / 2.0).collect();
        vectors.push((5, SparseVector { indices, values }.into()));
    }
    if n % 9 < 5 {
        let components = (0..2 * (1 + n % 9)).map(|i| (n + i) as f32).collect();
        vectors.push((7, MultiVector { dimension: 2, components }.into()));
    }
    let payload = match n % 7 {
        0 => json!({}),
        1 => json!({"topic": "a\"b\u{1F600}", "n": n, "score": 0.5, "done": true, "more": [1, {"x": null}]}),
        2 => {
            json!({"topic": ["x", "y"], "n": 1.5, "score": 3, "done": "no", "at": "2024-05-01T10:00:00+02:00"})
        }
        3 => json!({"at": "2024-05-01T10:00:00.25Z", "uid": "550E8400-e29b-41d4-a716-446655440000"}),
        4 => json!({"place": {"lat": 50.0, "lon": 8.0}, "deep": {"n": n}, "n": u64::MAX}),
        5 => json!({"topic": null, "n": -3, "score": -1e300, "": "empty key", "payload": "p"}),
        _ => json!({"text": "x".repeat(n as usize % 500)}),
    };
    Point {
        id,
        vectors,
        payload: payload.to_string().into(),
        created_at: 1_700_000_000_000 + n as i64,
        ingested_at: 1_700_000_000_500 + n as i64,
        expires_at: n.is_multiple_of(5).then_some(1_800_000_000_000 - n as i64),
        version: n + 1,
    }
}

fn run_of(schema: &CollectionSchema, points: impl IntoIterator<Item = Point>) -> Run {
    let mut builder = RunBuilder::new(schema);
    points.into_iter().for_each(|p| builder.push(p));
    builder.finish().unwrap()
}

fn points_of(run: &Run) -> Vec<Point> {
    (0..run.len() as u32).map(|ord| run.point(ord)).collect()
}

/// The point with its payload's members in one order.
fn canonical(point: &Point) -> (Point, Value) {
    let payload = serde_json::from_slice(&point.payload).unwrap();
    (Point { payload: Default::default(), ..point.clone() }, payload)
}

struct Place {
    _dir: tempfile::TempDir,
    store: DurableStore,
    writer: SegmentWriter,
}

fn place(schema: &CollectionSchema) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = DurableStore::local(dir.path()).unwrap();
    let shard = schema.shard(&schema.default_region, 0);
    let writer = SegmentWriter::new(store.clone(), shard, Arc::new(schema.clone()));
    Place { _dir: dir, store, writer }
}

#[tokio::test]
async fn segment_round_trip_of_every_type() {
    let schema = rich_schema();
    let mut points: Vec<Point> = (0..500).map(|n| rich_point(n * 7919 % 500)).collect();
    let run = run_of(&schema, points.clone());
    points.sort_by_key(|p| p.id);
    assert_eq!(points_of(&run), points);

    let place = place(&schema);
    let id = SegmentId::new(5);
    let written = place.writer.write(&id, vec![(run.clone(), RoaringBitmap::new())]).await.unwrap();
    let entry = written.entry.unwrap();
    assert_eq!((entry.rows, entry.schema_revision), (500, 3));
    assert_eq!(entry.min_created_at, 1_700_000_000_000);
    assert_eq!(entry.min_expires_at, Some(1_800_000_000_000 - 495));
    let names: Vec<&str> = entry.blobs.keys().map(String::as_str).collect();
    assert_eq!(names[..2], ["multi.7", "pidx.0"]);
    let last = ["rows", "sparse.5", "vec.0", "vec.2", "vec.3"];
    assert!(names.ends_with(&last), "no vector has field 9: {names:?}");

    let opened = Segment::open(&place.store, &entry, &schema).await.unwrap();
    assert_eq!(points_of(&opened), points);
    assert_eq!(opened.oldest_created_at(), run.oldest_created_at());
    assert_eq!(opened.first_expiry(), run.first_expiry());
    assert!(opened.payload_index_paths().eq(run.payload_index_paths()));
    assert!(opened.heap_bytes() < run.heap_bytes() / 2);
    for (ord, point) in points.iter().enumerate() {
        assert_eq!(opened.find(&point.id), Some(ord as u32));
    }
    assert_eq!(opened.find(&PointId::Num(3)), None);

    let from_parquet = Segment::read_parquet(&place.store, &entry).await.unwrap();
    assert_eq!(from_parquet.len(), points.len());
    for (read, wrote) in from_parquet.iter().zip(&points) {
        assert_eq!(canonical(read), canonical(wrote));
    }
}

#[tokio::test]
async fn segment_drops_fields_that_the_schema_lost() {
    let schema = rich_schema();
    let place = place(&schema);
    let run = run_of(&schema, (0..80).map(rich_point));
    let entry = place
        .writer
        .write(&SegmentId::new(1), vec![(run, RoaringBitmap::new())])
        .await
        .unwrap()
        .entry
        .unwrap();
    let mut later = schema.clone();
    later.vectors.retain(|field| ![2, 5].contains(&field.id));
    later.payload_indexes.remove(0);
    let opened = Segment::open(&place.store, &entry, &later).await.unwrap();
    assert_eq!(opened.fields().collect::<Vec<_>>(), [0, 3, 7]);
    assert!(opened.sparse_index(5).is_none() && opened.vector_value(5, 1).is_none());
    assert!(opened.payload_index("topic").is_none());
    assert!(opened.payload_index("n").is_some());
}

#[tokio::test]
async fn segment_merges_runs_without_the_dead() {
    let schema = rich_schema();
    let place = place(&schema);
    let runs = [run_of(&schema, (0..200).map(rich_point)), run_of(&schema, (200..450).map(rich_point))];
    let dead = [(0..200).step_by(2).collect::<RoaringBitmap>(), RoaringBitmap::from_iter([0, 249])];
    let inputs: Vec<_> = runs.iter().cloned().zip(dead.iter().cloned()).collect();
    let written = place.writer.write(&SegmentId::new(1), inputs).await.unwrap();
    let opened = Segment::open(&place.store, written.entry.as_ref().unwrap(), &schema).await.unwrap();
    let borrowed: Vec<_> = runs.iter().zip(&dead).collect();
    let (merged, remap) = Run::merge(&schema, &borrowed).unwrap();
    assert_eq!(points_of(&opened), points_of(&merged));
    assert_eq!(remap, written.remap);
    assert_eq!(merged.len(), 100 + 248);
    for (input, (run, dead)) in borrowed.iter().enumerate() {
        for ord in 0..run.len() as u32 {
            let new = remap.get(input, ord);
            assert_eq!(new.is_none(), dead.contains(ord));
            assert!(new.is_none_or(|new| merged.point(new) == run.point(ord)));
        }
    }
    // Everything dead: nothing is written.
    let all = vec![(runs[0].clone(), (0..200).collect())];
    assert!(place.writer.write(&SegmentId::new(1), all).await.unwrap().entry.is_none());
}

#[tokio::test]
async fn segment_background_blobs_are_added() {
    let mut schema = rich_schema();
    schema.payload_indexes.clear();
    let mut place = place(&schema);
    let run = run_of(&schema, (0..300).map(rich_point));
    let mut entry = place
        .writer
        .write(&SegmentId::new(1), vec![(run, RoaringBitmap::new())])
        .await
        .unwrap()
        .entry
        .unwrap();
    let run = Segment::open(&place.store, &entry, &schema).await.unwrap();
    assert!(run.payload_index("n").is_none());

    let spec = PayloadIndexSpec::new("n", PayloadIndexKind::Integer);
    schema.payload_indexes.push(spec.clone());
    let shard = schema.shard(&schema.default_region, 0);
    place.writer = SegmentWriter::new(place.store.clone(), shard, Arc::new(schema.clone()));
    let (name, object, _) = place.writer.add_payload_index(&entry, &run, &spec).await.unwrap();
    entry.blobs.insert(name, object);

    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let params = engram_index::vector::hnsw::HnswParams { m: 8, ef_construction: 50 };
    let set = run.vector_set(3).unwrap().clone();
    let graph = engram_index::vector::hnsw::HnswIndex::build(set, params, &pool, &stop).unwrap();
    let object = place.writer.add_graph(&entry, 3, Arc::new(graph)).await.unwrap();
    entry.blobs.insert("graph.3".to_owned(), object);

    let opened = Segment::open(&place.store, &entry, &schema).await.unwrap();
    assert!(opened.payload_index("n").is_some());
    assert!(opened.has_graph(3) && !opened.has_graph(0));
    assert_eq!(points_of(&opened), points_of(&run));
}

#[test]
fn segment_run_hides_the_old_and_the_expired() {
    let schema = schema(Vec::new(), &[]);
    let run = run_of(&schema, (0..100).map(rich_point));
    assert_eq!(run.hidden(None, 0), None);
    assert_eq!(run.hidden(Some(1_700_000_000_000), 1_700_000_000_000), None);
    let old = run.hidden(Some(1_700_000_000_010), 0).unwrap();
    assert!((0..100).all(|ord| old.contains(ord) == (run.meta(ord).created_at < 1_700_000_000_010)));
    let now = 1_800_000_000_000 - 50;
    let expired = run.hidden(None, now).unwrap();
    assert!(
        (0..100).all(|ord| expired.contains(ord) == run.meta(ord).expires_at.is_some_and(|at| at <= now))
    );
    assert_eq!(expired.len(), 10);
    assert_eq!(run.hidden(None, i64::MAX).unwrap().len(), 20);
    for (cutoff, now) in [(None, 0), (Some(1_700_000_000_010), 0), (None, now), (None, i64::MAX)] {
        assert_eq!(run.may_hide(cutoff, now), run.hidden(cutoff, now).is_some(), "{cutoff:?} {now}");
    }
}

#[test]
fn segment_run_refuses_a_vector_of_another_dimension() {
    let schema = schema(vec![field(0, "", 3, Metric::Dot)], &[]);
    let mut builder = RunBuilder::new(&schema);
    builder.push(Point { vectors: vec![(0, vec![1.0].into())], ..rich_point(1) });
    assert!(builder.finish().is_err());
    let schema = rich_schema();
    let sparse = SparseVector { indices: vec![1, 2], values: vec![0.5, 0.5] };
    let unsorted = SparseVector { indices: vec![2, 1], ..sparse.clone() };
    let ragged = MultiVector { dimension: 2, components: vec![1.0; 3] };
    let wide = MultiVector { dimension: 3, components: vec![1.0; 6] };
    let bad: [(u16, VectorValue); 6] = [
        (0, sparse.clone().into()),
        (5, vec![1.0].into()),
        (5, unsorted.into()),
        (7, sparse.into()),
        (7, ragged.into()),
        (7, wide.into()),
    ];
    for vector in bad {
        let mut builder = RunBuilder::new(&schema);
        builder.push(Point { vectors: vec![vector.clone()], ..rich_point(1) });
        assert!(builder.finish().is_err(), "{vector:?}");
    }
}

#[tokio::test]
async fn segment_that_fails_leaves_nothing() {
    // A payload that is no JSON fails late: after the rows and the vectors were written.
    let schema = rich_schema();
    let place = place(&schema);
    let bare = CollectionSchema { payload_indexes: Vec::new(), ..schema.clone() };
    let run = run_of(&bare, [Point { payload: "{".into(), ..rich_point(1) }]);
    place.writer.write(&SegmentId::new(1), vec![(run, RoaringBitmap::new())]).await.unwrap_err();
    assert_eq!(place.store.list("r").await.unwrap(), []);
    assert_eq!(place.store.sweep_staging("").await.unwrap(), []);
}

#[derive(Clone, Debug)]
struct Row {
    key: u8,
    uuid: bool,
    with_vector: bool,
    dead: bool,
}

fn rows() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let row = (0..60u8, any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(key, uuid, with_vector, dead)| Row { key, uuid, with_vector, dead });
    prop::collection::vec(prop::collection::vec(row, 0..90), 1..5)
}

proptest! {
    #[test]
    fn segment_builder_and_merge_follow_the_model(batches in rows()) {
        let schema = schema(vec![field(4, "", 2, Metric::Euclid)], &[("n", PayloadIndexKind::Integer)]);
        let mut version = 0;
        let mut runs = Vec::new();
        // Newest alive version of each id over all runs.
        let mut alive: BTreeMap<PointId, Point> = BTreeMap::new();
        for batch in batches {
            let mut model: BTreeMap<PointId, (Point, bool)> = BTreeMap::new();
            let mut builder = RunBuilder::new(&schema);
            for row in batch {
                version += 1;
                let id = match row.uuid {
                    true => PointId::Uuid(Uuid::from_u128(u128::from(row.key))),
                    false => PointId::Num(u64::from(row.key)),
                };
                let vectors = if row.with_vector { vec![(4, vec![version as f32, 0.0].into())] } else { Vec::new() };
                let payload = format!("{{\"n\":{version}}}").into();
                let times = (version as i64, version as i64 + 1, (version % 2 == 0).then_some(version as i64 + 9));
                let (created_at, ingested_at, expires_at) = times;
                let point = Point { id, vectors, payload, created_at, ingested_at, expires_at, version };
                builder.push(point.clone());
                model.insert(id, (point, row.dead));
            }
            let run = builder.finish().unwrap();
            prop_assert_eq!(points_of(&run), model.values().map(|(p, _)| p.clone()).collect::<Vec<_>>());
            for key in 0..60 {
                let id = PointId::Num(key);
                let expected = model.keys().position(|k| *k == id).map(|at| at as u32);
                prop_assert_eq!(run.find(&id), expected);
                prop_assert_eq!(run.lower_bound(&id), model.keys().filter(|k| **k < id).count() as u32);
            }
            let dead: RoaringBitmap =
                (0u32..).zip(model.values()).filter(|(_, (_, dead))| *dead).map(|(ord, _)| ord).collect();
            alive.extend(model.into_iter().filter(|(_, (_, dead))| !dead).map(|(id, (p, _))| (id, p)));
            runs.push((run, dead));
        }
        let inputs: Vec<_> = runs.iter().map(|(run, dead)| (run, dead)).collect();
        let (merged, remap) = Run::merge(&schema, &inputs).unwrap();
        prop_assert_eq!(points_of(&merged), alive.into_values().collect::<Vec<_>>());
        let mut reached = vec![0; merged.len()];
        for (input, (run, dead)) in inputs.iter().enumerate() {
            for ord in 0..run.len() as u32 {
                if let Some(new) = remap.get(input, ord) {
                    prop_assert!(!dead.contains(ord));
                    prop_assert_eq!(merged.point(new), run.point(ord));
                    reached[new as usize] += 1;
                }
            }
        }
        prop_assert!(reached.into_iter().all(|n| n == 1));
    }
}
