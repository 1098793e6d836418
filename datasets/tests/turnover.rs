//! A graph over real embeddings, after ten times its rows were deleted and inserted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, atomic::AtomicBool};

use engram_datasets::sets;
use engram_index::{
    Mask,
    vector::{
        VectorIndex, VectorSet,
        exact::scan,
        graph::{
            GraphIndex, GraphParams,
            build::change::GONE,
            merge::{Earlier, Origin},
            search::Effort,
        },
        metric::admit,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

const SEED: u64 = 1;

#[test]
fn turnover_of_real_embeddings_costs_less_than_half_a_percent() {
    let set = sets::prepare("wordnet-5k", &mut |_| {}).unwrap();
    let (metric, dimension) = (set.metric, set.dimension);
    let mut all = set.base_vectors().unwrap();
    all.chunks_exact_mut(dimension).for_each(|v| admit(metric, dimension, v).unwrap());
    let vectors = |rows: &[u32]| {
        let rows = rows.iter().flat_map(|&r| &all[r as usize * dimension..][..dimension]);
        let data: Vec<f32> = rows.copied().collect();
        Arc::new(VectorSet::new(metric, dimension, data.into(), None).unwrap())
    };
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut live: Vec<u32> = (0..(all.len() / dimension) as u32).collect();
    live.shuffle(&mut rng);
    // Some are never in: the queries.
    let queries = live.split_off(live.len() - 300);
    let mut spare = live.split_off(live.len() - 1_200);
    live.sort_unstable();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let (params, never) = (GraphParams::default(), AtomicBool::new(false));
    let mut graph = GraphIndex::build(vectors(&live), &params, &pool, &never).unwrap();
    let (rows, mut replaced) = (live.len(), 0);
    while replaced < 10 * rows {
        let (before, count) = (live.clone(), rng.random_range(200..1_000));
        live.shuffle(&mut rng);
        spare.shuffle(&mut rng);
        for (a, b) in live.iter_mut().zip(&mut spare).take(count) {
            std::mem::swap(a, b);
        }
        live.sort_unstable();
        replaced += count;
        let at = |row: &u32| live.binary_search(row).map_or(GONE, |p| p as u32);
        let numbering: Vec<u32> = before.iter().map(at).collect();
        let earlier = Earlier { graph: &graph, numbering: &numbering };
        let (next, origin) = GraphIndex::merge(vectors(&live), earlier, &params, &pool, &never).unwrap();
        assert_eq!((origin, next.unreachable()), (Origin::Merged, 0), "seed {SEED}, {replaced} replaced");
        graph = next;
    }
    let fresh = GraphIndex::build(vectors(&live), &params, &pool, &never).unwrap();
    let recall = |graph: &GraphIndex| {
        let hits = queries.iter().map(|&row| {
            let query = &all[row as usize * dimension..][..dimension];
            let truth = scan(graph.vectors(), query, 10, Mask::All).unwrap();
            let found = graph.walk(query, 10, Effort::Candidates(24), None).found;
            found.iter().filter(|n| n.distance <= truth[9].distance).count()
        });
        hits.sum::<usize>() as f64 / (10 * queries.len()) as f64
    };
    let (merged, anew) = (recall(&graph), recall(&fresh));
    assert!(merged > anew - 0.005, "seed {SEED}: {merged} after {replaced} replaced, {anew} anew");
    println!("{merged} after {replaced} replaced, {anew} anew");
}
