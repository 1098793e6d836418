//! One batch of rows in columns, as all readers produce it and the bulk upsert sends it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

/// Identity of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// A number.
    Num(u64),
    /// A UUID.
    Uuid(Uuid),
}

impl Id {
    /// Reads a number or a UUID from text.
    ///
    /// # Errors
    /// A sentence that says what an id may be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits && let Ok(n) = text.parse() {
            return Ok(Self::Num(n));
        }
        // Only the dashed form: 32 bare digits could as well be a hash of something else.
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self::Uuid(uuid)),
            _ => Err(format!("id {text:?} is neither an unsigned 64-bit number nor a UUID")),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Num(n) => n.fmt(f),
            Self::Uuid(u) => u.fmt(f),
        }
    }
}

/// Ids of a batch: all of one kind (a reader ends a batch where the kind changes).
#[derive(Clone, Debug, PartialEq)]
pub enum Ids {
    /// Numbers.
    Num(Vec<u64>),
    /// UUIDs.
    Uuid(Vec<Uuid>),
}

impl Ids {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Num(ids) => ids.len(),
            Self::Uuid(ids) => ids.len(),
        }
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Id of a row, `None` past the end.
    pub fn get(&self, row: usize) -> Option<Id> {
        match self {
            Self::Num(ids) => ids.get(row).copied().map(Id::Num),
            Self::Uuid(ids) => ids.get(row).copied().map(Id::Uuid),
        }
    }
}

/// Vectors of one field for the rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorBlock {
    /// Field name; "" is the default field.
    pub field: String,
    /// Components per vector; 0 when no row of the batch has a vector and the dimension is not known yet.
    pub dimension: usize,
    /// Components of the rows that have a vector, one after the other.
    pub components: Vec<f32>,
    /// Which rows have a vector; `None` when all have.
    pub present: Option<Vec<bool>>,
}

/// A row that could not be taken, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// Row number in the file, from 0.
    pub row: u64,
    /// One sentence.
    pub reason: String,
}

/// Consecutive rows of one file in columns. Columns that the file does not have are empty.
#[derive(Clone, Debug)]
pub struct RowBatch {
    /// File the rows come from.
    pub file: Arc<Path>,
    /// Number of the first row of the span in the file, from 0.
    pub first_row: u64,
    /// Rows of the file that this batch stands for, rejected ones included: the next batch begins at
    /// `first_row + span`.
    pub span: u64,
    /// Identities.
    pub ids: Ids,
    /// Vector fields.
    pub vectors: Vec<VectorBlock>,
    /// JSON objects as text; empty when no row has a payload.
    pub payload_json: Vec<Bytes>,
    /// Region of each row, "" for none; empty when the file has none.
    pub regions: Vec<String>,
    /// Milliseconds since 1970, 0 for none; empty when the file has none.
    pub created_at_ms: Vec<i64>,
    /// Milliseconds since 1970, 0 for none; empty when the file has none.
    pub expires_at_ms: Vec<i64>,
    /// File row of each row, as a distance from `first_row`; empty when row i is `first_row + i`.
    pub offsets: Vec<u32>,
    /// Rows of the span that could not be taken.
    pub rejects: Vec<Reject>,
}

impl RowBatch {
    /// A batch of rows with nothing but ids.
    pub fn new(file: Arc<Path>, first_row: u64, ids: Ids) -> Self {
        Self {
            file,
            first_row,
            span: ids.len() as u64,
            ids,
            vectors: Vec::new(),
            payload_json: Vec::new(),
            regions: Vec::new(),
            created_at_ms: Vec::new(),
            expires_at_ms: Vec::new(),
            offsets: Vec::new(),
            rejects: Vec::new(),
        }
    }

    /// Number of rows that can be taken.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True when no row can be taken.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Row of the file that row `i` of the batch is.
    pub fn file_row(&self, i: usize) -> u64 {
        self.first_row + self.offsets.get(i).map_or(i as u64, |&o| u64::from(o))
    }

    /// Bytes of the columns, about.
    pub fn bytes(&self) -> usize {
        let vectors: usize = self.vectors.iter().map(|v| v.components.len() * 4).sum();
        let payload: usize = self.payload_json.iter().map(Bytes::len).sum();
        vectors + payload + self.len() * 24
    }

    /// Records that rows (by position) cannot be taken, and removes them from every column.
    pub fn reject(&mut self, bad: Vec<(usize, String)>) {
        if bad.is_empty() {
            return;
        }
        let mut keep = vec![true; self.len()];
        for (i, reason) in bad {
            // The first reason is enough.
            if keep.get(i).copied().unwrap_or(false) {
                keep[i] = false;
                self.rejects.push(Reject { row: self.file_row(i), reason });
            }
        }
        self.rejects.sort_by_key(|r| r.row);
        self.offsets = (0..keep.len()).map(|i| (self.file_row(i) - self.first_row) as u32).collect();
        for block in &mut self.vectors {
            block.retain(&keep);
        }
        match &mut self.ids {
            Ids::Num(ids) => retain(ids, &keep),
            Ids::Uuid(ids) => retain(ids, &keep),
        }
        retain(&mut self.offsets, &keep);
        retain(&mut self.payload_json, &keep);
        retain(&mut self.regions, &keep);
        retain(&mut self.created_at_ms, &keep);
        retain(&mut self.expires_at_ms, &keep);
    }

