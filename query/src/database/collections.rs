//! Collections, aliases and erasure: checked here, done by the engine.

use std::collections::HashSet;
use std::sync::Arc;

use engram_index::payload::PayloadPath;
use engram_index::vector::MAX_DIMENSION;
use engram_storage::StorageError;
use engram_storage::catalog::Receipt;
use engram_storage::engine::{NewCollection, PurgePlan, PurgeRequest};
use engram_storage::schema::{
    CollectionSchema, PayloadIndexSpec, RegionName, RetentionRule, TenantId, VectorField, check_name,
};

use super::Database;
use crate::error::{QueryError, Result};
use crate::limits::{
    MAX_PAYLOAD_INDEXES, MAX_REGIONS, MAX_RETENTION_RULES, MAX_SHARDS_PER_REGION, MAX_VECTOR_FIELDS, at_most,
};
use crate::request::Principal;

/// Longest retention, about 1,000 years: far below what would overflow the clock.
const MAX_AGE_MS: i64 = 1_000 * 366 * 24 * 3_600 * 1_000;
/// Longest name of a vector field, bytes.
const MAX_FIELD_NAME_BYTES: usize = 255;
/// Range of the links of a graph node.
const HNSW_M: std::ops::RangeInclusive<usize> = 4..=128;
/// Range of the candidates while a graph is built.
const HNSW_EF_CONSTRUCTION: std::ops::RangeInclusive<usize> = 8..=4_096;
/// Most receipts of one answer.
const MAX_RECEIPTS: usize = 1_000;

/// What a purge erases, inside one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeScope {
    /// Only this collection; all of the tenant where absent.
    pub collection: Option<String>,
    /// Only this region; all where absent.
    pub region: Option<String>,
    /// Points created before this time (milliseconds since the epoch); what the retention rules say where absent.
    pub created_before: Option<i64>,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionChange {
    /// Regions to add; those that are there already change nothing.
    pub add_regions: Vec<RegionName>,
    /// Vector fields to add; their ids are given here.
    pub add_vectors: Vec<VectorField>,
    /// Retention rules in place of those that are there.
    pub retention: Option<Vec<RetentionRule>>,
}

impl CollectionChange {
    fn apply(self, schema: &mut CollectionSchema) -> Result<()> {
        for region in self.add_regions {
            if !schema.regions.contains(&region) {
                schema.regions.push(region);
            }
        }
        let first = schema.vectors.iter().map(|field| field.id.saturating_add(1)).max().unwrap_or(0);
        for (id, mut field) in (first..).zip(self.add_vectors) {
            field.id = id;
            schema.vectors.push(field);
        }
        if let Some(retention) = self.retention {
            schema.retention = retention;
        }
        check_regions(&schema.regions, &schema.default_region)?;
        check_vectors(&schema.vectors)?;
        check_retention(&schema.retention, &schema.regions)
    }
}

impl Database {
    /// Creates a collection of the principal's tenant (whatever tenant `new` names).
    ///
    /// # Errors
    /// What to mend, limits, and `Conflict` where the name is taken.
    pub async fn create_collection(
        &self,
        principal: Principal,
        mut new: NewCollection,
        if_not_exists: bool,
    ) -> Result<Arc<CollectionSchema>> {
        new.tenant = principal.tenant;
        check_name(&new.name).map_err(|m| QueryError::invalid("invalid_name", m))?;
        check_vectors(&new.vectors)?;
        check_payload_indexes(&mut new.payload_indexes)?;
        check_regions(&new.regions, &new.default_region)?;
        check_shards(new.shards_per_region)?;
        check_retention(&new.retention, &new.regions)?;
        // Numbers are given by position; a caller's own could repeat.
        for (id, field) in (0..).zip(&mut new.vectors) {
            field.id = id;
        }
        Ok(self.inner.engine.create_collection(new, if_not_exists).await?)
    }

    /// The definition of a collection, by name or alias.
    ///
    /// # Errors
    /// `collection_not_found`.
    pub fn collection(&self, principal: Principal, name: &str) -> Result<Arc<CollectionSchema>> {
        self.schema(principal, name)
    }

    /// All collections of the tenant, by name.
    pub fn collections(&self, principal: Principal) -> Vec<Arc<CollectionSchema>> {
        self.inner.engine.collections(principal.tenant)
    }

