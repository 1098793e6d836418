//! Index structures over the values of one payload field.
//!
//! Keywords, UUIDs, booleans, numbers and dates are kept as sorted distinct keys with the rows of each; places in
//! bands of latitude, words in a [`TextIndex`]. Beside them stands what else the rows hold: how many values, nulls, and which rows have values
//! of other kinds. So the index knows of every predicate which rows surely match, which surely do not, and which
//! must be read ([`FieldIndex::probe`]).

mod builder;
mod codec;
mod keys;
mod places;
mod postings;
mod shapes;
mod values;

use bytes::Bytes;
use roaring::RoaringBitmap;

pub use builder::FieldIndexBuilder;
use codec::{Reader, Writer, corrupt};
use keys::{Keys, Spans};
use places::Places;
use postings::{Postings, bitmap_bytes, complement};
use shapes::{Foreign, Shapes};
pub use values::{IndexedValue, ValueRows, Values};

use super::PayloadIndexKind;
use super::predicate::FieldPredicate;
use crate::error::Result;
use crate::text::{TextIndex, TextMatch, TextOptions};

/// An immutable index over one field of the rows `0..rows`.
#[derive(Debug)]
pub struct FieldIndex {
    kind: PayloadIndexKind,
    rows: u32,
    shapes: Shapes,
    foreign: Foreign,
    /// Rows with a value of the kind.
    indexed: RoaringBitmap,
    /// Rows with more than one (repeats count).
    multi: RoaringBitmap,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Keyed { keys: Keys, postings: Postings },
    Places(Places),
    Words(Box<TextIndex>),
}

/// What an index knows about a predicate. Rows in neither set do not match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    /// Rows that match.
    pub sure: RoaringBitmap,
    /// Other rows, which may match: evaluate their JSON.
    pub maybe: RoaringBitmap,
}

impl FieldIndex {
    /// Kind of the indexed values.
    pub fn kind(&self) -> PayloadIndexKind {
        self.kind
    }

    /// Number of rows; ordinals are below it.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Rows that have values of other kinds than the index's at the path (nulls and nested arrays are none).
    pub fn others(&self) -> RoaringBitmap {
        self.foreign.all()
    }

    /// The index of words, where this is one.
    pub fn text(&self) -> Option<&TextIndex> {
        match &self.table {
            Table::Words(words) => Some(words),
            _ => None,
        }
    }

    /// How strings became words, where this is an index of words.
    pub fn text_options(&self) -> Option<&TextOptions> {
        self.text().map(TextIndex::options)
    }

    /// Rows that have a value of the index's kind.
    pub fn indexed(&self) -> &RoaringBitmap {
        &self.indexed
    }

    /// Rows that match, `None` where the index alone cannot tell: evaluate the JSON, or take [`Self::probe`].
    pub fn matching(&self, predicate: &FieldPredicate) -> Option<RoaringBitmap> {
        let probe = self.probe(predicate);
        probe.maybe.is_empty().then_some(probe.sure)
    }

    /// Exact number of matching rows, `None` where [`Self::matching`] is. Without making bitmaps where counts tell.
    pub fn cardinality(&self, predicate: &FieldPredicate) -> Option<u64> {
        match self.estimate(predicate) {
            (min, max) if min == max => Some(min),
            _ => self.matching(predicate).map(|rows| rows.len()),
        }
    }

    /// Bounds of the number of matching rows, from counts alone.
    pub fn estimate(&self, predicate: &FieldPredicate) -> (u64, u64) {
        if let Some(exact) = self.shapes.count(predicate, self.rows) {
            return (exact, exact);
        }
        let rows = u64::from(self.rows);
        if let FieldPredicate::Text(text) = predicate {
            return self.estimate_text(text);
        }
        let (min, max) = match (&self.table, predicate) {
            (Table::Words(_), _) => (0, 0),
            (Table::Places(places), _) => (0, places.at_most(predicate).min(self.indexed.len())),
            (Table::Keyed { keys, postings }, FieldPredicate::Except(list)) => {
                let listed = keys.listed(self.kind, list);
                let count = if listed.inexact { 0 } else { postings.count(&listed.spans) };
                // With one value a row, the listed rows are exactly those that do not match.
                let simple = !listed.inexact && self.multi.is_empty();
                let most = self.indexed.len() - if simple { count.min(self.indexed.len()) } else { 0 };
                (if simple { most } else { 0 }, most)
            }
            (Table::Keyed { keys, postings }, _) => {
                let found = self.spans(keys, predicate);
                let count = postings.count(&found.spans);
                let min = if found.inexact {
                    0
                } else if self.multi.is_empty() || single_key(&found) {
                    count
                } else {
                    u64::from(count > 0)
                };
                (min, count.min(self.indexed.len()))
            }
        };
        let (sure, maybe) = self.foreign.probe(self.kind, predicate);
        (min.max(sure.len()), (max + sure.len() + maybe.len()).min(rows))
    }

    /// Which rows match, and which must be read to know.
    pub fn probe(&self, predicate: &FieldPredicate) -> Probe {
        if let Some(sure) = self.shapes.matching(predicate, self.rows) {
            return Probe { sure, maybe: RoaringBitmap::new() };
        }
        if let FieldPredicate::Text(text) = predicate {
            return self.probe_text(text);
        }
        let (mut sure, mut maybe) = self.foreign.probe(self.kind, predicate);
        match (&self.table, predicate) {
            // Strings of an index of words count as foreign: its words tell nothing of the whole of one.
            (Table::Words(_), _) => {}
            // An object is no scalar and no number: other predicates are about foreign values alone.
            (Table::Places(places), _) => sure |= places.collect(predicate),
            (Table::Keyed { keys, postings }, FieldPredicate::Except(list)) => {
                self.probe_except(&keys.listed(self.kind, list), postings, &mut sure, &mut maybe);
            }
            (Table::Keyed { keys, postings }, _) => {
                let found = self.spans(keys, predicate);
                let rows = self.collect(postings, &found);
                if found.inexact {
                    maybe |= rows;
                } else {
                    sure |= rows;
                }
            }
        }
        maybe -= &sure;
        Probe { sure, maybe }
    }

