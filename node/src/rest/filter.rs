//! Filters of requests.

use engram_query::error::QueryError;
use engram_query::filter::{Condition, Filter};
use serde_json::{Value, json};

use super::error::RestError;
use super::given::{Given, OfTree};

/// A filter, if there is one.
pub(crate) fn filter(given: Option<Given<Filter>>) -> Result<Option<Filter>, RestError> {
    given.map(Given::get).transpose()
}

impl OfTree for Filter {
    fn of_tree(json: Value) -> Result<Self, RestError> {
        read(&json)
    }
}

fn read(json: &Value) -> Result<Filter, RestError> {
    let filter = Filter::from_json(json).map_err(QueryError::from)?;
    if counts_nothing(&filter) {
        return Err(RestError::validation(
            "filter: min_should.min_count: value 0 invalid, must be 1 or larger",
        ));
    }
    Ok(filter)
}

/// Whether a `min_should` in it asks for nothing, which the dialect does not know. As deep as filters may be.
fn counts_nothing(filter: &Filter) -> bool {
    let counted = filter.min_should.iter().flat_map(|counted| &counted.conditions);
    let mut conditions = filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(counted);
    filter.min_should.as_ref().is_some_and(|counted| counted.min_count == 0)
        || conditions.any(|condition| match condition {
            Condition::Nested { filter, .. } | Condition::Filter(filter) => counts_nothing(filter),
            Condition::Field { .. } | Condition::HasId(_) | Condition::HasVector { .. } => false,
        })
}

/// One condition outside of a filter.
pub(crate) fn condition(json: &Value) -> Result<Condition, RestError> {
    let filter = read(&json!({ "must": [json] }))?;
    filter.must.into_iter().next().ok_or_else(|| RestError::wrong("a condition is expected"))
}
