//! The order of rows in the file: near vectors near each other.

use super::Links;

/// Slots in the order of a depth-first walk over nearest neighbours first: `order[slot]` is a position.
pub fn order(links: &Links, entry: u32) -> Vec<u32> {
    let count = links.flat.len() / links.degree.max(1);
    let mut placed = vec![false; count];
    let mut order = Vec::with_capacity(count);
    let mut stack = Vec::new();
    for start in std::iter::once(entry).chain(0..count as u32) {
        stack.push(start);
        while let Some(position) = stack.pop() {
            let Some(done) = placed.get_mut(position as usize) else { continue };
            if std::mem::replace(done, true) {
                continue;
            }
            order.push(position);
            stack.extend(links.of(position).iter().rev().filter(|&&n| !placed[n as usize]));
        }
    }
    order
}
