//! The distinct values of a field in order.

use std::ops::Range;

use uuid::Uuid;

use super::codec::{Reader, Writer, corrupt};
use super::postings::rises;
use crate::column::Column;
use crate::error::Result;
use crate::payload::PayloadIndexKind;
use crate::payload::predicate::{FieldPredicate, Scalar, as_uuid, canonical_keyword};

/// Sorted distinct values; their position is their rank in the postings.
#[derive(Debug)]
pub(super) enum Keys {
    /// Canonical strings.
    Text(TextKeys),
    /// Integers, microseconds of dates, 0 and 1 for `false` and `true`.
    Int(Column<i64>),
    /// Numbers, without `-0.0`.
    Float(Column<f64>),
    /// Bytes of UUIDs: their order is that of the UUIDs, and they need no alignment.
    Uuid(Column<[u8; 16]>),
}

/// Strings end to end.
#[derive(Debug)]
pub(super) struct TextKeys {
    offsets: Column<u64>,
    bytes: Column<u8>,
}

/// Ranges of ranks that fulfil a predicate.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Ascending and apart.
    pub spans: Vec<Range<usize>>,
    /// Whether a row with such a key may yet not match: the keys do not tell all that the values were.
    pub inexact: bool,
}

impl Keys {
    pub fn len(&self) -> usize {
        match self {
            Self::Text(keys) => keys.len(),
            Self::Int(keys) => keys.len(),
            Self::Float(keys) => keys.len(),
            Self::Uuid(keys) => keys.len(),
        }
    }

    /// Ranks that equal one of `list`.
    pub fn listed(&self, kind: PayloadIndexKind, list: &[Scalar]) -> Spans {
        // A date index keeps instants; strings that spell them are compared as text.
        if kind == PayloadIndexKind::Datetime {
            let any = list.iter().any(|s| matches!(s, Scalar::Keyword(_)));
            return Spans { spans: Vec::from_iter(any.then_some(0..self.len())), inexact: true };
        }
        let mut ranks: Vec<usize> = list.iter().filter_map(|s| self.rank(kind, s)).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let mut spans: Vec<Range<usize>> = Vec::new();
        for rank in ranks {
            match spans.last_mut() {
                Some(last) if last.end == rank => last.end += 1,
                _ => spans.push(rank..rank + 1),
            }
        }
        // A float index does not tell 1 from 1.0.
        Spans { spans, inexact: kind == PayloadIndexKind::Float }
    }

    fn rank(&self, kind: PayloadIndexKind, scalar: &Scalar) -> Option<usize> {
        match (self, kind, scalar) {
            (Self::Text(keys), _, Scalar::Keyword(s)) => keys.rank(canonical_keyword(s).as_bytes()),
            (Self::Uuid(keys), _, Scalar::Keyword(s)) => keys.binary_search(as_uuid(s)?.as_bytes()).ok(),
            (Self::Int(keys), PayloadIndexKind::Bool, Scalar::Bool(b)) => {
                keys.binary_search(&i64::from(*b)).ok()
            }
            (Self::Int(keys), PayloadIndexKind::Integer, Scalar::Integer(i)) => keys.binary_search(i).ok(),
            (Self::Float(keys), _, Scalar::Integer(i)) => {
                keys.binary_search_by(|k| k.total_cmp(&(*i as f64))).ok()
            }
            _ => None,
        }
    }

