//! Collections: made, changed, dropped, listed.

use engram_query::database::{CollectionChange, GraphChange};
use engram_storage::ErrorKind;
use engram_storage::engine::NewCollection;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::call::{Call, finish};
use super::collection_info::info;
use super::error::RestError;
use super::metadata::{EngramMetadata, engram_over, region};
use super::vector_params::{
    self, HnswConfigDiff, SparseVectorParams, VECTORS_BY_NAME, VectorParams, Vectors,
};
use super::weight::Shape;
use crate::convert::collection::DEFAULT_REGION;

/// Options of a collection that are kept to be told again.
const KEPT: [&str; 10] = [
    "optimizers_config",
    "wal_config",
    "quantization_config",
    "hnsw_config",
    "on_disk_payload",
    "replication_factor",
    "write_consistency_factor",
    "read_fan_out_factor",
    "sharding_method",
    "strict_mode_config",
];
/// Of those, the ones that are objects where they are given.
const OBJECTS: [&str; 5] =
    ["optimizers_config", "wal_config", "quantization_config", "hnsw_config", "strict_mode_config"];

/// A new collection.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct CreateCollection {
    /// Vector fields by name, or one alone.
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    vectors: Option<Vectors>,
    /// Sparse vector fields by name.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, SparseVectorParams>>)]
    sparse_vectors: Option<Map<String, Value>>,
    #[serde(default)]
    hnsw_config: Option<HnswConfigDiff>,
    /// Buckets of each region.
    #[serde(default)]
    shard_number: Option<u32>,
    /// Anything; the object `engram` in it has regions, retention and what else this server has.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Not supported.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    init_from: Option<Value>,
    /// All other options: kept, and told again.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    options: Map<String, Value>,
}

/// A change of a collection.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct UpdateCollection {
    /// Options of vector fields, by name.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    vectors: Option<Map<String, Value>>,
    #[serde(default)]
    hnsw_config: Option<HnswConfigDiff>,
    /// Keys replace those that are there; null takes one out.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    params: Option<Map<String, Value>>,
    /// All other options: kept, and told again.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    options: Map<String, Value>,
}

/// Names of collections.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct CollectionsList {
    collections: Vec<CollectionName>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct CollectionName {
    name: String,
}

/// Whether there is one.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct CollectionExists {
    exists: bool,
}

/// Options that are kept, each checked to be what clients will read.
fn kept(options: &mut Map<String, Value>) -> Result<Map<String, Value>, RestError> {
    let mut all = Map::new();
    for key in KEPT {
        let Some(value) = options.shift_remove(key).filter(|value| !value.is_null()) else { continue };
        let fits = match key {
            key if OBJECTS.contains(&key) => value.is_object() || value == "Disabled",
            "on_disk_payload" => value.is_boolean(),
            "sharding_method" if value == "custom" => {
                return Err(RestError::not_supported("`sharding_method` custom"));
            }
            "sharding_method" => value == "auto",
            _ => value.is_u64(),
        };
        if !fits {
            return Err(RestError::format(format!("`{key}` is not of the kind that it has to be")));
        }
        // A word for none, which answers do not know.
        all.insert(key.into(), if value == "Disabled" { Value::Null } else { value });
    }
    Ok(all)
}

fn as_json(value: &impl Serialize) -> Result<Value, RestError> {
    serde_json::to_value(value).map_err(RestError::internal)
}

impl CreateCollection {
    fn collection(mut self, call: &Call) -> Result<NewCollection, RestError> {
        if self.init_from.is_some_and(|from| !from.is_null()) {
            return Err(RestError::not_supported("`init_from`"));
        }
        let defaults = &call.context.config.index;
        let metadata = self.metadata.unwrap_or_default();
        let engram = EngramMetadata::of(&metadata)?;
        let graph = self.hnsw_config.unwrap_or_default();
        let vectors = self.vectors.unwrap_or_default();
        let by_name = vectors.is_by_name();
        let fields = vectors.named()?;
        let sparse = self.sparse_vectors.unwrap_or_default().into_iter().map(|(name, value)| {
            let read = SparseVectorParams::deserialize(value);
            let params = read.map_err(|e| RestError::format(format!("sparse_vectors[{name:?}]: {e}")))?;
            Ok((name, params))
        });
        let sparse = sparse.collect::<Result<Vec<_>, RestError>>()?;
        let mut client_options = kept(&mut self.options)?;
        client_options.insert("hnsw_config".into(), as_json(&graph)?);
        let extras =
            fields.iter().map(|(name, params)| (name.clone(), Value::Object(vector_params::kept(params))));
        client_options.insert("vectors".into(), Value::Object(extras.collect()));
        client_options.insert(VECTORS_BY_NAME.into(), Value::Bool(by_name));
        let field = |(name, params): &(String, VectorParams)| {
            vector_params::field(name, params, &graph, (defaults, engram.layout))
        };
        let mut vectors = fields.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        for (name, params) in &sparse {
            vectors.push(vector_params::sparse_field(name, params, defaults)?);
        }
        let mut regions = engram.regions()?;
        if regions.is_empty() {
            regions.push(region(engram.default_region.as_deref().unwrap_or(DEFAULT_REGION))?);
        }
        let default_region = match &engram.default_region {
            Some(name) => region(name)?,
            None => regions[0].clone(),
        };
        let shards = engram.shards_per_region.or(self.shard_number);
        if shards == Some(0) {
            return Err(RestError::validation("shard_number: value 0 invalid, must be 1 or larger"));
        }
        Ok(NewCollection {
            tenant: call.principal.tenant,
            name: call.collection().to_owned(),
            vectors,
            payload_indexes: Vec::new(),
            regions,
            default_region,
            shards_per_region: shards.unwrap_or(1),
            retention: engram.retention()?.unwrap_or_default(),
            metadata,
            client_options,
        })
    }
}

