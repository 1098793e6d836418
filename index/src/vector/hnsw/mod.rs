//! A layered proximity graph (HNSW, Malkov & Yashunin, arXiv 1603.09320): built by `hnsw_rs` behind [`guard`], walked
//! and stored by us.

use std::sync::{Arc, atomic::AtomicBool};

use bytes::Bytes;
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};

use self::{graph::Graph, search::Query};
use crate::{
    IndexError, Mask, Result,
    vector::{Neighbor, SearchParams, VectorIndex, VectorSet, exact, metric::check_dimension},
};

mod build;
mod graph;
pub mod guard;
mod search;

/// How many distances a walk computes per entry of its candidate list (see [`HnswIndex::walk_pays`]).
///
/// On WordNet (115,659 x 384, ef 100) it sets the change-over at 13 % allowed. Measured there: at 20 % the walk took 1.6 ms
/// and the scan 4.3 ms; at 10 % the scan took 1.9 ms, and a walk costs the more the fewer are allowed.
const COST_PER_EF: usize = 20;

/// Candidates of searches that do not say how many.
const DEFAULT_EF: usize = 100;

/// How to build a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HnswParams {
    /// Links per vector and upper layer, twice as many on layer 0: 2 to [`guard::MAX_M`].
    pub m: usize,
    /// Candidates looked at for the links of a vector: 1 to [`guard::MAX_EF_CONSTRUCTION`].
    pub ef_construction: usize,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200 }
    }
}

impl HnswParams {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] with the range.
    pub fn check(&self) -> Result<()> {
        guard::check(self)
    }
}

/// A graph over a vector set. Immutable; searches need no lock and, in steady state, take no memory but their answer.
#[derive(Clone, Debug)]
pub struct HnswIndex {
    vectors: Arc<VectorSet>,
    graph: Graph,
}

impl HnswIndex {
    /// Builds the graph of `vectors` with the threads of `pool`. Two builds may differ in links; searches on one do not.
    ///
    /// Takes about 2.5 kB per vector beside the vectors while it runs.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] for parameters out of range; [`IndexError::Cancelled`] within about a second of
    /// work after `cancel` is raised; [`IndexError::Internal`] where the library under us fails.
    pub fn build(
        vectors: Arc<VectorSet>,
        params: HnswParams,
        pool: &ThreadPool,
        cancel: &AtomicBool,
    ) -> Result<Self> {
        let graph = build::build(&vectors, &params, pool, cancel)?;
        Ok(Self { vectors, graph })
    }

    /// Opens what [`VectorIndex::encode_to`] wrote for these vectors, without copying it (unless it is not 4-byte aligned).
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where the blob is damaged or belongs to other vectors: build the graph again.
    pub fn open(vectors: Arc<VectorSet>, blob: &Bytes) -> Result<Self> {
        let graph = Graph::decode(blob)?;
        let o = &graph.origin;
        let fits = o.count as usize == vectors.len()
            && o.dimension as usize == vectors.dimension()
            && o.metric == vectors.metric();
        if !fits {
            let why = format!("made for {} vectors of {} x {:?}", o.count, o.dimension, o.metric);
            return Err(IndexError::corrupt("hnsw graph", why));
        }
        Ok(Self { vectors, graph })
    }

    /// How the graph was built.
    pub fn params(&self) -> HnswParams {
        HnswParams {
            m: self.graph.origin.m as usize,
            ef_construction: self.graph.origin.ef_construction as usize,
        }
    }

    /// Number of vectors that no walk can come to: 0 after every build. Reads the whole graph.
    pub fn unreachable(&self) -> usize {
        build::unreachable(&self.graph)
    }

    /// Whether a walk is cheaper than comparing with all `allowed` vectors.
    ///
    /// A walk computes about `COST_PER_EF * ef` distances when all vectors may be returned, and `len / allowed` times as
    /// many when only some may; the scan computes `allowed`. They meet at `allowed^2 = COST_PER_EF * ef * len`.
    fn walk_pays(&self, allowed: usize, ef: usize) -> bool {
        let (allowed, ef, len) = (allowed as f64, ef as f64, self.vectors.len() as f64);
        allowed * allowed > COST_PER_EF as f64 * ef * len
    }
}

impl VectorIndex for HnswIndex {
    fn vectors(&self) -> &Arc<VectorSet> {
        &self.vectors
    }

    fn search(&self, query: &[f32], params: &SearchParams, mask: Mask<'_>) -> Result<Vec<Neighbor>> {
        check_dimension(self.vectors.dimension(), query)?;
        let allowed = self.vectors.allowed(mask);
        let wanted = params.k.min(allowed);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let ef = if params.ef == 0 { DEFAULT_EF } else { params.ef };
        let ef = ef.max(wanted).min(self.vectors.len());
        if !params.exact && self.walk_pays(allowed, ef) {
            // Past `allowed` comparisons the walk has cost as much as the scan would have.
            let found = search::walk(&self.graph, &Query::new(&self.vectors, query), ef, mask, allowed);
            if let Some(mut found) = found.filter(|found| found.len() >= wanted) {
                found.truncate(wanted);
                return Ok(exact::neighbors(&self.vectors, &found));
            }
        }
        exact::scan(&self.vectors, query, wanted, mask)
    }

    fn encoded_len(&self) -> usize {
        self.graph.encode().len()
    }

    fn encode_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        out.write_all(&self.graph.encode())
    }

    fn memory_bytes(&self) -> usize {
        self.graph.heap_bytes()
    }
}
