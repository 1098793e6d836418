//! The graph: recall, reachability, its file, and what damage does to it.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use bytes::Bytes;
use engram_index::{
    IndexError, Mask,
    vector::{
        Metric, SearchParams, VectorIndex, VectorSet,
        exact::scan,
        graph::{
            GraphIndex, GraphParams, Layout,
            build::Plan,
            merge::{Earlier, Origin},
            rows::Width,
            search::{Effort, Way},
            walk::End,
        },
        metric::admit,
    },
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};
use roaring::RoaringBitmap;

const DIMENSION: usize = 40;

/// Small more often than large: the directions of embeddings differ in what they matter, too.
fn spread(rng: &mut StdRng) -> f32 {
    rng.random_range(-1.0f32..1.0).powi(3)
}

/// Vectors around centres that depend on `seed`; `which` picks the random numbers around them.
fn vectors(metric: Metric, len: usize, seed: u64, which: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let centers: Vec<Vec<f32>> =
        (0..30).map(|_| (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
    let mut rng = StdRng::seed_from_u64(seed ^ which << 32);
    let mut data = Vec::new();
    for _ in 0..len {
        let center = &centers[rng.random_range(0..centers.len())];
        let mut v: Vec<f32> = center.iter().map(|c| c + spread(&mut rng)).collect();
        admit(metric, DIMENSION, &mut v).unwrap();
        data.extend(v);
    }
    data
}

fn set(metric: Metric, len: usize, seed: u64) -> Arc<VectorSet> {
    let data = vectors(metric, len, seed, 1);
    Arc::new(VectorSet::new(metric, DIMENSION, data.into(), None).unwrap())
}

/// Vectors as those of [`set`], which are not among them.
fn queries(metric: Metric, len: usize, seed: u64) -> Vec<Vec<f32>> {
    vectors(metric, len, seed, 2).chunks_exact(DIMENSION).map(<[f32]>::to_vec).collect()
}

const LAYOUTS: [Layout; 2] = [Layout::Fast, Layout::Compact];

fn build(set: &Arc<VectorSet>, layout: Layout) -> GraphIndex {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let params = GraphParams { layout, ..GraphParams::default() };
    GraphIndex::build(Arc::clone(set), &params, &pool, &AtomicBool::new(false)).unwrap()
}

fn encoded(index: &GraphIndex) -> Vec<u8> {
    let mut out = Vec::new();
    index.encode_to(&mut out).unwrap();
    out
}

/// Over 100 queries for a set of that seed.
fn recall(index: &GraphIndex, seed: u64, params: &SearchParams, mask: Mask<'_>) -> f64 {
    let set = index.vectors();
    let mut hits = 0;
    for query in queries(set.metric(), 100, seed) {
        let truth = scan(set, &query, params.k, mask).unwrap();
        let bound = truth.last().unwrap().distance;
        let found = index.search(&query, params, mask).unwrap();
        assert_eq!(found.len(), truth.len());
        hits += found.iter().filter(|n| n.distance <= bound).count();
    }
    hits as f64 / (100 * params.k) as f64
}

#[test]
fn a_recall_target_is_met_about_and_costs_what_it_must() {
    let metrics = [Metric::Cosine, Metric::Dot, Metric::Euclid];
    for (metric, layout) in metrics.into_iter().flat_map(|m| LAYOUTS.map(|l| (m, l))) {
        let index = build(&set(metric, 30_000, 1), layout);
        assert_eq!(index.unreachable(), 0);
        let mut hops = Vec::new();
        for target in [0.9, 0.97, 0.99] {
            let params = SearchParams { k: 10, recall: Some(target), ..SearchParams::default() };
            let found = recall(&index, 1, &params, Mask::All);
            assert!(found >= f64::from(target) - 0.03, "{metric:?}: {found} for {target}");
            assert!(index.expected_recall(&params).unwrap() >= target - 0.02);
            hops.push(index.walk(index.vectors().vector(7), 10, Effort::Recall(target), None).work.hops);
        }
        assert!(hops[0] <= hops[2] && hops[2] < 3_000, "{metric:?}: {hops:?}");
    }
}

#[test]
fn more_candidates_find_more() {
    for layout in LAYOUTS {
        let index = build(&set(Metric::Euclid, 30_000, 2), layout);
        let at = |ef| recall(&index, 2, &SearchParams { k: 10, ef, ..SearchParams::default() }, Mask::All);
        let (few, many) = (at(10), at(200));
        assert!(few < many && many >= 0.95, "{layout:?}: {few} {many}");
    }
}

/// Graphs over one set, whose masks are tested.
fn masked() -> &'static [GraphIndex; 2] {
    static BUILT: OnceLock<[GraphIndex; 2]> = OnceLock::new();
    BUILT.get_or_init(|| {
        let set = set(Metric::Cosine, 30_000, 3);
        LAYOUTS.map(|layout| build(&set, layout))
    })
}

const SHARES: [f64; 7] = [0.5, 0.2, 0.1, 0.05, 0.01, 0.002, 0.0003];

/// Filters that have nothing to do with the query, of every share of the rows.
#[test]
fn recall_holds_under_random_filters() {
    let params = SearchParams { k: 10, ..SearchParams::default() };
    let mut rng = StdRng::seed_from_u64(6);
    for share in SHARES {
        let allowed: RoaringBitmap = (0..30_000).filter(|_| rng.random_bool(share)).collect();
        let found = masked().each_ref().map(|index| recall(index, 3, &params, Mask::Allow(&allowed)));
        assert!(found.iter().all(|&f| f >= 0.95), "{share}: {found:?} with {LAYOUTS:?}");
    }
}

/// Filters that let through what is nearest to the query, or what is farthest from it; said as a list of those allowed and as
/// one of those denied.
#[test]
fn recall_holds_under_filters_that_have_to_do_with_the_query() {
    masked().iter().for_each(filters_that_have_to_do_with_the_query);
}

fn filters_that_have_to_do_with_the_query(index: &GraphIndex) {
    let set = index.vectors();
    let params = SearchParams { k: 10, ..SearchParams::default() };
    let queries = queries(Metric::Cosine, 40, 3);
    let orders: Vec<Vec<u32>> = queries
        .iter()
        .map(|q| scan(set, q, 30_000, Mask::All).unwrap().iter().map(|n| n.ordinal).collect())
        .collect();
    for (near, share) in SHARES.into_iter().flat_map(|share| [(true, share), (false, share)]) {
        let count = (30_000.0 * share) as usize;
        let (mut hits, mut wanted) = (0, 0);
        for (query, order) in queries.iter().zip(&orders) {
            let picked = if near { &order[..count] } else { &order[30_000 - count..] };
            let allowed: RoaringBitmap = picked.iter().copied().collect();
            let denied: RoaringBitmap = (0..30_000).filter(|&o| !allowed.contains(o)).collect();
            let truth = scan(set, query, 10, Mask::Allow(&allowed)).unwrap();
            let found = index.search(query, &params, Mask::Allow(&allowed)).unwrap();
            assert_eq!(found, index.search(query, &params, Mask::Deny(&denied)).unwrap());
            assert_eq!(found.len(), truth.len());
            assert!(found.iter().all(|n| allowed.contains(n.ordinal)));
            hits += found.iter().filter(|n| n.distance <= truth[truth.len() - 1].distance).count();
            wanted += truth.len();
        }
        assert!(hits * 100 >= wanted * 95, "near {near}, {share}: {hits} of {wanted}");
    }
}

#[test]
fn a_filter_decides_how_a_search_goes() {
    let [index, _] = masked();
    let params = SearchParams { k: 10, ..SearchParams::default() };
    let query = queries(Metric::Cosine, 1, 3).remove(0);
    let way = |count: u32, params: &SearchParams| {
        let allowed: RoaringBitmap = (0..count).map(|i| i * (30_000 / count)).collect();
        let answer = index.answer(&query, params, Mask::Allow(&allowed)).unwrap();
        assert_eq!(answer.found.len(), 10.min(count as usize));
        assert_eq!(answer.found, index.search(&query, params, Mask::Allow(&allowed)).unwrap());
        answer.way
    };
    assert_eq!(way(15_000, &params), Way::Walk);
    assert_eq!(way(300, &params), Way::Scan);
    assert_eq!(way(15, &params), Way::Exact);
    assert_eq!(way(7, &params), Way::Exact);
    assert_eq!(way(15_000, &SearchParams { exact: true, ..params }), Way::Exact);
}

#[test]
fn regress_t36_equal_vectors_are_all_reachable() {
    for distinct in [1, 2, 40] {
        let few = set(Metric::Euclid, distinct, 4);
        let data: Vec<f32> = (0..5_000).flat_map(|i| few.vector(i % distinct).to_vec()).collect();
        let set = Arc::new(VectorSet::new(Metric::Euclid, DIMENSION, data.into(), None).unwrap());
        let index = build(&set, Layout::Fast);
        assert_eq!(index.unreachable(), 0, "{distinct} distinct vectors");
    }
}

/// Vectors, their graph and its file.
type Built = (Arc<VectorSet>, GraphIndex, Vec<u8>);

fn built(layout: Layout) -> &'static Built {
    static BUILT: OnceLock<[Built; 2]> = OnceLock::new();
    let both = BUILT.get_or_init(|| {
        let set = set(Metric::Cosine, 12_000, 7);
        LAYOUTS.map(|layout| {
            let index = build(&set, layout);
            let blob = encoded(&index);
            assert_eq!(blob.len(), index.encoded_len());
            (Arc::clone(&set), index, blob)
        })
    });
    &both[usize::from(layout == Layout::Compact)]
}

