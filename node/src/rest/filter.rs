//! Filters of requests.

use engram_query::error::QueryError;
use engram_query::filter::{Condition, Filter};
use serde_json::{Value, json};

use super::error::RestError;

/// A filter, if there is one.
pub(crate) fn filter(json: Option<Value>) -> Result<Option<Filter>, RestError> {
    json.filter(|json| !json.is_null()).map(|json| required(&json)).transpose()
}

/// A filter that must be there.
pub(crate) fn required(json: &Value) -> Result<Filter, RestError> {
    Ok(Filter::from_json(json).map_err(QueryError::from)?)
}

/// One condition outside of a filter.
pub(crate) fn condition(json: &Value) -> Result<Condition, RestError> {
    let filter = required(&json!({ "must": [json] }))?;
    filter.must.into_iter().next().ok_or_else(|| RestError::wrong("a condition is expected"))
}
