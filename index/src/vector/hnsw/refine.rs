//! Layer 0 once more, with diverse links in both directions.
//!
//! `hnsw_rs` chooses diverse links for a new point, but keeps of the links *to* it only the nearest. Seen from a point in
//! a dense place all its links then lead to its closest kin, and walks need a longer candidate list to get out. Here
//! every point chooses again among the points it links to and those that link to it, by the rule of the paper
//! (Malkov & Yashunin, arXiv 1603.09320, algorithm 4): a candidate stays if it is nearer to the point than to any
//! candidate that stayed before. Places left free are filled with the nearest of the others.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPool;
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::{
    graph::{Graph, LinkRows, Links},
    guard::Between,
};
use crate::{
    IndexError, Result,
    vector::{
        VectorSet,
        topk::{Key, key_position},
    },
};

/// Rows between two looks at the cancel flag.
const BATCH: u32 = 8192;

/// Chooses the links of layer 0 anew, at most `2 m` for each position.
///
/// # Errors
/// [`IndexError::Cancelled`] soon after `cancel` is raised.
pub(super) fn refine(set: &VectorSet, graph: &Graph, pool: &ThreadPool, cancel: &AtomicBool) -> Result<Links> {
    let count = graph.origin.count;
    let (forward, most) = (graph.base.rows(), 2 * graph.origin.m as usize);
    let reverse = transpose(forward, count)?;
    let reverse = reverse.rows();
    let between = Between::new(set);
    let mut rows: Vec<Vec<u32>> = Vec::with_capacity(count as usize);
    for start in (0..count).step_by(BATCH as usize) {
        if cancel.load(Ordering::Relaxed) {
            return Err(IndexError::Cancelled);
        }
        let batch = start..count.min(start.saturating_add(BATCH));
        let choose = |p: u32| choose(&between, p, forward.get(p as usize), reverse.get(p as usize), most);
        rows.extend(pool.install(|| batch.into_par_iter().map(choose).collect::<Vec<_>>()));
    }
    Links::from_rows(rows.iter().map(Vec::as_slice))
}

/// Who links to each position.
fn transpose(forward: LinkRows<'_>, count: u32) -> Result<Links> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); count as usize];
    for from in 0..count {
        for &to in forward.get(from as usize) {
            rows[to as usize].push(from);
        }
    }
    Links::from_rows(rows.iter().map(Vec::as_slice))
}

fn choose(between: &Between<'_>, position: u32, out: &[u32], back: &[u32], most: usize) -> Vec<u32> {
    let mut candidates: Vec<Key> = out.iter().chain(back).map(|&c| between.key(position, c)).collect();
    candidates.sort_unstable();
    candidates.dedup();
    let (mut kept, mut others): (Vec<u32>, Vec<u32>) = (Vec::with_capacity(most), Vec::new());
    for candidate in candidates {
        if kept.len() == most {
            break;
        }
        let id = key_position(candidate);
        // Both keys end in the candidate's position, so this compares distances.
        let nearer_to_kept = kept.iter().any(|&k| between.key(k, id) < candidate);
        if nearer_to_kept { others.push(id) } else { kept.push(id) }
    }
    let free = most.saturating_sub(kept.len());
    kept.extend(others.into_iter().take(free));
    kept
}
