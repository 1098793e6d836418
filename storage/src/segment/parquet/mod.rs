//! The Parquet file of a segment: the same rows, for any other tool.
//!
//! | column | type | |
//! |---|---|---|
//! | `id` | UINT64, or UTF8 where some id is a UUID | |
//! | `version` | UINT64 | |
//! | `region` | UTF8 | |
//! | `created_at`, `ingested_at` | TIMESTAMP(ms, UTC) | |
//! | `expires_at` | TIMESTAMP(ms, UTC), null for never | |
//! | `vector`, `vector.{name}` | LIST of FLOAT, all of one length, null for none | one per vector field |
//! | the same, of sparse fields | STRUCT of `indices`, LIST of UINT32, and `values`, LIST of FLOAT | |
//! | the same, of multi fields | LIST of LIST of FLOAT | |
//! | `payload.{field}` | by its kind: UTF8, INT64, DOUBLE, BOOLEAN, TIMESTAMP(us, UTC) | one per declared payload field, except places |
//! | `payload` | UTF8 | the rest of the payload, a JSON object |
//!
//! A value that is no scalar of its field's kind is null in the typed column and stays in `payload`; so does, besides,
//! a value whose exact JSON text the typed one would not give back, and every value below the top level.

pub(crate) mod payload_split;
mod read;
mod values;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use engram_index::payload::PayloadIndexKind;
use parquet::schema::types::ColumnPath;

use crate::schema::{CollectionSchema, VectorField, VectorKind};

pub use read::{count_rows, read_points};
pub(super) use write::{ParquetSource, write_parquet};

/// Key of an Arrow field's metadata: number of the vector field, or kind of the payload field.
const FIELD_KEY: &str = "engram.field";

/// Keys of the file's own metadata.
const VERSION_KEY: &str = "engram.version";
const SHARD_KEY: &str = "engram.shard";
const SEGMENT_KEY: &str = "engram.segment";
const REVISION_KEY: &str = "engram.schema_revision";
const ROWS_KEY: &str = "engram.rows";

fn utc(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some(Arc::from("UTC")))
}

fn vector_column_name(field: &VectorField) -> String {
    if field.name.is_empty() { "vector".to_owned() } else { format!("vector.{}", field.name) }
}

fn vector_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}

fn index_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::UInt32, false))
}

/// Item of a multi vector: one of its vectors.
fn list_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::List(vector_item()), false))
}

/// Parts of a sparse vector.
fn sparse_parts() -> Fields {
    let list = |name: &str, item| Field::new(name, DataType::List(item), false);
    [list("indices", index_item()), list("values", vector_item())].into_iter().collect()
}

fn vector_type(field: &VectorField) -> DataType {
    match field.kind {
        VectorKind::Dense => {
            DataType::FixedSizeList(vector_item(), i32::try_from(field.dimension).unwrap_or(i32::MAX))
        }
        VectorKind::Sparse { .. } => DataType::Struct(sparse_parts()),
        VectorKind::Multi => DataType::List(list_item()),
    }
}

/// Paths of the columns that hold the numbers of a vector field.
fn number_columns(field: &VectorField) -> Vec<ColumnPath> {
    let path = |parts: &[&str]| {
        let name = std::iter::once(vector_column_name(field));
        ColumnPath::new(name.chain(parts.iter().map(|&part| part.to_owned())).collect())
    };
    match field.kind {
        VectorKind::Dense => vec![path(&["list", "element"])],
        VectorKind::Sparse { .. } => {
            vec![path(&["indices", "list", "element"]), path(&["values", "list", "element"])]
        }
        VectorKind::Multi => vec![path(&["list", "element", "list", "element"])],
    }
}

/// Type of the column of payload fields of this kind; places and texts stay in the JSON.
fn typed_column(kind: PayloadIndexKind) -> Option<DataType> {
    match kind {
        PayloadIndexKind::Keyword | PayloadIndexKind::Uuid => Some(DataType::Utf8),
        PayloadIndexKind::Integer => Some(DataType::Int64),
        PayloadIndexKind::Float => Some(DataType::Float64),
        PayloadIndexKind::Bool => Some(DataType::Boolean),
        PayloadIndexKind::Datetime => Some(utc(TimeUnit::Microsecond)),
        PayloadIndexKind::Geo | PayloadIndexKind::Text => None,
    }
}

/// Payload fields that get a column.
fn typed_fields(schema: &CollectionSchema) -> Vec<payload_split::Field> {
    let declared = schema.payload_indexes.iter().filter(|spec| typed_column(spec.kind).is_some());
    declared.map(|spec| payload_split::Field { path: spec.field.clone(), kind: spec.kind }).collect()
}

fn arrow_schema(schema: &CollectionSchema, ids_are_numbers: bool) -> SchemaRef {
    let id = if ids_are_numbers { DataType::UInt64 } else { DataType::Utf8 };
    let ms = utc(TimeUnit::Millisecond);
    let mut fields = vec![
        Field::new("id", id, false),
        Field::new("version", DataType::UInt64, false),
        Field::new("region", DataType::Utf8, false),
        Field::new("created_at", ms.clone(), false),
        Field::new("ingested_at", ms.clone(), false),
        Field::new("expires_at", ms, true),
    ];
    let tag = |value: String| HashMap::from([(FIELD_KEY.to_owned(), value)]);
    for field in &schema.vectors {
        let column = Field::new(vector_column_name(field), vector_type(field), true);
        fields.push(column.with_metadata(tag(field.id.to_string())));
    }
    for field in typed_fields(schema) {
        if let Some(of_kind) = typed_column(field.kind) {
            let column = Field::new(format!("payload.{}", field.path), of_kind, true);
            fields.push(column.with_metadata(tag(format!("{:?}", field.kind).to_lowercase())));
        }
    }
    fields.push(Field::new("payload", DataType::Utf8, false));
    Arc::new(Schema::new(fields))
}
