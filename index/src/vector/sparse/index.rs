//! The rows of a sparse field and the postings made from them.

use std::collections::HashMap;

use super::SparseRow;
use crate::vector::ordinals::Ordinals;
use crate::{Column, IndexError, Mask, Result};

/// The sparse vectors of one field in one run of rows, by row and by index.
#[derive(Clone, Debug)]
pub struct SparseIndex {
    pub(super) ordinals: Ordinals,
    /// One more than rows; the components of position i lie between offset i and i + 1.
    pub(super) offsets: Column<u64>,
    pub(super) indices: Column<u32>,
    pub(super) values: Column<f32>,
    /// Indices that some row has, ascending.
    pub(super) terms: Column<u32>,
    /// One more than terms; the postings of term i lie between start i and i + 1.
    pub(super) starts: Column<u64>,
    /// Positions of the rows that have a term, ascending within it, and what they have.
    pub(super) places: Column<u32>,
    pub(super) weights: Column<f32>,
}

/// The rows that have one index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postings<'a> {
    pub places: &'a [u32],
    pub weights: &'a [f32],
}

/// Collects rows of a [`SparseIndex`].
#[derive(Debug, Default)]
pub struct SparseBuilder {
    ordinals: Vec<u32>,
    offsets: Vec<u64>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseBuilder {
    /// Adds the admitted vector of row `ordinal`, which is larger than that of the last one added.
    pub fn push(&mut self, ordinal: u32, row: SparseRow<'_>) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.ordinals.push(ordinal);
        self.indices.extend_from_slice(row.indices);
        self.values.extend_from_slice(row.values);
        self.offsets.push(self.indices.len() as u64);
    }

    /// True when no row was added.
    pub fn is_empty(&self) -> bool {
        self.ordinals.is_empty()
    }

    /// The index over all rows.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] where ordinals or indices do not ascend.
    pub fn finish(mut self) -> Result<SparseIndex> {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        let ordinals = Ordinals::new(self.ordinals.len(), Some(self.ordinals.into()))?;
        let rows = self.offsets.windows(2).map(|w| &self.indices[w[0] as usize..w[1] as usize]);
        if !rows.clone().all(|row| row.windows(2).all(|w| w[0] < w[1])) {
            return Err(IndexError::InvalidParameter("indices of a row do not ascend".to_owned()));
        }
        let (terms, starts) = terms(&self.indices);
        let mut next: HashMap<u32, u64> = terms.iter().copied().zip(starts.iter().copied()).collect();
        let mut places = vec![0u32; self.indices.len()];
        let mut weights = vec![0f32; self.indices.len()];
        let mut values = self.values.iter();
        for (position, row) in (0u32..).zip(rows) {
            for (index, value) in row.iter().zip(values.by_ref()) {
                let Some(at) = next.get_mut(index) else { continue };
                places[*at as usize] = position;
                weights[*at as usize] = *value;
                *at += 1;
            }
        }
        Ok(SparseIndex {
            ordinals,
            offsets: self.offsets.into(),
            indices: self.indices.into(),
            values: self.values.into(),
            terms: terms.into(),
            starts: starts.into(),
            places: places.into(),
            weights: weights.into(),
        })
    }
}

/// The distinct indices, ascending, and where the postings of each start.
fn terms(indices: &[u32]) -> (Vec<u32>, Vec<u64>) {
    let mut counts: HashMap<u32, u64> = HashMap::new();
    for index in indices {
        *counts.entry(*index).or_default() += 1;
    }
    let mut terms: Vec<u32> = counts.keys().copied().collect();
    terms.sort_unstable();
    let mut at = 0;
    let ends = terms.iter().map(|term| {
        at += counts[term];
        at
    });
    let starts = std::iter::once(0).chain(ends).collect();
    (terms, starts)
}

impl SparseIndex {
    /// Number of rows with a vector.
    pub fn len(&self) -> usize {
        self.ordinals.len()
    }

    /// True when no row has a vector.
    pub fn is_empty(&self) -> bool {
        self.ordinals.is_empty()
    }

    /// Number of components of all vectors.
    pub fn components(&self) -> usize {
        self.indices.len()
    }

    /// Which rows have a vector.
    pub fn ordinals(&self) -> &Ordinals {
        &self.ordinals
    }

