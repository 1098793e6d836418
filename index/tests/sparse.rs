//! Sparse vectors: the inverted index against brute force, its file, and what damage does.

use bytes::Bytes;
use engram_index::vector::sparse::{SparseBuilder, SparseIndex};
use engram_index::vector::{Neighbor, SparseRow, SparseVector};
use engram_index::{IndexError, Mask};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use roaring::RoaringBitmap;

type Rows = Vec<(u32, SparseVector)>;

fn sparse(terms: u32, most: usize) -> impl Strategy<Value = SparseVector> {
    // Few values, so that there are ties.
    btree_map(0..terms, (-4i8..5).prop_map(|n| f32::from(n) / 2.0), 0..most).prop_map(|map| {
        let (indices, values) = map.into_iter().unzip();
        SparseVector { indices, values }
    })
}

fn rows() -> impl Strategy<Value = Rows> {
    let ordinals = btree_set(0u32..300, 0..120);
    let all = (ordinals, vec(sparse(20, 8), 120), any::<bool>());
    all.prop_map(|(ordinals, vectors, packed)| {
        let ordinals: Vec<u32> =
            if packed { (0..ordinals.len() as u32).collect() } else { ordinals.into_iter().collect() };
        ordinals.into_iter().zip(vectors).collect()
    })
}

fn index(rows: &Rows) -> SparseIndex {
    let mut builder = SparseBuilder::default();
    rows.iter().for_each(|(ordinal, vector)| builder.push(*ordinal, vector.into()));
    builder.finish().unwrap()
}

fn encoded(index: &SparseIndex) -> Bytes {
    let mut out = Vec::new();
    index.encode_to(&mut out).unwrap();
    assert_eq!(out.len(), index.encoded_len());
    out.into()
}

/// Inner product by looking at every pair.
fn product(a: &SparseVector, b: &SparseVector) -> Option<f32> {
    let pairs = a.indices.iter().zip(&a.values).flat_map(|(i, x)| {
        b.indices.iter().zip(&b.values).filter(move |(j, _)| i == *j).map(move |(_, y)| x * y)
    });
    pairs.fold(None, |sum, x| Some(sum.unwrap_or(0.0) + x))
}

fn brute(rows: &Rows, query: &SparseVector, k: usize, mask: Mask<'_>) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = rows
        .iter()
        .filter(|(ordinal, _)| mask.allows(*ordinal))
        .filter_map(|(ordinal, vector)| Some((*ordinal, -product(query, vector)? + 0.0)))
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn pairs(found: Vec<Neighbor>) -> Vec<(u32, f32)> {
    found.into_iter().map(|n| (n.ordinal, n.distance)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn search_agrees_with_brute_force(
        rows in rows(),
        query in sparse(24, 8),
        k in 0usize..40,
        masked in btree_set(0u32..310, 0..200),
    ) {
        let built = index(&rows);
        let reopened = SparseIndex::open(encoded(&built)).unwrap();
        let masked: RoaringBitmap = masked.into_iter().collect();
        for index in [&built, &reopened] {
            prop_assert_eq!(index.len(), rows.len());
            for mask in [Mask::All, Mask::Allow(&masked), Mask::Deny(&masked)] {
                let found = pairs(index.search((&query).into(), k, mask));
                prop_assert_eq!(found, brute(&rows, &query, k, mask));
                let allowed = rows.iter().filter(|(o, _)| mask.allows(*o));
                let with = |i: &u32| allowed.clone().filter(|(_, v)| v.indices.contains(i)).count() as u64;
                let expected: Vec<u64> = query.indices.iter().map(with).collect();
                prop_assert_eq!(index.frequencies(&query.indices, mask), expected);
                prop_assert_eq!(index.ordinals().allowed(mask), allowed.count());
            }
            for (ordinal, vector) in &rows {
                prop_assert_eq!(index.vector(*ordinal), Some(SparseRow::from(vector)));
            }
        }
    }

    #[test]
    fn damage_is_told_and_never_panics(rows in rows(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let whole = encoded(&index(&rows)).to_vec();
        let mut damaged = whole.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        let told = |blob: Vec<u8>| matches!(SparseIndex::open(blob.into()), Err(IndexError::Corrupt { .. }));
        prop_assert!(told(damaged), "byte {}", at);
        prop_assert!(told(whole[..at].to_vec()));
        prop_assert!(told([&whole[..], &[0; 8]].concat()));
    }
}

/// Many blocks of rows, most of them empty, and the way for few allowed rows.
#[test]
fn rows_far_apart_are_found() {
    let spread = |n: u32| SparseVector {
        indices: if n.is_multiple_of(2) { vec![1, 7] } else { vec![7] },
        values: if n.is_multiple_of(2) { vec![0.5, (n % 1000) as f32] } else { vec![(n % 777) as f32] },
    };
    let rows: Rows = (0..300_000u32).filter(|n| n % 60_000 < 20_000).map(|n| (n, spread(n))).collect();
    let index = index(&rows);
    let query = SparseVector { indices: vec![1, 7, 9], values: vec![-1.0, 2.0, 1.0] };
    let few = RoaringBitmap::from_iter([3, 65_000, 100_000, 250_001, 299_999]);
    for mask in [Mask::All, Mask::Allow(&few), Mask::Deny(&few)] {
        assert_eq!(pairs(index.search((&query).into(), 50, mask)), brute(&rows, &query, 50, mask));
    }
}

#[test]
fn rows_that_do_not_ascend_are_refused() {
    let one = SparseVector { indices: vec![3], values: vec![1.0] };
    let mut builder = SparseBuilder::default();
    builder.push(5, (&one).into());
    builder.push(5, (&one).into());
    assert!(matches!(builder.finish(), Err(IndexError::InvalidParameter(_))));
    let mut builder = SparseBuilder::default();
    builder.push(0, SparseRow { indices: &[3, 3], values: &[1.0, 1.0] });
    assert!(matches!(builder.finish(), Err(IndexError::InvalidParameter(_))));
}
