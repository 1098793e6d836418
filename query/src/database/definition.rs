//! What a definition of a collection has to keep.

use std::collections::HashSet;

use engram_index::payload::PayloadPath;
use engram_index::vector::{MAX_DIMENSION, Metric};
use engram_storage::schema::{
    CollectionSchema, PayloadIndexSpec, RegionName, RetentionRule, VectorField, VectorKind, check_name,
};

use crate::error::{QueryError, Result};
use crate::limits::{
    MAX_PAYLOAD_INDEXES, MAX_REGIONS, MAX_RETENTION_RULES, MAX_SHARDS_PER_REGION, MAX_VECTOR_FIELDS, at_most,
};

/// Longest retention, about 1,000 years: far below what would overflow the clock.
const MAX_AGE_MS: i64 = 1_000 * 366 * 24 * 3_600 * 1_000;
/// Longest name of a vector field, bytes.
const MAX_FIELD_NAME_BYTES: usize = 255;
/// Range of the links of a graph node.
const HNSW_M: std::ops::RangeInclusive<usize> = 4..=128;
/// Range of the candidates while a graph is built.
const HNSW_EF_CONSTRUCTION: std::ops::RangeInclusive<usize> = 8..=4_096;

/// Checks a definition that was not made by [`Database::create_collection`] of this server.
pub(super) fn check_definition(schema: &CollectionSchema) -> Result<()> {
    check_name(&schema.name).map_err(|m| QueryError::invalid("invalid_name", m))?;
    check_vectors(&schema.vectors)?;
    check_payload_indexes(&mut schema.payload_indexes.clone())?;
    check_regions(&schema.regions, &schema.default_region)?;
    check_shards(schema.shards_per_region)?;
    check_retention(&schema.retention, &schema.regions)
}

pub(super) fn check_shards(shards_per_region: u32) -> Result<()> {
    if shards_per_region == 0 {
        return Err(QueryError::invalid("invalid_argument", "shards_per_region is 0: use at least 1"));
    }
    let (shards, most) = (shards_per_region as usize, MAX_SHARDS_PER_REGION as usize);
    at_most("shards_per_region", shards, most, "use fewer shards")
}

pub(super) fn check_vectors(fields: &[VectorField]) -> Result<()> {
    at_most("the number of vector fields", fields.len(), MAX_VECTOR_FIELDS, "use fewer fields")?;
    let mut names = HashSet::new();
    for field in fields {
        let name = &field.name;
        if name.len() > MAX_FIELD_NAME_BYTES || name.chars().any(char::is_control) {
            let message = format!(
                "vector field {name:?} is not allowed: use up to 255 bytes without control characters"
            );
            return Err(QueryError::invalid("invalid_name", message));
        }
        if !names.insert(name) {
            return Err(QueryError::invalid(
                "repeated_field",
                format!("vector field {name:?} is given twice"),
            ));
        }
        if matches!(field.kind, VectorKind::Sparse { .. }) {
            check_sparse(field)?;
            continue;
        }
        if field.dimension == 0 {
            let message =
                format!("vector field {name:?} has dimension 0: use that of the model, 1 to {MAX_DIMENSION}");
            return Err(QueryError::invalid("invalid_argument", message));
        }
        at_most("dimension", field.dimension, MAX_DIMENSION, "use a model with smaller vectors")?;
        check_range("hnsw m", field.hnsw_m, &HNSW_M)?;
        check_range("hnsw ef_construction", field.hnsw_ef_construction, &HNSW_EF_CONSTRUCTION)?;
    }
    Ok(())
}

/// Sparse vectors have no dimension, and no metric but the inner product.
fn check_sparse(field: &VectorField) -> Result<()> {
    if field.dimension == 0 && field.metric == Metric::Dot {
        return Ok(());
    }
    let message = format!(
        "vector field {:?} is sparse: leave out dimension and metric, sparse vectors are compared by inner product",
        field.name
    );
    Err(QueryError::invalid("invalid_argument", message))
}

fn check_range(what: &str, value: usize, range: &std::ops::RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{what} is {value}: use {} to {}", range.start(), range.end());
    Err(QueryError::invalid("invalid_argument", message))
}

/// Checks the specs, and writes their paths in the one form that filters look them up by.
pub(super) fn check_payload_indexes(specs: &mut [PayloadIndexSpec]) -> Result<()> {
    at_most("the number of payload indexes", specs.len(), MAX_PAYLOAD_INDEXES, "index fewer fields")?;
    let mut fields = HashSet::new();
    for spec in specs {
        spec.field = PayloadPath::parse(&spec.field)?.to_string();
        if !fields.insert(&spec.field) {
            let message = format!("payload index {:?} is given twice", spec.field);
            return Err(QueryError::invalid("repeated_field", message));
        }
        match (spec.text_options(), &spec.text) {
            (Some(options), _) => {
                options.validate()?;
                // Written out, so that options are compared as they are.
                spec.text = Some(options);
            }
            (None, Some(_)) => {
                let message = format!(
                    "payload index {:?} has text options and is of another kind: make it a text index",
                    spec.field
                );
                return Err(QueryError::invalid("invalid_argument", message));
            }
            (None, None) => {}
        }
    }
    Ok(())
}

pub(super) fn check_regions(regions: &[RegionName], default: &RegionName) -> Result<()> {
    at_most("the number of regions", regions.len(), MAX_REGIONS, "use fewer regions")?;
    let mut names = HashSet::new();
    if let Some(twice) = regions.iter().find(|r| !names.insert(*r)) {
        return Err(QueryError::invalid("repeated_region", format!("region {twice} is given twice")));
    }
    if !regions.contains(default) {
        let message =
            format!("the default region {default} is none of the collection's regions: add it to them");
        return Err(QueryError::invalid("unknown_region", message));
    }
    Ok(())
}

pub(super) fn check_retention(rules: &[RetentionRule], regions: &[RegionName]) -> Result<()> {
    at_most(
        "the number of retention rules",
        rules.len(),
        MAX_RETENTION_RULES,
        "one rule a region is enough",
    )?;
    for rule in rules {
        if let Some(region) = rule.region.as_ref().filter(|r| !regions.contains(r)) {
            let message = format!("a retention rule names region {region}, which the collection has not");
            return Err(QueryError::invalid("unknown_region", message));
        }
        if !(1..=MAX_AGE_MS).contains(&rule.max_age_ms) {
            let message =
                format!("a retention rule keeps points {} ms: use 1 to {MAX_AGE_MS} ms", rule.max_age_ms);
            return Err(QueryError::invalid("invalid_argument", message));
        }
    }
    Ok(())
}
