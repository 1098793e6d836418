//! Building an index row by row.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use serde_json::Value;

use super::keys::{Keys, TextKeys, uuid_key};
use super::places::Places;
use super::postings::Postings;
use super::shapes::{Class, Foreign, Shapes};
use super::{FieldIndex, Table};
use crate::error::{IndexError, Result};
use crate::payload::PayloadIndexKind;
use crate::payload::datetime::parse_datetime;
use crate::payload::path::PayloadPath;
use crate::payload::predicate::{GeoPoint, canonical_keyword};
use crate::text::{Analyzer, TextIndexBuilder, TextOptions};

/// Takes rows and makes a [`FieldIndex`] of them.
#[derive(Debug)]
pub struct FieldIndexBuilder {
    kind: PayloadIndexKind,
    rows: u32,
    shapes: Shapes,
    foreign: Foreign,
    indexed: RoaringBitmap,
    multi: RoaringBitmap,
    entries: Entries,
}

/// Values seen so far with their rows.
#[derive(Debug)]
enum Entries {
    /// Strings by the order of their coming; pairs name them by that number.
    Text {
        numbers: HashMap<Box<str>, usize>,
        pairs: Vec<(usize, u32)>,
    },
    Int(Vec<(i64, u32)>),
    Float(Vec<(f64, u32)>),
    Uuid(Vec<([u8; 16], u32)>),
    Geo(Vec<(GeoPoint, u32)>),
    /// With the first failure, after which nothing is added.
    Words(Box<TextIndexBuilder>, Option<IndexError>),
}

impl FieldIndexBuilder {
    /// An index of the words of strings, without rows.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] for options that do not fit.
    pub fn text(options: &TextOptions) -> Result<Self> {
        let entries = Entries::words(Analyzer::new(options)?);
        Ok(Self { entries, ..Self::new(PayloadIndexKind::Text) })
    }

    /// An index of `kind` without rows; of words, with the usual options.
    pub fn new(kind: PayloadIndexKind) -> Self {
        use PayloadIndexKind as K;
        let entries = match kind {
            K::Keyword => Entries::Text { numbers: HashMap::new(), pairs: Vec::new() },
            K::Integer | K::Bool | K::Datetime => Entries::Int(Vec::new()),
            K::Float => Entries::Float(Vec::new()),
            K::Uuid => Entries::Uuid(Vec::new()),
            K::Geo => Entries::Geo(Vec::new()),
            K::Text => Entries::words(Analyzer::default()),
        };
        Self {
            kind,
            rows: 0,
            shapes: Shapes::default(),
            foreign: Foreign::default(),
            indexed: RoaringBitmap::new(),
            multi: RoaringBitmap::new(),
            entries,
        }
    }

    /// Adds the row `ordinal`. Every row is added once, in ascending order, also one without the field; a number that
    /// is left out is a row without the field.
    pub fn add(&mut self, ordinal: u32, payload: &Value, path: &PayloadPath) {
        self.rows = self.rows.max(ordinal.saturating_add(1));
        self.shapes.add(ordinal, path.shape(payload));
        self.entries.add_texts(ordinal, payload, path);
        let mut entered = 0;
        path.any_value(payload, |value| {
            let native = self.entries.enter(self.kind, ordinal, value);
            entered += u64::from(native);
            // Words do not tell what the whole string is: for predicates about that it is as foreign as a number.
            if (!native || self.kind == PayloadIndexKind::Text)
                && let Some(class) = Class::of(value)
                // An index of places decides about every object: one that did not go in is no place.
                && (class != Class::Object || self.kind != PayloadIndexKind::Geo)
            {
                self.foreign.add(ordinal, class);
            }
            false
        });
        if entered > 0 {
            self.indexed.insert(ordinal);
        }
        if entered > 1 {
            self.multi.insert(ordinal);
        }
    }

