//! A graph that takes inserts and deletes, between two times that it is sealed.
//!
//! Inserts come in batches: the new vectors are searched for in rows that were written earlier, compared with each other
//! in groups, and linked both ways with pruning. A delete lets the neighbours of the dead choose among the neighbours of
//! those (FreshDiskANN, arXiv 2105.09613, algorithm 4). Codes and links stay what they are where nothing changes.

use std::{
    ops::Range,
    sync::{Arc, atomic::AtomicBool},
};

use rayon::prelude::*;

use super::{
    Builder, Links, Plan, each_piece,
    leaf::Lists,
    nearest,
    partition::each_distance,
    prune::{Pruner, Rule},
};
use crate::{
    IndexError, Result,
    vector::{
        VectorSet,
        codes::{
            int8::{Codes, Query},
            simd::{Simd, Work, dispatch},
        },
        graph::{
            GraphIndex, check,
            rows::{Rows, Width},
            space::Space,
            walk::{Bounds, Route, Scratch, walk},
        },
        topk::{Key, key, key_position},
    },
};

/// No position.
pub const GONE: u32 = u32::MAX;

/// Neighbours of a dead one that may take its place, the nearest. Of each: the nearest of all would never replace a link
/// that leads far.
const HEIRS: usize = 8;
/// Candidates of the search for a new vector, times those of a build: nobody but it will look for its neighbours.
const SEARCHED: (usize, usize) = (3, 2);
/// Rows are written anew for inserts when those they do not cover are more than one in this many.
const UNCOVERED: usize = 2;

/// A graph by position, which can change. The caller runs its methods in the pool they shall use.
#[derive(Debug)]
pub struct MutableGraph {
    space: Space,
    plan: Plan,
    codes: Codes,
    links: Links,
    live: Vec<bool>,
    /// What searches for neighbours go through.
    rows: Option<Covering>,
    repaired: bool,
}

/// Rows of an earlier state of the graph.
#[derive(Debug)]
struct Covering {
    rows: Rows,
    /// Slot that walks start from.
    entry: u32,
    /// Positions from here on came later.
    end: u32,
    /// Position of each slot.
    positions: Vec<u32>,
}

impl MutableGraph {
    /// A graph of nothing. `plan` has passed [`Plan::check`].
    ///
    /// # Errors
    /// [`IndexError::Internal`] without memory.
    pub fn new(space: Space, plan: Plan) -> Result<Self> {
        let codes = Codes::with_len(0, space.padded())?;
        let links = Links { degree: plan.degree, flat: Vec::new() };
        Ok(Self { space, plan, codes, links, live: Vec::new(), rows: None, repaired: false })
    }

    /// Takes over a sealed graph, without encoding anything again: positions stay those of its vectors.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where a row is damaged, [`IndexError::InvalidParameter`] where `plan` has another degree,
    /// [`IndexError::Cancelled`].
    pub fn unseal(index: &GraphIndex, plan: Plan, cancel: &AtomicBool) -> Result<Self> {
        let (rows, degree) = (&index.rows, plan.degree);
        if rows.shape().degree != degree {
            let why = format!("a graph with {} neighbours cannot have {degree}", rows.shape().degree);
            return Err(IndexError::InvalidParameter(why));
        }
        let count = index.vectors.len();
        let mut codes = Codes::with_len(count, index.space.padded())?;
        let mut flat = vec![0u32; count * degree];
        let mut positions = vec![GONE; count];
        for (position, &slot) in index.slots.iter().enumerate() {
            positions[slot as usize] = position as u32;
        }
        let pieces: Vec<_> = codes.pieces(super::PIECE).zip(flat.chunks_mut(super::PIECE * degree)).collect();
        pieces.into_par_iter().enumerate().try_for_each(|(i, ((codes, metas), links))| {
            check(cancel)?;
            let own = codes.chunks_exact_mut(index.space.padded()).zip(metas);
            for (j, ((code, meta), links)) in own.zip(links.chunks_exact_mut(degree)).enumerate() {
                let position = i * super::PIECE + j;
                let slot = index.slots[position];
                let row = rows.row(slot);
                if !rows.is_sound(slot) || row.position() as usize != position {
                    return Err(IndexError::corrupt("graph", format!("row {slot}")));
                }
                *meta = row.copy_code(code);
                for (link, neighbor) in links.iter_mut().zip(row.neighbors()) {
                    // One that names no row would be damage under a right checksum.
                    let to = positions.get(neighbor as usize).copied().filter(|&p| p != GONE);
                    *link =
                        to.ok_or_else(|| IndexError::corrupt("graph", format!("a link of row {slot}")))?;
                }
            }
            Ok(())
        })?;
        let covering = Covering { rows: rows.clone(), entry: index.entry, end: count as u32, positions };
        Ok(Self {
            space: index.space.clone(),
            plan,
            codes,
            links: Links { degree, flat },
            live: vec![true; count],
            rows: Some(covering),
            repaired: index.repaired,
        })
    }

