//! The tree of a filter.

use engram_index::payload::{FieldPredicate, PayloadPath};
use engram_storage::PointId;
use engram_storage::point::FieldId;

/// Conditions on a point. It holds when every condition of `must`, at least one of `should`, none of `must_not`
/// and enough of `min_should` hold. An empty list means no constraint: the default filter matches every point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// All of these hold.
    pub must: Vec<Condition>,
    /// At least one of these holds, unless there is none.
    pub should: Vec<Condition>,
    /// None of these holds.
    pub must_not: Vec<Condition>,
    /// At least so many of these hold.
    pub min_should: Option<MinShould>,
}

/// At least `min_count` of `conditions` hold. A count of 0 is no constraint; one above their number is never met.
#[derive(Clone, Debug, PartialEq)]
pub struct MinShould {
    /// The conditions that are counted.
    pub conditions: Vec<Condition>,
    /// How many of them must hold.
    pub min_count: usize,
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The payload's values at `path` fulfil `predicate`.
    Field {
        /// Where the values are.
        path: PayloadPath,
        /// What they must be.
        predicate: FieldPredicate,
    },
    /// The point's id is one of these.
    HasId(Vec<PointId>),
    /// The point has a value in a vector field. A field that the collection has not is one that no point has a value in.
    HasVector {
        /// The name of the field.
        name: String,
        /// The field of that name, once the filter is bound to a collection.
        field: Option<FieldId>,
    },
    /// One object at `path` fulfils `filter` by itself: each element of an array there is asked alone, an object that
    /// stands there without an array as the only element. Paths inside start at the element; ids are the point's, vectors
    /// are none of its.
    Nested {
        /// Where the objects are.
        path: PayloadPath,
        /// What one of them must fulfil.
        filter: Box<Filter>,
    },
    /// A filter inside the filter.
    Filter(Box<Filter>),
}

impl Filter {
    /// Whether this filter constrains nothing, that is, matches every point.
    pub fn is_unconstrained(&self) -> bool {
        self.must.is_empty()
            && self.should.is_empty()
            && self.must_not.is_empty()
            && self.min_should.as_ref().is_none_or(|m| m.min_count == 0)
    }

    /// Whether it asks for vectors, which a payload alone does not tell.
    pub(crate) fn asks_for_vectors(&self) -> bool {
        self.conditions().any(|condition| match condition {
            Condition::HasVector { .. } => true,
            Condition::Nested { filter, .. } | Condition::Filter(filter) => filter.asks_for_vectors(),
            Condition::Field { .. } | Condition::HasId(_) => false,
        })
    }

    /// A filter that holds where `condition` does.
    pub fn only(condition: Condition) -> Self {
        Self { must: vec![condition], ..Self::default() }
    }

    /// A filter that holds where both do.
    pub fn and(self, other: Self) -> Self {
        if self.is_unconstrained() {
            return other;
        }
        if other.is_unconstrained() {
            return self;
        }
        let must = vec![Condition::Filter(Box::new(self)), Condition::Filter(Box::new(other))];
        Self { must, ..Self::default() }
    }

    /// Every condition directly in this filter.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let counted = self.min_should.iter().flat_map(|m| &m.conditions);
        self.must.iter().chain(&self.should).chain(&self.must_not).chain(counted)
    }
}
