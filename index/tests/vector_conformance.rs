//! What every `VectorIndex` must do, run against each implementation.

use std::sync::{Arc, atomic::AtomicBool};

use bytes::Bytes;
use engram_index::{
    Column, IndexError, Mask,
    vector::{
        Metric, Neighbor, SearchParams, VectorIndex, VectorSet, engine,
        exact::{ExactIndex, scan},
        graph::Layout,
        hnsw::{HnswIndex, HnswParams},
        metric::admit,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use roaring::RoaringBitmap;

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];
const DIMENSION: usize = 24;

/// Makes an index over a set.
type Make = fn(Arc<VectorSet>) -> Box<dyn VectorIndex>;

fn exact(set: Arc<VectorSet>) -> Box<dyn VectorIndex> {
    Box::new(ExactIndex::new(set))
}

fn graph(set: Arc<VectorSet>) -> HnswIndex {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let params = HnswParams { m: 12, ef_construction: 80 };
    HnswIndex::build(set, params, &pool, &AtomicBool::new(false)).unwrap()
}

fn hnsw(set: Arc<VectorSet>) -> Box<dyn VectorIndex> {
    Box::new(graph(set))
}

/// A graph that went through its blob.
fn hnsw_reopened(set: Arc<VectorSet>) -> Box<dyn VectorIndex> {
    let blob = encoded(&graph(Arc::clone(&set)));
    Box::new(HnswIndex::open(set, &blob).unwrap())
}

fn encoded(index: &dyn VectorIndex) -> Bytes {
    let mut blob = Vec::new();
    index.encode_to(&mut blob).unwrap();
    assert_eq!(blob.len(), index.encoded_len());
    blob.into()
}

/// What a field gets: our graph, or the layered one where codes cannot estimate distances.
fn graph_of(set: Arc<VectorSet>, layout: Layout) -> Box<dyn VectorIndex> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let params = HnswParams { m: 12, ef_construction: 80 };
    Box::new(Shared(engine::build_graph(set, params, layout, &pool, &AtomicBool::new(false)).unwrap()))
}

fn engine(set: Arc<VectorSet>) -> Box<dyn VectorIndex> {
    graph_of(set, Layout::Fast)
}

fn engine_compact(set: Arc<VectorSet>) -> Box<dyn VectorIndex> {
    graph_of(set, Layout::Compact)
}

fn engine_reopened(set: Arc<VectorSet>) -> Box<dyn VectorIndex> {
    let blob = encoded(&*engine(Arc::clone(&set)));
    Box::new(Shared(engine::open_graph(set, &blob).unwrap()))
}

struct Shared(Arc<dyn VectorIndex>);

impl VectorIndex for Shared {
    fn vectors(&self) -> &Arc<VectorSet> {
        self.0.vectors()
    }
    fn search(
        &self,
        query: &[f32],
        params: &SearchParams,
        mask: Mask<'_>,
    ) -> engram_index::Result<Vec<Neighbor>> {
        self.0.search(query, params, mask)
    }
    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }
    fn encode_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.0.encode_to(out)
    }
    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

const ALL: [(&str, Make); 6] = [
    ("exact", exact),
    ("hnsw", hnsw),
    ("hnsw reopened", hnsw_reopened),
    ("graph", engine),
    ("graph reopened", engine_reopened),
    ("compact graph", engine_compact),
];