/// The compact layout is for memory: codes and links take less than half of what the fast one does, at any dimension.
#[test]
fn the_compact_layout_is_small() {
    let bytes = LAYOUTS.map(|layout| built(layout).1.row_bytes());
    assert!(2 * bytes[1] < bytes[0], "{bytes:?}");
}

#[test]
fn a_reopened_graph_answers_alike_and_holds_no_rows_in_memory() {
    for layout in LAYOUTS {
        let (set, index, blob) = built(layout);
        let opened = GraphIndex::open(Arc::clone(set), &Bytes::from(blob.clone())).unwrap();
        for query in queries(Metric::Cosine, 50, 7) {
            let params = SearchParams { k: 10, ..SearchParams::default() };
            let (a, b) =
                (index.search(&query, &params, Mask::All), opened.search(&query, &params, Mask::All));
            assert_eq!(a.unwrap(), b.unwrap());
        }
        assert!(opened.memory_bytes() < index.memory_bytes() / 10);
        assert_eq!(encoded(&opened), *blob);
    }
}

#[test]
fn a_graph_of_other_vectors_is_refused() {
    let (_, _, blob) = built(Layout::Fast);
    let other = set(Metric::Cosine, 11_999, 7);
    let error = GraphIndex::open(other, &Bytes::from(blob.clone())).unwrap_err();
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
}

