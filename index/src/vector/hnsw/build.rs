//! From the links of the guard to a [`Graph`] in which every position can be reached.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use rayon::ThreadPool;

use super::{
    HnswParams,
    graph::{Graph, Layer, LinkRows, Links, Origin},
    guard::{self, RawGraph},
    search::{self, Query},
};
use crate::{
    IndexError, Result,
    vector::{VectorSet, topk::key_position},
};

/// Candidates looked at to find a reachable neighbour for a position that cannot be reached.
const REPAIR_EF: usize = 64;

/// Builds the graph of a set.
///
/// # Errors
/// Those of [`guard::build`].
pub(super) fn build(
    set: &VectorSet,
    params: &HnswParams,
    pool: &ThreadPool,
    cancel: &AtomicBool,
) -> Result<Graph> {
    guard::check(params)?;
    let origin = Origin {
        count: set.len() as u32,
        dimension: set.dimension() as u32,
        metric: set.metric(),
        m: params.m as u32,
        ef_construction: params.ef_construction as u32,
    };
    if set.is_empty() {
        return Ok(Graph {
            origin,
            entry: 0,
            base: Links::from_rows(std::iter::empty())?,
            upper: Vec::new(),
        });
    }
    let raw = guard::build(set, params, pool, cancel)?;
    let mut graph = assemble(origin, &raw)?;
    drop(raw);
    let extra = missing_links(set, &graph, cancel)?;
    if !extra.is_empty() {
        graph.base = with_extra(&graph, &extra)?;
    }
    Ok(graph)
}

fn assemble(origin: Origin, raw: &RawGraph) -> Result<Graph> {
    let mut layers = raw.layers.iter();
    let base = layers.next().map(Vec::as_slice).unwrap_or_default();
    let base = Links::from_rows(base.iter().map(|(_, row)| row.as_slice()))?;
    let mut upper = Vec::new();
    for layer in layers {
        let nodes: Vec<u32> = layer.iter().map(|(id, _)| *id).collect();
        let links = Links::from_rows(layer.iter().map(|(_, row)| row.as_slice()))?;
        upper.push(Layer { nodes: nodes.into(), links });
    }
    Ok(Graph { origin, entry: raw.entry, base, upper })
}

/// Marks everything that can be reached from `start` and is not marked.
fn mark(links: LinkRows<'_>, extra: &HashMap<u32, Vec<u32>>, start: u32, reached: &mut [bool]) {
    let mut stack = vec![start];
    while let Some(position) = stack.pop() {
        if std::mem::replace(&mut reached[position as usize], true) {
            continue;
        }
        let more = extra.get(&position).map(Vec::as_slice).unwrap_or_default();
        stack.extend(links.get(position as usize).iter().chain(more).filter(|&&t| !reached[t as usize]));
    }
}

/// Number of positions that no walk from the entry point on layer 0 comes to.
pub(super) fn unreachable(graph: &Graph) -> usize {
    let mut reached = vec![false; graph.origin.count as usize];
    if !reached.is_empty() {
        mark(graph.base.rows(), &HashMap::new(), graph.entry, &mut reached);
    }
    reached.iter().filter(|&&r| !r).count()
}

/// The links that make every position reachable from the entry point on layer 0.
///
/// Pruning drops links to a position from all sides now and then, and always among many equal vectors (arXiv 2407.07871
/// counts them after churn). Each such position gets a link from its nearest reachable neighbour. Where that one has
/// many links already, the last position linked from it takes over, so that equal vectors make a tree, not a hub.
fn missing_links(set: &VectorSet, graph: &Graph, cancel: &AtomicBool) -> Result<HashMap<u32, Vec<u32>>> {
    let links = graph.base.rows();
    let mut reached = vec![false; set.len()];
    let mut extra: HashMap<u32, Vec<u32>> = HashMap::new();
    mark(links, &extra, graph.entry, &mut reached);
    let limit = 3 * graph.origin.m as usize;
    // Who takes links on behalf of a full position.
    let mut hosts: HashMap<u32, u32> = HashMap::new();
    for position in 0..set.len() as u32 {
        if reached[position as usize] {
            continue;
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(IndexError::Cancelled);
        }
        // Coming down the upper layers, a walk may end at what layer 0 does not reach, `position` itself included.
        let query = Query::new(set, set.vector(position as usize));
        let nearest = search::nearest(graph, &query, REPAIR_EF);
        let near = nearest.iter().map(|&k| key_position(k)).find(|&p| reached[p as usize]);
        let near = near.unwrap_or(graph.entry);
        let mut host = hosts.get(&near).copied().unwrap_or(near);
        if links.get(host as usize).len() + extra.get(&host).map_or(0, Vec::len) >= limit {
            let last = extra.get(&host).and_then(|row| row.last().copied());
            host = last.unwrap_or(host);
            hosts.insert(near, host);
        }
        extra.entry(host).or_default().push(position);
        mark(links, &extra, position, &mut reached);
    }
    Ok(extra)
}

fn with_extra(graph: &Graph, extra: &HashMap<u32, Vec<u32>>) -> Result<Links> {
    let links = graph.base.rows();
    let rows: Vec<Vec<u32>> = (0..graph.origin.count)
        .map(|position| {
            let mut row = links.get(position as usize).to_vec();
            row.extend(
                extra
                    .get(&position)
                    .into_iter()
                    .flatten()
                    .filter(|t| !links.get(position as usize).contains(t)),
            );
            row
        })
        .collect();
    Links::from_rows(rows.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, vector::Metric};

    /// A line of points whose stored links lead nowhere: all must be linked in, and no point may become a hub.
    #[test]
    fn regress_t36_unlinked_positions_are_linked_in() {
        for equal in [false, true] {
            let len = 3000;
            let data: Vec<f32> = (0..len).map(|i| if equal { 1.0 } else { i as f32 }).collect();
            let set = VectorSet::new(Metric::Euclid, 1, Column::from(data), None).unwrap();
            let origin =
                Origin { count: len, dimension: 1, metric: Metric::Euclid, m: 4, ef_construction: 8 };
            let base = Links::from_rows((0..len).map(|_| &[][..])).unwrap();
            let mut graph = Graph { origin, entry: 7, base, upper: Vec::new() };
            assert_eq!(unreachable(&graph), len as usize - 1);
            let extra = missing_links(&set, &graph, &AtomicBool::new(false)).unwrap();
            graph.base = with_extra(&graph, &extra).unwrap();
            assert_eq!(unreachable(&graph), 0);
            assert!((0..len as usize).all(|i| graph.base.rows().get(i).len() <= 12));
        }
    }
}
