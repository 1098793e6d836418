//! Our own graph: one layer of fixed degree over quantized codes.

use std::{cell::Cell, sync::{Arc, atomic::AtomicBool}};

use rayon::ThreadPool;

use self::{
    build::{Builder, Plan},
    rows::{Rows, Shape},
    space::Space,
    walk::{Bounds, Counts, Scratch, walk},
};
use crate::{
    Mask, Result,
    vector::{
        Neighbor, SearchParams, VectorSet,
        codes::simd::{Simd, Work, dispatch},
        exact,
        kernel::{Kernel, prefetch},
        metric::check_dimension,
        topk::{key, key_position},
    },
};

pub mod build;
mod pool;
pub mod rows;
pub mod space;
pub mod walk;

/// How to build a graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphParams {
    /// How to build the links.
    pub plan: Plan,
    /// Components for 1-bit codes.
    pub head: usize,
}

/// A graph over a vector set.
#[derive(Clone, Debug)]
pub struct GraphIndex {
    vectors: Arc<VectorSet>,
    space: Space,
    rows: Rows,
    entry: u32,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl GraphIndex {
    /// Builds the graph of a set.
    ///
    /// # Errors
    /// [`crate::IndexError::Cancelled`].
    pub fn build(
        vectors: Arc<VectorSet>,
        params: &GraphParams,
        pool: &ThreadPool,
        cancel: &AtomicBool,
    ) -> Result<Self> {
        space::check_metric(vectors.metric())?;
        pool.install(|| {
            let space = Space::learn(&vectors, params.head)?;
            let (codes, heads) = space.encode_all(&vectors);
            let shape =
                Shape { own: space.padded(), bits: space.head_len(), degree: params.plan.degree };
            let builder = Builder { codes: &codes, heads: &heads, plan: params.plan, cancel };
            let (links, order) = builder.build(shape)?;
            let rows = Rows::write(shape, &codes, &heads, &links.flat, &order)?;
            let entry = builder.entry();
            let entry = order.iter().position(|&p| p == entry).unwrap_or(0) as u32;
            Ok(Self { vectors, space, rows, entry })
        })
    }

    /// Bytes of the rows.
    pub fn row_bytes(&self) -> usize {
        self.rows.bytes().len()
    }

    /// Searches, and tells what the walk did.
    ///
    /// # Errors
    /// Where the dimension does not fit.
    pub fn search_counted(&self, query: &[f32], params: &SearchParams) -> Result<(Vec<Neighbor>, Counts)> {
        check_dimension(self.vectors.dimension(), query)?;
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let found = dispatch(Search { index: self, query, params, scratch: &mut scratch });
        let work = scratch.work;
        SCRATCH.set(Some(scratch));
        Ok((found, work))
    }

    /// The exact scan.
    ///
    /// # Errors
    /// Where the dimension does not fit.
    pub fn scan(&self, query: &[f32], k: usize) -> Result<Vec<Neighbor>> {
        exact::scan(&self.vectors, query, k, Mask::All)
    }
}

struct Search<'a> {
    index: &'a GraphIndex,
    query: &'a [f32],
    params: &'a SearchParams,
    scratch: &'a mut Scratch,
}

impl Work for Search<'_> {
    type Output = Vec<Neighbor>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<Neighbor> {
        let Self { index, query, params, scratch } = self;
        index.space.prepare(simd, query, &mut scratch.prepared);
        let bounds = Bounds { k: params.k, slack: 1.0 + params.ef as f32 / 100.0, hops: usize::MAX };
        walk(simd, &index.rows, index.entry, bounds, scratch);
        let found = &mut scratch.found;
        let keep = (2 * params.k).min(found.len());
        if keep < found.len() {
            found.select_nth_unstable(keep);
            found.truncate(keep);
        }
        let rows = index.vectors.rows();
        for k in found.iter_mut() {
            let position = index.rows.row(key_position(*k)).position();
            prefetch(rows.get(position as usize), 32);
            *k = u64::from(position);
        }
        let kernel = Kernel::new(index.vectors.metric());
        for k in found.iter_mut() {
            let position = key_position(*k);
            *k = key(kernel.distance(query, rows.get(position as usize)), position);
        }
        found.sort_unstable();
        found.truncate(params.k);
        exact::neighbors(&index.vectors, found.clone())
    }
}