    /// Changes a definition: all of `change` or nothing.
    ///
    /// # Errors
    /// `collection_not_found`, `repeated_field`, limits, `unknown_region`.
    pub async fn update_collection(
        &self,
        principal: Principal,
        name: &str,
        change: CollectionChange,
    ) -> Result<Arc<CollectionSchema>> {
        self.edit(principal, name, |schema| change.apply(schema)).await
    }

    /// Adds a payload index, or changes its kind.
    ///
    /// # Errors
    /// `collection_not_found`, limits, and a path that is none.
    pub async fn create_payload_index(
        &self,
        principal: Principal,
        name: &str,
        mut spec: PayloadIndexSpec,
    ) -> Result<Arc<CollectionSchema>> {
        check_payload_indexes(std::slice::from_mut(&mut spec))?;
        self.edit(principal, name, |schema| {
            match schema.payload_indexes.iter_mut().find(|other| other.field == spec.field) {
                Some(there) => there.kind = spec.kind,
                None => schema.payload_indexes.push(spec),
            }
            let count = schema.payload_indexes.len();
            at_most("the number of payload indexes", count, MAX_PAYLOAD_INDEXES, "drop one first")
        })
        .await
    }

    /// Drops a payload index; false if there was none.
    ///
    /// # Errors
    /// `collection_not_found`.
    pub async fn delete_payload_index(&self, principal: Principal, name: &str, field: &str) -> Result<bool> {
        let field = PayloadPath::parse(field)?.to_string();
        let mut existed = false;
        self.edit(principal, name, |schema| {
            existed = schema.payload_indexes.iter().any(|spec| spec.field == field);
            schema.payload_indexes.retain(|spec| spec.field != field);
            Ok(())
        })
        .await?;
        Ok(existed)
    }

    async fn edit(
        &self,
        principal: Principal,
        name: &str,
        edit: impl FnOnce(&mut CollectionSchema) -> Result<()> + Send,
    ) -> Result<Arc<CollectionSchema>> {
        self.schema(principal, name)?;
        // A refusal keeps its own code; the engine only needs to know that there is one.
        let mut refused = None;
        let updated = self.inner.engine.update_collection(principal.tenant, name, |schema| {
            edit(schema).map_err(|e| {
                let message = e.to_string();
                refused = Some(e);
                StorageError::Invalid(message)
            })
        });
        let updated = updated.await;
        updated.map_err(|e| refused.unwrap_or_else(|| e.into()))
    }

    /// Drops a collection with its points; false if there was none.
    ///
    /// # Errors
    /// Those of storage; the collection is gone for readers all the same.
    pub async fn drop_collection(&self, principal: Principal, name: &str) -> Result<bool> {
        let collection = self.schema(principal, name).ok().map(|schema| schema.id);
        let dropped = self.inner.engine.drop_collection(principal.tenant, name).await;
        // Also where dropping failed halfway: readers do not see the collection any more.
        if let Some(id) = collection.filter(|_| !matches!(dropped, Ok(false))) {
            self.forget_samples_of_collection(id);
        }
        Ok(dropped?)
    }

    /// Points an alias at a collection.
    ///
    /// # Errors
    /// `collection_not_found`, `invalid_name`, `Conflict` where a collection has that name.
    pub async fn set_alias(&self, principal: Principal, alias: &str, collection: &str) -> Result<()> {
        check_name(alias).map_err(|m| QueryError::invalid("invalid_name", m))?;
        self.schema(principal, collection)?;
        Ok(self.inner.engine.set_alias(principal.tenant, alias, collection).await?)
    }

