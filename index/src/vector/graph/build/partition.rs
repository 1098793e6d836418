//! Overlapping groups of near vectors: recursive ball carving around random pivots.
//!
//! Each vector joins the groups of its nearest pivots; groups that are too large are split again. Within a group all
//! pairs are compared, which a processor does many times faster than the same number of scattered comparisons (the
//! partition-based builds of HCNSG, arXiv 1908.10396, and PiPNN).

use std::sync::atomic::AtomicBool;

use rand::{SeedableRng, rngs::SmallRng, seq::index};
use rayon::prelude::*;

use super::super::check;
use crate::{
    Result,
    vector::{
        codes::{
            int8::{Codes, Meta, Query},
            simd::{Simd, Work, dispatch},
        },
        topk::{Key, key, key_position},
    },
};

/// Pivots of one split at most: beyond that, comparing with pivots costs more than comparing within groups.
const MOST_PIVOTS: usize = 1024;
/// Vectors assigned by one task.
const PIECE: usize = 256;

/// How to cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Groups are not larger.
    pub largest: usize,
    /// Groups that a vector joins in the first split.
    pub fanout: usize,
    /// Where random picks start.
    pub seed: u64,
}

/// Groups of at most `cut.largest` members; every member is in at least one.
///
/// # Errors
/// [`IndexError::Cancelled`](crate::IndexError::Cancelled).
pub fn groups(codes: &Codes, members: Vec<u32>, cut: Cut, cancel: &AtomicBool) -> Result<Vec<Vec<u32>>> {
    check(cancel)?;
    if members.len() <= cut.largest {
        return Ok(vec![members]);
    }
    let wanted = (members.len() * cut.fanout).div_ceil(cut.largest / 2).clamp(2, MOST_PIVOTS);
    let mut rng = SmallRng::seed_from_u64(cut.seed);
    let picks = index::sample(&mut rng, members.len(), wanted);
    let pivots: Vec<u32> = picks.iter().map(|i| members[i]).collect();
    let fanout = cut.fanout.min(wanted - 1).max(1);
    let near: Vec<Vec<u16>> = members
        .par_chunks(PIECE)
        .map(|piece| {
            check(cancel)?;
            Ok(dispatch(Assign { codes, piece, pivots: &pivots, fanout }))
        })
        .collect::<Result<_>>()?;
    let near = near.concat();
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); wanted];
    for (&member, pivots) in members.iter().zip(near.chunks_exact(fanout)) {
        pivots.iter().for_each(|&p| found[usize::from(p)].push(member));
    }
    let total = members.len();
    drop((members, near));
    let mut done: Vec<Vec<u32>> = Vec::new();
    let mut small: Vec<u32> = Vec::new();
    let mut large = Vec::new();
    for group in found {
        if group.len() > cut.largest {
            large.push(group);
        } else if group.len() >= cut.largest / 4 {
            done.push(group);
        } else {
            if small.len() + group.len() > cut.largest {
                done.push(std::mem::take(&mut small));
            }
            small.extend(group);
        }
    }
    done.push(small);
    let deeper: Vec<Vec<Vec<u32>>> = large
        .into_par_iter()
        .enumerate()
        .map(|(i, group)| {
            let seed = cut.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(i as u64 + 1);
            // Equal vectors have the same pivots at every depth: such a group is cut anywhere.
            if group.len() >= total {
                return Ok(group.chunks(cut.largest).map(<[u32]>::to_vec).collect());
            }
            let fanout = if group.len() > 16 * cut.largest { 2 } else { 1 };
            groups(codes, group, Cut { fanout, seed, ..cut }, cancel)
        })
        .collect::<Result<_>>()?;
    done.extend(deeper.into_iter().flatten());
    done.retain(|g| !g.is_empty());
    done.iter_mut().for_each(|g| {
        g.sort_unstable();
        g.dedup();
    });
    Ok(done)
}

/// The nearest pivots of each member of a piece.
struct Assign<'a> {
    codes: &'a Codes,
    piece: &'a [u32],
    pivots: &'a [u32],
    fanout: usize,
}

impl Work for Assign<'_> {
    type Output = Vec<u16>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<u16> {
        let Self { codes, piece, pivots, fanout } = self;
        let mut query = Query::default();
        let mut out = Vec::with_capacity(piece.len() * fanout);
        let mut best = Nearest::default();
        for &member in piece {
            query.set(codes.code(member), codes.meta(member));
            best.reset(fanout);
            each_distance(simd, &query, codes, pivots, |i, d| best.offer(key(d, i as u32)));
            out.extend(best.keys.iter().map(|&k| key_position(k) as u16));
        }
        out
    }
}

/// Calls `take` with the index and the distance of each of `members`.
#[inline(always)]
pub fn each_distance<S: Simd>(
    simd: S,
    query: &Query,
    codes: &Codes,
    members: &[u32],
    mut take: impl FnMut(usize, f32),
) {
    let (fours, rest) = members.as_chunks::<4>();
    for (i, four) in fours.iter().enumerate() {
        let distances =
            query.distance4(simd, four.map(|m| codes.code(m)), four.map(|m| -> Meta { codes.meta(m) }));
        for (j, d) in distances.into_iter().enumerate() {
            take(4 * i + j, d);
        }
    }
    for (i, &m) in rest.iter().enumerate() {
        take(4 * fours.len() + i, query.distance(simd, codes.code(m), codes.meta(m)));
    }
}

/// The nearest few of a stream, sorted.
#[derive(Debug, Default)]
pub struct Nearest {
    /// What is held, nearest first.
    pub keys: Vec<Key>,
    most: usize,
}

impl Nearest {
    /// Empties it and sets how many it keeps.
    pub fn reset(&mut self, most: usize) {
        self.keys.clear();
        self.most = most;
    }

    /// Keeps `key` where it is among the nearest.
    #[inline(always)]
    pub fn offer(&mut self, key: Key) {
        if self.keys.len() == self.most {
            match self.keys.last() {
                Some(&last) if key < last => self.keys.pop(),
                _ => return,
            };
        }
        let at = self.keys.partition_point(|&k| k < key);
        self.keys.insert(at, key);
    }
}
