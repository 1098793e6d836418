//! A search: prepare the query, walk, re-score the nearest with their own vectors.

use std::cell::Cell;

use roaring::RoaringBitmap;

use super::{
    GraphIndex,
    walk::{Bounds, Counts, End, Route, Scratch, walk},
};
use crate::{
    Mask,
    vector::{
        Neighbor,
        codes::simd::{Simd, Work, dispatch},
        exact,
        kernel::{Kernel, prefetch},
        topk::{Key, key, key_distance, key_position},
    },
};

/// Most cache lines of a vector or a code that are fetched ahead, 4 KiB; the processor follows on its own from there.
const WHOLE: usize = 64;
/// Rows whose codes are on their way while one is compared.
const AHEAD: usize = 12;

/// Squared length of a query, in units of the rows' own, beyond which rounding hides the differences between rows.
const ASTRAY: f32 = 1e6;
/// Rows that a scan keeps at least, before it drops those that cannot be among the nearest.
const KEPT: usize = 4096;

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort {
    /// As far as this share of the nearest is expected to need.
    Recall(f32),
    /// Until that many of the nearest visited are nearer than every candidate.
    Candidates(usize),
    /// See [`Bounds::slack`].
    Slack(f32),
}

/// How a search was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a walk.
    Walk,
    /// By comparing with the codes of all that the mask allows.
    Scan,
    /// By such a scan, after a walk that took too long.
    WalkThenScan,
    /// By comparing with the vectors of all that the mask allows.
    Exact,
}

/// The answer of a search, and how it was found.
#[derive(Debug)]
pub struct Answer {
    /// The nearest, exactly re-scored.
    pub found: Vec<Neighbor>,
    /// How it was found.
    pub way: Way,
    /// What the walk did, if there was one.
    pub work: Counts,
}

/// What a walk or a scan of codes came to.
#[derive(Debug)]
pub struct Walked {
    /// The nearest, exactly re-scored.
    pub found: Vec<Neighbor>,
    /// How it ended.
    pub end: End,
    /// What it did.
    pub work: Counts,
}

thread_local! {
    /// Taken for the time of a search. One that panics drops it, and the next starts with a new one.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// One search over a mask.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub index: &'a GraphIndex,
    pub query: &'a [f32],
    pub k: usize,
    pub mask: Mask<'a>,
    /// A position that is not visited.
    pub without: Option<usize>,
}

impl Search<'_> {
    /// The nearest that a walk comes to.
    pub fn walk(self, bounds: Bounds) -> Walked {
        self.run(Some(bounds))
    }

    /// The nearest by comparing with the codes of all that the mask allows.
    pub fn scan(self) -> Walked {
        self.run(None)
    }

    /// Runs with the scratch memory of this thread; scans where there are no bounds.
    fn run(self, bounds: Option<Bounds>) -> Walked {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let walked = dispatch(Scratched { search: self, bounds, scratch: &mut scratch });
        SCRATCH.set(Some(scratch));
        walked
    }
}

/// A search in one instruction set.
struct Scratched<'a> {
    search: Search<'a>,
    bounds: Option<Bounds>,
    scratch: &'a mut Scratch,
}

impl Work for Scratched<'_> {
    type Output = Walked;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Walked {
        let Self { search, bounds, scratch } = self;
        let Search { index, query, mask, k, .. } = search;
        index.space.prepare(simd, query, &mut scratch.prepared);
        scratch.work = Counts::default();
        let length = scratch.prepared.query.meta().norm;
        if length.is_nan() || length >= ASTRAY {
            return Walked { found: Vec::new(), end: End::Astray, work: Counts::default() };
        }
        let end = match bounds {
            Some(bounds) => walk_masked(simd, search, bounds, scratch),
            None => scan_codes(simd, index, (mask, k), scratch),
        };
        Walked { found: rescore(search, scratch), end, work: scratch.work }
    }
}

/// Fills `scratch.found` with the allowed rows that a walk visits.
#[inline(always)]
fn walk_masked<S: Simd>(simd: S, search: Search<'_>, bounds: Bounds, scratch: &mut Scratch) -> End {
    let Search { index, mask, without, .. } = search;
    scratch.marks.prepare(index.rows.len());
    let entry = match without.and_then(|p| index.slots.get(p)) {
        Some(&slot) => {
            scratch.marks.visit(slot);
            index.entry_besides(slot)
        }
        None => index.entry,
    };
    let route = Route { rows: &index.rows, entry, bounds };
    match mask {
        Mask::All => walk(simd, route, scratch, |_| true),
        Mask::Allow(set) => {
            let ordinals = index.ordinals();
            walk(simd, route, scratch, |slot| set.contains(ordinal(ordinals, slot)))
        }
        Mask::Deny(set) => {
            let ordinals = index.ordinals();
            walk(simd, route, scratch, |slot| !set.contains(ordinal(ordinals, slot)))
        }
    }
}

