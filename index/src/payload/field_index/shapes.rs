//! What rows hold apart from values of the index's kind: how many values, nulls, values of other kinds.

use roaring::RoaringBitmap;
use serde_json::Value;

use super::codec::{Reader, Writer, corrupt};
use super::postings::bitmap_bytes;
use crate::error::Result;
use crate::payload::PayloadIndexKind;
use crate::payload::path::FieldShape;
use crate::payload::predicate::{FieldPredicate, Scalar, as_uuid, within};

/// Numbers of values and nulls of all rows.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    null: RoaringBitmap,
    /// Ascending by number of values; rows without any are in none.
    counts: Vec<(u64, RoaringBitmap)>,
}

impl Shapes {
    pub fn add(&mut self, ordinal: u32, shape: FieldShape) {
        if shape.null {
            self.null.insert(ordinal);
        }
        if shape.count == 0 {
            return;
        }
        match self.counts.binary_search_by_key(&shape.count, |(n, _)| *n) {
            Ok(i) => drop(self.counts[i].1.insert(ordinal)),
            Err(i) => self.counts.insert(i, (shape.count, RoaringBitmap::from([ordinal]))),
        }
    }

    pub fn optimize(&mut self) {
        self.null.optimize();
        for (_, bitmap) in &mut self.counts {
            bitmap.optimize();
        }
    }

    /// Rows of `0..rows` that fulfil a predicate about the field as a whole, `None` for other predicates.
    pub fn matching(&self, predicate: &FieldPredicate, rows: u32) -> Option<RoaringBitmap> {
        let fits = match predicate {
            FieldPredicate::IsNull => return Some(self.null.clone()),
            _ => count_test(predicate)?,
        };
        let zero = fits(0);
        let mut out = RoaringBitmap::new();
        for (_, bitmap) in self.counts.iter().filter(|(n, _)| fits(*n) != zero) {
            out |= bitmap;
        }
        if zero {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..rows);
            out = all - out;
        }
        Some(out)
    }

    /// Length of [`Self::matching`].
    pub fn count(&self, predicate: &FieldPredicate, rows: u32) -> Option<u64> {
        let fits = match predicate {
            FieldPredicate::IsNull => return Some(self.null.len()),
            _ => count_test(predicate)?,
        };
        let sum = |wanted: bool| -> u64 {
            self.counts.iter().filter(|(n, _)| fits(*n) == wanted).map(|(_, b)| b.len()).sum()
        };
        Some(if fits(0) { u64::from(rows).saturating_sub(sum(false)) } else { sum(true) })
    }

    pub fn heap_bytes(&self) -> usize {
        bitmap_bytes(&self.null) + self.counts.iter().map(|(_, b)| bitmap_bytes(b)).sum::<usize>()
    }

    pub fn write(&self, out: &mut Writer) {
        out.bitmap(&self.null);
        out.number(self.counts.len() as u64);
        for (count, bitmap) in &self.counts {
            out.number(*count);
            out.bitmap(bitmap);
        }
    }

    pub fn read(input: &mut Reader, rows: u32) -> Result<Self> {
        let null = input.bitmap(rows)?;
        let mut counts: Vec<(u64, RoaringBitmap)> = Vec::new();
        for _ in 0..input.number()? {
            let count = input.number()?;
            if count == 0 || counts.last().is_some_and(|(last, _)| *last >= count) {
                return Err(corrupt("numbers of values are not in order"));
            }
            counts.push((count, input.bitmap(rows)?));
        }
        Ok(Self { null, counts })
    }
}

/// The test that a predicate puts to the number of values.
fn count_test(predicate: &FieldPredicate) -> Option<impl Fn(u64) -> bool> {
    let (lt, lte, gt, gte) = match predicate {
        FieldPredicate::IsEmpty => (None, Some(0), None, None),
        FieldPredicate::ValuesCount { lt, lte, gt, gte } => (*lt, *lte, *gt, *gte),
        _ => return None,
    };
    Some(move |n| within(n, lt, lte, gt, gte))
}

