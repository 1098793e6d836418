//! Graphs of segments: what merges keep of them, what purges take out, what happens to damaged ones.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use engram_index::Mask;
use engram_index::vector::engine::build_graph;
use engram_index::vector::graph::{Layout, search::Effort};
use engram_index::vector::hnsw::HnswParams;
use engram_index::vector::{SearchParams, VectorIndex};
use engram_storage::op::{Op, OpBatch};
use engram_storage::point::{Point, PointId};
use engram_storage::shard::Shard;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{DIM, Fixture, NOW, batch, point};

/// A vector that depends on the id and the round it was written in.
fn drawn(id: u64, round: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(id << 20 | round);
    (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn drawn_upserts(ids: impl IntoIterator<Item = u64>, round: u64) -> OpBatch {
    batch(ids.into_iter().map(|id| {
        Op::Upsert(Point { vectors: vec![(0, drawn(id, round).into())], ..point(id, "drawn", NOW) })
    }))
}

/// The graphs of a shard and the live vectors they cover; every live row must be in one.
fn graphs(shard: &Shard) -> Vec<engram_storage::shard::RunView> {
    let runs = shard.snapshot().runs.clone();
    runs.iter().filter(|view| view.run.has_graph(0)).cloned().collect()
}

/// Ten times as many deletes, overwrites and new points as there are, through segments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recall_survives_turnover_through_flushes_and_compactions() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    let mut want: BTreeMap<u64, u64> = (0..3_000).map(|id| (id, 0)).collect();
    shard.write(drawn_upserts(want.keys().copied(), 0), true).await.unwrap();
    shard.compact().await.unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    for round in 1..=50u64 {
        let mut ids: Vec<u64> = want.keys().copied().collect();
        ids.shuffle(&mut rng);
        let (dead, rest) = ids.split_at(300);
        let new = 3_000 + (round - 1) * 300..3_000 + round * 300;
        let written: Vec<u64> = rest[..300].iter().copied().chain(new).collect();
        let deletes = batch(dead.iter().map(|id| Op::Delete(PointId::Num(*id))));
        shard.write(deletes, true).await.unwrap();
        shard.write(drawn_upserts(written.iter().copied(), round), true).await.unwrap();
        want.retain(|id, _| !dead.contains(id));
        want.extend(written.iter().map(|&id| (id, round)));
        shard.compact().await.unwrap();
    }
    // What was deleted or replaced is nowhere.
    let mut found = BTreeMap::new();
    for view in shard.snapshot().runs.iter() {
        for ord in (0..view.run.len() as u32).filter(|ord| !view.dead.contains(*ord)) {
            let PointId::Num(id) = view.run.id(ord) else { panic!("no number") };
            assert_eq!(view.run.vector(0, ord).unwrap(), drawn(id, want[&id]));
            found.insert(id, want[&id]);
        }
    }
    assert_eq!(found, want);
    let merges = fixture.engine.work().graph_merges.count();
    assert!(merges >= 40, "{merges} graphs went on from earlier ones");
    let graphs = graphs(&shard);
    assert!(!graphs.is_empty());
    for view in graphs {
        let index = view.run.vector_index(0).unwrap();
        let graph = index.as_graph().unwrap();
        assert_eq!(graph.unreachable(), 0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let never = AtomicBool::new(false);
        let params = HnswParams { m: 8, ef_construction: 50 };
        let fresh = build_graph(index.vectors().clone(), params, Layout::Fast, &pool, &never).unwrap();
        let recall = |index: &dyn VectorIndex| {
            let hits = (0..300u64).map(|n| {
                let query = drawn(1 << 40, n);
                let exact = SearchParams { k: 10, exact: true, ..SearchParams::default() };
                let truth = index.search(&query, &exact, Mask::All).unwrap();
                let walked = index.as_graph().unwrap().walk(&query, 10, Effort::Candidates(24), None).found;
                walked.iter().filter(|n| n.distance <= truth[9].distance).count()
            });
            hits.sum::<usize>() as f64 / 3_000.0
        };
        let (merged, anew) = (recall(index.as_ref()), recall(fresh.as_ref()));
        assert!(merged > anew - 0.005, "{merged} merged, {anew} anew");
    }
}

/// A delete leaves a graph that was repaired around the point; a purge leaves none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_takes_out_graphs_that_were_repaired_around_deleted_points() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(drawn_upserts(0..1_000, 0), true).await.unwrap();
    shard.compact().await.unwrap();
    shard.write(batch((0..100).map(|id| Op::Delete(PointId::Num(id)))), true).await.unwrap();
    shard.compact().await.unwrap();
    let repaired = |shard: &Shard| graphs(shard).iter().any(|v| !v.run.has_clean_graph(0));
    assert!(repaired(&shard), "the merged graph says what it is");
    let report = shard.scrub().await.unwrap();
    assert!(!repaired(&shard));
    assert!(report.removed.iter().any(|f| f.path.contains(".graph.0")), "{:?}", report.removed);
    shard.compact().await.unwrap();
    assert!(!graphs(&shard).is_empty() && !repaired(&shard), "the new one is built from nothing");
    // With points to erase the segment is written anew, and nothing goes on from its graph.
    let merges = fixture.engine.work().graph_merges.count();
    shard.write(batch((100..150).map(|id| Op::Delete(PointId::Num(id)))), true).await.unwrap();
    shard.scrub().await.unwrap();
    shard.compact().await.unwrap();
    assert!(!graphs(&shard).is_empty() && !repaired(&shard));
    assert_eq!(fixture.engine.work().graph_merges.count(), merges);
}

/// Damage that comes after the start is met by a search; the graph is then built into another file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_that_met_damage_is_built_anew() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(drawn_upserts(0..1_000, 0), true).await.unwrap();
    shard.compact().await.unwrap();
    drop(shard);
    let fixture = fixture.reopen().await;
    let shard = fixture.shard().await;
    let path = graph_files(fixture.dir.path()).pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Into the same file, which is mapped; its rows are in the last two thirds.
    file.write_all_at(&vec![0xA5; bytes.len() / 2], bytes.len() as u64 / 2).unwrap();
    let search = |shard: &Shard| {
        let index = shard.snapshot().runs[0].run.vector_index(0).unwrap().clone();
        let params = SearchParams { k: 10, ..SearchParams::default() };
        (0..50u64).for_each(|n| {
            let query = drawn(1 << 40, n);
            let exact = SearchParams { exact: true, ..params };
            let truth = index.search(&query, &exact, Mask::All).unwrap();
            let found = index.search(&query, &params, Mask::All).unwrap();
            let hits = found.iter().filter(|n| n.distance <= truth[9].distance).count();
            assert!(hits >= 5, "{hits} of 10");
        });
    };
    for n in 0..50u64 {
        let index = shard.snapshot().runs[0].run.vector_index(0).unwrap().clone();
        let _ = index.as_graph().unwrap().walk(&drawn(1 << 40, n), 10, Effort::Candidates(64), None);
    }
    search(&shard);
    assert!(graphs(&shard).is_empty(), "damage was met");
    shard.compact().await.unwrap();
    search(&shard);
    assert!(!graphs(&shard).is_empty());
    assert_eq!(fixture.engine.work().damaged_graphs.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(graph_files(fixture.dir.path()).iter().any(|other| *other != path), "into a file of its own");
    drop(shard);
    let fixture = fixture.reopen().await;
    assert!(!graphs(&*fixture.shard().await).is_empty());
}

fn graph_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(".graph.") {
                found.push(path);
            }
        }
    }
    found
}

/// Clients wait for "nothing pending" before they measure or serve: rows that are about to be flushed must count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memtable_that_will_get_a_graph_is_pending() {
    let fixture = Fixture::new().await;
    let shard = fixture.shard().await;
    shard.write(drawn_upserts(0..600, 0), true).await.unwrap();
    let stats = shard.stats().await.unwrap();
    assert_eq!((stats.indexed_vectors, stats.pending_vectors), (0, 0), "so few bytes stay where they are");
    let long = "x".repeat(4 << 10);
    let large = (600..1_800).map(|id| Op::Upsert(point(id, &long, NOW)));
    shard.write(batch(large), true).await.unwrap();
    let stats = shard.stats().await.unwrap();
    assert_eq!((stats.indexed_vectors, stats.pending_vectors), (0, 1_800), "{stats:?}");
    shard.compact().await.unwrap();
    let stats = shard.stats().await.unwrap();
    assert_eq!((stats.indexed_vectors, stats.pending_vectors), (1_800, 0));
}