    /// Positions given so far, dead ones too.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// True when nothing was ever inserted.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    fn is_live(&self, position: u32) -> bool {
        self.live.get(position as usize) == Some(&true)
    }

    fn rule(&self) -> Rule {
        Rule { degree: self.plan.degree, alpha: self.plan.alpha, fill: true }
    }

    /// Takes vectors out; those that are no positions or dead already are passed over.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`]; the graph is of no use then.
    pub fn delete(&mut self, positions: &[u32], cancel: &AtomicBool) -> Result<()> {
        for &position in positions {
            if let Some(live) = self.live.get_mut(position as usize) {
                self.repaired |= std::mem::replace(live, false);
            }
        }
        let graph = &*self;
        let repaired = each_piece(self.len(), cancel, |piece| dispatch(Repair { graph, piece }))?;
        let mut back = Vec::new();
        for Repaired { position, new, .. } in &repaired {
            back.extend(new.iter().map(|&k| turned(*position, k)));
        }
        let changed: Vec<_> = repaired.into_iter().map(|r| (r.position, r.keys)).collect();
        self.relink(&changed);
        drop(changed);
        self.link_back(back, cancel)
    }

    /// Adds the vectors of `set` at `picks`; they get the next positions in that order.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`], [`IndexError::Internal`] without memory; the graph is of no use then.
    pub fn insert(&mut self, set: &VectorSet, picks: &[u32], cancel: &AtomicBool) -> Result<()> {
        let (codes, heads) = self.space.encode_picked(set, picks.len(), |i| picks[i] as usize, cancel)?;
        let first = self.codes.len() as u32;
        let covering = if first == 0 { None } else { Some(self.covering(cancel)?) };
        self.codes.append(&codes)?;
        drop(codes);
        self.live.resize(self.codes.len(), true);
        let own = first..self.codes.len() as u32;
        self.links.flat.extend(own.flat_map(|p| std::iter::repeat_n(p, self.plan.degree)));
        let Some(covering) = covering else {
            let builder = Builder { codes: &self.codes, heads: &heads, plan: self.plan, cancel };
            self.links = builder.links(self.space.shape(self.plan.degree))?;
            return Ok(());
        };
        let mut room = Lists::room(self.codes.len() - covering.end as usize, self.plan.candidates)?;
        let lists = nearest(&self.codes, covering.end, self.plan, &mut room, cancel)?;
        let targets: Vec<u32> = (first..self.codes.len() as u32).collect();
        self.attach(&targets, &covering, &lists, cancel)?;
        self.rows = Some(covering);
        Ok(())
    }

    /// Searches for neighbours of `targets`, links to them and back.
    fn attach(
        &mut self,
        targets: &[u32],
        covering: &Covering,
        lists: &Lists<'_>,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let graph = &*self;
        let chosen = each_piece(targets.len(), cancel, |piece| {
            let targets = &targets[piece.start as usize..piece.end as usize];
            dispatch(Attach { graph, covering, lists, targets })
        })?;
        // Also what only fills a row is told: whoever is not searched for again hears of new ones in no other way.
        let mut back = Vec::new();
        for (&position, chosen) in targets.iter().zip(&chosen) {
            back.extend(chosen.iter().map(|&k| turned(position, k)));
        }
        let own: Vec<(u32, Vec<Key>)> = targets.iter().copied().zip(chosen).collect();
        self.relink(&own);
        drop(own);
        self.link_back(back, cancel)
    }

    /// Rows that cover most positions.
    fn covering(&mut self, cancel: &AtomicBool) -> Result<Covering> {
        let count = self.codes.len();
        match self.rows.take() {
            Some(old) if (count - old.end as usize) * UNCOVERED <= count => return Ok(old),
            _ => {}
        }
        let heads = self.space.heads(&self.codes, cancel)?;
        let identity: Vec<u32> = (0..count as u32).collect();
        let shape = self.space.shape(self.plan.degree);
        let rows = Rows::write(shape, &self.codes, &heads, &self.links.flat, &identity, cancel)?;
        let norm = |p: &u32| key(self.codes.meta(*p).norm, *p);
        let entry = (0..count as u32).filter(|&p| self.is_live(p)).min_by_key(norm).unwrap_or(0);
        Ok(Covering { rows, entry, end: count as u32, positions: identity })
    }

    /// Lets each position choose again with the links that others have to it: pairs of a position and such a link.
    fn link_back(&mut self, mut back: Vec<(u32, Key)>, cancel: &AtomicBool) -> Result<()> {
        check(cancel)?;
        back.par_sort_unstable();
        let groups: Vec<&[(u32, Key)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let graph = &*self;
        let changed = each_piece(groups.len(), cancel, |piece| {
            let groups = &groups[piece.start as usize..piece.end as usize];
            dispatch(LinkBack { graph, groups })
        })?;
        self.relink(&changed);
        Ok(())
    }

    fn relink(&mut self, changed: &[(u32, Vec<Key>)]) {
        let degree = self.links.degree;
        for (position, keys) in changed {
            let row = &mut self.links.flat[*position as usize * degree..][..degree];
            row.fill(*position);
            row.iter_mut().zip(keys).for_each(|(link, &k)| *link = key_position(k));
        }
    }

    /// Seals it over `vectors`: what is at position `p` here is at `numbering[p]` there; [`GONE`] for the dead.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] where the numbering does not give each vector one live position,
    /// [`IndexError::Cancelled`], [`IndexError::Internal`] without memory.
    pub fn seal(self, vectors: Arc<VectorSet>, numbering: &[u32], cancel: &AtomicBool) -> Result<GraphIndex> {
        let from = self.sources(vectors.len(), numbering)?;
        let Self { space, codes: old, links: Links { degree, flat: links }, repaired, .. } = self;
        let mut codes = Codes::with_len(from.len(), space.padded())?;
        let mut flat = vec![0u32; from.len() * degree];
        let pieces: Vec<_> = codes.pieces(super::PIECE).zip(flat.chunks_mut(super::PIECE * degree)).collect();
        let work = pieces.into_par_iter().zip(from.par_chunks(super::PIECE));
        work.try_for_each(|(((codes, metas), flat), from)| {
            check(cancel)?;
            let own = codes.chunks_exact_mut(space.padded()).zip(metas).zip(flat.chunks_exact_mut(degree));
            for (((code, meta), row), &p) in own.zip(from) {
                code.copy_from_slice(old.code(p));
                *meta = old.meta(p);
                let links = &links[p as usize * degree..][..degree];
                row.iter_mut().zip(links).for_each(|(to, &n)| *to = numbering[n as usize]);
            }
            Ok(())
        })?;
        drop((old, links));
        let heads = space.heads(&codes, cancel)?;
        let links = Links { degree, flat };
        let mut index = GraphIndex::seal(vectors, space, (codes, heads, links), &[Width::Eight], cancel)?;
        index.repaired = repaired;
        Ok(index)
    }

    /// The position here of each of `count` vectors.
    fn sources(&self, count: usize, numbering: &[u32]) -> Result<Vec<u32>> {
        let misfit = || IndexError::InvalidParameter("a numbering that does not fit the graph".into());
        let mut from = vec![GONE; count];
        if numbering.len() != self.len() {
            return Err(misfit());
        }
        for (position, &to) in (0u32..).zip(numbering).filter(|&(p, _)| self.is_live(p)) {
            match from.get_mut(to as usize) {
                Some(place) if *place == GONE => *place = position,
                _ => return Err(misfit()),
            }
        }
        if from.contains(&GONE) { Err(misfit()) } else { Ok(from) }
    }
}

