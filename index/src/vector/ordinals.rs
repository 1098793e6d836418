//! Which rows of a run have a value in a field.

use crate::{Column, IndexError, Mask, Result};

/// The row of each position: rows without a value have no position.
#[derive(Clone, Debug, Default)]
pub struct Ordinals {
    len: usize,
    /// Ascending; `None` when position i belongs to ordinal i.
    table: Option<Column<u32>>,
}

impl Ordinals {
    /// The ordinals of `len` positions; `table`, where given, has one for each, strictly ascending.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] where they do not fit.
    pub fn new(len: usize, table: Option<Column<u32>>) -> Result<Self> {
        let invalid = |why: String| Err(IndexError::InvalidParameter(why));
        if u32::try_from(len).is_err() {
            return invalid(format!("{len} values are more than ordinals can number"));
        }
        let Some(table) = table else { return Ok(Self { len, table: None }) };
        if table.len() != len {
            return invalid(format!("{} ordinals for {len} values", table.len()));
        }
        if !table.windows(2).all(|w| w[0] < w[1]) {
            return invalid("ordinals do not ascend strictly".to_owned());
        }
        // Ascending and ending at len - 1 means 0, 1, 2, ...: then positions are ordinals and need no table.
        let dense = table.last().is_none_or(|&last| last as usize == len - 1);
        Ok(Self { len, table: (!dense).then_some(table) })
    }

    /// Number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no row has a value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Row of `position`; `u32::MAX` past the end.
    #[inline]
    pub fn ordinal(&self, position: usize) -> u32 {
        match &self.table {
            Some(table) => table.get(position).copied().unwrap_or(u32::MAX),
            None => u32::try_from(position).ok().filter(|_| position < self.len).unwrap_or(u32::MAX),
        }
    }

    /// Position of row `ordinal`, if it has one.
    #[inline]
    pub fn position(&self, ordinal: u32) -> Option<usize> {
        match &self.table {
            Some(table) => table.binary_search(&ordinal).ok(),
            None => Some(ordinal as usize).filter(|&p| p < self.len),
        }
    }

    /// The ordinals; `None` when position i belongs to ordinal i.
    pub fn table(&self) -> Option<&Column<u32>> {
        self.table.as_ref()
    }

    /// Number of rows with a value that a mask allows.
    pub fn allowed(&self, mask: Mask<'_>) -> usize {
        let within = |set: &roaring::RoaringBitmap| match &self.table {
            Some(table) if set.len() < table.len() as u64 / 8 => {
                set.iter().filter(|&ordinal| table.binary_search(&ordinal).is_ok()).count()
            }
            Some(table) => table.iter().filter(|&&ordinal| set.contains(ordinal)).count(),
            None => set.range_cardinality(..self.len as u32) as usize,
        };
        match mask {
            Mask::All => self.len,
            Mask::Allow(set) => within(set),
            Mask::Deny(set) => self.len - within(set),
        }
    }

    /// Heap bytes held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        self.table.as_ref().map_or(0, Column::heap_bytes)
    }
}
