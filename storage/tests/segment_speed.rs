//! Figures of builder, merge and writer: `cargo test --release -p engram-storage segment_speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Instant;

use engram_index::payload::PayloadIndexKind;
use engram_index::vector::Metric;
use engram_storage::manifest::SegmentId;
use engram_storage::object::DurableStore;
use engram_storage::schema::{PayloadIndexSpec, VectorField};
use engram_storage::segment::{Run, RunBuilder, Segment, SegmentWriter};
use engram_storage::{CollectionId, CollectionSchema, Point, PointId, RegionName, TenantId};
use roaring::RoaringBitmap;

fn schema(indexed: bool) -> CollectionSchema {
    let region = RegionName::try_from("eu").unwrap();
    let spec = PayloadIndexSpec { field: "topic".to_owned(), kind: PayloadIndexKind::Keyword };
    let vectors = vec![VectorField {
        id: 0,
        name: String::new(),
        dimension: 384,
        metric: Metric::Cosine,
        hnsw_m: 16,
        hnsw_ef_construction: 100,
        graph_threshold: 20_000,
    }];
    CollectionSchema {
        id: CollectionId(uuid::Uuid::nil()),
        tenant: TenantId(1),
        name: "c".to_owned(),
        vectors,
        payload_indexes: if indexed { vec![spec] } else { Vec::new() },
        regions: vec![region.clone()],
        default_region: region,
        shards_per_region: 1,
        retention: Vec::new(),
        created_at: 0,
        revision: 1,
    }
}

fn points(from: u64, count: u64) -> Vec<Point> {
    let point = |n: u64| Point {
        id: PointId::Num(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8),
        vectors: vec![(0, (0..384).map(|d| ((n * 31 + d) % 1009) as f32 / 1009.0).collect())],
        payload: format!(r#"{{"topic":"t{}","text":"{}"}}"#, n % 50, "lorem ipsum ".repeat(10)).into(),
        created_at: n as i64,
        ingested_at: n as i64,
        expires_at: None,
        version: n,
    };
    (from..from + count).map(point).collect()
}

#[tokio::test]
#[ignore = "prints figures"]
async fn segment_speed() {
    let none = RoaringBitmap::new();
    for indexed in [false, true] {
        let schema = schema(indexed);
        let mut runs: Vec<Run> = Vec::new();
        let mut spent = 0.0;
        for batch in 0..25 {
            let points = points(batch * 4_000, 4_000);
            let start = Instant::now();
            let mut builder = RunBuilder::new(&schema);
            points.into_iter().for_each(|p| builder.push(p));
            runs.push(builder.finish().unwrap());
            spent += start.elapsed().as_secs_f64();
        }
        println!("indexed={indexed} builder: {:.0} rows/s", 100_000.0 / spent);
        let mut ordered = 0.0;
        for batch in 0..25 {
            let mut points = points(batch * 4_000, 4_000);
            points.sort_by_key(|p| p.id);
            let start = Instant::now();
            let mut builder = RunBuilder::new(&schema);
            points.into_iter().for_each(|p| builder.push(p));
            std::hint::black_box(builder.finish().unwrap());
            ordered += start.elapsed().as_secs_f64();
        }
        println!("indexed={indexed} builder, ids in order: {:.0} rows/s", 100_000.0 / ordered);
        let inputs: Vec<_> = runs.iter().map(|r| (r, &none)).collect();
        let start = Instant::now();
        let (merged, _) = Run::merge(&schema, &inputs).unwrap();
        println!("indexed={indexed} merge of 25: {:.0} rows/s", 100_000.0 / start.elapsed().as_secs_f64());
        let id = merged.id(50_000);
        let start = Instant::now();
        let found = (0..1_000_000u64).filter(|_| merged.find(std::hint::black_box(&id)).is_some()).count();
        println!("find: {:.0} ns", start.elapsed().as_secs_f64() * 1e9 / found as f64);

        let dir = tempfile::tempdir().unwrap();
        let store = DurableStore::local(dir.path()).unwrap();
        let shard = schema.shard(&schema.default_region, 0);
        let writer = SegmentWriter::new(store.clone(), shard, Arc::new(schema.clone()));
        let inputs = runs.iter().map(|r| (r.clone(), none.clone())).collect();
        let start = Instant::now();
        let entry = writer.write(&SegmentId::new(1), inputs).await.unwrap().entry.unwrap();
        println!("indexed={indexed} write: {:.0} rows/s", 100_000.0 / start.elapsed().as_secs_f64());
        entry.objects().for_each(|o| println!("  {} {} bytes a row", o.path, o.bytes / entry.rows));
        let start = Instant::now();
        let opened = Segment::open(&store, &entry, &schema).await.unwrap();
        println!(
            "indexed={indexed} open: {:.0} ms, {} rows",
            start.elapsed().as_secs_f64() * 1e3,
            opened.len()
        );
    }
}
