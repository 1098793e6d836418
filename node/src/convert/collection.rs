//! Definitions of collections.

use engram_index::payload::PayloadIndexKind;
use engram_index::vector::{MAX_DIMENSION, Metric, graph::Layout};
use engram_proto::v1;
use engram_query::database::CollectionChange;
use engram_storage::engine::NewCollection;
use engram_storage::schema::{
    CollectionSchema, PayloadIndexSpec, RegionName, RetentionRule, SparseModifier, TenantId, VectorField,
    VectorKind,
};
use tonic::Status;

use super::{known_enum, text_index};
use crate::config::IndexSettings;
use crate::status::invalid;

/// Region of collections that name none.
pub(crate) const DEFAULT_REGION: &str = "default";

const MS: u64 = 1000;

pub(crate) fn region(field: &str, name: &str) -> Result<RegionName, Status> {
    RegionName::try_from(name).map_err(|why| invalid(field, why))
}

pub(crate) fn regions(field: &str, names: &[String]) -> Result<Vec<RegionName>, Status> {
    names.iter().map(|name| region(field, name)).collect()
}

/// A new collection; field ids are given here, in the order of the request.
pub(crate) fn new_collection(
    wire: &v1::CreateCollectionRequest,
    tenant: TenantId,
    defaults: &IndexSettings,
) -> Result<NewCollection, Status> {
    let mut regions = regions("regions", &wire.regions)?;
    if regions.is_empty() {
        let name = if wire.default_region.is_empty() { DEFAULT_REGION } else { &wire.default_region };
        regions.push(region("default_region", name)?);
    }
    let default_region = match wire.default_region.as_str() {
        "" => regions[0].clone(),
        name => region("default_region", name)?,
    };
    Ok(NewCollection {
        tenant,
        name: wire.name.clone(),
        vectors: vector_fields(&wire.vectors, 0, defaults)?,
        payload_indexes: wire.payload_indexes.iter().map(payload_index).collect::<Result<_, _>>()?,
        regions,
        default_region,
        shards_per_region: wire.shards_per_region.max(1),
        retention: retention(&wire.retention)?,
        metadata: Default::default(),
        client_options: Default::default(),
    })
}

/// Vector fields with ids from `first` on.
pub(crate) fn vector_fields(
    wire: &[v1::VectorField],
    first: u16,
    defaults: &IndexSettings,
) -> Result<Vec<VectorField>, Status> {
    let ids = first..=u16::MAX;
    ids.zip(wire).map(|(id, field)| vector_field(field, id, defaults)).collect()
}

fn vector_field(wire: &v1::VectorField, id: u16, defaults: &IndexSettings) -> Result<VectorField, Status> {
    let name = format!("vectors[{:?}]", wire.name);
    let kind = vector_kind(&name, wire)?;
    let (dimension, metric) = match kind {
        VectorKind::Sparse { .. } => sparse_space(&name, wire)?,
        VectorKind::Dense | VectorKind::Multi => space(&name, wire)?,
    };
    let hnsw = wire.hnsw.unwrap_or_default();
    let setting = |what: &str, given: u32, default: usize, low: usize, high: usize| match given as usize {
        0 => Ok(default),
        given if (low..=high).contains(&given) => Ok(given),
        given => Err(invalid(&name, format!("hnsw.{what} {given} is not allowed; give {low} to {high}"))),
    };
    Ok(VectorField {
        id,
        name: wire.name.clone(),
        dimension,
        metric,
        hnsw_m: setting("m", hnsw.m, defaults.m, 4, 128)?,
        hnsw_ef_construction: setting(
            "ef_construction",
            hnsw.ef_construction,
            defaults.ef_construction,
            8,
            4096,
        )?,
        graph_threshold: setting(
            "graph_threshold",
            hnsw.graph_threshold,
            defaults.graph_threshold,
            1,
            usize::MAX,
        )?,
        layout: match known_enum::<v1::GraphLayout>(&format!("{name}.hnsw.layout"), hnsw.layout)? {
            v1::GraphLayout::Unspecified => defaults.layout,
            v1::GraphLayout::Fast => Layout::Fast,
            v1::GraphLayout::Compact => Layout::Compact,
        },
        kind,
    })
}

