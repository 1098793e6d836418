//! Payload indexes and vector fields that are added to a collection.

use engram_index::payload::PayloadIndexKind;
use engram_query::database::CollectionChange;
use engram_storage::schema::PayloadIndexSpec;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::{Call, finish};
use super::collections::edit;
use super::error::RestError;
use super::text_index;
use super::update_result::UpdateResult;
use super::vector_params::{self, HnswConfigDiff, SparseVectorParams, VectorParams};
use super::weight::Shape;

/// A payload index.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIndex {
    /// Dotted path.
    field_name: String,
    /// `keyword`, `integer`, `float`, `bool`, `datetime`, `uuid`, `geo` or `text`, or an object with that as its `type`.
    #[serde(default, alias = "field_type")]
    #[schema(value_type = super::openapi::AnyJson)]
    field_schema: Option<Value>,
}

fn kind(schema: Option<&Value>) -> Result<PayloadIndexKind, RestError> {
    let name = match schema {
        Some(Value::String(name)) => Some(name.as_str()),
        Some(Value::Object(params)) => params.get("type").and_then(Value::as_str),
        _ => None,
    };
    Ok(match name {
        Some("keyword") => PayloadIndexKind::Keyword,
        Some("integer") => PayloadIndexKind::Integer,
        Some("float") => PayloadIndexKind::Float,
        Some("bool") => PayloadIndexKind::Bool,
        Some("datetime") => PayloadIndexKind::Datetime,
        Some("uuid") => PayloadIndexKind::Uuid,
        Some("geo") => PayloadIndexKind::Geo,
        Some("text") => PayloadIndexKind::Text,
        _ => {
            let known = "keyword, integer, float, bool, datetime, uuid, geo, text";
            return Err(RestError::format(format!(
                "field_schema: give one of {known}, or an object with that as `type`"
            )));
        }
    })
}

/// Options that say where an index lies or whom it serves, which means nothing here; all indexes look up, find ranges and
/// rank by words.
const COMMON: [&str; 4] = ["type", "on_disk", "memory", "enable_hnsw"];

/// Refuses options that would be passed over.
fn check_options(kind: PayloadIndexKind, params: &Map<String, Value>) -> Result<(), RestError> {
    use PayloadIndexKind as K;
    let own: &[&str] = match kind {
        K::Keyword => &["is_tenant", "prefix"],
        K::Uuid => &["is_tenant"],
        K::Integer => &["is_principal", "lookup", "range"],
        K::Float | K::Datetime => &["is_principal"],
        K::Text => &text_index::KEYS,
        K::Bool | K::Geo => &[],
    };
    for (key, value) in params.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "nested" => return Err(RestError::not_supported("`field_schema.nested`")),
            "prefix" if value == true => return Err(RestError::not_supported("`field_schema.prefix`")),
            key if COMMON.contains(&key) || own.contains(&key) => {}
            key => {
                let key: String = key.chars().take(64).collect();
                return Err(RestError::format(format!(
                    "field_schema: there is no option `{key}`; leave it out"
                )));
            }
        }
    }
    Ok(())
}

pub(crate) async fn create(call: Call) -> Result<Answer, RestError> {
    let body: CreateIndex = call.json(Shape::Tree).await?;
    let kind = kind(body.field_schema.as_ref())?;
    if let Some(Value::Object(params)) = &body.field_schema {
        check_options(kind, params)?;
    }
    let text = match (kind, &body.field_schema) {
        (PayloadIndexKind::Text, Some(Value::Object(params))) => Some(text_index::options(params)?),
        _ => None,
    };
    let spec = PayloadIndexSpec { kind, field: body.field_name, text };
    let schema = call.schema()?;
    // Clients repeat this at every start.
    if schema.payload_indexes.contains(&spec) {
        return call.answer(&UpdateResult::completed(schema.revision));
    }
    let (context, principal, name) = (call.context.clone(), call.principal, call.collection().to_owned());
    let made =
        finish(async move { Ok(context.database.create_payload_index(principal, &name, spec).await?) });
    let revision = made.await?.revision;
    call.answer(&UpdateResult::completed(revision))
}

pub(crate) async fn delete(call: Call) -> Result<Answer, RestError> {
    let (context, principal, name) = (call.context.clone(), call.principal, call.collection().to_owned());
    let field = call.segment("field_name").to_owned();
    finish(async move { Ok(context.database.delete_payload_index(principal, &name, &field).await?) }).await?;
    call.answer(&UpdateResult::completed(call.schema()?.revision))
}

/// Takes a vector field away, with what all points have in it. One that is not there is gone already.
pub(crate) async fn delete_vector(call: Call) -> Result<Answer, RestError> {
    let (name, schema) = (call.segment("vector_name"), call.schema()?);
    let mut client_options = Map::new();
    if schema.client_options.get("vectors").is_some_and(|fields| fields.get(name).is_some()) {
        client_options.insert("vectors".into(), json!({ name: null }));
    }
    let remove_vectors = vec![name.to_owned()];
    edit(&call, CollectionChange { remove_vectors, client_options, ..CollectionChange::default() }).await?;
    call.answer(&UpdateResult::completed(call.schema()?.revision))
}

/// A new vector field of a collection.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum CreateVector {
    Dense(Box<VectorParams>),
    Sparse(SparseVectorParams),
}

pub(crate) async fn create_vector(call: Call) -> Result<Answer, RestError> {
    let (name, schema) = (call.segment("vector_name"), call.schema()?);
    let (none, defaults) = (HnswConfigDiff::default(), &call.context.config.index);
    let field = match call.json(Shape::Tree).await? {
        CreateVector::Dense(params) => vector_params::field(name, &params, &none, (defaults, None))?,
        CreateVector::Sparse(params) => vector_params::sparse_field(name, &params, defaults)?,
    };
    if let Some(there) = schema.vector_field(name) {
        if (there.dimension, there.metric, there.kind) == (field.dimension, field.metric, field.kind) {
            return call.answer(&UpdateResult::completed(schema.revision));
        }
        return Err(RestError::new(
            axum::http::StatusCode::CONFLICT,
            format!("Wrong input: Vector `{name}` already exists with another definition!"),
        ));
    }
    edit(&call, CollectionChange { add_vectors: vec![field], ..CollectionChange::default() }).await?;
    call.answer(&UpdateResult::completed(call.schema()?.revision))
}
