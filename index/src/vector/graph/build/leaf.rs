//! Nearest neighbours within groups, merged over all groups.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::partition::{Nearest, each_distance};
use crate::{
    Result,
    vector::{
        codes::{
            int8::{Codes, Query},
            simd::{Simd, Work, dispatch},
        },
        graph::buffer::Buffer,
        topk::{Key, key},
    },
};

/// Vectors whose lists share a lock.
const SHARED: usize = 64;

/// For each vector the nearest others found so far, as sorted keys.
#[derive(Debug)]
pub struct Lists<'a> {
    first: u32,
    length: usize,
    chunks: Vec<Mutex<&'a mut [Key]>>,
}

impl<'a> Lists<'a> {
    /// Room for lists of `count` vectors.
    ///
    /// # Errors
    /// [`crate::IndexError::Internal`] where there is no memory.
    pub fn room(count: usize, length: usize) -> Result<Buffer<Key>> {
        let mut room = Buffer::zeroed(count * length)?;
        room.par_chunks_mut((SHARED * length).max(1)).for_each(|chunk| chunk.fill(Key::MAX));
        Ok(room)
    }

    /// Empty lists of at most `length` for vectors from `first` on, in what [`Lists::room`] gave.
    pub fn new(first: u32, length: usize, room: &'a mut Buffer<Key>) -> Self {
        Self { first, length, chunks: room.chunks_mut((SHARED * length).max(1)).map(Mutex::new).collect() }
    }

    fn place(&self, vector: u32) -> (usize, usize) {
        let at = (vector - self.first) as usize;
        (at / SHARED, at % SHARED * self.length)
    }

    /// Merges sorted keys into the list of `vector`.
    fn merge(&self, vector: u32, keys: &[Key], merged: &mut Vec<Key>) {
        let (chunk, at) = self.place(vector);
        let mut chunk = self.chunks[chunk].lock().unwrap_or_else(PoisonError::into_inner);
        let list = &mut chunk[at..at + self.length];
        merged.clear();
        let (mut i, mut j) = (0, 0);
        // A pair has the same distance in every group, so a repeat has the same key.
        while merged.len() < self.length {
            let (a, b) = (list.get(i).copied().unwrap_or(Key::MAX), keys.get(j).copied().unwrap_or(Key::MAX));
            let least = a.min(b);
            if least == Key::MAX {
                break;
            }
            i += usize::from(a == least);
            j += usize::from(b == least);
            merged.push(least);
        }
        list[..merged.len()].copy_from_slice(merged);
    }

    /// Copies the list of `vector` to `out`.
    pub fn read(&self, vector: u32, out: &mut Vec<Key>) {
        let (chunk, at) = self.place(vector);
        let chunk = self.chunks[chunk].lock().unwrap_or_else(PoisonError::into_inner);
        out.clear();
        out.extend(chunk[at..at + self.length].iter().take_while(|&&k| k != Key::MAX));
    }
}

/// Compares all pairs of a group and merges the `most` nearest of each member into the lists.
pub struct AllPairs<'a, 'l> {
    /// Codes of all vectors.
    pub codes: &'a Codes,
    /// Members of the group.
    pub group: &'a [u32],
    /// Neighbours taken per member.
    pub most: usize,
    /// Where they go.
    pub lists: &'a Lists<'l>,
}

impl Work for AllPairs<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut query = Query::default();
        let (mut best, mut merged) = (Nearest::default(), Vec::new());
        for (i, &member) in self.group.iter().enumerate() {
            query.set(self.codes.code(member), self.codes.meta(member));
            best.reset(self.most);
            let mut bound = f32::INFINITY;
            each_distance(simd, &query, self.codes, self.group, |j, d| {
                if d <= bound && i != j {
                    best.offer(key(d, self.group[j]));
                    if best.keys.len() == self.most {
                        bound = best.keys.last().map_or(bound, |&k| crate::vector::topk::key_distance(k));
                    }
                }
            });
            self.lists.merge(member, &best.keys, &mut merged);
        }
    }
}

impl AllPairs<'_, '_> {
    /// Does it with the best instruction set.
    pub fn go(self) {
        dispatch(self);
    }
}