    /// The vector at `position`; an empty one past the end.
    pub fn row(&self, position: usize) -> SparseRow<'_> {
        let range = match self.offsets.get(position..position + 2) {
            Some(&[from, to]) => from as usize..to as usize,
            _ => 0..0,
        };
        SparseRow {
            indices: self.indices.get(range.clone()).unwrap_or(&[]),
            values: self.values.get(range).unwrap_or(&[]),
        }
    }

    /// The vector of row `ordinal`, if it has one.
    pub fn vector(&self, ordinal: u32) -> Option<SparseRow<'_>> {
        self.ordinals.position(ordinal).map(|position| self.row(position))
    }

    /// How many of the allowed rows have each of these indices.
    pub fn frequencies(&self, indices: &[u32], mask: Mask<'_>) -> Vec<u64> {
        let count = |index: &u32| self.postings(*index).map_or(0, |postings| self.frequency(postings, mask));
        indices.iter().map(count).collect()
    }

    fn frequency(&self, postings: Postings<'_>, mask: Mask<'_>) -> u64 {
        let places = postings.places;
        match mask {
            Mask::All => places.len() as u64,
            // Few rows are dead as a rule: looking them up is cheaper than testing every row.
            Mask::Deny(denied) if denied.len() < places.len() as u64 / 8 => {
                let has = |ordinal: u32| {
                    let position = self.ordinals.position(ordinal).and_then(|p| u32::try_from(p).ok());
                    position.is_some_and(|p| places.binary_search(&p).is_ok())
                };
                (places.len() - denied.iter().filter(|&ordinal| has(ordinal)).count()) as u64
            }
            mask => {
                let allowed = |place: &&u32| mask.allows(self.ordinals.ordinal(**place as usize));
                places.iter().filter(allowed).count() as u64
            }
        }
    }

    /// The rows that have `index`.
    pub(super) fn postings(&self, index: u32) -> Option<Postings<'_>> {
        let term = self.terms.binary_search(&index).ok()?;
        let range = match self.starts.get(term..term + 2) {
            Some(&[from, to]) => from as usize..to as usize,
            _ => return None,
        };
        Some(Postings { places: self.places.get(range.clone())?, weights: self.weights.get(range)? })
    }

    /// Number of postings of all these indices: what a search has to read.
    pub fn postings_of(&self, indices: &[u32]) -> usize {
        indices.iter().filter_map(|index| self.postings(*index)).map(|p| p.places.len()).sum()
    }

    /// Heap bytes held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        let rows = self.offsets.heap_bytes() + self.indices.heap_bytes() + self.values.heap_bytes();
        let terms = self.terms.heap_bytes() + self.starts.heap_bytes();
        self.ordinals.heap_bytes() + rows + terms + self.places.heap_bytes() + self.weights.heap_bytes()
    }

    /// Why these columns are not those of an index, `None` if they are.
    pub(super) fn misfit(&self) -> Option<&'static str> {
        let spans = |offsets: &[u64], parts: usize, total: usize| {
            offsets.len() == parts + 1
                && offsets.first() == Some(&0)
                && offsets.last() == Some(&(total as u64))
                && offsets.windows(2).all(|w| w[0] <= w[1])
        };
        let ascending = |part: &[u32]| part.windows(2).all(|w| w[0] < w[1]);
        let total = self.indices.len();
        if [self.values.len(), self.places.len(), self.weights.len()] != [total; 3] {
            return Some("columns differ in length");
        }
        if !spans(&self.offsets, self.len(), total) || !spans(&self.starts, self.terms.len(), total) {
            return Some("offsets do not span the components");
        }
        if !ascending(&self.terms) {
            return Some("terms do not ascend");
        }
        if !(0..self.len()).all(|position| ascending(self.row(position).indices)) {
            return Some("indices of a row do not ascend");
        }
        let rows = self.len() as u64;
        let fits =
            |places: &[u32]| ascending(places) && places.last().is_none_or(|&last| u64::from(last) < rows);
        let mut lists = self.starts.windows(2).map(|w| w[0] as usize..w[1] as usize);
        if !lists.all(|range| self.places.get(range).is_some_and(fits)) {
            return Some("postings of rows that are not there");
        }
        None
    }
}
