//! What the filters of the benchmark let through, and the queries each belongs to.

use anyhow::{Context, Result};
use engram_index::Mask;
use engram_index::vector::exact::scan;
use engram_index::vector::kernel::Kernel;
use engram_index::vector::{Neighbor, VectorSet};
use roaring::RoaringBitmap;

use crate::noise::Noise;

/// Rows that predicates are made from; each query belongs to the nearest of them.
pub const PIVOTS: usize = 16;

/// What a filter has to do with the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: random rows.
    Uncorrelated,
    /// It lets the rows around the query's pivot through.
    Correlated,
    /// It lets the rows farthest from the query's pivot through.
    AntiCorrelated,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Uncorrelated, Self::Correlated, Self::AntiCorrelated];

    /// As the report calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uncorrelated => "uncorrelated",
            Self::Correlated => "correlated",
            Self::AntiCorrelated => "anti-correlated",
        }
    }
}

/// All rows in two orders for one pivot; a predicate takes the first or the last of one of them.
#[derive(Debug)]
struct Orders {
    shuffled: Vec<u32>,
    nearest: Vec<u32>,
}

/// Makes predicates.
#[derive(Debug)]
pub struct Predicates {
    orders: Vec<Orders>,
    /// Pivot of each query.
    groups: Vec<usize>,
}

impl Predicates {
    /// Draws the pivots from the rows and gives each query to its nearest.
    ///
    /// # Errors
    /// Those of a scan.
    pub fn new(set: &VectorSet, queries: &[Vec<f32>], seed: u64) -> Result<Self> {
        let mut noise = Noise::new(seed);
        let len = set.len();
        let pivots: Vec<usize> =
            (0..PIVOTS).map(|_| (noise.next_u64() % len.max(1) as u64) as usize).collect();
        let orders = pivots.iter().map(|&pivot| {
            let nearest = scan(set, set.vector(pivot), len, Mask::All)?;
            let nearest = nearest.iter().map(|n: &Neighbor| n.ordinal).collect();
            Ok(Orders { shuffled: shuffled(len, &mut noise), nearest })
        });
        let orders = orders.collect::<Result<_>>()?;
        let kernel = Kernel::new(set.metric());
        let nearest = |query: &Vec<f32>| {
            let distance = |&g: &usize| kernel.distance(query, set.vector(pivots[g]));
            (0..PIVOTS).min_by(|a, b| distance(a).total_cmp(&distance(b))).context("there are pivots")
        };
        let groups = queries.iter().map(nearest).collect::<Result<_>>()?;
        Ok(Self { orders, groups })
    }

    /// The predicate of each pivot that lets `count` rows through.
    pub fn masks(&self, kind: Kind, count: usize) -> Vec<RoaringBitmap> {
        let first = |orders: &Orders| -> RoaringBitmap {
            match kind {
                Kind::Uncorrelated => orders.shuffled.iter().take(count).copied().collect(),
                Kind::Correlated => orders.nearest.iter().take(count).copied().collect(),
                Kind::AntiCorrelated => orders.nearest.iter().rev().take(count).copied().collect(),
            }
        };
        self.orders.iter().map(first).collect()
    }

    /// Number of the mask of a query.
    pub fn group(&self, query: usize) -> usize {
        self.groups[query]
    }
}

fn shuffled(len: usize, noise: &mut Noise) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..len as u32).collect();
    for i in (1..len).rev() {
        rows.swap(i, (noise.next_u64() % (i as u64 + 1)) as usize);
    }
    rows
}

#[cfg(test)]
mod tests {
    use engram_index::Column;
    use engram_index::vector::Metric;

    use super::*;

    #[test]
    fn predicates_have_their_size_and_their_side() -> Result<()> {
        let line: Vec<f32> = (0..1_000).map(|i| i as f32).collect();
        let set = VectorSet::new(Metric::Euclid, 1, Column::from(line), None)?;
        let queries = [vec![0.0], vec![999.0]];
        let predicates = Predicates::new(&set, &queries, 1)?;
        for kind in Kind::ALL {
            assert!(predicates.masks(kind, 100).iter().all(|mask| mask.len() == 100));
        }
        let near = predicates.masks(Kind::Correlated, 300);
        let far = predicates.masks(Kind::AntiCorrelated, 300);
        assert!(near.iter().zip(&far).all(|(near, far)| near.is_disjoint(far)));
        assert!(near[predicates.group(1)].contains(999) && !far[predicates.group(1)].contains(999));
        Ok(())
    }
}