pub(crate) async fn create(call: Call) -> Result<Answer, RestError> {
    let new = call.json::<CreateCollection>(Shape::Tree).await?.collection(&call)?;
    let (context, principal, name) = (call.context.clone(), call.principal, new.name.clone());
    let made = finish(async move {
        let made = context.database.create_collection(principal, new, false).await;
        made.map_err(|e| match e.kind() {
            // Clients look for these words.
            ErrorKind::Conflict => RestError::new(
                axum::http::StatusCode::CONFLICT,
                format!("Wrong input: Collection `{name}` already exists!"),
            ),
            _ => e.into(),
        })
    });
    made.await?;
    call.answer(&true)
}

impl UpdateCollection {
    fn change(mut self, call: &Call) -> Result<CollectionChange, RestError> {
        let schema = call.schema()?;
        let mut metadata = self.metadata.unwrap_or_default();
        let engram = EngramMetadata::of(&metadata)?;
        engram_over(&schema.metadata, &mut metadata);
        if engram.default_region.as_ref().is_some_and(|name| name != schema.default_region.as_str()) {
            return Err(RestError::wrong("metadata.engram.default_region cannot change"));
        }
        if engram.shards_per_region.is_some_and(|shards| shards != schema.shards_per_region) {
            return Err(RestError::wrong("metadata.engram.shards_per_region cannot change"));
        }
        let mut client_options = kept(&mut self.options)?;
        client_options.extend(kept(&mut self.params.unwrap_or_default())?);
        let mut graphs = Vec::new();
        if let Some(all) = self.hnsw_config {
            client_options.insert("hnsw_config".into(), as_json(&all)?);
            for field in &schema.vectors {
                graphs.push(graph_change(&field.name, field.dimension, &all));
            }
        }
        let mut fields = Map::new();
        for (name, value) in self.vectors.unwrap_or_default() {
            let Some(field) = schema.vector_field(&name) else {
                return Err(RestError::wrong(format!("Not existing vector name error: {name}")));
            };
            let diff = VectorDiff::deserialize(&value)
                .map_err(|e| RestError::format(format!("vectors[{name:?}]: {e}")))?;
            graphs.extend(diff.hnsw_config.as_ref().map(|own| graph_change(&name, field.dimension, own)));
            fields.insert(name, as_json(&diff)?);
        }
        if !fields.is_empty() {
            client_options.insert("vectors".into(), Value::Object(fields));
        }
        Ok(CollectionChange {
            add_regions: engram.regions()?,
            retention: engram.retention()?,
            graphs,
            metadata,
            client_options,
            ..CollectionChange::default()
        })
    }
}

/// Options of a vector field that may change.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct VectorDiff {
    #[serde(skip_serializing_if = "Option::is_none")]
    hnsw_config: Option<HnswConfigDiff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization_config: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
}

fn graph_change(name: &str, dimension: usize, config: &HnswConfigDiff) -> GraphChange {
    let settings = config.settings(dimension);
    GraphChange {
        field: Some(name.to_owned()),
        m: settings.m,
        ef_construction: settings.ef_construction,
        graph_threshold: settings.threshold,
    }
}

pub(crate) async fn update(call: Call) -> Result<Answer, RestError> {
    let change = call.json::<UpdateCollection>(Shape::Tree).await?.change(&call)?;
    edit(&call, change).await?;
    call.answer(&true)
}

/// Changes the collection of the path.
pub(crate) async fn edit(call: &Call, change: CollectionChange) -> Result<(), RestError> {
    let (context, principal) = (call.context.clone(), call.principal);
    let name = call.collection().to_owned();
    finish(async move {
        context.database.update_collection(principal, &name, change).await?;
        Ok(())
    })
    .await
}

pub(crate) async fn drop(call: Call) -> Result<Answer, RestError> {
    let (context, principal) = (call.context.clone(), call.principal);
    let name = call.collection().to_owned();
    let dropped =
        finish(async move { Ok(context.database.drop_collection(principal, &name).await?) }).await?;
    call.answer(&dropped)
}

pub(crate) async fn list(call: Call) -> Result<Answer, RestError> {
    let collections = call.context.database.collections(call.principal);
    let collections = collections.iter().map(|schema| CollectionName { name: schema.name.clone() }).collect();
    call.answer(&CollectionsList { collections })
}

pub(crate) async fn exists(call: Call) -> Result<Answer, RestError> {
    let exists = call.context.database.collection(call.principal, call.collection()).is_ok();
    call.answer(&CollectionExists { exists })
}

pub(crate) async fn get(call: Call) -> Result<Answer, RestError> {
    call.answer(&info(&call, &*call.schema()?).await?)
}