    /// The rows `from..to` as a batch of their own; its span reaches from the first to the row before the next part,
    /// so the parts of a batch cover its span without gaps.
    pub fn part(&self, from: usize, to: usize) -> Self {
        let to = to.min(self.len());
        let from = from.min(to);
        let first_row = if from == 0 { self.first_row } else { self.file_row(from) };
        let end = if to == self.len() { self.first_row + self.span } else { self.file_row(to) };
        let ids = match &self.ids {
            Ids::Num(ids) => Ids::Num(ids[from..to].to_vec()),
            Ids::Uuid(ids) => Ids::Uuid(ids[from..to].to_vec()),
        };
        let mut part = Self::new(self.file.clone(), first_row, ids);
        part.span = end - first_row;
        part.offsets = (from..to).map(|i| (self.file_row(i) - first_row) as u32).collect();
        part.vectors = self.vectors.iter().map(|v| v.part(from, to)).collect();
        part.payload_json = slice(&self.payload_json, from, to);
        part.regions = slice(&self.regions, from, to);
        part.created_at_ms = slice(&self.created_at_ms, from, to);
        part.expires_at_ms = slice(&self.expires_at_ms, from, to);
        let inside = |r: &&Reject| (first_row..end).contains(&r.row);
        part.rejects = self.rejects.iter().filter(inside).cloned().collect();
        part
    }
}

impl VectorBlock {
    fn retain(&mut self, keep: &[bool]) {
        if self.dimension > 0 {
            let has = |i: usize| self.present.as_ref().is_none_or(|p| p[i]);
            let (mut read, mut written) = (0, 0);
            for (i, &kept) in keep.iter().enumerate() {
                if !has(i) {
                    continue;
                }
                let vector = read * self.dimension..(read + 1) * self.dimension;
                read += 1;
                if kept {
                    self.components.copy_within(vector, written * self.dimension);
                    written += 1;
                }
            }
            self.components.truncate(written * self.dimension);
        }
        if let Some(present) = &mut self.present {
            retain(present, keep);
        }
    }

    fn part(&self, from: usize, to: usize) -> Self {
        let count = |range: std::ops::Range<usize>| match &self.present {
            Some(present) => present[range].iter().filter(|&&p| p).count(),
            None => range.len(),
        };
        let start = count(0..from) * self.dimension;
        let end = start + count(from..to) * self.dimension;
        Self {
            field: self.field.clone(),
            dimension: self.dimension,
            components: self.components[start..end].to_vec(),
            present: self.present.as_ref().map(|p| p[from..to].to_vec()),
        }
    }

    /// The vector of a row, if it has one. Walks the rows before it where some have none.
    pub fn vector(&self, row: usize) -> Option<&[f32]> {
        let position = match &self.present {
            Some(present) => {
                present.get(row).copied().filter(|&p| p)?;
                present[..row].iter().filter(|&&p| p).count()
            }
            None => row,
        };
        self.components.get(position * self.dimension..(position + 1) * self.dimension)
    }
}

fn retain<T>(column: &mut Vec<T>, keep: &[bool]) {
    let mut kept = keep.iter();
    column.retain(|_| kept.next().copied().unwrap_or(true));
}

fn slice<T: Clone>(column: &[T], from: usize, to: usize) -> Vec<T> {
    column.get(from..to).map(<[T]>::to_vec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> RowBatch {
        let mut batch = RowBatch::new(Path::new("f").into(), 100, Ids::Num((0..6).collect()));
        batch.vectors = vec![VectorBlock {
            field: String::new(),
            dimension: 2,
            components: vec![0., 0., 1., 1., 3., 3., 4., 4., 5., 5.],
            present: Some(vec![true, true, false, true, true, true]),
        }];
        batch.payload_json = (0..6).map(|i| Bytes::from(format!("{{\"i\":{i}}}"))).collect();
        batch
    }

    #[test]
    fn rejecting_keeps_columns_aligned() {
        let mut b = batch();
        b.reject(vec![(1, "bad".into()), (4, "worse".into()), (1, "again".into())]);
        assert_eq!(b.ids, Ids::Num(vec![0, 2, 3, 5]));
        assert_eq!(b.vectors[0].components, [0., 0., 3., 3., 5., 5.]);
        assert_eq!(b.vectors[0].vector(1), None);
        assert_eq!(b.vectors[0].vector(2), Some(&[3., 3.][..]));
        assert_eq!((b.file_row(0), b.file_row(1), b.file_row(3)), (100, 102, 105));
        assert_eq!(b.rejects.iter().map(|r| r.row).collect::<Vec<_>>(), [101, 104]);
        b.reject(vec![(0, "late".into())]);
        assert_eq!(b.file_row(0), 102);
        assert_eq!(b.rejects.len(), 3);
    }

    #[test]
    fn parts_cover_the_span() {
        let mut b = batch();
        b.reject(vec![(0, "x".into()), (3, "y".into())]);
        let (first, second) = (b.part(0, 2), b.part(2, 4));
        assert_eq!(first.first_row, 100);
        assert_eq!(first.first_row + first.span, second.first_row);
        assert_eq!(second.first_row + second.span, 106);
        assert_eq!(second.ids, Ids::Num(vec![4, 5]));
        assert_eq!(second.vectors[0].vector(0), Some(&[4., 4.][..]));
        assert_eq!(first.rejects.len() + second.rejects.len(), 2);
        assert_eq!(second.file_row(0), 104);
    }

    #[test]
    fn ids_in_text() {
        assert_eq!(Id::parse("18446744073709551615"), Ok(Id::Num(u64::MAX)));
        assert!(matches!(Id::parse("67e55044-10b1-426f-9247-bb680e5fe0c8"), Ok(Id::Uuid(_))));
        for bad in ["", "-1", "+1", "1.0", "18446744073709551616", "x", "67e5504410b1426f9247bb680e5fe0c8"] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }
}
