//! The only place that touches `hnsw_rs`: builds a layered graph with it and takes the links out.
//!
//! What `hnsw_rs` 0.3.5 does to careless callers, and what stands against it here:
//! * it ends the process above 256 connections: [`check`] allows at most [`MAX_M`];
//! * it panics on NaN and on negative distances: vectors are admitted (finite) and distances are clamped at 0; inner
//!   product becomes L2 by one more dimension (the reduction of Bachrach et al., RecSys 2014);
//! * two insertions can wait for each other for ever: each holds the read lock of its own links while it takes write
//!   locks of its neighbours. See [`levels`] for when, and how it is kept from happening;
//! * it copies every vector: it is given positions, and distances look the vectors up in our set;
//! * its destructor and its insertions use the current rayon pool: all of it runs inside the caller's;
//! * whatever panic is left ends in an error, not in the caller's thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
};

use hnsw_rs::prelude::{Distance, Hnsw};
use rayon::ThreadPool;
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::HnswParams;
use crate::{
    IndexError, Result,
    vector::{Metric, VectorSet, kernel::Kernel, set::Rows},
};

/// Largest [`HnswParams::m`]; beyond it memory grows and recall does not.
pub const MAX_M: usize = 128;
/// Largest [`HnswParams::ef_construction`].
pub const MAX_EF_CONSTRUCTION: usize = 4096;
/// Layers `hnsw_rs` can have.
const LAYERS: usize = 16;
/// Points inserted between two looks at the cancel flag: well under a second of work.
const BATCH: usize = 1024;

/// Links per layer, by position.
pub(super) struct RawGraph {
    /// A position in the topmost layer.
    pub entry: u32,
    /// `links[layer][i]`: (position, its neighbours), every position once in layer 0, those that reach it above.
    pub layers: Vec<Vec<(u32, Vec<u32>)>>,
}

/// Refuses parameters outside their range.
///
/// # Errors
/// [`IndexError::InvalidParameter`].
pub(super) fn check(params: &HnswParams) -> Result<()> {
    if !(2..=MAX_M).contains(&params.m) {
        let why = format!("m is {}: give 2 to {MAX_M} (16 suits most fields)", params.m);
        return Err(IndexError::InvalidParameter(why));
    }
    if !(1..=MAX_EF_CONSTRUCTION).contains(&params.ef_construction) {
        let why = format!(
            "ef_construction is {}: give 1 to {MAX_EF_CONSTRUCTION} (200 suits most fields)",
            params.ef_construction
        );
        return Err(IndexError::InvalidParameter(why));
    }
    Ok(())
}

/// Builds the links of a set that is not empty, with the threads of `pool`.
///
/// # Errors
/// [`IndexError::Cancelled`] soon after `cancel` is raised; [`IndexError::Internal`] where `hnsw_rs` panics.
pub(super) fn build(
    set: &VectorSet,
    params: &HnswParams,
    pool: &ThreadPool,
    cancel: &AtomicBool,
) -> Result<RawGraph> {
    check(params)?;
    let work = || pool.install(|| build_here(set, params, pool.current_num_threads(), cancel));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(IndexError::Internal(format!("hnsw_rs panicked: {why}")))
    })
}

fn build_here(set: &VectorSet, params: &HnswParams, threads: usize, cancel: &AtomicBool) -> Result<RawGraph> {
    let len = set.len();
    let positions: Vec<u32> = (0..len as u32).collect();
    let insert = |hnsw: &Hnsw<'_, u32, Between<'_>>, at: usize| hnsw.insert_slice((&positions[at..=at], at));
    let hnsw = Hnsw::new(params.m, len, LAYERS, params.ef_construction, Between::new(set));
    let alone = levels(len, params.m, threads, cancel)?;
    let mut at = 0;
    while at < len {
        if cancel.load(Ordering::Relaxed) {
            return Err(IndexError::Cancelled);
        }
        if alone[at] {
            insert(&hnsw, at);
            at += 1;
            continue;
        }
        let rest = &alone[at..len.min(at + BATCH)];
        let run = rest.iter().position(|&alone| alone).unwrap_or(rest.len());
        (at..at + run).into_par_iter().for_each(|at| insert(&hnsw, at));
        at += run;
    }
    export(&hnsw, len)
}