    /// The index over all rows added.
    ///
    /// # Errors
    /// Only of an index of words: where the library beneath it failed.
    pub fn finish(mut self) -> Result<FieldIndex> {
        self.shapes.optimize();
        self.foreign.optimize();
        self.indexed.optimize();
        self.multi.optimize();
        Ok(FieldIndex {
            kind: self.kind,
            rows: self.rows,
            shapes: self.shapes,
            foreign: self.foreign,
            indexed: self.indexed,
            multi: self.multi,
            table: self.entries.finish(self.rows)?,
        })
    }
}

impl Entries {
    /// Takes `value` if it is of the kind.
    fn enter(&mut self, kind: PayloadIndexKind, ordinal: u32, value: &Value) -> bool {
        match self {
            Self::Text { numbers, pairs } => {
                let Some(text) = value.as_str().map(canonical_keyword) else { return false };
                let next = numbers.len();
                let number = match numbers.get(text.as_ref()) {
                    Some(number) => *number,
                    None => *numbers.entry(text.into()).or_insert(next),
                };
                pairs.push((number, ordinal));
                true
            }
            Self::Int(pairs) => {
                let key = match kind {
                    PayloadIndexKind::Bool => value.as_bool().map(i64::from),
                    PayloadIndexKind::Datetime => value.as_str().and_then(parse_datetime),
                    _ => value.as_i64(),
                };
                key.map(|k| pairs.push((k, ordinal))).is_some()
            }
            // Adding 0 turns -0.0, which equals 0.0, into it.
            Self::Float(pairs) => value.as_f64().map(|v| pairs.push((v + 0.0, ordinal))).is_some(),
            Self::Uuid(pairs) => {
                value.as_str().and_then(uuid_key).map(|k| pairs.push((k, ordinal))).is_some()
            }
            Self::Geo(places) => GeoPoint::from_json(value).map(|p| places.push((p, ordinal))).is_some(),
            // Their words are taken by row.
            Self::Words(..) => value.is_string(),
        }
    }

    fn words(analyzer: Analyzer) -> Self {
        Self::Words(Box::new(TextIndexBuilder::new(Arc::new(analyzer))), None)
    }

    /// Takes the strings of a row for an index of words.
    fn add_texts(&mut self, ordinal: u32, payload: &Value, path: &PayloadPath) {
        if let Self::Words(words, failure @ None) = self {
            *failure = words.add(ordinal, &path.strings(payload)).err();
        }
    }

    fn finish(self, rows: u32) -> Result<Table> {
        Ok(match self {
            Self::Words(_, Some(failure)) => return Err(failure),
            Self::Words(words, None) => Table::Words(Box::new(words.finish(rows)?)),
            Self::Text { numbers, mut pairs } => {
                let mut texts: Vec<(Box<str>, usize)> = numbers.into_iter().collect();
                texts.sort_unstable();
                let mut ranks = vec![0; texts.len()];
                for (rank, (_, number)) in texts.iter().enumerate() {
                    ranks[*number] = rank;
                }
                for (number, _) in &mut pairs {
                    *number = ranks[*number];
                }
                pairs.sort_unstable();
                pairs.dedup();
                let (_, postings) = Postings::from_pairs(&pairs);
                Table::Keyed { keys: Keys::Text(TextKeys::new(texts.iter().map(|(t, _)| &**t))), postings }
            }
            Self::Int(mut pairs) => {
                pairs.sort_unstable();
                pairs.dedup();
                let (keys, postings) = Postings::from_pairs(&pairs);
                Table::Keyed { keys: Keys::Int(keys.into()), postings }
            }
            Self::Float(mut pairs) => {
                pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                pairs.dedup();
                let (keys, postings) = Postings::from_pairs(&pairs);
                Table::Keyed { keys: Keys::Float(keys.into()), postings }
            }
            Self::Uuid(mut pairs) => {
                pairs.sort_unstable();
                pairs.dedup();
                let (keys, postings) = Postings::from_pairs(&pairs);
                Table::Keyed { keys: Keys::Uuid(keys.into()), postings }
            }
            Self::Geo(places) => Table::Places(Places::new(places)),
        })
    }
}