/// The link from `position` to that of `key`, as seen from there.
fn turned(position: u32, key: Key) -> (u32, Key) {
    (key_position(key), key & !0xFFFF_FFFF | Key::from(position))
}

/// Adds the distances of `members` from what `query` was set to.
#[inline(always)]
fn measure<S: Simd>(simd: S, query: &Query, codes: &Codes, members: &[u32], keys: &mut Vec<Key>) {
    each_distance(simd, query, codes, members, |i, d| keys.push(key(d, members[i])));
}

/// Chooses new neighbours for the vectors of a piece that have dead ones.
struct Repair<'a> {
    graph: &'a MutableGraph,
    piece: Range<u32>,
}

/// A vector that lost links, with those it has now.
struct Repaired {
    position: u32,
    keys: Vec<Key>,
    /// Those of them that were none before.
    new: Vec<Key>,
}

impl Work for Repair<'_> {
    type Output = Vec<Repaired>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { graph, piece } = self;
        let (mut pruner, mut query) = (Pruner::default(), Query::default());
        let (mut kept, mut near, mut keys, mut changed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for position in piece.filter(|&p| graph.is_live(p)) {
            let links = graph.links.of(position);
            if links.iter().all(|&n| graph.is_live(n)) {
                continue;
            }
            kept.clear();
            kept.extend(links.iter().copied().filter(|&n| graph.is_live(n) && n != position));
            query.set(graph.codes.code(position), graph.codes.meta(position));
            keys.clear();
            for &dead in links.iter().filter(|&&n| !graph.is_live(n)) {
                near.clear();
                near.extend(
                    graph.links.of(dead).iter().copied().filter(|&n| graph.is_live(n) && n != position),
                );
                let first = keys.len();
                measure(simd, &query, &graph.codes, &near, &mut keys);
                keys[first..].sort_unstable();
                keys.truncate(first + HEIRS);
            }
            measure(simd, &query, &graph.codes, &kept, &mut keys);
            keys.sort_unstable();
            keys.dedup();
            pruner.choose(simd, &graph.codes, &keys, graph.rule());
            let keys = pruner.chosen.clone();
            let new = keys.iter().copied().filter(|&k| !kept.contains(&key_position(k))).collect();
            changed.push(Repaired { position, keys, new });
        }
        changed
    }
}

