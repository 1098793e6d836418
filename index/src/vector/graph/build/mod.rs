//! Building a graph: groups, nearest neighbours, pruning both ways, one round of searches, reachability, order.

use std::{ops::Range, sync::atomic::AtomicBool};

use rayon::prelude::*;

use self::{
    leaf::{AllPairs, Lists},
    partition::Cut,
    prune::{Pruner, Rule},
};
use super::{
    buffer::Buffer,
    check,
    rows::{MAX_DEGREE, Rows, Shape},
    walk::{Bounds, Route, Scratch, walk},
};
use crate::{
    IndexError, Result,
    vector::{
        codes::{
            int8::{Codes, Query},
            simd::{BLOCK, Simd, Work, dispatch},
        },
        topk::{Key, key, key_position},
    },
};

pub mod change;
mod leaf;
mod order;
pub mod partition;
mod prune;
mod reach;

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Neighbours per vector, a multiple of 32.
    pub degree: usize,
    /// Factor of the pruning rule, on squared distances.
    pub alpha: f32,
    /// Largest group of the partition.
    pub group: usize,
    /// Groups a vector joins.
    pub fanout: usize,
    /// Neighbours taken from each group.
    pub per_group: usize,
    /// Neighbours kept of all groups.
    pub candidates: usize,
    /// Candidates of the searches that refine the graph; 0 for none.
    pub ef: usize,
    /// Rounds of refinement.
    pub rounds: usize,
}

impl Plan {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] with the range.
    pub fn check(&self) -> Result<()> {
        let whole = self.degree.is_multiple_of(BLOCK) && (BLOCK..=MAX_DEGREE).contains(&self.degree);
        let sane = self.group >= 64 && self.fanout >= 1 && self.per_group >= 1 && self.alpha >= 1.0;
        if whole && sane {
            return Ok(());
        }
        Err(IndexError::InvalidParameter(format!(
            "a graph has a degree of 32 to {MAX_DEGREE} in steps of 32, groups of 64 or more and alpha of 1 or more; got {self:?}"
        )))
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            degree: 32,
            alpha: 1.1,
            group: 768,
            fanout: 5,
            per_group: 16,
            candidates: 64,
            ef: 64,
            rounds: 1,
        }
    }
}

/// Vectors that one task works on between two looks at the cancel flag.
const PIECE: usize = 256;

/// A graph: for each position `degree` neighbours, padded with the position itself.
#[derive(Debug)]
pub struct Links {
    /// Neighbours per vector.
    pub degree: usize,
    /// Row after row.
    pub flat: Vec<u32>,
}

impl Links {
    /// Neighbours of `position`.
    pub fn of(&self, position: u32) -> &[u32] {
        &self.flat[position as usize * self.degree..][..self.degree]
    }
}

/// What a build works with.
pub struct Builder<'a> {
    /// 8-bit codes.
    pub codes: &'a Codes,
    /// Coded components for 1-bit codes.
    pub heads: &'a [f32],
    /// How to build.
    pub plan: Plan,
    /// Raised by the caller to end the work.
    pub cancel: &'a AtomicBool,
}

impl Builder<'_> {
    fn count(&self) -> usize {
        self.codes.len()
    }

    fn entry(&self) -> u32 {
        entry(self.codes)
    }

    /// Builds the links.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    pub fn links(&self, shape: Shape) -> Result<Links> {
        let forward = self.first_links()?;
        let mut links = self.both_ways(&forward)?;
        for _ in 0..self.plan.rounds {
            let identity: Vec<u32> = (0..self.count() as u32).collect();
            let rows = Rows::write(shape, self.codes, self.heads, &links.flat, &identity, self.cancel)?;
            let forward = self.searched_links(&rows, &links)?;
            links = self.both_ways(&forward)?;
        }
        Ok(links)
    }

    fn first_links(&self) -> Result<Chosen> {
        let mut room = Lists::room(self.count(), self.plan.candidates)?;
        let lists = nearest(self.codes, 0, self.plan, &mut room, self.cancel)?;
        let (codes, rule) = (self.codes, self.rule(false));
        let read = |p, out: &mut Vec<Key>| lists.read(p, out);
        self.choose(|piece, out| dispatch(Choose { codes, piece, rule, read: &read, out }))
    }

    fn rule(&self, fill: bool) -> Rule {
        Rule { degree: self.plan.degree, alpha: self.plan.alpha, fill }
    }

    /// Lets `work` write what all positions choose, piece by piece.
    fn choose(&self, work: impl Fn(Range<u32>, &mut [Key]) + Sync) -> Result<Chosen> {
        let degree = self.plan.degree;
        let mut keys = Buffer::zeroed(self.count() * degree)?;
        keys.par_chunks_mut(PIECE * degree).enumerate().try_for_each(|(i, out)| {
            check(self.cancel)?;
            out.fill(Key::MAX);
            let start = (i * PIECE) as u32;
            work(start..start + (out.len() / degree) as u32, out);
            Ok(())
        })?;
        Ok(Chosen { degree, keys })
    }

    /// Adds to each row the rows that name it, and prunes again.
    fn both_ways(&self, forward: &Chosen) -> Result<Links> {
        let mut counts = vec![0u32; self.count() + 1];
        let all = 0..self.count() as u32;
        for p in all.clone() {
            forward.of(p).iter().for_each(|&k| counts[key_position(k) as usize + 1] += 1);
        }
        for i in 1..counts.len() {
            counts[i] += counts[i - 1];
        }
        let mut reverse = Buffer::<Key>::zeroed(counts.last().map_or(0, |&all| all as usize))?;
        let mut next = counts.clone();
        for position in all {
            for &k in forward.of(position) {
                let to = key_position(k) as usize;
                reverse[next[to] as usize] = (k & !0xFFFF_FFFF) | Key::from(position);
                next[to] += 1;
            }
        }
        let read = |p: u32, out: &mut Vec<Key>| {
            out.clear();
            out.extend_from_slice(forward.of(p));
            let p = p as usize;
            out.extend_from_slice(&reverse[counts[p] as usize..counts[p + 1] as usize]);
            out.sort_unstable();
            out.dedup();
        };
        let (codes, rule) = (self.codes, self.rule(true));
        let rows = self.choose(|piece, out| dispatch(Choose { codes, piece, rule, read: &read, out }))?;
        let degree = self.plan.degree;
        let mut flat = Vec::with_capacity(self.count() * degree);
        for position in 0..self.count() as u32 {
            flat.extend(rows.of(position).iter().map(|&k| key_position(k)));
            flat.resize((position as usize + 1) * degree, position);
        }
        Ok(Links { degree, flat })
    }

    /// Searches for each vector in the graph so far and chooses among what the walk has seen.
    fn searched_links(&self, rows: &Rows, links: &Links) -> Result<Chosen> {
        let (rule, entry) = (self.rule(false), self.entry());
        self.choose(|piece, out| dispatch(Refine { builder: self, rows, links, piece, rule, entry, out }))
    }
}

