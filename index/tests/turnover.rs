//! A graph that changes: what stays of its recall, and what it refuses.

use std::sync::{Arc, atomic::AtomicBool};

use bytes::Bytes;
use engram_index::{
    IndexError, Mask,
    vector::{
        Metric, VectorIndex, VectorSet,
        exact::scan,
        graph::{
            GraphIndex, GraphParams,
            build::{
                Plan,
                change::{GONE, MutableGraph},
            },
            merge::{Earlier, Origin},
            search::Effort,
            space::Space,
        },
        metric::admit,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use rayon::ThreadPool;

const DIMENSION: usize = 24;
static NO: AtomicBool = AtomicBool::new(false);

fn pool() -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap()
}

/// Vectors around a few centres, moved by `offset`.
fn vectors(metric: Metric, len: usize, seed: u64, offset: f32) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut center = StdRng::seed_from_u64(99);
    let centers: Vec<Vec<f32>> =
        (0..12).map(|_| (0..DIMENSION).map(|_| center.random_range(-1.0..1.0)).collect()).collect();
    (0..len)
        .map(|_| {
            let center = &centers[rng.random_range(0..centers.len())];
            let around = |c: &f32| offset + c + rng.random_range(-1.0f32..1.0).powi(3);
            let mut v: Vec<f32> = center.iter().map(around).collect();
            admit(metric, DIMENSION, &mut v).unwrap();
            v
        })
        .collect()
}

fn set(metric: Metric, vectors: &[Vec<f32>]) -> Arc<VectorSet> {
    Arc::new(VectorSet::new(metric, DIMENSION, vectors.concat().into(), None).unwrap())
}

fn build(set: &Arc<VectorSet>) -> GraphIndex {
    GraphIndex::build(Arc::clone(set), &GraphParams::default(), &pool(), &NO).unwrap()
}

fn merge(set: &Arc<VectorSet>, graph: &GraphIndex, numbering: &[u32]) -> (GraphIndex, Origin) {
    let earlier = Earlier { graph, numbering };
    GraphIndex::merge(Arc::clone(set), earlier, &GraphParams::default(), &pool(), &NO).unwrap()
}

fn recall(graph: &GraphIndex, queries: &[Vec<f32>]) -> f64 {
    let mut hits = 0;
    for query in queries {
        let truth = scan(graph.vectors(), query, 10, Mask::All).unwrap();
        let found = graph.walk(query, 10, Effort::Candidates(32), None).found;
        assert_eq!(found.len(), 10);
        hits += found.iter().filter(|n| n.distance <= truth[9].distance).count();
    }
    hits as f64 / (10 * queries.len()) as f64
}

/// Every step of a different size, deletes alone, inserts alone and both; ids tell what is where.
#[test]
fn recall_and_reach_survive_turnover() {
    for (metric, seed) in [(Metric::Euclid, 1), (Metric::Cosine, 2)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let all = vectors(metric, 30_000, seed, 0.0);
        let queries = vectors(metric, 200, seed + 100, 0.0);
        let (mut live, mut next): (Vec<usize>, usize) = ((0..3_000).collect(), 3_000);
        let of = |live: &[usize]| set(metric, &live.iter().map(|&i| all[i].clone()).collect::<Vec<_>>());
        let mut graph = build(&of(&live));
        let (mut steps, mut merged) = (0, 0);
        while next < 27_000 {
            let dead = if steps % 5 == 1 { 0 } else { rng.random_range(0..live.len() / 4) };
            let come = if steps % 5 == 2 { 0 } else { rng.random_range(0..live.len() / 3) };
            let before = live.clone();
            live.shuffle(&mut rng);
            live.drain(..dead.min(live.len() - 2_000));
            live.extend(next..next + come);
            next += come;
            live.truncate(4_000);
            live.sort_unstable();
            let at = |i: &usize| live.binary_search(i).map_or(GONE, |p| p as u32);
            let numbering: Vec<u32> = before.iter().map(at).collect();
            let vectors = of(&live);
            let (changed, origin) = merge(&vectors, &graph, &numbering);
            assert_eq!(changed.unreachable(), 0, "{metric:?}, seed {seed}, step {steps}");
            assert!(Arc::ptr_eq(changed.vectors(), &vectors));
            merged += usize::from(origin == Origin::Merged);
            (graph, steps) = (changed, steps + 1);
        }
        assert!(merged * 10 >= steps * 9, "{merged} of {steps} steps merged");
        let (changed, fresh) = (recall(&graph, &queries), recall(&build(graph.vectors()), &queries));
        assert!(
            changed > fresh - 0.005,
            "{metric:?}, seed {seed}: {changed} after {steps} steps, {fresh} anew"
        );
    }
}