fn vector_kind(name: &str, wire: &v1::VectorField) -> Result<VectorKind, Status> {
    let modifier = match known_enum::<v1::SparseModifier>(&format!("{name}.modifier"), wire.modifier)? {
        v1::SparseModifier::Unspecified => None,
        v1::SparseModifier::None => Some(SparseModifier::None),
        v1::SparseModifier::Idf => Some(SparseModifier::Idf),
    };
    let kind = match known_enum::<v1::VectorKind>(&format!("{name}.kind"), wire.kind)? {
        v1::VectorKind::Unspecified | v1::VectorKind::Dense => VectorKind::Dense,
        v1::VectorKind::Multi => VectorKind::Multi,
        v1::VectorKind::Sparse => return Ok(VectorKind::Sparse { modifier: modifier.unwrap_or_default() }),
    };
    if modifier.is_some() {
        return Err(invalid(&format!("{name}.modifier"), "is for sparse fields; leave it out"));
    }
    Ok(kind)
}

/// Dimension and metric of a dense or multi field.
fn space(name: &str, wire: &v1::VectorField) -> Result<(usize, Metric), Status> {
    let dimension = wire.dimension as usize;
    if !(1..=MAX_DIMENSION).contains(&dimension) {
        return Err(invalid(
            name,
            format!("dimension {dimension} is not allowed; give 1 to {MAX_DIMENSION}"),
        ));
    }
    let metric = match known_enum::<v1::Metric>(&format!("{name}.metric"), wire.metric)? {
        v1::Metric::Unspecified => {
            return Err(invalid(name, "metric is missing; give COSINE, DOT, EUCLID or MANHATTAN"));
        }
        v1::Metric::Cosine => Metric::Cosine,
        v1::Metric::Dot => Metric::Dot,
        v1::Metric::Euclid => Metric::Euclid,
        v1::Metric::Manhattan => Metric::Manhattan,
    };
    Ok((dimension, metric))
}

/// Sparse vectors have no dimension, and are compared by inner product.
fn sparse_space(name: &str, wire: &v1::VectorField) -> Result<(usize, Metric), Status> {
    let metric = known_enum::<v1::Metric>(&format!("{name}.metric"), wire.metric)?;
    if wire.dimension != 0 || !matches!(metric, v1::Metric::Unspecified | v1::Metric::Dot) {
        return Err(invalid(
            name,
            "is sparse; leave out dimension and metric, it is compared by inner product",
        ));
    }
    Ok((0, Metric::Dot))
}

pub(crate) fn payload_index(wire: &v1::PayloadIndex) -> Result<PayloadIndexSpec, Status> {
    use v1::PayloadIndexKind as Wire;
    let field = format!("payload_indexes[{:?}].kind", wire.field);
    let kind = match known_enum::<Wire>(&field, wire.kind)? {
        Wire::Unspecified => {
            return Err(invalid(&field, "is missing; give the kind of the values, such as KEYWORD"));
        }
        Wire::Keyword => PayloadIndexKind::Keyword,
        Wire::Integer => PayloadIndexKind::Integer,
        Wire::Float => PayloadIndexKind::Float,
        Wire::Bool => PayloadIndexKind::Bool,
        Wire::Datetime => PayloadIndexKind::Datetime,
        Wire::Uuid => PayloadIndexKind::Uuid,
        Wire::Geo => PayloadIndexKind::Geo,
        Wire::Text => PayloadIndexKind::Text,
    };
    let text = wire.text.as_ref().map(|text| text_index::options(&wire.field, text)).transpose()?;
    Ok(PayloadIndexSpec { field: wire.field.clone(), kind, text })
}

pub(crate) fn retention(wire: &[v1::RetentionRule]) -> Result<Vec<RetentionRule>, Status> {
    let rule = |wire: &v1::RetentionRule| {
        let max_age_ms =
            wire.max_age_s.checked_mul(MS).and_then(|ms| i64::try_from(ms).ok()).filter(|ms| *ms > 0);
        let Some(max_age_ms) = max_age_ms else {
            return Err(invalid(
                "retention.max_age_s",
                format!("{} is not allowed; give seconds", wire.max_age_s),
            ));
        };
        let region =
            (!wire.region.is_empty()).then(|| region("retention.region", &wire.region)).transpose()?;
        Ok(RetentionRule { region, max_age_ms })
    };
    wire.iter().map(rule).collect()
}