/// What each position chose, nearest first within each part.
struct Chosen {
    degree: usize,
    /// Unused places hold the largest key.
    keys: Buffer<Key>,
}

impl Chosen {
    fn of(&self, position: u32) -> &[Key] {
        let row = &self.keys[position as usize * self.degree..][..self.degree];
        &row[..row.iter().position(|&k| k == Key::MAX).unwrap_or(row.len())]
    }
}

/// The vector nearest to the mean.
pub fn entry(codes: &Codes) -> u32 {
    let norm = |i: &u32| key(codes.meta(*i).norm, *i);
    (0..codes.len() as u32).min_by_key(norm).unwrap_or(0)
}

/// Makes every vector reachable and gives the order of slots.
///
/// # Errors
/// [`IndexError::Cancelled`].
pub fn finish(codes: &Codes, links: &mut Links, cancel: &AtomicBool) -> Result<Vec<u32>> {
    let entry = entry(codes);
    reach::connect(codes, links, entry, cancel)?;
    check(cancel)?;
    Ok(order::order(links, entry))
}

/// For each vector from `first` on the nearest others of them, about.
fn nearest<'a>(
    codes: &Codes,
    first: u32,
    plan: Plan,
    room: &'a mut Buffer<Key>,
    cancel: &AtomicBool,
) -> Result<Lists<'a>> {
    let Plan { group, fanout, per_group, candidates, .. } = plan;
    let lists = Lists::new(first, candidates, room);
    let all = (first..codes.len() as u32).collect();
    let groups = partition::groups(codes, all, Cut { largest: group, fanout, seed: 1 }, cancel)?;
    groups.par_iter().try_for_each(|group| {
        check(cancel)?;
        AllPairs { codes, group, most: per_group, lists: &lists }.go();
        Ok(())
    })?;
    Ok(lists)
}

/// Runs `work` over `0..count`, piece by piece.
fn each_piece<T: Send>(
    count: usize,
    cancel: &AtomicBool,
    work: impl Fn(Range<u32>) -> Vec<T> + Sync,
) -> Result<Vec<T>> {
    let pieces: Vec<Vec<T>> = (0..count.div_ceil(PIECE))
        .into_par_iter()
        .map(|i| {
            check(cancel)?;
            Ok(work((i * PIECE) as u32..((i + 1) * PIECE).min(count) as u32))
        })
        .collect::<Result<_>>()?;
    Ok(pieces.into_iter().flatten().collect())
}

/// Chooses neighbours for a piece of the vectors.
struct Choose<'a, R> {
    codes: &'a Codes,
    piece: Range<u32>,
    rule: Rule,
    read: R,
    out: &'a mut [Key],
}

impl<R: Fn(u32, &mut Vec<Key>)> Work for Choose<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (mut pruner, mut list) = (Pruner::default(), Vec::new());
        for (position, out) in self.piece.zip(self.out.chunks_exact_mut(self.rule.degree)) {
            (self.read)(position, &mut list);
            pruner.choose(simd, self.codes, &list, self.rule);
            out[..pruner.chosen.len()].copy_from_slice(&pruner.chosen);
        }
    }
}

struct Refine<'a> {
    builder: &'a Builder<'a>,
    rows: &'a Rows,
    links: &'a Links,
    piece: Range<u32>,
    rule: Rule,
    entry: u32,
    out: &'a mut [Key],
}

impl Work for Refine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { builder, rows, links, piece, rule, entry, out } = self;
        let (codes, bits) = (builder.codes, rows.shape().bits);
        let (mut scratch, mut pruner, mut query) = (Scratch::default(), Pruner::default(), Query::default());
        for (position, out) in piece.zip(out.chunks_exact_mut(rule.degree)) {
            let head = &builder.heads[position as usize * bits..][..bits];
            scratch.prepared.set_row(simd, codes.code(position), codes.meta(position), head);
            let bounds = Bounds { k: builder.plan.ef, slack: 1.0, hops: usize::MAX };
            scratch.marks.prepare(rows.len());
            walk(simd, Route { rows, entry, bounds }, &mut scratch, |_| true);
            let found = &mut scratch.found;
            query.set(codes.code(position), codes.meta(position));
            for &n in links.of(position) {
                found.push(key(query.distance(simd, codes.code(n), codes.meta(n)), n));
            }
            found.retain(|&k| key_position(k) != position);
            found.sort_unstable();
            found.dedup();
            pruner.choose(simd, codes, found, rule);
            out[..pruner.chosen.len()].copy_from_slice(&pruner.chosen);
        }
    }
}
