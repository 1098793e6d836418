//! The blobs of vectors and graphs: round trips, refusals, and what damage does.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use bytes::Bytes;
use engram_index::{
    IndexError, Mask,
    vector::{
        Metric, SearchParams, VectorIndex, VectorSet,
        hnsw::{HnswIndex, HnswParams},
    },
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const DIMENSION: usize = 7;

fn set(len: usize, sparse: bool) -> VectorSet {
    let mut rng = StdRng::seed_from_u64(1);
    let data: Vec<f32> = (0..len * DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect();
    let ordinals = sparse.then(|| (0..len as u32).map(|i| i * 2 + 1).collect::<Vec<_>>().into());
    VectorSet::new(Metric::Euclid, DIMENSION, data.into(), ordinals).unwrap()
}

fn blob(set: &VectorSet) -> Vec<u8> {
    let mut out = Vec::new();
    set.encode_to(&mut out).unwrap();
    out
}

/// The bytes at an address that is `shift` past a multiple of 64.
fn at_address(bytes: &[u8], shift: usize) -> Bytes {
    let space = Bytes::from(vec![0u8; bytes.len() + 192]);
    let start = space.as_ptr().align_offset(64) + shift;
    let mut filled = space.to_vec();
    // `to_vec` may sit elsewhere: find the offset again in the final buffer.
    let start = start.min(filled.as_ptr().align_offset(64) + shift);
    filled[start..start + bytes.len()].copy_from_slice(bytes);
    let base = Bytes::from(filled);
    base.slice(start..start + bytes.len())
}

/// A set, its graph, and the graph's blob: built once.
fn encoded(index: &dyn VectorIndex) -> Vec<u8> {
    let mut blob = Vec::new();
    index.encode_to(&mut blob).unwrap();
    blob
}

fn built() -> &'static (Arc<VectorSet>, HnswIndex, Vec<u8>) {
    static BUILT: OnceLock<(Arc<VectorSet>, HnswIndex, Vec<u8>)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let set = Arc::new(set(3000, true));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let params = HnswParams { m: 4, ef_construction: 20 };
        let index = HnswIndex::build(Arc::clone(&set), params, &pool, &AtomicBool::new(false)).unwrap();
        let blob = encoded(&index);
        (set, index, blob)
    })
}

#[test]
fn vector_sets_survive_their_blob() {
    for (len, sparse) in [(0, false), (0, true), (1, false), (1, true), (63, true), (64, false), (1000, true)]
    {
        let set = set(len, sparse);
        let blob = blob(&set);
        for shift in [0, 1, 4, 63] {
            let bytes = at_address(&blob, shift);
            VectorSet::verify(&bytes).unwrap();
            let back = VectorSet::open(bytes).unwrap();
            assert_eq!((back.len(), back.dimension(), back.metric()), (len, DIMENSION, Metric::Euclid));
            assert_eq!(back.data().as_slice(), set.data().as_slice());
            assert_eq!(back.ordinals().map(|o| o.to_vec()), set.ordinals().map(|o| o.to_vec()));
            for position in 0..len {
                assert_eq!(back.position(back.ordinal(position)), Some(position));
            }
        }
    }
}

#[test]
fn opening_copies_nothing() {
    let bytes = at_address(&blob(&set(5000, false)), 0);
    let start = bytes.as_ptr() as usize;
    let back = VectorSet::open(bytes).unwrap();
    assert_eq!(back.data().heap_bytes(), 0);
    assert_eq!(back.data().as_ptr() as usize, start + 64);
    let (set, index, graph) = built();
    let opened = HnswIndex::open(Arc::clone(set), &at_address(graph, 0)).unwrap();
    assert_eq!(opened.memory_bytes(), 0);
    assert!(index.memory_bytes() > 0);
}

#[test]
fn sets_that_do_not_fit_are_refused() {
    let new = |dimension, len, ordinals: Option<Vec<u32>>| {
        VectorSet::new(Metric::Dot, dimension, vec![0.5; len].into(), ordinals.map(Into::into))
    };
    for bad in [
        new(0, 0, None),
        new(100_000, 100_000, None),
        new(3, 7, None),
        new(2, 4, Some(vec![1])),
        new(2, 4, Some(vec![1, 2, 3])),
        new(2, 4, Some(vec![2, 1])),
        new(2, 4, Some(vec![2, 2])),
    ] {
        assert!(matches!(bad, Err(IndexError::InvalidParameter(_))), "{bad:?}");
    }
    assert!(new(2, 4, Some(vec![0, 1])).unwrap().ordinals().is_none());
    assert!(new(2, 4, Some(vec![0, u32::MAX])).unwrap().ordinals().is_some());
}