/// What an update asks for.
pub(crate) fn collection_change(
    wire: &v1::UpdateCollectionRequest,
    defaults: &IndexSettings,
) -> Result<CollectionChange, Status> {
    if !wire.set_retention && !wire.retention.is_empty() {
        return Err(invalid("retention", "is given without set_retention; set that too"));
    }
    Ok(CollectionChange {
        add_regions: regions("add_regions", &wire.add_regions)?,
        add_vectors: vector_fields(&wire.add_vectors, 0, defaults)?,
        retention: wire.set_retention.then(|| retention(&wire.retention)).transpose()?,
        ..CollectionChange::default()
    })
}

pub(crate) fn wire_collection(schema: &CollectionSchema) -> v1::Collection {
    v1::Collection {
        name: schema.name.clone(),
        id: schema.id.to_string(),
        vectors: schema.vectors.iter().map(wire_vector_field).collect(),
        payload_indexes: schema.payload_indexes.iter().map(wire_payload_index).collect(),
        regions: schema.regions.iter().map(ToString::to_string).collect(),
        default_region: schema.default_region.to_string(),
        shards_per_region: schema.shards_per_region,
        retention: schema.retention.iter().map(wire_rule).collect(),
        created_at_ms: schema.created_at,
    }
}

fn wire_vector_field(field: &VectorField) -> v1::VectorField {
    let metric = match field.metric {
        Metric::Cosine => v1::Metric::Cosine,
        Metric::Dot => v1::Metric::Dot,
        Metric::Euclid => v1::Metric::Euclid,
        Metric::Manhattan => v1::Metric::Manhattan,
    };
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    v1::VectorField {
        name: field.name.clone(),
        dimension: small(field.dimension),
        metric: metric.into(),
        hnsw: Some(v1::HnswParams {
            m: small(field.hnsw_m),
            ef_construction: small(field.hnsw_ef_construction),
            graph_threshold: small(field.graph_threshold),
            layout: match field.layout {
                Layout::Fast => v1::GraphLayout::Fast,
                Layout::Compact => v1::GraphLayout::Compact,
            }
            .into(),
        }),
        kind: match field.kind {
            VectorKind::Dense => v1::VectorKind::Dense,
            VectorKind::Sparse { .. } => v1::VectorKind::Sparse,
            VectorKind::Multi => v1::VectorKind::Multi,
        }
        .into(),
        modifier: match field.kind {
            VectorKind::Dense | VectorKind::Multi => v1::SparseModifier::Unspecified,
            VectorKind::Sparse { modifier: SparseModifier::None } => v1::SparseModifier::None,
            VectorKind::Sparse { modifier: SparseModifier::Idf } => v1::SparseModifier::Idf,
        }
        .into(),
    }
}

fn wire_payload_index(index: &PayloadIndexSpec) -> v1::PayloadIndex {
    use v1::PayloadIndexKind as Wire;
    let kind = match index.kind {
        PayloadIndexKind::Keyword => Wire::Keyword,
        PayloadIndexKind::Integer => Wire::Integer,
        PayloadIndexKind::Float => Wire::Float,
        PayloadIndexKind::Bool => Wire::Bool,
        PayloadIndexKind::Datetime => Wire::Datetime,
        PayloadIndexKind::Uuid => Wire::Uuid,
        PayloadIndexKind::Geo => Wire::Geo,
        PayloadIndexKind::Text => Wire::Text,
    };
    let text = index.text_options().as_ref().map(text_index::wire_options);
    v1::PayloadIndex { field: index.field.clone(), kind: kind.into(), text }
}

fn wire_rule(rule: &RetentionRule) -> v1::RetentionRule {
    v1::RetentionRule {
        region: rule.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        max_age_s: u64::try_from(rule.max_age_ms).unwrap_or(0) / MS,
    }
}