/// Clustered vectors, 10 % of them twice; sparse ordinals (every third row, shifted) where `sparse`.
fn set(metric: Metric, len: usize, sparse: bool, seed: u64) -> Arc<VectorSet> {
    let mut rng = StdRng::seed_from_u64(seed);
    let centers: Vec<Vec<f32>> =
        (0..20).map(|_| (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let mut data: Vec<f32> = Vec::new();
    for i in 0..len {
        if i > 10 && rng.random_bool(0.1) {
            let twin = rng.random_range(0..i) * DIMENSION;
            data.extend_from_within(twin..twin + DIMENSION);
            continue;
        }
        let center = &centers[rng.random_range(0..centers.len())];
        let mut v: Vec<f32> = center.iter().map(|c| c + rng.random_range(-0.4..0.4)).collect();
        admit(metric, DIMENSION, &mut v).unwrap();
        data.extend(v);
    }
    let ordinals = sparse.then(|| (0..len as u32).map(|i| i * 3 + 5).collect::<Vec<_>>().into());
    Arc::new(VectorSet::new(metric, DIMENSION, data.into(), ordinals).unwrap())
}

fn queries(set: &VectorSet, count: usize) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(99);
    (0..count)
        .map(|_| {
            let near = set.vector(rng.random_range(0..set.len()));
            let mut q: Vec<f32> = near.iter().map(|x| x + rng.random_range(-0.1..0.1)).collect();
            admit(set.metric(), DIMENSION, &mut q).unwrap();
            q
        })
        .collect()
}

fn params(k: usize, ef: usize) -> SearchParams {
    SearchParams { k, ef, exact: false, recall: None }
}

/// The contract of one answer: order, exact distances, the mask, the count, no row twice.
fn check(index: &dyn VectorIndex, query: &[f32], k: usize, mask: Mask<'_>, found: &[Neighbor]) {
    let set = index.vectors();
    let allowed = (0..set.len()).filter(|&p| mask.allows(set.ordinal(p))).count();
    assert_eq!(found.len(), k.min(allowed));
    let in_order = |p: &[Neighbor]| (p[0].distance, p[0].ordinal) < (p[1].distance, p[1].ordinal);
    assert!(found.windows(2).all(in_order), "not sorted by (distance, ordinal), or a row twice");
    for n in found {
        let position = set.position(n.ordinal).expect("an ordinal of the set");
        assert!(mask.allows(n.ordinal));
        let distance = set.metric().distance(query, set.vector(position));
        assert_eq!(n.distance.to_bits(), distance.to_bits());
    }
}

fn recall(found: &[Neighbor], truth: &[Neighbor]) -> f64 {
    // By distance, since of equal vectors any may be found.
    let worst = truth.last().map_or(f32::MIN, |n| n.distance);
    found.iter().filter(|n| n.distance <= worst).count() as f64 / truth.len().max(1) as f64
}

#[test]
fn answers_keep_the_contract_for_all_metrics_and_masks() {
    for (name, make) in ALL {
        for metric in METRICS {
            for sparse in [false, true] {
                let set = set(metric, 2500, sparse, 1);
                let index = make(Arc::clone(&set));
                let some: RoaringBitmap =
                    (0..9000).filter(|o| o % 2 == 0).chain(1_000_000..1_000_010).collect();
                let few: RoaringBitmap = [0, 5, 8, 11, 300, 4_000_000].into_iter().collect();
                let none = RoaringBitmap::new();
                let every: RoaringBitmap = (0..20_000).collect();
                let masks = [
                    Mask::All,
                    Mask::Allow(&some),
                    Mask::Deny(&some),
                    Mask::Allow(&few),
                    Mask::Deny(&few),
                    Mask::Allow(&none),
                    Mask::Deny(&none),
                    Mask::Allow(&every),
                    Mask::Deny(&every),
                ];
                for (i, query) in queries(&set, 4).iter().enumerate() {
                    for mask in masks {
                        for (k, ef) in
                            [(0, 10), (1, 1), (10, 16), (10, 0), (100, 10), (5000, 64), (usize::MAX, 1)]
                        {
                            let found = index.search(query, &params(k, ef), mask).unwrap();
                            check(&*index, query, k, mask, &found);
                            let again = index.search(query, &params(k, ef), mask).unwrap();
                            assert_eq!(found, again, "{name} {metric:?} query {i}: not deterministic");
                            let exact = SearchParams { k, ef, exact: true, recall: None };
                            let truth = scan(&set, query, k, mask).unwrap();
                            assert_eq!(
                                index.search(query, &exact, mask).unwrap(),
                                truth,
                                "{name} {metric:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_scan_is_the_sorted_list_of_all_distances() {
    for metric in METRICS {
        let set = set(metric, 300, true, 2);
        for query in queries(&set, 5) {
            let mut truth: Vec<Neighbor> = (0..set.len())
                .map(|p| Neighbor {
                    ordinal: set.ordinal(p),
                    distance: metric.distance(&query, set.vector(p)),
                })
                .collect();
            truth.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.ordinal.cmp(&b.ordinal)));
            truth.truncate(37);
            assert_eq!(scan(&set, &query, 37, Mask::All).unwrap(), truth);
        }
    }
}

#[test]
fn wrong_dimension_is_refused() {
    for (_, make) in ALL {
        let index = make(set(Metric::Euclid, 200, false, 3));
        for len in [0, 1, DIMENSION - 1, DIMENSION + 1] {
            let error = index.search(&vec![0.5; len], &params(3, 30), Mask::All).unwrap_err();
            assert!(matches!(error, IndexError::InvalidVector(_)), "{error}");
        }
    }
}

#[test]
fn empty_and_single() {
    for (_, make) in ALL {
        for len in [0usize, 1, 2] {
            let index = make(set(Metric::Cosine, len, false, 4));
            let mut query = vec![1.0; DIMENSION];
            admit(Metric::Cosine, DIMENSION, &mut query).unwrap();
            let found = index.search(&query, &params(10, 64), Mask::All).unwrap();
            check(&*index, &query, 10, Mask::All, &found);
        }
    }
}

#[test]
fn regress_t33_never_fewer_than_k_while_enough_are_allowed() {
    for metric in METRICS {
        let set = set(metric, 6000, false, 5);
        let index = hnsw(Arc::clone(&set));
        for (share, seed) in [(0.5, 6), (0.9, 7), (0.99, 8), (0.999, 9)] {
            let mut rng = StdRng::seed_from_u64(seed);
            let deleted: RoaringBitmap = (0..6000).filter(|_| rng.random_bool(share)).collect();
            let mut quality = 0.0;
            for query in &queries(&set, 50) {
                for k in [1, 10, 100] {
                    let found = index.search(query, &params(k, 10), Mask::Deny(&deleted)).unwrap();
                    check(&*index, query, k, Mask::Deny(&deleted), &found);
                }
                let found = index.search(query, &params(10, 64), Mask::Deny(&deleted)).unwrap();
                quality += recall(&found, &scan(&set, query, 10, Mask::Deny(&deleted)).unwrap());
            }
            assert!(quality / 50.0 >= 0.95, "{metric:?} with {share} deleted: recall {}", quality / 50.0);
        }
    }
}

/// Dead vectors must not use up the candidate list: here all the nearest ones are deleted, and many of them.
#[test]
fn regress_t31_deleted_vectors_around_the_query_do_not_crowd_out_the_living() {
    let set = set(Metric::Euclid, 8000, false, 10);
    let index = hnsw(Arc::clone(&set));
    for query in &queries(&set, 30) {
        let nearest = scan(&set, query, 1500, Mask::All).unwrap();
        let deleted: RoaringBitmap = nearest.iter().map(|n| n.ordinal).collect();
        let found = index.search(query, &params(10, 64), Mask::Deny(&deleted)).unwrap();
        check(&*index, query, 10, Mask::Deny(&deleted), &found);
        let truth = scan(&set, query, 10, Mask::Deny(&deleted)).unwrap();
        assert!(recall(&found, &truth) >= 0.7, "{found:?} {truth:?}");
    }
}

#[test]
fn hnsw_recall_on_clustered_vectors() {
    for metric in METRICS {
        for sparse in [false, true] {
            let set = set(metric, 8000, sparse, 11);
            let index = graph(Arc::clone(&set));
            assert_eq!(index.unreachable(), 0);
            let queries = queries(&set, 200);
            let total: f64 = queries
                .iter()
                .map(|q| {
                    let found = index.search(q, &params(10, 64), Mask::All).unwrap();
                    recall(&found, &scan(&set, q, 10, Mask::All).unwrap())
                })
                .sum();
            let recall = total / queries.len() as f64;
            assert!(recall >= 0.95, "{metric:?}: recall {recall}");
        }
    }
}

/// Equal vectors everywhere: the worst case for pruning.
#[test]
fn regress_t36_no_vector_is_unreachable() {
    for (metric, distinct) in
        [(Metric::Euclid, 1), (Metric::Cosine, 3), (Metric::Dot, 40), (Metric::Manhattan, 1500)]
    {
        let few = set(metric, distinct, false, 12);
        let data: Vec<f32> = (0..3000).flat_map(|i| few.vector(i % distinct).to_vec()).collect();
        let set = Arc::new(VectorSet::new(metric, DIMENSION, data.into(), None).unwrap());
        let index = graph(Arc::clone(&set));
        assert_eq!(index.unreachable(), 0, "{metric:?} {distinct}");
        let query = set.vector(0);
        for k in [1, 10, 200, 3000, 4000] {
            let found = index.search(query, &params(k, 20), Mask::All).unwrap();
            check(&index, query, k, Mask::All, &found);
        }
    }
}

/// More threads than cores, small m (many layers): what would dead-lock `hnsw_rs`, see the guard.
#[test]
fn regress_t37_parallel_build_ends() {
    let set = set(Metric::Euclid, 4000, false, 13);
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let params = HnswParams { m: 3, ef_construction: 20 };
        let index = HnswIndex::build(Arc::clone(&set), params, &pool, &AtomicBool::new(false)).unwrap();
        assert_eq!(index.unreachable(), 0);
    }
}

#[test]
fn cancelled_and_invalid_builds_are_errors() {
    let set = set(Metric::Euclid, 500, false, 14);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let build = |m, ef_construction, cancel| {
        let params = HnswParams { m, ef_construction };
        HnswIndex::build(Arc::clone(&set), params, &pool, &AtomicBool::new(cancel)).map(|_| ())
    };
    assert_eq!(build(16, 100, true), Err(IndexError::Cancelled));
    for (m, ef) in
        [(0, 100), (1, 100), (129, 100), (300, 100), (16, 0), (16, 100_000), (usize::MAX, usize::MAX)]
    {
        assert!(matches!(build(m, ef, false), Err(IndexError::InvalidParameter(_))), "{m} {ef}");
    }
}

/// Past the gate nothing is refused, but damaged bytes must not stop the process either.
#[test]
fn regress_t36_non_finite_bytes_neither_panic_nor_hang() {
    let mut data = set(Metric::Euclid, 1500, false, 15).data().to_vec();
    for (i, x) in data.iter_mut().enumerate().step_by(101) {
        *x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN][i % 4];
    }
    for metric in METRICS {
        let set = Arc::new(VectorSet::new(metric, DIMENSION, Column::from(data.clone()), None).unwrap());
        for (_, make) in ALL {
            let found = make(Arc::clone(&set)).search(&[0.5; DIMENSION], &params(10, 12), Mask::All).unwrap();
            assert_eq!(found.len(), 10);
        }
    }
}