/// Ordinal of a slot; one that no vector has past the end, where only forged rows lead.
#[inline(always)]
fn ordinal(ordinals: &[u32], slot: u32) -> u32 {
    ordinals.get(slot as usize).copied().unwrap_or(u32::MAX)
}

/// The `k` nearest of what was found, by the vectors themselves.
#[inline(always)]
fn rescore(search: Search<'_>, scratch: &mut Scratch) -> Vec<Neighbor> {
    let Search { index, query, k, mask, .. } = search;
    let (found, near_tie) = (&mut scratch.found, index.rows.shape().width.near_tie());
    drop_far(found, k, near_tie);
    scratch.work.rescored = found.len();
    let vectors = index.vectors.rows();
    for k in found.iter_mut() {
        let position = index.rows.row(key_position(*k)).position();
        prefetch(vectors.get(position as usize), WHOLE);
        *k = u64::from(position);
    }
    let kernel = Kernel::new(index.vectors.metric());
    // A row of a file that passed its checksum and still names no vector would have no distance; one that names another than
    // its slot belongs to might be refused.
    found.retain(|&k| {
        let position = key_position(k) as usize;
        position < index.vectors.len() && mask.allows(index.vectors.ordinal(position))
    });
    for k in found.iter_mut() {
        let position = key_position(*k);
        *k = key(kernel.distance(query, vectors.get(position as usize)), position);
    }
    found.sort_unstable();
    found.truncate(k);
    exact::neighbors(&index.vectors, found)
}

/// Drops what is not among the `k` nearest by codes nor so near to them that the vectors themselves have to decide.
fn drop_far(found: &mut Vec<Key>, k: usize, near_tie: f32) {
    if k == 0 || k >= found.len() {
        return;
    }
    let (_, kth, _) = found.select_nth_unstable(k - 1);
    let bound = key(near_tie * key_distance(*kth), u32::MAX);
    let mut kept = k;
    for i in k..found.len() {
        if found[i] <= bound {
            found[kept] = found[i];
            kept += 1;
        }
    }
    found.truncate(kept);
}

/// Fills `scratch.found` with the nearest of all that the mask allows, by codes.
#[inline(always)]
fn scan_codes<S: Simd>(
    simd: S,
    index: &GraphIndex,
    (mask, k): (Mask<'_>, usize),
    scratch: &mut Scratch,
) -> End {
    let Scratch { prepared, found, .. } = scratch;
    found.clear();
    let (rows, near_tie) = (&index.rows, index.rows.shape().width.near_tie());
    let mut sound = true;
    let mut waiting = [0u32; AHEAD];
    let mut seen = 0usize;
    let mut full = KEPT.max(4 * k);
    let mut compare = |slot: u32| {
        if found.len() >= full {
            drop_far(found, k, near_tie);
            full = KEPT.max(4 * k).max(2 * found.len());
        }
        sound &= rows.is_sound(slot);
        let row = rows.row(slot);
        found.push(key(row.distance(simd, &prepared.query), slot));
    };
    each_allowed(index, mask, |slot| {
        let place = &mut waiting[seen % AHEAD];
        fetch_code(index, slot);
        let due = std::mem::replace(place, slot);
        if seen >= AHEAD {
            compare(due);
        }
        seen += 1;
    });
    for i in seen.saturating_sub(AHEAD)..seen {
        compare(waiting[i % AHEAD]);
    }
    if sound { End::Done } else { End::Damaged }
}

/// Asks for what a comparison with the code of a row reads: the code, and scale and norm, which lie behind it in a compact row
/// and at the end of a fast one.
#[inline(always)]
fn fetch_code(index: &GraphIndex, slot: u32) {
    let (raw, shape) = (index.rows.raw(slot), index.rows.shape());
    if shape.is_compact() {
        return prefetch(&raw[..shape.compared_bytes()], WHOLE);
    }
    prefetch(&raw[..shape.own()], WHOLE);
    prefetch(&raw[raw.len() - 64..], 1);
}

/// Calls `take` with the slot of every vector the mask allows.
#[inline(always)]
fn each_allowed(index: &GraphIndex, mask: Mask<'_>, mut take: impl FnMut(u32)) {
    let (vectors, slots) = (&index.vectors, index.slots.as_slice());
    match (mask, vectors.ordinals()) {
        (Mask::Allow(set), None) => allowed_positions(set, slots.len()).for_each(|p| take(slots[p])),
        (Mask::Allow(set), Some(ordinals)) if set.len() < ordinals.len() as u64 / 8 => {
            set.iter().filter_map(|o| vectors.position(o)).for_each(|p| take(slots[p]));
        }
        (mask, _) => {
            let allowed = (0..slots.len()).filter(|&p| mask.allows(vectors.ordinal(p)));
            allowed.for_each(|p| take(slots[p]));
        }
    }
}

fn allowed_positions(set: &RoaringBitmap, len: usize) -> impl Iterator<Item = usize> {
    set.iter().map(|o| o as usize).take_while(move |&p| p < len)
}