#[test]
fn manhattan_and_strange_parameters_are_refused() {
    let set = set(Metric::Euclid, 300, 9);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for degree in [0, 16, 33, 512] {
        let params = GraphParams { plan: Plan { degree, ..Plan::default() }, ..GraphParams::default() };
        let error = GraphIndex::build(Arc::clone(&set), &params, &pool, &AtomicBool::new(false)).unwrap_err();
        assert!(matches!(error, IndexError::InvalidParameter(_)), "{error}");
    }
    let cancelled = GraphIndex::build(set, &GraphParams::default(), &pool, &AtomicBool::new(true));
    assert_eq!(cancelled.unwrap_err(), IndexError::Cancelled);
    let manhattan = self::set(Metric::Manhattan, 300, 9);
    let error = GraphIndex::build(manhattan, &GraphParams::default(), &pool, &AtomicBool::new(false));
    assert!(matches!(error.unwrap_err(), IndexError::InvalidParameter(_)));
}

/// A search that meets a damaged row says so and is answered by the exact scan.
#[test]
fn a_damaged_row_is_never_used() {
    for layout in LAYOUTS {
        let (set, index, blob) = built(layout);
        let rows = index.row_bytes();
        let mut bad = blob.clone();
        // Every page of the rows: whatever way a walk takes, it meets damage.
        for at in (bad.len() - rows..bad.len()).step_by(4096) {
            bad[at] ^= 64;
        }
        let opened = GraphIndex::open(Arc::clone(set), &Bytes::from(bad)).unwrap();
        assert!(!opened.damaged());
        let query = set.vector(5);
        assert_eq!(opened.walk(query, 10, Effort::Recall(0.9), None).end, End::Damaged);
        assert!(opened.damaged());
        let params = SearchParams { k: 10, ..SearchParams::default() };
        assert_eq!(
            opened.search(query, &params, Mask::All).unwrap(),
            scan(set, query, 10, Mask::All).unwrap()
        );
    }
}

