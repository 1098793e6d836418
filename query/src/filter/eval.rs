//! The meaning of a filter on one point.

use std::collections::HashSet;

use engram_index::Pace;
use engram_index::payload::{Matcher, PayloadPath};
use engram_storage::PointId;
use serde_json::Value;

use super::ast::{Condition, Filter};

/// What one condition costs beside what it looks at, in nanoseconds or so.
const TEST_WORK: usize = 50;

impl Filter {
    /// Whether the point `id` with `payload` fulfils this filter. To ask many points, [`Self::compile`] once.
    pub fn matches(&self, id: PointId, payload: &Value) -> bool {
        self.compile().matches(id, payload, &Pace::endless())
    }

    /// Makes the filter ready for many points.
    pub fn compile(&self) -> Compiled<'_> {
        Compiled {
            must: Test::all(&self.must),
            should: Test::all(&self.should),
            must_not: Test::all(&self.must_not),
            min_should: self.min_should.as_ref().map(|m| (Test::all(&m.conditions), m.min_count)),
        }
    }
}

/// A filter made ready for many points: long lists are looked up.
#[derive(Debug)]
pub struct Compiled<'a> {
    must: Vec<Test<'a>>,
    should: Vec<Test<'a>>,
    must_not: Vec<Test<'a>>,
    min_should: Option<(Vec<Test<'a>>, usize)>,
}

/// A condition made ready.
#[derive(Debug)]
pub(super) enum Test<'a> {
    Field {
        path: &'a PayloadPath,
        matcher: Matcher<'a>,
    },
    HasId(HashSet<PointId>),
    /// Decided for all rows at once where vectors are known; a payload alone has none.
    HasVector,
    Nested {
        path: &'a PayloadPath,
        filter: Compiled<'a>,
    },
    Filter(Compiled<'a>),
}

impl Compiled<'_> {
    /// As [`Filter::matches`]; ends without a meaning where `pace` says so.
    pub fn matches(&self, id: PointId, payload: &Value, pace: &Pace<'_>) -> bool {
        let holds = |test: &Test<'_>| test.matches(id, payload, pace);
        self.must.iter().all(holds)
            && (self.should.is_empty() || self.should.iter().any(holds))
            && !self.must_not.iter().any(holds)
            && self.min_should.as_ref().is_none_or(|(tests, min_count)| {
                tests.iter().filter(|t| holds(t)).take(*min_count).count() == *min_count
            })
    }
}

impl<'a> Test<'a> {
    pub fn new(condition: &'a Condition) -> Self {
        match condition {
            Condition::Field { path, predicate } => Self::Field { path, matcher: Matcher::new(predicate) },
            Condition::HasId(ids) => Self::HasId(ids.iter().copied().collect()),
            Condition::HasVector { .. } => Self::HasVector,
            Condition::Nested { path, filter } => Self::Nested { path, filter: filter.compile() },
            Condition::Filter(filter) => Self::Filter(filter.compile()),
        }
    }

    fn all(conditions: &'a [Condition]) -> Vec<Self> {
        conditions.iter().map(Self::new).collect()
    }

    /// See [`Compiled::matches`].
    pub fn matches(&self, id: PointId, payload: &Value, pace: &Pace<'_>) -> bool {
        if !pace.go_on(TEST_WORK) {
            return false;
        }
        match self {
            Self::Field { path, matcher } => matcher.matches_while(payload, path, pace),
            Self::HasId(ids) => ids.contains(&id),
            Self::HasVector => false,
            Self::Nested { path, filter } => {
                let holds = |element: &Value| element.is_object() && filter.matches(id, element, pace);
                // A walk over elements ends at the first that holds.
                path.any_value(payload, |element| pace.is_late() || holds(element))
            }
            Self::Filter(filter) => filter.matches(id, payload, pace),
        }
    }
}