    /// Ranks that lie in a [`FieldPredicate::Range`] or [`FieldPredicate::DatetimeRange`].
    pub fn in_range(&self, kind: PayloadIndexKind, predicate: &FieldPredicate) -> Spans {
        use PayloadIndexKind as K;
        let span = match (self, kind, predicate) {
            (Self::Int(keys), K::Integer, FieldPredicate::Range { lt, lte, gt, gte }) => {
                // Turning into f64 keeps the order, so the keys stay sorted by what is compared.
                span(keys, |k| *k as f64, (lt, lte), (gt, gte))
            }
            (Self::Float(keys), _, FieldPredicate::Range { lt, lte, gt, gte }) => {
                span(keys, |k| *k, (lt, lte), (gt, gte))
            }
            (Self::Int(keys), K::Datetime, FieldPredicate::DatetimeRange { lt, lte, gt, gte }) => {
                span(keys, |k| *k, (lt, lte), (gt, gte))
            }
            (Self::Text(keys), _, FieldPredicate::DatetimeRange { .. }) => {
                let all = 0..keys.len();
                return Spans { spans: vec![all], inexact: true };
            }
            _ => 0..0,
        };
        Spans { spans: vec![span], inexact: false }
    }

    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(keys) => keys.offsets.heap_bytes() + keys.bytes.heap_bytes(),
            Self::Int(keys) => keys.heap_bytes(),
            Self::Float(keys) => keys.heap_bytes(),
            Self::Uuid(keys) => keys.heap_bytes(),
        }
    }

    pub fn write(&self, out: &mut Writer) {
        match self {
            Self::Text(keys) => {
                out.column(&keys.offsets);
                out.column(&keys.bytes);
            }
            Self::Int(keys) => out.column(keys),
            Self::Float(keys) => out.column(keys),
            Self::Uuid(keys) => out.column(keys),
        }
    }

    pub fn read(kind: PayloadIndexKind, input: &mut Reader) -> Result<Self> {
        use PayloadIndexKind as K;
        let (keys, sorted) = match kind {
            K::Keyword => {
                let keys = TextKeys { offsets: input.column()?, bytes: input.column()? };
                let sorted = keys.is_sound();
                (Self::Text(keys), sorted)
            }
            K::Integer | K::Datetime | K::Bool => {
                let keys: Column<i64> = input.column()?;
                let sorted = rises(&keys, |a, b| a < b);
                (Self::Int(keys), sorted)
            }
            K::Float => {
                let keys: Column<f64> = input.column()?;
                let sorted = keys.iter().all(|k| k.is_finite()) && rises(&keys, |a, b| a < b);
                (Self::Float(keys), sorted)
            }
            K::Uuid => {
                let keys: Column<[u8; 16]> = input.column()?;
                let sorted = rises(&keys, |a, b| a < b);
                (Self::Uuid(keys), sorted)
            }
            K::Geo | K::Text => return Err(corrupt("places and words have no keys")),
        };
        if sorted { Ok(keys) } else { Err(corrupt("keys are not in order")) }
    }
}

impl TextKeys {
    /// From strings in order.
    pub fn new<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let (mut offsets, mut bytes) = (vec![0u64], Vec::new());
        for key in keys {
            bytes.extend_from_slice(key.as_bytes());
            offsets.push(bytes.len() as u64);
        }
        Self { offsets: offsets.into(), bytes: bytes.into() }
    }

    fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The bytes of one key; empty past the end.
    pub fn get(&self, rank: usize) -> &[u8] {
        let bound = |i: usize| self.offsets.get(i).map_or(0, |o| usize::try_from(*o).unwrap_or(usize::MAX));
        self.bytes.get(bound(rank)..bound(rank + 1)).unwrap_or(&[])
    }

    fn rank(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle) < key { low = middle + 1 } else { high = middle }
        }
        (low < self.len() && self.get(low) == key).then_some(low)
    }

    fn is_sound(&self) -> bool {
        let (offsets, end) = (&self.offsets, self.bytes.len() as u64);
        offsets.first() == Some(&0)
            && offsets.last() == Some(&end)
            && offsets.windows(2).all(|w| w[0] <= w[1])
            && (1..self.len()).all(|i| self.get(i - 1) < self.get(i))
    }
}

/// The UUID key of a string, if it is one.
pub(super) fn uuid_key(text: &str) -> Option<[u8; 16]> {
    as_uuid(text).map(Uuid::into_bytes)
}

/// Ranks of the keys between the bounds.
fn span<K, V: PartialOrd>(
    keys: &[K],
    value: impl Fn(&K) -> V,
    (lt, lte): (&Option<V>, &Option<V>),
    (gt, gte): (&Option<V>, &Option<V>),
) -> Range<usize> {
    let below = |k: &K| {
        let v = value(k);
        gt.as_ref().is_some_and(|b| v <= *b) || gte.as_ref().is_some_and(|b| v < *b)
    };
    let not_above = |k: &K| {
        let v = value(k);
        lt.as_ref().is_none_or(|b| v < *b) && lte.as_ref().is_none_or(|b| v <= *b)
    };
    let (low, high) = (keys.partition_point(below), keys.partition_point(not_above));
    low..high.max(low)
}