/// Chooses neighbours for some vectors among what a walk and their groups know.
struct Attach<'a, 'l> {
    graph: &'a MutableGraph,
    covering: &'a Covering,
    /// Near ones among what the rows do not cover.
    lists: &'a Lists<'l>,
    targets: &'a [u32],
}

impl Work for Attach<'_, '_> {
    type Output = Vec<Vec<Key>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<Vec<Key>> {
        let Self { graph, covering, lists, targets } = self;
        let (rows, codes) = (&covering.rows, &graph.codes);
        let bounds = Bounds {
            k: (graph.plan.ef * SEARCHED.0 / SEARCHED.1).max(graph.plan.degree),
            slack: 1.0,
            hops: usize::MAX,
        };
        let (mut scratch, mut pruner, mut query) = (Scratch::default(), Pruner::default(), Query::default());
        let (mut head, mut list) = (Vec::new(), Vec::new());
        let choose = |&position: &u32| {
            let (code, meta) = (codes.code(position), codes.meta(position));
            query.set(code, meta);
            graph.space.head_of(simd, &query, &mut head);
            scratch.prepared.set_row(simd, code, meta, &head);
            scratch.marks.prepare(rows.len());
            let is_live = |slot: u32| graph.is_live(covering.positions[slot as usize]);
            walk(simd, Route { rows, entry: covering.entry, bounds }, &mut scratch, is_live);
            let found = &mut scratch.found;
            for k in found.iter_mut() {
                *k = *k & !0xFFFF_FFFF | Key::from(covering.positions[key_position(*k) as usize]);
            }
            lists.read(position, &mut list);
            found.extend(list.iter().filter(|&&k| graph.is_live(key_position(k))));
            found.retain(|&k| key_position(k) != position);
            found.sort_unstable();
            found.dedup();
            pruner.choose(simd, codes, found, graph.rule());
            pruner.chosen.clone()
        };
        targets.iter().map(choose).collect()
    }
}

/// Chooses again where vectors want to be linked from.
struct LinkBack<'a> {
    graph: &'a MutableGraph,
    /// A position and the vectors that chose it.
    groups: &'a [&'a [(u32, Key)]],
}

impl Work for LinkBack<'_> {
    type Output = Vec<(u32, Vec<Key>)>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { graph, groups } = self;
        let (mut pruner, mut query) = (Pruner::default(), Query::default());
        let (mut kept, mut keys, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            let Some(&(position, _)) = group.first() else { continue };
            kept.clear();
            kept.extend(graph.links.of(position).iter().copied().filter(|&n| n != position));
            query.set(graph.codes.code(position), graph.codes.meta(position));
            keys.clear();
            measure(simd, &query, &graph.codes, &kept, &mut keys);
            keys.extend(group.iter().map(|&(_, k)| k));
            keys.sort_unstable();
            keys.dedup();
            pruner.choose(simd, &graph.codes, &keys, graph.rule());
            changed.push((position, pruner.chosen.clone()));
        }
        changed
    }
}