    /// Removes an alias; false if there was none.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn delete_alias(&self, principal: Principal, alias: &str) -> Result<bool> {
        Ok(self.inner.engine.delete_alias(principal.tenant, alias).await?)
    }

    /// Aliases of the tenant with the collections they stand for.
    pub fn aliases(&self, principal: Principal) -> Vec<(String, String)> {
        self.inner.engine.aliases(principal.tenant)
    }

    /// Counts what a purge would erase; changes nothing.
    ///
    /// # Errors
    /// `collection_not_found`, `unknown_region`.
    pub async fn plan_purge(&self, principal: Principal, scope: PurgeScope) -> Result<PurgePlan> {
        Ok(self.inner.engine.plan_purge(&self.purge_request(principal, scope)?).await?)
    }

    /// Erases and answers once no live file holds the bytes.
    ///
    /// # Errors
    /// `collection_not_found`, `unknown_region`, and those of storage.
    pub async fn purge(&self, principal: Principal, scope: PurgeScope) -> Result<Receipt> {
        let accepted = self.accept_purge(principal, scope).await?;
        self.run_purge(accepted).await
    }

    /// Records the intent of a purge; [`Database::run_purge`] does the work.
    ///
    /// # Errors
    /// As [`Database::purge`].
    pub async fn accept_purge(&self, principal: Principal, scope: PurgeScope) -> Result<Receipt> {
        Ok(self.inner.engine.accept_purge(&self.purge_request(principal, scope)?).await?)
    }

    /// Erases what an accepted purge names.
    ///
    /// # Errors
    /// Those of storage; the receipt then says why.
    pub async fn run_purge(&self, accepted: Receipt) -> Result<Receipt> {
        let tenant = TenantId(accepted.tenant);
        self.forget_samples_of_tenant(tenant);
        let done = self.inner.engine.run_purge(accepted).await;
        // Until the points were hidden, searches could still be like them.
        self.forget_samples_of_tenant(tenant);
        Ok(done?)
    }

    /// The newest receipts of the tenant, newest first.
    ///
    /// # Errors
    /// Limits, and those of the catalog.
    pub async fn receipts(&self, principal: Principal, limit: usize) -> Result<Vec<Receipt>> {
        at_most("limit", limit, MAX_RECEIPTS, "read fewer receipts")?;
        Ok(self.inner.engine.receipts(principal.tenant, limit).await?)
    }

    fn purge_request(&self, principal: Principal, scope: PurgeScope) -> Result<PurgeRequest> {
        let region = scope.region.map(region_name).transpose()?;
        if let Some(name) = &scope.collection {
            let schema = self.schema(principal, name)?;
            if let Some(region) = region.as_ref().filter(|r| !schema.regions.contains(r)) {
                return Err(crate::coordinator::unknown_region(&schema, region.as_str()));
            }
        }
        let PurgeScope { collection, created_before, .. } = scope;
        Ok(PurgeRequest { tenant: principal.tenant, collection, region, created_before })
    }
}

fn region_name(name: String) -> Result<RegionName> {
    RegionName::try_from(name).map_err(|m| QueryError::invalid("invalid_name", m))
}

/// Checks a definition that was not made by [`Database::create_collection`] of this server.
pub(super) fn check_definition(schema: &CollectionSchema) -> Result<()> {
    check_name(&schema.name).map_err(|m| QueryError::invalid("invalid_name", m))?;
    check_vectors(&schema.vectors)?;
    check_payload_indexes(&mut schema.payload_indexes.clone())?;
    check_regions(&schema.regions, &schema.default_region)?;
    check_shards(schema.shards_per_region)?;
    check_retention(&schema.retention, &schema.regions)
}

fn check_shards(shards_per_region: u32) -> Result<()> {
    if shards_per_region == 0 {
        return Err(QueryError::invalid("invalid_argument", "shards_per_region is 0: use at least 1"));
    }
    let (shards, most) = (shards_per_region as usize, MAX_SHARDS_PER_REGION as usize);
    at_most("shards_per_region", shards, most, "use fewer shards")
}

fn check_vectors(fields: &[VectorField]) -> Result<()> {
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

fn check_range(what: &str, value: usize, range: &std::ops::RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let message = format!("{what} is {value}: use {} to {}", range.start(), range.end());
    Err(QueryError::invalid("invalid_argument", message))
}

/// Checks the specs, and writes their paths in the one form that filters look them up by.
fn check_payload_indexes(specs: &mut [PayloadIndexSpec]) -> Result<()> {
    at_most("the number of payload indexes", specs.len(), MAX_PAYLOAD_INDEXES, "index fewer fields")?;
    let mut fields = HashSet::new();
    for spec in specs {
        spec.field = PayloadPath::parse(&spec.field)?.to_string();
        if !fields.insert(&spec.field) {
            let message = format!("payload index {:?} is given twice", spec.field);
            return Err(QueryError::invalid("repeated_field", message));
        }
    }
    Ok(())
}

fn check_regions(regions: &[RegionName], default: &RegionName) -> Result<()> {
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

fn check_retention(rules: &[RetentionRule], regions: &[RegionName]) -> Result<()> {
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