#[test]
fn graphs_survive_their_blob() {
    let (set, index, blob) = built();
    let back = HnswIndex::open(Arc::clone(set), &at_address(blob, 4)).unwrap();
    assert_eq!(&encoded(&back), blob);
    assert_eq!(back.params(), index.params());
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..100 {
        let query: Vec<f32> = (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect();
        let params = SearchParams { k: 10, ef: 20, exact: false, recall: None };
        let found = index.search(&query, &params, Mask::All).unwrap();
        assert_eq!(found, back.search(&query, &params, Mask::All).unwrap());
    }
}

#[test]
fn a_graph_of_other_vectors_is_refused() {
    let (_, _, blob) = built();
    let error = HnswIndex::open(Arc::new(set(2999, false)), &Bytes::from(blob.clone())).unwrap_err();
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
}

/// Sets the checksum right again, as a hostile writer would.
fn seal(blob: &mut [u8], end: usize) {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &blob[16..end]) as u32;
    blob[12..16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn regress_t08_lengths_are_checked_before_memory_is_taken() {
    let (set, _, graph) = built();
    let vectors = blob(set);
    for at in (16..64).step_by(4) {
        for value in [u32::MAX, 0xBE00_0000, 0x7FFF_FFFF, 1 << 20, 0] {
            for (kind, good, end) in [("graph", graph, graph.len()), ("vectors", &vectors, 64)] {
                let mut bad = good.clone();
                bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
                seal(&mut bad, end);
                let bytes = Bytes::from(bad);
                // Whatever it says of itself: no panic, and nothing larger than the blob is taken.
                if kind == "graph" {
                    let _ = HnswIndex::open(Arc::clone(set), &bytes);
                } else {
                    let _ = VectorSet::open(bytes);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any damage is refused, since all of a graph's blob is under its checksum.
    #[test]
    fn a_damaged_graph_is_refused(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
        let (set, _, blob) = built();
        let mut bad = blob.clone();
        let at = at.index(bad.len());
        if cut { bad.truncate(at) } else { bad[at] ^= flip }
        prop_assert!(HnswIndex::open(Arc::clone(set), &Bytes::from(bad)).is_err());
    }

    /// Damage with a right checksum either is refused or still gives a graph that keeps the contract.
    #[test]
    fn a_forged_graph_is_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..6),
        early in any::<bool>(),
    ) {
        let (set, _, blob) = built();
        let mut bad = blob.clone();
        for (at, value) in changes {
            let range = if early { 128 } else { bad.len() };
            let at = 16 + at.index((range - 20) / 4) * 4;
            let value = if early { value } else { value % 3001 };
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let end = bad.len();
        seal(&mut bad, end);
        if let Ok(index) = HnswIndex::open(Arc::clone(set), &Bytes::from(bad)) {
            let params = SearchParams { k: 10, ef: 20, exact: false, recall: None };
            let found = index.search(set.vector(0), &params, Mask::All).unwrap();
            prop_assert_eq!(found.len(), 10);
        }
    }

    #[test]
    fn damaged_vectors_are_refused_by_verify(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<bool>()) {
        let (set, _, _) = built();
        let mut bad = blob(set);
        let at = at.index(bad.len());
        if cut { bad.truncate(at) } else { bad[at] ^= flip }
        let padding = {
            let data_end = 64 + set.len() * DIMENSION * 4;
            !cut && (data_end..data_end.next_multiple_of(64)).contains(&at)
        };
        prop_assert_eq!(VectorSet::verify(&Bytes::from(bad)).is_ok(), padding);
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let (set, _, _) = built();
        prop_assert!(VectorSet::open(Bytes::from(noise.clone())).is_err());
        prop_assert!(HnswIndex::open(Arc::clone(set), &Bytes::from(noise)).is_err());
    }
}
