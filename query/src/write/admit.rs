//! The door for points: what a client wrote becomes what the log keeps, or is refused with what to mend.

use bytes::Bytes;
use engram_index::vector::{MultiVector, VectorValue, metric, multi, sparse};
use engram_storage::op::{ConditionalOp, Op};
use engram_storage::point::{FieldId, Point, PointId};
use engram_storage::schema::{CollectionSchema, RegionName, VectorField, VectorKind};

use crate::coordinator::unknown_region;
use crate::error::{QueryError, Result};
use crate::payload;
use crate::request::NewPoint;

/// Checks a stored value for `field` and makes it fit to be compared.
///
/// # Errors
/// `wrong_vector_kind`, `wrong_dimension`, `not_finite`, `invalid_vector`.
pub(crate) fn admit_vector(field: &VectorField, mut value: VectorValue) -> Result<VectorValue> {
    let admitted = match (field.kind, &mut value) {
        (VectorKind::Dense, VectorValue::Dense(vector)) => {
            metric::admit(field.metric, field.dimension, vector)
        }
        (VectorKind::Sparse { .. }, VectorValue::Sparse(vector)) => sparse::admit(vector),
        (VectorKind::Multi, VectorValue::Multi(vectors)) => {
            multi::admit(field.metric, field.dimension, vectors)
        }
        (kind, other) => return Err(wrong_kind(field, kind, other.kind())),
    };
    match admitted {
        Ok(()) => Ok(value),
        Err(e) => {
            let (dimension, components) = match &value {
                VectorValue::Dense(vector) => (vector.len(), vector.as_slice()),
                VectorValue::Sparse(vector) => (field.dimension, vector.values.as_slice()),
                VectorValue::Multi(vectors) => (vectors.dimension, vectors.components.as_slice()),
            };
            let code = if dimension != field.dimension && !components.is_empty() {
                "wrong_dimension"
            } else if components.iter().any(|x| !x.is_finite()) {
                "not_finite"
            } else {
                "invalid_vector"
            };
            Err(QueryError::invalid(code, format!("{}{e}", at_field(field))))
        }
    }
}

/// Checks a query for `field` and makes it fit to be compared: as [`admit_vector`], but that one vector stands for a multi
/// vector of one.
///
/// # Errors
/// Those of [`admit_vector`].
pub(crate) fn admit_query(field: &VectorField, value: VectorValue) -> Result<VectorValue> {
    admit_vector(field, as_query(field, value))
}

/// One vector made a multi vector of one, where the field has those.
pub(crate) fn as_query(field: &VectorField, value: VectorValue) -> VectorValue {
    match value {
        VectorValue::Dense(components) if field.kind == VectorKind::Multi => {
            VectorValue::Multi(MultiVector { dimension: components.len(), components })
        }
        value => value,
    }
}

fn at_field(field: &VectorField) -> String {
    if field.name.is_empty() { String::new() } else { format!("vector field {:?}: ", field.name) }
}

fn wrong_kind(field: &VectorField, kind: VectorKind, given: &str) -> QueryError {
    let wanted = match kind {
        VectorKind::Dense => "one vector: give a list of numbers",
        VectorKind::Sparse { .. } => "a sparse vector: give indices and values",
        VectorKind::Multi => "a multi vector: give a list of vectors",
    };
    let message = format!("{}a {given} vector is given, the field takes {wanted}", at_field(field));
    QueryError::invalid("wrong_vector_kind", message)
}

/// The vector field called `name`.
///
/// # Errors
/// `unknown_field`.
pub(crate) fn field<'a>(schema: &'a CollectionSchema, name: &str) -> Result<&'a VectorField> {
    schema.vector_field(name).ok_or_else(|| {
        let known: Vec<String> = schema.vectors.iter().map(|f| format!("{:?}", f.name)).collect();
        let known = if known.is_empty() {
            "it has none".to_owned()
        } else {
            format!("use one of {}", known.join(", "))
        };
        let message = format!("collection {:?} has no vector field {name:?}: {known}", schema.name);
        QueryError::invalid("unknown_field", message)
    })
}

/// Admits vectors by name: ascending by field, each field once.
///
/// # Errors
/// `unknown_field`, `repeated_field`, and those of [`admit_vector`].
pub(super) fn admit_vectors(
    schema: &CollectionSchema,
    vectors: Vec<(String, VectorValue)>,
) -> Result<Vec<(FieldId, VectorValue)>> {
    let mut admitted = Vec::with_capacity(vectors.len());
    for (name, vector) in vectors {
        let field = field(schema, &name)?;
        if admitted.iter().any(|(id, _)| *id == field.id) {
            let message = format!("vector field {name:?} is given twice: give it once");
            return Err(QueryError::invalid("repeated_field", message));
        }
        admitted.push((field.id, admit_vector(field, vector)?));
    }
    admitted.sort_unstable_by_key(|(id, _)| *id);
    Ok(admitted)
}

/// A point that may be written.
pub(super) struct Admitted {
    pub id: PointId,
    pub region: RegionName,
    pub op: ConditionalOp,
}

/// Admits one point at `now`.
///
/// `created_at` is never later than `now`: a later one becomes `now`. An `expires_at` that has passed is accepted; the
/// point is hidden at once, which is what its writer asked for and what a replayed import must be able to do.
///
/// # Errors
/// What to mend.
pub(super) fn admit_point(schema: &CollectionSchema, point: NewPoint, now: i64) -> Result<Admitted> {
    let Some(id) = point.id else {
        return Err(QueryError::invalid(
            "missing_id",
            "the point has no id: give an unsigned number or a UUID",
        ));
    };
    let region = match point.region {
        None => schema.default_region.clone(),
        Some(name) => {
            let known = schema.regions.iter().find(|r| r.as_str() == name);
            known.cloned().ok_or_else(|| unknown_region(schema, &name))?
        }
    };
    let payload = if point.payload.is_empty() { Bytes::from_static(b"{}") } else { point.payload };
    payload::check(&payload)?;
    let point = Point {
        id,
        vectors: admit_vectors(schema, point.vectors)?,
        payload,
        created_at: point.created_at.unwrap_or(now).min(now),
        ingested_at: now,
        expires_at: point.expires_at,
        version: 0,
    };
    Ok(Admitted { id, region, op: ConditionalOp { op: Op::Upsert(point), if_version: None } })
}

/// Says which point of a batch an error is about.
pub(super) fn at_point(e: QueryError, position: usize, id: Option<PointId>) -> QueryError {
    let which = match id {
        Some(id) => format!("point {position} (id {id})"),
        None => format!("point {position}"),
    };
    match e {
        QueryError::Invalid { code, message } => {
            QueryError::Invalid { code, message: format!("{which}: {message}") }
        }
        QueryError::Limit(message) => QueryError::Limit(format!("{which}: {message}")),
        QueryError::Conflict { code, message } => {
            QueryError::Conflict { code, message: format!("{which}: {message}") }
        }
        other => other,
    }
}