    /// Rows with strings: an index of words, or of keys that were made of strings, has them all.
    fn strings(&self) -> RoaringBitmap {
        let keys = matches!(
            self.kind,
            PayloadIndexKind::Keyword | PayloadIndexKind::Datetime | PayloadIndexKind::Uuid
        );
        let foreign = self.foreign.get(shapes::Class::Text);
        if keys { foreign | &self.indexed } else { foreign.clone() }
    }

    fn probe_text(&self, text: &TextMatch) -> Probe {
        // An index that cannot be read leaves the rows themselves.
        match self.text().and_then(|words| words.probe(text)).and_then(Result::ok) {
            Some(found) => Probe { sure: found.sure, maybe: found.maybe },
            None => Probe { sure: RoaringBitmap::new(), maybe: self.strings() },
        }
    }

    fn estimate_text(&self, text: &TextMatch) -> (u64, u64) {
        let words = self.text().and_then(|index| Some((index, index.words_of(text)?)));
        let found = words.and_then(|(index, words)| index.estimate(words, text.mode()).ok());
        found.unwrap_or_else(|| (0, self.strings().len()))
    }

    fn spans(&self, keys: &Keys, predicate: &FieldPredicate) -> Spans {
        match predicate {
            FieldPredicate::Any(list) => keys.listed(self.kind, list),
            FieldPredicate::Range { .. } | FieldPredicate::DatetimeRange { .. } => {
                keys.in_range(self.kind, predicate)
            }
            _ => Spans::default(),
        }
    }

    fn collect(&self, postings: &Postings, found: &Spans) -> RoaringBitmap {
        // Where most rows match, and each by one value, it is less work to collect the others.
        if self.multi.is_empty() && postings.count(&found.spans) > self.indexed.len() / 2 {
            return &self.indexed - postings.collect(&complement(&found.spans, postings.keys()), self.rows);
        }
        postings.collect(&found.spans, self.rows)
    }

    /// Rows with a key outside `listed`.
    fn probe_except(
        &self,
        listed: &Spans,
        postings: &Postings,
        sure: &mut RoaringBitmap,
        maybe: &mut RoaringBitmap,
    ) {
        let hit = postings.collect(&listed.spans, self.rows);
        *sure |= &self.indexed - &hit;
        if listed.inexact {
            *maybe |= hit;
            return;
        }
        // A row with a listed value matches if it has another one that is not listed.
        let both = hit & &self.multi;
        if !both.is_empty() {
            *sure |= both & postings.collect(&complement(&listed.spans, postings.keys()), self.rows);
        }
    }

    /// Bytes on the heap, about; columns that are read in place from the bytes handed to [`Self::open`] count 0.
    pub fn memory_bytes(&self) -> usize {
        let table = match &self.table {
            Table::Keyed { keys, postings } => keys.heap_bytes() + postings.heap_bytes(),
            Table::Places(places) => places.heap_bytes(),
            Table::Words(words) => words.heap_bytes(),
        };
        let rows = bitmap_bytes(&self.indexed) + bitmap_bytes(&self.multi);
        size_of::<Self>() + self.shapes.heap_bytes() + self.foreign.heap_bytes() + rows + table
    }

    /// The index as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(self.kind);
        out.number(u64::from(self.rows));
        self.shapes.write(&mut out);
        self.foreign.write(&mut out);
        out.bitmap(&self.indexed);
        out.bitmap(&self.multi);
        match &self.table {
            Table::Keyed { keys, postings } => {
                keys.write(&mut out);
                postings.write(&mut out);
            }
            Table::Places(places) => places.write(&mut out),
            Table::Words(words) => out.column(words.encode()),
        }
        out.finish()
    }

    /// Opens what [`Self::encode`] made. Columns are read in place where `bytes` is aligned to 8.
    ///
    /// # Errors
    /// [`crate::IndexError::Corrupt`] for bytes that are anything else.
    pub fn open(bytes: Bytes) -> Result<Self> {
        let (kind, mut input) = Reader::open(bytes)?;
        let rows = u32::try_from(input.number()?).map_err(|_| corrupt("too many rows"))?;
        let shapes = Shapes::read(&mut input, rows)?;
        let foreign = Foreign::read(&mut input, rows)?;
        let (indexed, multi) = (input.bitmap(rows)?, input.bitmap(rows)?);
        let table = if kind == PayloadIndexKind::Text {
            let words = TextIndex::open(input.blob()?)?;
            if words.rows() != rows {
                return Err(corrupt("the words are those of other rows"));
            }
            Table::Words(Box::new(words))
        } else if kind == PayloadIndexKind::Geo {
            Table::Places(Places::read(&mut input, rows)?)
        } else {
            let keys = Keys::read(kind, &mut input)?;
            let postings = Postings::read(&mut input, rows)?;
            if keys.len() != postings.keys() {
                return Err(corrupt("keys and postings differ in number"));
            }
            Table::Keyed { keys, postings }
        };
        input.end()?;
        Ok(Self { kind, rows, shapes, foreign, indexed, multi, table })
    }
}

fn single_key(found: &Spans) -> bool {
    matches!(&found.spans[..], [one] if one.len() <= 1)
}
