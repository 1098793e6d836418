//! Every vector must be reachable from the entry.

use std::sync::atomic::AtomicBool;

use super::{super::check, Links};
use crate::Result;
use crate::vector::codes::int8::{Codes, Query};
use crate::vector::codes::simd::{Simd, Work, dispatch};

/// Marks all that can be reached from `start`, with the position each was reached from.
fn spread(links: &Links, start: u32, parent: u32, parents: &mut [u32]) {
    parents[start as usize] = parent;
    let mut queue = vec![start];
    while let Some(position) = queue.pop() {
        for &n in links.of(position) {
            if parents[n as usize] == u32::MAX {
                parents[n as usize] = position;
                queue.push(n);
            }
        }
    }
}

/// Links in what cannot be reached: a near reachable vector gives up a link by which nothing was reached.
///
/// The links by which positions were reached form a tree that is never cut, so each step only adds to what can be
/// reached. A tree over n positions uses n - 1 of the `n * degree` links, so a link to give up is always found.
///
/// # Errors
/// [`IndexError::Cancelled`](crate::IndexError::Cancelled).
pub fn connect(codes: &Codes, links: &mut Links, entry: u32, cancel: &AtomicBool) -> Result<()> {
    let count = codes.len();
    if count == 0 {
        return Ok(());
    }
    let mut parents = vec![u32::MAX; count];
    spread(links, entry, entry, &mut parents);
    let mut spare = entry;
    for position in 0..count as u32 {
        if parents[position as usize] != u32::MAX {
            continue;
        }
        check(cancel)?;
        // Its own neighbours are near, and some of them can usually be reached.
        let near: Vec<u32> =
            links.of(position).iter().copied().filter(|&n| parents[n as usize] != u32::MAX).collect();
        let host = dispatch(Nearest { codes, position, near: &near })
            .into_iter()
            .find(|&h| place(links, &parents, h).is_some())
            .or_else(|| next_host(links, &parents, &mut spare));
        let Some((host, at)) = host.and_then(|h| place(links, &parents, h).map(|at| (h, at))) else {
            continue;
        };
        links.flat[host as usize * links.degree + at] = position;
        spread(links, position, host, &mut parents);
    }
    Ok(())
}

/// A place in the row of `host` that no position was reached by, from the end on.
fn place(links: &Links, parents: &[u32], host: u32) -> Option<usize> {
    links.of(host).iter().rposition(|&n| n == host || parents[n as usize] != host)
}

/// Some reachable position with a place, for where no near one has any.
fn next_host(links: &Links, parents: &[u32], spare: &mut u32) -> Option<u32> {
    for _ in 0..=parents.len() {
        let host = *spare;
        if parents[host as usize] != u32::MAX && place(links, parents, host).is_some() {
            return Some(host);
        }
        *spare = (host + 1) % parents.len() as u32;
    }
    None
}

struct Nearest<'a> {
    codes: &'a Codes,
    position: u32,
    near: &'a [u32],
}

impl Work for Nearest<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<u32> {
        let mut query = Query::default();
        query.set(self.codes.code(self.position), self.codes.meta(self.position));
        let distance = |p: u32| query.distance(simd, self.codes.code(p), self.codes.meta(p));
        let mut near: Vec<(f32, u32)> = self.near.iter().map(|&p| (distance(p), p)).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        near.into_iter().map(|(_, p)| p).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Links that lead nowhere, and a ring with a tail that nobody links to.
    #[test]
    fn regress_t36_unlinked_positions_are_linked_in() {
        let count = 500u32;
        let codes = Codes::with_len(count as usize, 64).unwrap();
        for ring in [false, true] {
            let next = |p: u32| if ring && p < 400 { (p + 1) % 400 } else { p };
            let flat: Vec<u32> = (0..count).flat_map(|p| [next(p), p]).collect();
            let mut links = Links { degree: 2, flat };
            connect(&codes, &mut links, 7, &AtomicBool::new(false)).expect("nobody cancels");
            let mut parents = vec![u32::MAX; count as usize];
            spread(&links, 7, 7, &mut parents);
            assert!(parents.iter().all(|&p| p != u32::MAX), "ring {ring}");
        }
    }
}
