//! Examples of a query made vectors: those of stored points are looked up, in this collection or another one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use engram_index::vector::VectorValue;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionSchema, VectorField, VectorKind};

use super::budget::Budget;
use crate::coordinator::{self, Fan, fetch_by_shard};
use crate::database::Database;
use crate::error::{QueryError, Result};
use crate::request::query::{Lookup, VectorInput};
use crate::request::{Principal, ReadOptions, Selection, StoredPoint};
use crate::write::{admit_query, as_query, vector_field};

/// Where examples are looked up: the collections of one tenant.
pub(crate) struct Library<'a> {
    pub database: &'a Database,
    pub principal: Principal,
    /// The collection of the query, all its regions.
    pub own: Fan,
}

/// The vectors of the points that a stage names, and which of them its answer leaves out.
#[derive(Debug, Default)]
pub(crate) struct Examples {
    vectors: HashMap<PointId, VectorValue>,
    /// Ascending; empty where the points are those of another collection.
    pub excluded: Vec<PointId>,
}

impl<'a> Library<'a> {
    /// A library of the collection of `fan`.
    pub fn new(
        database: &'a Database,
        principal: Principal,
        collection: &str,
        (read, deadline): (&ReadOptions, Instant),
    ) -> Result<Self> {
        // The regions of a request say where to search, not where its examples live.
        let everywhere = ReadOptions { regions: Vec::new(), ..read.clone() };
        let own = database.fan_until(principal, collection, &everywhere, deadline)?;
        Ok(Self { database, principal, own })
    }

    /// Looks up the points among `inputs`, which are compared with vectors of `field`.
    pub async fn find(
        &self,
        inputs: &[&VectorInput],
        field: &VectorField,
        (lookup, budget): (Option<&Lookup>, &Budget),
    ) -> Result<Examples> {
        let mut ids: Vec<PointId> = inputs
            .iter()
            .filter_map(|input| match input {
                VectorInput::Point(id) => Some(*id),
                VectorInput::Value(_) => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Examples::default());
        }
        let fan = match lookup {
            None => self.own.clone(),
            // The token of the request is one of its own collection.
            Some(lookup) => {
                let read = ReadOptions::default();
                self.database.fan_until(self.principal, &lookup.collection, &read, self.own.deadline)?
            }
        };
        let name = lookup.and_then(|lookup| lookup.field.as_deref()).unwrap_or(&field.name);
        let from = vector_field(&fan.schema, name)?;
        if from.dimension != field.dimension {
            let message = format!(
                "vector field {name:?} of collection {:?} has {} dimensions, field {:?} has {}: look examples up in a \
                 field of as many dimensions",
                fan.schema.name, from.dimension, field.name, field.dimension
            );
            return Err(QueryError::invalid("wrong_dimension", message));
        }
        let selection = only_vector(name);
        let mut vectors = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(VALUES_AT_ONCE) {
            for point in coordinator::get(&fan, ids, selection.clone()).await? {
                let id = point.id;
                let value = vector_of(point).ok_or_else(|| no_vector(id, name))?;
                budget.value("its examples", &value)?;
                vectors.insert(id, value);
            }
        }
        if let Some(id) = ids.iter().find(|id| !vectors.contains_key(id)) {
            return Err(no_point(&fan.schema, *id));
        }
        let own = fan.schema.id == self.own.schema.id;
        Ok(Examples { vectors, excluded: if own { ids } else { Vec::new() } })
    }
}

impl Examples {
    /// What an input has in the field, not normalised where it is given as a value.
    pub fn value(&self, input: &VectorInput, field: &VectorField) -> Result<VectorValue> {
        match input {
            VectorInput::Point(id) => {
                self.vectors.get(id).cloned().ok_or_else(|| no_vector(*id, &field.name))
            }
            VectorInput::Value(value) => {
                admit_query(field, value.clone())?;
                Ok(as_query(field, value.clone()))
            }
        }
    }

    /// What an input has in the field as it is compared.
    pub fn admitted(&self, input: &VectorInput, field: &VectorField) -> Result<VectorValue> {
        admit_query(field, self.value(input, field)?)
    }
}

/// Values that are read at once, where one may be large.
const VALUES_AT_ONCE: usize = 32;

/// The values that points have in `field`, of a query's `budget`; why some are missing.
///
/// # Errors
/// [`QueryError::Limit`] where they are more than a query may hold at once.
pub(crate) async fn values_by_shard(
    fan: &Fan,
    ids: &[(usize, PointId)],
    field: &VectorField,
    (what, budget): (&str, &Budget),
) -> Result<(HashMap<PointId, VectorValue>, Option<QueryError>)> {
    let known = field.kind == VectorKind::Dense;
    budget.vectors(what, ids.len(), field)?;
    let at_once = if known { ids.len().max(1) } else { VALUES_AT_ONCE };
    let selection = only_vector(&field.name);
    let (mut values, mut late) = (HashMap::with_capacity(ids.len()), None);
    for ids in ids.chunks(at_once) {
        let (points, missing) = fetch_by_shard(fan, ids.iter().copied(), &selection).await?;
        late = late.or(missing);
        for (id, point) in points {
            let Some(value) = vector_of(point) else { continue };
            if !known {
                budget.value(what, &value)?;
            }
            values.insert(id, value);
        }
    }
    Ok((values, late))
}

/// The only value of a point that was selected by [`only_vector`].
pub(crate) fn vector_of(point: StoredPoint) -> Option<VectorValue> {
    point.vectors.into_iter().next().map(|(_, vector)| vector)
}

/// Selects the vector of one field and nothing else.
pub(crate) fn only_vector(field: &str) -> Arc<Selection> {
    Arc::new(Selection { vectors: true, vector_names: vec![field.to_owned()], ..Selection::default() })
}

/// A point that has nothing in the field it is to be an example of.
pub(crate) fn no_vector(id: PointId, field: &str) -> QueryError {
    let message = format!("point {id} has no vector in field {field:?}: search with another field or point");
    QueryError::invalid("no_vector", message)
}

/// A point that is not there.
pub(crate) fn no_point(schema: &CollectionSchema, id: PointId) -> QueryError {
    let message =
        format!("there is no point {id} in collection {:?}: give the id of a stored point", schema.name);
    QueryError::NotFound { code: "point_not_found", message }
}