/// Sets the checksums of header and sections right again, as a hostile writer would.
fn seal(blob: &mut [u8]) {
    let crc = |bytes: &[u8]| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32;
    let sections = u32::from_le_bytes(blob[44..48].try_into().unwrap()) as usize;
    if let Some(bytes) = blob.get(4096..4096 + sections) {
        let sum = crc(bytes);
        blob[48..52].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = crc(&blob[16..4096]);
    blob[12..16].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn regress_t08_lengths_are_checked_before_memory_is_taken() {
    for layout in LAYOUTS {
        let (set, _, blob) = built(layout);
        for at in (16..64).step_by(4) {
            for value in [u32::MAX, 0xBE00_0000, 0x7FFF_FFFF, 1 << 20, 64, 1, 0] {
                let mut bad = blob.clone();
                bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
                seal(&mut bad);
                // Whatever it says of itself: no panic, and nothing larger than the file is taken.
                let Ok(index) = GraphIndex::open(Arc::clone(set), &Bytes::from(bad)) else { continue };
                let params = SearchParams { k: 10, ..SearchParams::default() };
                assert_eq!(index.search(set.vector(0), &params, Mask::All).unwrap().len(), 10);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Damage is refused, or found by the first search that would use it; answers are right in any case.
    #[test]
    fn damage_gives_no_wrong_answer(at in any::<prop::sample::Index>(), flip in 1u8.., early in any::<bool>(), cut in any::<bool>(), compact in any::<bool>()) {
        let (set, _, blob) = built(LAYOUTS[usize::from(compact)]);
        let mut bad = blob.clone();
        let at = at.index(if early { 65_536 } else { bad.len() });
        if cut { bad.truncate(at) } else { bad[at] ^= flip }
        let Ok(index) = GraphIndex::open(Arc::clone(set), &Bytes::from(bad)) else { return Ok(()) };
        prop_assert!(!cut);
        let params = SearchParams { k: 10, ..SearchParams::default() };
        for p in [0, 5_000, 11_999] {
            let found = index.search(set.vector(p), &params, Mask::All).unwrap();
            prop_assert_eq!(found.len(), 10);
            for n in found {
                let exact = set.metric().distance(set.vector(p), set.vector(n.ordinal as usize));
                prop_assert_eq!(n.distance.to_bits(), exact.to_bits());
            }
        }
    }

    /// Numbers under a right checksum either are refused or still give a graph that keeps the contract.
    #[test]
    fn a_forged_graph_is_harmless(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..6), compact in any::<bool>()) {
        let (set, _, blob) = built(LAYOUTS[usize::from(compact)]);
        let mut bad = blob.clone();
        for (at, value) in changes {
            let at = 4096 + at.index(60_000) / 4 * 4;
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut bad);
        if let Ok(index) = GraphIndex::open(Arc::clone(set), &Bytes::from(bad)) {
            let params = SearchParams { k: 10, ..SearchParams::default() };
            prop_assert_eq!(index.search(set.vector(0), &params, Mask::All).unwrap().len(), 10);
        }
    }
}

/// Rows that lead nowhere, under right checksums: searches keep the contract, with masks too, and a merge builds anew.
#[test]
fn forged_rows_are_harmless() {
    for layout in LAYOUTS {
        let (set, index, blob) = built(layout);
        let (rows, row, count) = (index.row_bytes(), index.shape().row(), set.len());
        let mut bad = blob.clone();
        let start = bad.len() - rows;
        // All of each row but its code: factors, slots, scale, norm and position.
        for (i, byte) in bad[start..].iter_mut().enumerate() {
            if i % row >= index.shape().own() && i / row % 7 == 3 {
                *byte = 0xFF;
            }
        }
        let sums: Vec<u8> = bad[start..]
            .chunks(index.shape().rows_per_check() * row)
            .flat_map(|block| {
                (crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, block) as u32).to_le_bytes()
            })
            .collect();
        let at = 4096 + (index.calibration().len() * 12).next_multiple_of(64);
        bad[at..at + sums.len()].copy_from_slice(&sums);
        seal(&mut bad);
        let forged = GraphIndex::open(Arc::clone(set), &Bytes::from(bad)).unwrap();
        let odd: RoaringBitmap = (0..count as u32).filter(|p| p % 2 == 1).collect();
        for (mask, allowed) in [(Mask::All, 10), (Mask::Allow(&odd), 10), (Mask::Deny(&odd), 10)] {
            for p in [0, 17, 3_000] {
                let params = SearchParams { k: 10, ..SearchParams::default() };
                let found = forged.search(set.vector(p), &params, mask).unwrap();
                assert_eq!(found.len(), allowed);
                assert!(found.iter().all(|n| mask.allows(n.ordinal)));
            }
        }
        assert!(!forged.damaged(), "the checksums are right");
        let numbering: Vec<u32> = (0..count as u32).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let earlier = Earlier { graph: &forged, numbering: &numbering };
        let params = GraphParams { layout, width: Some(Width::Eight), ..GraphParams::default() };
        let (merged, origin) =
            GraphIndex::merge(Arc::clone(set), earlier, &params, &pool, &AtomicBool::new(false)).unwrap();
        assert_eq!((origin, merged.unreachable()), (Origin::Built, 0));
    }
}

/// A query beyond all rows, where 8 bits tell nothing, is answered by the scan; so is one just inside.
#[test]
fn far_queries_are_answered_as_the_scan_does() {
    let set = set(Metric::Euclid, 12_000, 10);
    let index = build(&set, Layout::Fast);
    for factor in [1.0, 1e3, 1e6, 1e12, 1e17] {
        let query: Vec<f32> = set.vector(3).iter().map(|x| x * factor).collect();
        let params = SearchParams { k: 10, recall: Some(1.0), ..SearchParams::default() };
        let truth = scan(&set, &query, 10, Mask::All).unwrap();
        let found = index.search(&query, &params, Mask::All).unwrap();
        let hits = found.iter().filter(|n| n.distance <= truth[9].distance).count();
        assert!(hits >= 9, "{factor}: {hits} of 10");
    }
}
