//! Which graph a field gets: ours, and the layered one of `hnsw_rs` for a metric that codes cannot estimate.

use std::sync::{Arc, atomic::AtomicBool};

use bytes::Bytes;
use rayon::ThreadPool;

use super::{
    Metric, VectorIndex, VectorSet,
    graph::{
        GraphIndex, GraphParams, Layout,
        build::Plan,
        is_graph,
        merge::{Earlier, Origin},
        rows::MAX_DEGREE,
    },
    hnsw::{HnswIndex, HnswParams},
};
use crate::Result;

/// Builds the graph of a set. `params` are what users know of graphs: our graph has `2 m` neighbours
/// in one layer, rounded up to 32, and its searches while building grow with `ef_construction`.
///
/// # Errors
/// Those of [`GraphIndex::build`] and [`HnswIndex::build`].
pub fn build_graph(
    vectors: Arc<VectorSet>,
    params: HnswParams,
    layout: Layout,
    pool: &ThreadPool,
    cancel: &AtomicBool,
) -> Result<Arc<dyn VectorIndex>> {
    params.check()?;
    if vectors.metric() == Metric::Manhattan {
        return Ok(Arc::new(HnswIndex::build(vectors, params, pool, cancel)?));
    }
    Ok(Arc::new(GraphIndex::build(vectors, &graph_params(params, layout), pool, cancel)?))
}

/// An index over earlier rows of a field.
#[derive(Clone)]
pub struct EarlierGraph {
    /// The index.
    pub index: Arc<dyn VectorIndex>,
    /// See [`Earlier::numbering`].
    pub numbering: Vec<u32>,
}

/// Builds the graph of a set, going on from an earlier one where it can be and is worth it.
///
/// # Errors
/// Those of [`build_graph`] and [`GraphIndex::merge`].
pub fn merge_graph(
    vectors: Arc<VectorSet>,
    earlier: &EarlierGraph,
    params: HnswParams,
    layout: Layout,
    pool: &ThreadPool,
    cancel: &AtomicBool,
) -> Result<(Arc<dyn VectorIndex>, Origin)> {
    params.check()?;
    let Some(graph) = earlier.index.as_graph() else {
        return Ok((build_graph(vectors, params, layout, pool, cancel)?, Origin::Built));
    };
    let earlier = Earlier { graph, numbering: &earlier.numbering };
    let (index, origin) = GraphIndex::merge(vectors, earlier, &graph_params(params, layout), pool, cancel)?;
    Ok((Arc::new(index), origin))
}

/// Our parameters for those of a layered graph.
pub fn graph_params(params: HnswParams, layout: Layout) -> GraphParams {
    let usual = (Plan::default(), HnswParams::default());
    let degree = (2 * params.m).next_multiple_of(32).min(MAX_DEGREE);
    let ef = (usual.0.ef * params.ef_construction).div_ceil(usual.1.ef_construction).clamp(16, 1024);
    GraphParams { plan: Plan { degree, ef, ..usual.0 }, head: 0, layout, width: None }
}

/// Opens what [`VectorIndex::encode_to`] of a graph wrote for these vectors.
///
/// # Errors
/// [`crate::IndexError::Corrupt`] where it is damaged or belongs to other vectors: build the graph again.
pub fn open_graph(vectors: Arc<VectorSet>, blob: &Bytes) -> Result<Arc<dyn VectorIndex>> {
    if is_graph(blob) {
        return Ok(Arc::new(GraphIndex::open(vectors, blob)?));
    }
    Ok(Arc::new(HnswIndex::open(vectors, blob)?))
}