/// Which insertions must run with no other beside them.
///
/// Publishing a point, `hnsw_rs` goes through its layers from above, holding the read lock of its links while it takes
/// the write lock of each neighbour. A point can only be found by others once it is partly published. So let P wait for
/// Q while Q waits for P, and P began to publish first: then Q entered itself into P's links between two layers of P, and
/// comes back to P in a lower layer. That takes a P of level 2 and a Q of level 1; with three or more threads a longer
/// circle can close with a P of level 1. Points of level 0 publish under one lock and wait only for those that began
/// before them, which makes no circle. Hence points of level 2 and above (1 in 256) run alone with two threads, points of
/// level 1 and above (1 in 16) with more. The first points run alone too: without an entry point a point gets no links.
///
/// Levels come from the generator inside `hnsw_rs`, whose seed is fixed, in the order of insertion: a second index of the
/// same `m` whose distances are all equal (so it costs next to nothing) tells them in advance.
fn levels(len: usize, m: usize, threads: usize, cancel: &AtomicBool) -> Result<Vec<bool>> {
    let mut alone = vec![threads < 2; len];
    if threads < 2 {
        return Ok(alone);
    }
    let limit = if threads == 2 { 2 } else { 1 };
    let probe = Hnsw::new(m, len, LAYERS, 1, Level);
    for at in 0..len {
        if at % BATCH == 0 && cancel.load(Ordering::Relaxed) {
            return Err(IndexError::Cancelled);
        }
        probe.insert_slice((&[0u8], at));
    }
    for point in probe.get_point_indexation() {
        if let Some(alone) = alone.get_mut(point.get_origin_id()) {
            *alone = point.get_point_id().0 >= limit;
        }
    }
    for first in alone.iter_mut().take(64) {
        *first = true;
    }
    Ok(alone)
}

fn export(hnsw: &Hnsw<'_, u32, Between<'_>>, len: usize) -> Result<RawGraph> {
    let points: Vec<_> = hnsw.get_point_indexation().into_iter().collect();
    let mut levels = vec![u8::MAX; len];
    for point in &points {
        match levels.get_mut(point.get_origin_id()) {
            Some(level) if *level == u8::MAX => *level = point.get_point_id().0,
            _ => return Err(IndexError::Internal("hnsw_rs returned a point twice or an unknown one".into())),
        }
    }
    let Some(top) = points.iter().max_by_key(|p| p.get_point_id().0).filter(|_| points.len() == len) else {
        return Err(IndexError::Internal(format!("hnsw_rs returned {} of {len} points", points.len())));
    };
    let (entry, top) = (top.get_origin_id() as u32, usize::from(top.get_point_id().0));
    let mut layers = vec![Vec::new(); top + 1];
    for point in &points {
        let id = point.get_origin_id();
        for (layer, neighbors) in point.get_neighborhood_id().into_iter().enumerate().take(top + 1) {
            // It also keeps links of a point above the point's own level, and to points below a layer. No walk that
            // starts in the topmost layer may use them.
            if layer > usize::from(levels[id]) {
                break;
            }
            let mut row: Vec<u32> = Vec::with_capacity(neighbors.len());
            for neighbor in neighbors.iter().map(|n| n.d_id) {
                let fits = neighbor != id && levels.get(neighbor).is_some_and(|&l| usize::from(l) >= layer);
                if fits && !row.contains(&(neighbor as u32)) {
                    row.push(neighbor as u32);
                }
            }
            layers[layer].push((id as u32, row));
        }
    }
    for layer in &mut layers {
        layer.sort_unstable_by_key(|(id, _)| *id);
    }
    Ok(RawGraph { entry, layers })
}

/// Distance of two stored vectors, given by their positions; never negative.
struct Between<'a> {
    kernel: Kernel,
    rows: Rows<'a>,
    /// For inner product: what each vector lacks to the longest, squared-and-rooted into one more dimension.
    missing: Option<Vec<f32>>,
}

impl<'a> Between<'a> {
    fn new(set: &'a VectorSet) -> Self {
        let rows = set.rows();
        if set.metric() != Metric::Dot {
            return Self { kernel: Kernel::new(set.metric()), rows, missing: None };
        }
        let square = |i: usize| rows.get(i).iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let squares: Vec<f64> = (0..set.len()).map(square).collect();
        let longest = squares.iter().copied().fold(0.0, f64::max);
        let missing = squares.iter().map(|&s| (longest - s).max(0.0).sqrt() as f32).collect();
        Self { kernel: Kernel::new(Metric::Euclid), rows, missing: Some(missing) }
    }
}

impl Between<'_> {
    fn distance(&self, a: usize, b: usize) -> f32 {
        let mut distance = self.kernel.distance(self.rows.get(a), self.rows.get(b));
        if let Some(missing) = &self.missing {
            distance += (missing[a] - missing[b]).powi(2);
        }
        // Written so that the NaN of damaged bytes becomes 0, too.
        if distance > 0.0 { distance.min(f32::MAX) } else { 0.0 }
    }
}

impl Distance<u32> for Between<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        match (a, b) {
            (&[a], &[b]) => self.distance(a as usize, b as usize),
            _ => f32::MAX,
        }
    }
}

/// All points are equally far: for an index of which only the levels matter.
struct Level;

impl Distance<u8> for Level {
    fn eval(&self, _: &[u8], _: &[u8]) -> f32 {
        0.0
    }
}
