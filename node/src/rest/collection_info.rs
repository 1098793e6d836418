//! What is told of a collection: all that the models of clients require.

use engram_index::payload::PayloadIndexKind;
use engram_index::payload::{FieldPredicate, PayloadPath};
use engram_query::error::QueryError;
use engram_query::filter::{Condition, Filter};
use engram_storage::schema::{CollectionSchema, PayloadIndexSpec, VectorField, VectorKind};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::RestError;
use super::vector_params::{VECTORS_BY_NAME, sparse_told, told};
use crate::grpc::admin::shards;

/// Told where a client said nothing: what its models require, and what is true here.
const DEFAULT_FULL_SCAN_KB: u64 = 10_000;

/// Figures of a collection.
#[derive(Default)]
struct Figures {
    points: u64,
    indexed: u64,
    pending: u64,
    segments: usize,
    poisoned: bool,
}

/// All that is told of a collection.
pub(crate) async fn info(call: &Call, schema: &CollectionSchema) -> Result<Value, RestError> {
    let (mut all, now) = (Figures::default(), call.context.engine.clock().now_ms());
    for shard in shards(&call.context, schema).await? {
        let stats = shard.stats().await?;
        // What searches see: points that a retention rule hides wait to be erased.
        all.points += shard.points_shown(schema.retention_cutoff(&shard.key().region, now), now);
        all.indexed += stats.indexed_vectors;
        all.pending += stats.pending_vectors;
        all.segments += stats.segments.len();
        all.poisoned |= stats.state == "poisoned";
    }
    let status = match (all.poisoned, all.pending) {
        (true, _) => "red",
        (false, 0) => "green",
        (false, _) => "yellow",
    };
    Ok(json!({
        "status": status,
        "optimizer_status": "ok",
        "points_count": all.points,
        "indexed_vectors_count": all.indexed,
        "segments_count": all.segments,
        "config": config(schema),
        "payload_schema": payload_schema(call, schema).await?,
    }))
}

fn config(schema: &CollectionSchema) -> Value {
    let options = &schema.client_options;
    let option = |name: &str| options.get(name).cloned().unwrap_or(Value::Null);
    let mut config = json!({
        "params": params(schema),
        "hnsw_config": hnsw(schema),
        "optimizer_config": over(
            json!({
                "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                "max_segment_size": null, "memmap_threshold": null, "indexing_threshold": 10_000,
                "flush_interval_sec": 5, "max_optimization_threads": null,
            }),
            options.get("optimizers_config"),
        ),
        "wal_config": over(json!({ "wal_capacity_mb": 32, "wal_segments_ahead": 0 }), options.get("wal_config")),
        "quantization_config": option("quantization_config"),
    });
    let mut add = |name: &str, value: Value| {
        if let (Some(map), false) = (config.as_object_mut(), value.is_null()) {
            map.insert(name.into(), value);
        }
    };
    add("strict_mode_config", option("strict_mode_config"));
    if !schema.metadata.is_empty() {
        add("metadata", Value::Object(schema.metadata.clone()));
    }
    config
}

/// `base` with what was given in place of its own.
fn over(mut base: Value, given: Option<&Value>) -> Value {
    if let (Some(base), Some(Value::Object(given))) = (base.as_object_mut(), given) {
        for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            base.insert(key.clone(), value.clone());
        }
    }
    base
}

fn params(schema: &CollectionSchema) -> Value {
    let options = &schema.client_options;
    let kept = options.get("vectors");
    let one = |name: &str| kept.and_then(|kept| kept.get(name));
    let modifier = |field: &VectorField| match field.kind {
        VectorKind::Sparse { modifier } => Some(modifier),
        VectorKind::Dense | VectorKind::Multi => None,
    };
    let dense: Vec<&VectorField> = schema.vectors.iter().filter(|field| modifier(field).is_none()).collect();
    let by_name = options.get(VECTORS_BY_NAME).is_some_and(|given| given == true);
    let vectors = match dense.as_slice() {
        [only] if only.name.is_empty() && !by_name => told(only, one("")),
        fields => {
            let fields = fields.iter().map(|field| (field.name.clone(), told(field, one(&field.name))));
            Value::Object(fields.collect())
        }
    };
    let sparse: Map<String, Value> = schema
        .vectors
        .iter()
        .filter_map(|field| Some((field.name.clone(), sparse_told(modifier(field)?))))
        .collect();
    let number = |name: &str| options.get(name).cloned().unwrap_or(json!(1));
    let mut params = json!({
        "vectors": vectors,
        "shard_number": schema.shards_per_region,
        "replication_factor": number("replication_factor"),
        "write_consistency_factor": number("write_consistency_factor"),
        "on_disk_payload": options.get("on_disk_payload").cloned().unwrap_or(json!(true)),
    });
    if let (Some(map), false) = (params.as_object_mut(), sparse.is_empty()) {
        map.insert("sparse_vectors".into(), Value::Object(sparse));
    }
    for name in ["read_fan_out_factor", "sharding_method"] {
        if let (Some(map), Some(value)) = (params.as_object_mut(), options.get(name)) {
            map.insert(name.into(), value.clone());
        }
    }
    params
}

/// Settings of graphs: those in use.
fn hnsw(schema: &CollectionSchema) -> Value {
    let given = schema.client_options.get("hnsw_config");
    let first = schema.vectors.first();
    let given_m = given.and_then(|given| given.get("m")).and_then(Value::as_u64);
    over(
        json!({ "full_scan_threshold": DEFAULT_FULL_SCAN_KB, "max_indexing_threads": 0, "on_disk": false }),
        given,
    )
    .as_object()
    .cloned()
    .map(|mut all| {
        if let Some(field) = first {
            let m = if given_m == Some(0) { 0 } else { field.hnsw_m };
            all.insert("m".into(), json!(m));
            all.insert("ef_construct".into(), json!(field.hnsw_ef_construction));
        } else {
            all.entry("m").or_insert(json!(16));
            all.entry("ef_construct").or_insert(json!(100));
        }
        Value::Object(all)
    })
    .unwrap_or(Value::Null)
}

/// Name of a kind of payload index.
pub(crate) fn kind_name(kind: PayloadIndexKind) -> &'static str {
    match kind {
        PayloadIndexKind::Keyword => "keyword",
        PayloadIndexKind::Integer => "integer",
        PayloadIndexKind::Float => "float",
        PayloadIndexKind::Bool => "bool",
        PayloadIndexKind::Datetime => "datetime",
        PayloadIndexKind::Uuid => "uuid",
        PayloadIndexKind::Geo => "geo",
        PayloadIndexKind::Text => "text",
    }
}

async fn payload_schema(call: &Call, schema: &CollectionSchema) -> Result<Value, RestError> {
    let mut all = Map::new();
    for index in &schema.payload_indexes {
        let points = with_field(call, schema, index).await?;
        all.insert(index.field.clone(), json!({ "data_type": kind_name(index.kind), "points": points }));
    }
    Ok(Value::Object(all))
}

/// Points that have a value in the field.
async fn with_field(
    call: &Call,
    schema: &CollectionSchema,
    index: &PayloadIndexSpec,
) -> Result<u64, RestError> {
    let path = PayloadPath::parse(&index.field).map_err(QueryError::from)?;
    let empty = Condition::Field { path, predicate: FieldPredicate::IsEmpty };
    let filter = Filter { must_not: vec![empty], ..Filter::default() };
    let read = engram_query::request::ReadOptions::default();
    Ok(call.context.database.count(call.principal, &schema.name, Some(filter), &read).await?)
}
