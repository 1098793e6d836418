//! Going on from an earlier graph where rows are merged: the largest one is kept, what is gone is taken out of it, and
//! the other rows are inserted.
//!
//! Worth it while most of the graph stays. Beyond that a build from nothing is as fast, and better.

use std::sync::{Arc, atomic::AtomicBool};

use rayon::ThreadPool;

use super::{
    GraphIndex, GraphParams, Layout,
    build::change::{GONE, MutableGraph},
    rows::Width,
    space::Space,
};
use crate::{
    IndexError, Result,
    vector::{VectorSet, codes::int8::Query},
};

/// Part of the earlier rows that may be gone.
const MOST_GONE: f64 = 0.3;
/// Inserted rows for each that stays, at most.
const MOST_INSERTED: f64 = 1.0;
/// Codes that the space is checked with.
const SAMPLE: usize = 2048;
/// Squared distance of the mean of all codes from where it was learned, as a part of their mean square.
const MOST_SHIFTED: f64 = 0.1;
/// Mean square of the codes: 1 when it was learned.
const SPREAD: std::ops::Range<f64> = 0.5..2.0;

/// A graph over earlier rows.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// The graph.
    pub graph: &'a GraphIndex,
    /// The position now of each position of its vectors; [`GONE`] for those that are not there any more. The components
    /// of the others are the same.
    pub numbering: &'a [u32],
}

/// How a graph came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From nothing.
    Built,
    /// An earlier graph was changed.
    Merged,
}

impl GraphIndex {
    /// The graph of `vectors`, made from an earlier one where that is worth it.
    ///
    /// # Errors
    /// Those of [`GraphIndex::build`]; [`IndexError::InvalidParameter`] where the numbering does not fit.
    pub fn merge(
        vectors: Arc<VectorSet>,
        earlier: Earlier<'_>,
        params: &GraphParams,
        pool: &ThreadPool,
        cancel: &AtomicBool,
    ) -> Result<(Self, Origin)> {
        params.plan.check()?;
        let merged = pool.install(|| earlier.merge(&vectors, params, cancel));
        match merged {
            Ok(Some(index)) => return Ok((index, Origin::Merged)),
            // What is damaged cannot be gone on from, and is not needed either.
            Ok(None) | Err(IndexError::Corrupt { .. }) => {}
            Err(e) => return Err(e),
        }
        Ok((Self::build(vectors, params, pool, cancel)?, Origin::Built))
    }
}

impl Earlier<'_> {
    /// `None` where a build from nothing is better.
    fn merge(
        &self,
        vectors: &Arc<VectorSet>,
        params: &GraphParams,
        cancel: &AtomicBool,
    ) -> Result<Option<GraphIndex>> {
        let Self { graph, numbering } = *self;
        let gone: Vec<u32> = (0u32..).zip(numbering).filter(|&(_, &to)| to == GONE).map(|(p, _)| p).collect();
        let kept = numbering.len() - gone.len();
        let inserted = vectors.len().saturating_sub(kept);
        let worth = gone.len() as f64 <= MOST_GONE * numbering.len() as f64
            && inserted as f64 <= MOST_INSERTED * kept as f64
            && graph.shape().degree == params.plan.degree
            // What 4 bits say is not enough to choose neighbours by.
            && graph.shape().width == Width::Eight
            && graph.shape().is_compact() == (params.layout == Layout::Compact)
            && graph.space.holds(vectors, cancel)?
            && fits(&graph.space, vectors, cancel)?;
        if !worth {
            return Ok(None);
        }
        let mut is_new = vec![true; vectors.len()];
        for &to in numbering.iter().filter(|&&to| to != GONE) {
            let place = is_new.get_mut(to as usize);
            *place.ok_or_else(|| IndexError::InvalidParameter("a numbering of other vectors".into()))? =
                false;
        }
        let new: Vec<u32> = (0u32..).zip(is_new).filter(|&(_, is_new)| is_new).map(|(p, _)| p).collect();
        let mut changing = MutableGraph::unseal(graph, params.plan, cancel)?;
        if !gone.is_empty() {
            changing.delete(&gone, cancel)?;
        }
        if !new.is_empty() {
            changing.insert(vectors, &new, cancel)?;
        }
        let numbering = [numbering, &new].concat();
        changing.seal(Arc::clone(vectors), &numbering, cancel).map(Some)
    }
}

/// Whether the vectors lie about the middle of the space and are of the size it was made for. They are compared with what
/// was learned, not with the last graph: many small steps away are one large one.
fn fits(space: &Space, vectors: &VectorSet, cancel: &AtomicBool) -> Result<bool> {
    let count = vectors.len().min(SAMPLE);
    let pick = |i| i * vectors.len() / count.max(1);
    let (codes, _) = space.encode_picked(vectors, count, pick, cancel)?;
    let mut sums = vec![0f64; codes.stride()];
    let mut squares = 0.0;
    let mut query = Query::default();
    for p in 0..count as u32 {
        query.set(codes.code(p), codes.meta(p));
        squares += f64::from(codes.meta(p).norm);
        let scale = f64::from(codes.meta(p).scale);
        sums.iter_mut().zip(query.steps()).for_each(|(sum, &step)| *sum += f64::from(step) * scale);
    }
    let count = count.max(1) as f64;
    let (shift, spread) = (sums.iter().map(|s| (s / count).powi(2)).sum::<f64>(), squares / count);
    Ok(SPREAD.contains(&spread) && shift <= MOST_SHIFTED * spread)
}