/// Classes of JSON values that predicates tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Bool,
    Number,
    Text,
    Object,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Bool, Self::Number, Self::Text, Self::Object];
    const SCALARS: [Self; 3] = [Self::Bool, Self::Number, Self::Text];

    /// Class of a value; nulls and arrays in arrays match no predicate about values.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Bool),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            Value::Object(_) => Some(Self::Object),
            Value::Null | Value::Array(_) => None,
        }
    }
}

/// Rows with values that the index's keys do not hold, by class.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    rows: [RoaringBitmap; 4],
}

impl Foreign {
    pub fn add(&mut self, ordinal: u32, class: Class) {
        self.rows[class as usize].insert(ordinal);
    }

    pub fn get(&self, class: Class) -> &RoaringBitmap {
        &self.rows[class as usize]
    }

    /// Rows with any such value.
    pub fn all(&self) -> RoaringBitmap {
        self.rows.iter().fold(RoaringBitmap::new(), |all, rows| all | rows)
    }

    /// Rows that the keys say nothing of and that `predicate` surely, or perhaps, holds for.
    pub fn probe(
        &self,
        kind: PayloadIndexKind,
        predicate: &FieldPredicate,
    ) -> (RoaringBitmap, RoaringBitmap) {
        let (mut sure, mut maybe) = (RoaringBitmap::new(), RoaringBitmap::new());
        match predicate {
            FieldPredicate::Any(list) => {
                for class in Class::SCALARS.into_iter().filter(|c| may_equal(kind, *c, list)) {
                    maybe |= self.get(class);
                }
            }
            FieldPredicate::Except(list) => {
                for class in Class::SCALARS {
                    let side = if may_equal(kind, class, list) { &mut maybe } else { &mut sure };
                    *side |= self.get(class);
                }
            }
            FieldPredicate::Range { .. } => maybe |= self.get(Class::Number),
            // What does not go into a date index is no date, and no UUID is one.
            FieldPredicate::DatetimeRange { .. } if kind == PayloadIndexKind::Datetime => {}
            FieldPredicate::DatetimeRange { .. } => maybe |= self.get(Class::Text),
            FieldPredicate::GeoRadius { .. }
            | FieldPredicate::GeoBox { .. }
            | FieldPredicate::GeoPolygon(_) => maybe |= self.get(Class::Object),
            // Strings among the keys are those of `FieldIndex::probe`.
            FieldPredicate::Text(_) => maybe |= self.get(Class::Text),
            FieldPredicate::ValuesCount { .. } | FieldPredicate::IsEmpty | FieldPredicate::IsNull => {}
        }
        (sure, maybe)
    }

    pub fn optimize(&mut self) {
        for rows in &mut self.rows {
            rows.optimize();
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.rows.iter().map(bitmap_bytes).sum()
    }

    pub fn write(&self, out: &mut Writer) {
        for class in Class::ALL {
            out.bitmap(self.get(class));
        }
    }

    pub fn read(input: &mut Reader, rows: u32) -> Result<Self> {
        let mut out = Self::default();
        for class in Class::ALL {
            out.rows[class as usize] = input.bitmap(rows)?;
        }
        Ok(out)
    }
}

/// Whether a value of `class` that is not among the keys of an index of `kind` can equal one of `list`.
fn may_equal(kind: PayloadIndexKind, class: Class, list: &[Scalar]) -> bool {
    list.iter().any(|scalar| match (class, scalar) {
        (Class::Bool, Scalar::Bool(_)) => true,
        // Numbers outside an integer index are no `i64`.
        (Class::Number, Scalar::Integer(_)) => kind != PayloadIndexKind::Integer,
        // Strings outside a UUID index are no UUIDs, strings outside a date index no dates.
        (Class::Text, Scalar::Keyword(s)) => kind != PayloadIndexKind::Uuid || as_uuid(s).is_none(),
        _ => false,
    })
}