#[test]
fn a_graph_says_whether_it_was_repaired_also_in_its_file() {
    let all = vectors(Metric::Euclid, 2_200, 3, 0.0);
    let first = build(&set(Metric::Euclid, &all[..2_000]));
    let same: Vec<u32> = (0..2_000).collect();
    let (grown, origin) = merge(&set(Metric::Euclid, &all), &first, &same);
    assert_eq!((origin, grown.repaired()), (Origin::Merged, false));
    let shrink: Vec<u32> = (0..2_200).map(|p| if p < 100 { GONE } else { p - 100 }).collect();
    let vectors = set(Metric::Euclid, &all[100..]);
    let (shrunk, origin) = merge(&vectors, &grown, &shrink);
    assert_eq!((origin, shrunk.repaired()), (Origin::Merged, true));
    let mut file = Vec::new();
    shrunk.encode_to(&mut file).unwrap();
    let opened = GraphIndex::open(Arc::clone(&vectors), &Bytes::from(file)).unwrap();
    assert!(opened.repaired());
    // What goes on from it tells of the same.
    let same: Vec<u32> = (0..2_100).collect();
    let (again, origin) = merge(&vectors, &opened, &same);
    assert_eq!((origin, again.repaired(), again.unreachable()), (Origin::Merged, true, 0));
    assert!(!build(&vectors).repaired());
}

#[test]
fn what_is_not_worth_it_is_built_anew() {
    let all = vectors(Metric::Euclid, 4_000, 4, 0.0);
    let graph = build(&set(Metric::Euclid, &all[..1_500]));
    let keep: Vec<u32> = (0..1_500).collect();
    let (_, origin) = merge(&set(Metric::Euclid, &all), &graph, &keep);
    assert_eq!(origin, Origin::Built, "more is new than old");
    let most: Vec<u32> = (0..1_500).map(|p| if p < 600 { GONE } else { p - 600 }).collect();
    let (built, origin) = merge(&set(Metric::Euclid, &all[600..1_500]), &graph, &most);
    assert_eq!((origin, built.repaired()), (Origin::Built, false), "too many are gone");
    let mut drifted = all[..1_500].to_vec();
    drifted.extend(vectors(Metric::Euclid, 1_000, 5, 3.0));
    let (_, origin) = merge(&set(Metric::Euclid, &drifted), &graph, &keep);
    assert_eq!(origin, Origin::Built, "the new ones lie elsewhere");
    let params = GraphParams { plan: Plan { degree: 64, ..Plan::default() }, ..GraphParams::default() };
    let earlier = Earlier { graph: &graph, numbering: &keep };
    let vectors = set(Metric::Euclid, &all[..1_600]);
    let (wide, origin) = GraphIndex::merge(vectors, earlier, &params, &pool(), &NO).unwrap();
    assert_eq!((origin, wide.shape().degree), (Origin::Built, 64));
}

#[test]
fn inner_products_longer_than_all_before_are_built_anew() {
    let mut all = vectors(Metric::Dot, 1_100, 6, 0.0);
    let graph = build(&set(Metric::Dot, &all[..1_000]));
    let keep: Vec<u32> = (0..1_000).collect();
    all[1_050].iter_mut().for_each(|x| *x *= 10.0);
    assert_eq!(merge(&set(Metric::Dot, &all), &graph, &keep).1, Origin::Built);
    all[1_050].iter_mut().for_each(|x| *x *= 0.01);
    assert_eq!(merge(&set(Metric::Dot, &all), &graph, &keep).1, Origin::Merged);
}

