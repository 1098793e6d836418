//! Merging what shards answer: k-way, by (distance, id) or by id.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use engram_storage::point::PointId;

use crate::searcher::ShardHit;

/// A hit with the number of the list it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merged {
    /// The hit.
    pub hit: ShardHit,
    /// Position of its list.
    pub list: usize,
}

/// The order of results: closer first, ties by id. Total, also over what is not a number.
pub fn by_distance(a: &ShardHit, b: &ShardHit) -> Ordering {
    a.distance.total_cmp(&b.distance).then_with(|| a.id.cmp(&b.id))
}

/// The first `k` of `lists`, each of which is sorted by [`by_distance`].
pub fn merge_hits(lists: &[&[ShardHit]], k: usize) -> Vec<Merged> {
    if let [only] = lists {
        return only.iter().take(k).map(|&hit| Merged { hit, list: 0 }).collect();
    }
    let mut heads: BinaryHeap<Reverse<Head>> = BinaryHeap::with_capacity(lists.len());
    let head = |list: usize, at: usize| lists[list].get(at).map(|&hit| Reverse(Head { hit, list, at }));
    heads.extend((0..lists.len()).filter_map(|list| head(list, 0)));
    let total = lists.iter().map(|list| list.len()).sum::<usize>();
    let mut merged = Vec::with_capacity(k.min(total));
    while merged.len() < k
        && let Some(Reverse(Head { hit, list, at })) = heads.pop()
    {
        merged.push(Merged { hit, list });
        heads.extend(head(list, at + 1));
    }
    merged
}

/// Next hit of one list. Equal hits of two lists go by the number of the list, so that the answer does not depend on
/// which shard was faster.
#[derive(Clone, Copy)]
struct Head {
    hit: ShardHit,
    list: usize,
    at: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        by_distance(&self.hit, &other.hit).then(self.list.cmp(&other.list))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// The first `limit` of `lists` by id; each list is sorted by id.
pub fn merge_by_id<T>(lists: Vec<Vec<T>>, limit: usize, id: impl Fn(&T) -> PointId) -> Vec<T> {
    let mut all: Vec<T> = lists.into_iter().flatten().collect();
    // A stable sort finds the sorted runs it is made of and merges them.
    all.sort_by_key(|item| id(item));
    all.truncate(limit);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(id: u64, distance: f32) -> ShardHit {
        ShardHit { id: PointId::Num(id), distance, version: 1 }
    }

    fn ids(merged: &[Merged]) -> Vec<(PointId, usize)> {
        merged.iter().map(|m| (m.hit.id, m.list)).collect()
    }

    #[test]
    fn ties_go_by_id_across_lists() {
        let lists: [&[ShardHit]; 3] =
            [&[hit(3, 0.5), hit(4, 1.0)], &[], &[hit(1, 0.5), hit(2, 0.5), hit(9, 0.75)]];
        let expected = [(1, 2), (2, 2), (3, 0), (9, 2), (4, 0)].map(|(id, list)| (PointId::Num(id), list));
        assert_eq!(ids(&merge_hits(&lists, 10)), expected);
        assert_eq!(ids(&merge_hits(&lists, 3)), expected[..3]);
        assert!(merge_hits(&lists, 0).is_empty() && merge_hits(&[], 5).is_empty());
    }

    #[test]
    fn merging_is_sorting() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        for _ in 0..200 {
            let mut lists: Vec<Vec<ShardHit>> = Vec::new();
            for _ in 0..rng.random_range(1..8) {
                let n = rng.random_range(0..20);
                let mut list: Vec<_> =
                    (0..n).map(|_| hit(rng.random(), f32::from(rng.random_range(0..6_u8)))).collect();
                list.sort_by(by_distance);
                lists.push(list);
            }
            let k = rng.random_range(0..40);
            let mut all: Vec<_> = lists.iter().flatten().copied().collect();
            all.sort_by(by_distance);
            all.truncate(k);
            let slices: Vec<&[ShardHit]> = lists.iter().map(Vec::as_slice).collect();
            let merged: Vec<_> = merge_hits(&slices, k).iter().map(|m| m.hit).collect();
            assert_eq!(merged, all);
        }
    }

    #[test]
    fn pages_merge_by_id() {
        let lists = vec![vec![2, 7, 9], vec![], vec![1, 8]];
        assert_eq!(merge_by_id(lists, 4, |n| PointId::Num(*n)), [1, 2, 7, 8]);
    }
}
