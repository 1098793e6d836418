//! Definitions of vector fields, there and back. Options that mean nothing here are kept to be told again: clients read
//! what they wrote.

use engram_index::vector::{MAX_DIMENSION, Metric, graph::Layout};
use engram_storage::schema::{SparseModifier, VectorField, VectorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::RestError;
use crate::config::IndexSettings;

/// Options of a field that are told again as they were given.
const KEPT: [&str; 4] = ["hnsw_config", "quantization_config", "on_disk", "datatype"];
/// The option that says whether fields were given by name: one alone with the empty name may be told in either way.
pub(crate) const VECTORS_BY_NAME: &str = "vectors_by_name";
/// Bounds of the graph's settings; what is beyond is brought to them.
const M: (usize, usize) = (4, 128);
const EF_CONSTRUCT: (usize, usize) = (8, 4_096);
const KIB: usize = 1_024;

/// One vector field.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorParams {
    /// Components of a vector.
    size: usize,
    distance: Distance,
    #[serde(default)]
    hnsw_config: Option<HnswConfigDiff>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    quantization_config: Option<Value>,
    #[serde(default)]
    on_disk: Option<bool>,
    #[serde(default)]
    datatype: Option<Datatype>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    multivector_config: Option<Value>,
    #[serde(default, skip_serializing, rename = "memory")]
    #[schema(value_type = Option<Object>)]
    _memory: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, utoipa::ToSchema)]
pub(crate) enum Distance {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Datatype {
    Float32,
    Float16,
    Uint8,
    Turbo8,
    Turbo16,
}

/// Settings of graphs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HnswConfigDiff {
    /// Links of a node; 0 for no graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) m: Option<usize>,
    /// Candidates while it is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ef_construct: Option<usize>,
    /// Segments with fewer kilobytes of vectors are scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) full_scan_threshold: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_indexing_threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_m: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_storage: Option<bool>,
    #[serde(skip_serializing)]
    #[schema(value_type = Option<Object>)]
    memory: Option<Value>,
}

/// A field, or fields by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Vectors {
    One(Box<VectorParams>),
    Named(Map<String, Value>),
    #[default]
    None,
}

/// One sparse vector field.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SparseVectorParams {
    #[schema(value_type = Option<Object>)]
    index: Option<Value>,
    /// `idf` or none.
    modifier: Option<String>,
}