#[test]
fn a_damaged_graph_is_not_gone_on_from() {
    let all = vectors(Metric::Euclid, 2_100, 7, 0.0);
    let vectors = set(Metric::Euclid, &all[..2_000]);
    let mut file = Vec::new();
    build(&vectors).encode_to(&mut file).unwrap();
    let last = file.len() - 2_000;
    file[last] ^= 1;
    let opened = GraphIndex::open(vectors, &Bytes::from(file)).unwrap();
    let same: Vec<u32> = (0..2_000).collect();
    let (graph, origin) = merge(&set(Metric::Euclid, &all), &opened, &same);
    assert_eq!((origin, graph.unreachable()), (Origin::Built, 0));
}

#[test]
fn a_numbering_that_does_not_fit_is_refused() {
    let all = vectors(Metric::Euclid, 1_000, 8, 0.0);
    let vectors = set(Metric::Euclid, &all);
    let graph = build(&vectors);
    let bad = |change: fn(&mut Vec<u32>)| {
        let mut numbering: Vec<u32> = (0..1_000).collect();
        change(&mut numbering);
        let earlier = Earlier { graph: &graph, numbering: &numbering };
        let merged = GraphIndex::merge(Arc::clone(&vectors), earlier, &GraphParams::default(), &pool(), &NO);
        assert!(matches!(merged.unwrap_err(), IndexError::InvalidParameter(_)));
    };
    bad(|n| n[5] = 1_000);
    bad(|n| n[5] = 6);
    bad(|n| n.truncate(999));
    bad(|n| n.push(3));
}

#[test]
fn merges_are_cancelled() {
    let all = vectors(Metric::Euclid, 1_100, 9, 0.0);
    let graph = build(&set(Metric::Euclid, &all[..1_000]));
    let same: Vec<u32> = (0..1_000).collect();
    let earlier = Earlier { graph: &graph, numbering: &same };
    let vectors = set(Metric::Euclid, &all);
    let params = GraphParams::default();
    let cancelled = GraphIndex::merge(vectors, earlier, &params, &pool(), &AtomicBool::new(true));
    assert_eq!(cancelled.unwrap_err(), IndexError::Cancelled);
}

/// From nothing, batch after batch with deletes between, sealed only at the end.
#[test]
fn a_graph_grows_from_nothing() {
    let all = vectors(Metric::Euclid, 4_000, 10, 0.0);
    let whole = set(Metric::Euclid, &all);
    let space = Space::learn(&whole, 0, &NO).unwrap();
    let mut graph = MutableGraph::new(space, Plan::default()).unwrap();
    assert!(graph.is_empty());
    let mut dead = Vec::new();
    for start in (0..4_000u32).step_by(500) {
        let batch: Vec<u32> = (start..start + 500).collect();
        graph.insert(&whole, &batch, &NO).unwrap();
        let gone: Vec<u32> = (start..start + 500).step_by(7).map(|p| p / 2).collect();
        graph.delete(&gone, &NO).unwrap();
        dead.extend(gone);
    }
    assert_eq!(graph.len(), 4_000);
    dead.sort_unstable();
    let mut numbering = vec![GONE; 4_000];
    let live: Vec<u32> = (0..4_000).filter(|p| dead.binary_search(p).is_err()).collect();
    live.iter().enumerate().for_each(|(to, &p)| numbering[p as usize] = to as u32);
    let vectors = set(Metric::Euclid, &live.iter().map(|&p| all[p as usize].clone()).collect::<Vec<_>>());
    let sealed = graph.seal(Arc::clone(&vectors), &numbering, &NO).unwrap();
    assert_eq!(sealed.unreachable(), 0);
    let queries = self::vectors(Metric::Euclid, 200, 11, 0.0);
    let (grown, fresh) = (recall(&sealed, &queries), recall(&build(&vectors), &queries));
    assert!(grown > fresh - 0.01, "{grown} grown, {fresh} anew");
}