impl Vectors {
    pub(crate) fn is_by_name(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    /// The fields, in the order of the request.
    pub(crate) fn named(self) -> Result<Vec<(String, VectorParams)>, RestError> {
        let one = |(name, value): (String, Value)| {
            let params = VectorParams::deserialize(value)
                .map_err(|e| RestError::format(format!("vectors[{name:?}]: {e}")))?;
            Ok((name, params))
        };
        match self {
            Self::One(params) => Ok(vec![(String::new(), *params)]),
            Self::Named(fields) => fields.into_iter().map(one).collect(),
            Self::None => Ok(Vec::new()),
        }
    }
}

/// Links and candidates of a graph within their bounds, and the vectors from which on there is one.
pub(crate) struct GraphSettings {
    pub(crate) m: Option<usize>,
    pub(crate) ef_construction: Option<usize>,
    pub(crate) threshold: Option<usize>,
}

impl HnswConfigDiff {
    pub(crate) fn settings(&self, dimension: usize) -> GraphSettings {
        let rows = |kb: usize| kb.saturating_mul(KIB) / (dimension.max(1) * size_of::<f32>());
        let none = self.m == Some(0);
        GraphSettings {
            m: self.m.filter(|_| !none).map(|m| m.clamp(M.0, M.1)),
            ef_construction: self.ef_construct.map(|ef| ef.clamp(EF_CONSTRUCT.0, EF_CONSTRUCT.1)),
            threshold: match none {
                true => Some(usize::MAX),
                false => self.full_scan_threshold.map(|kb| rows(kb).max(1)),
            },
        }
    }
}

/// A field as the schema has it; `all` are the settings of all fields of the collection.
pub(crate) fn field(
    name: &str,
    params: &VectorParams,
    all: &HnswConfigDiff,
    (defaults, layout): (&IndexSettings, Option<Layout>),
) -> Result<VectorField, RestError> {
    let dimension = params.size;
    if !(1..=MAX_DIMENSION).contains(&dimension) {
        let what = format!("vectors.size: value {dimension} invalid, must be from 1 to {MAX_DIMENSION}");
        return Err(RestError::validation(what));
    }
    let kind = match params.multivector_config.as_ref().filter(|config| !config.is_null()) {
        None => VectorKind::Dense,
        Some(config) if config.get("comparator").and_then(Value::as_str) == Some("max_sim") => {
            VectorKind::Multi
        }
        Some(_) => {
            let what =
                "multivector_config: give {\"comparator\": \"max_sim\"}, which is the only one there is";
            return Err(RestError::format(what));
        }
    };
    let all = all.settings(dimension);
    let own = params.hnsw_config.clone().unwrap_or_default().settings(dimension);
    Ok(VectorField {
        id: 0,
        name: name.to_owned(),
        dimension,
        metric: match params.distance {
            Distance::Cosine => Metric::Cosine,
            Distance::Dot => Metric::Dot,
            Distance::Euclid => Metric::Euclid,
            Distance::Manhattan => Metric::Manhattan,
        },
        hnsw_m: own.m.or(all.m).unwrap_or(defaults.m),
        hnsw_ef_construction: own.ef_construction.or(all.ef_construction).unwrap_or(defaults.ef_construction),
        graph_threshold: own.threshold.or(all.threshold).unwrap_or(defaults.graph_threshold),
        layout: layout.unwrap_or(defaults.layout),
        kind,
    })
}

/// A sparse field as the schema has it.
pub(crate) fn sparse_field(
    name: &str,
    params: &SparseVectorParams,
    defaults: &IndexSettings,
) -> Result<VectorField, RestError> {
    let modifier = match params.modifier.as_deref() {
        None | Some("none") => SparseModifier::None,
        Some("idf") => SparseModifier::Idf,
        Some(_) => return Err(RestError::format("sparse_vectors: `modifier` is `idf` or `none`")),
    };
    Ok(VectorField {
        id: 0,
        name: name.to_owned(),
        dimension: 0,
        metric: Metric::Dot,
        hnsw_m: defaults.m,
        hnsw_ef_construction: defaults.ef_construction,
        graph_threshold: defaults.graph_threshold,
        layout: defaults.layout,
        kind: VectorKind::Sparse { modifier },
    })
}

/// A sparse field in answers.
pub(crate) fn sparse_told(modifier: SparseModifier) -> Value {
    match modifier {
        SparseModifier::None => json!({}),
        SparseModifier::Idf => json!({ "modifier": "idf" }),
    }
}

/// What is told again of a field.
pub(crate) fn kept(params: &VectorParams) -> Map<String, Value> {
    let mut all = match serde_json::to_value(params) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    all.retain(|key, value| KEPT.contains(&key.as_str()) && !value.is_null());
    all
}

/// A field in answers: no keys but those that the strict models of clients know.
pub(crate) fn told(field: &VectorField, kept: Option<&Value>) -> Value {
    let distance = match field.metric {
        Metric::Cosine => "Cosine",
        Metric::Dot => "Dot",
        Metric::Euclid => "Euclid",
        Metric::Manhattan => "Manhattan",
    };
    let mut all = Map::new();
    all.insert("size".into(), json!(field.dimension));
    all.insert("distance".into(), json!(distance));
    if field.kind == VectorKind::Multi {
        all.insert("multivector_config".into(), json!({ "comparator": "max_sim" }));
    }
    for key in KEPT {
        if let Some(value) = kept.and_then(|kept| kept.get(key)) {
            all.insert(key.into(), value.clone());
        }
    }
    Value::Object(all)
}
