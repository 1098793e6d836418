//! Collections, aliases and erasure: checked here, done by the engine.

use std::collections::HashSet;
use std::sync::Arc;

use engram_index::payload::PayloadPath;
use engram_index::vector::{MAX_DIMENSION, Metric};
use engram_storage::StorageError;
use engram_storage::catalog::{Receipt, Role};
use engram_storage::engine::{NewCollection, PurgePlan, PurgeRequest};
use engram_storage::schema::{
    CollectionSchema, PayloadIndexSpec, RegionName, RetentionRule, TenantId, VectorField, VectorKind,
    check_name,
};

use serde_json::{Map, Value};

use super::Database;
use crate::error::{QueryError, Result};
use crate::limits::{
    MAX_METADATA_BYTES, MAX_PAYLOAD_INDEXES, MAX_REGIONS, MAX_RETENTION_RULES, MAX_SHARDS_PER_REGION,
    MAX_VECTOR_FIELDS, at_most,
};
use crate::request::Principal;
use crate::write::vector_field;

/// Longest retention, about 1,000 years: far below what would overflow the clock.
const MAX_AGE_MS: i64 = 1_000 * 366 * 24 * 3_600 * 1_000;
/// Longest name of a vector field, bytes.
const MAX_FIELD_NAME_BYTES: usize = 255;
/// Range of the links of a graph node.
const HNSW_M: std::ops::RangeInclusive<usize> = 4..=128;
/// Range of the candidates while a graph is built.
const HNSW_EF_CONSTRUCTION: std::ops::RangeInclusive<usize> = 8..=4_096;
/// Objects inside one another that an update of clients' options merges.
const CLIENT_OPTIONS_DEPTH: usize = 4;
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
    /// Changes of graphs.
    pub graphs: Vec<GraphChange>,
    /// Metadata whose keys replace those that are there; null takes a key out.
    pub metadata: Map<String, Value>,
    /// Options of clients' dialects, merged as `metadata`, objects in them too.
    pub client_options: Map<String, Value>,
}

/// What changes of the graphs that are built from now on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphChange {
    /// Vector field; all where absent.
    pub field: Option<String>,
    /// Links of a node.
    pub m: Option<usize>,
    /// Candidates while it is built.
    pub ef_construction: Option<usize>,
    /// Segments with fewer vectors are scanned exactly.
    pub graph_threshold: Option<usize>,
}

impl GraphChange {
    fn apply(&self, schema: &mut CollectionSchema) -> Result<()> {
        if let Some(name) = &self.field {
            vector_field(schema, name)?;
        }
        let wanted = |field: &&mut VectorField| self.field.as_ref().is_none_or(|name| *name == field.name);
        for field in schema.vectors.iter_mut().filter(wanted) {
            field.hnsw_m = self.m.unwrap_or(field.hnsw_m);
            field.hnsw_ef_construction = self.ef_construction.unwrap_or(field.hnsw_ef_construction);
            field.graph_threshold = self.graph_threshold.unwrap_or(field.graph_threshold);
        }
        Ok(())
    }
}

/// Puts `change` into `object`: a null takes a key out, and objects are merged down to `depth`.
fn merge(object: &mut Map<String, Value>, change: Map<String, Value>, depth: usize) {
    for (key, value) in change {
        match (object.get_mut(&key), value) {
            (_, Value::Null) => {
                object.shift_remove(&key);
            }
            (Some(Value::Object(there)), Value::Object(new)) if depth > 0 => merge(there, new, depth - 1),
            (_, value) => {
                object.insert(key, value);
            }
        }
    }
}

/// Checks what is kept as free JSON.
fn check_free(what: &str, object: &Map<String, Value>) -> Result<()> {
    if object.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec(object).map_err(|e| QueryError::Internal(e.to_string()))?;
    let length = format!("the length of {what} in bytes");
    at_most(&length, text.len(), MAX_METADATA_BYTES, "keep less beside the collection")?;
    crate::payload::check(&text)
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
        for graph in &self.graphs {
            graph.apply(schema)?;
        }
        merge(&mut schema.metadata, self.metadata, 0);
        merge(&mut schema.client_options, self.client_options, CLIENT_OPTIONS_DEPTH);
        check_free("the metadata", &schema.metadata)?;
        check_free("the options", &schema.client_options)?;
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
        self.check_new_name(principal, &new.name)?;
        new.tenant = principal.tenant;
        check_name(&new.name).map_err(|m| QueryError::invalid("invalid_name", m))?;
        check_vectors(&new.vectors)?;
        check_payload_indexes(&mut new.payload_indexes)?;
        check_regions(&new.regions, &new.default_region)?;
        check_shards(new.shards_per_region)?;
        check_retention(&new.retention, &new.regions)?;
        check_free("the metadata", &new.metadata)?;
        check_free("the options", &new.client_options)?;
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

    /// All collections of the tenant that the principal sees, by name.
    pub fn collections(&self, principal: Principal) -> Vec<Arc<CollectionSchema>> {
        let Ok(grant) = self.grant(principal, Role::Read) else { return Vec::new() };
        let mut all = self.inner.engine.collections(principal.tenant);
        all.retain(|schema| grant.sees(&schema.name));
        all
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

    /// Adds a payload index, or changes its kind or options.
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
                Some(there) => *there = spec,
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
        self.schema_for(principal, name, Role::Admin)?;
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
        let collection = match self.schema_for(principal, name, Role::Admin) {
            Ok(schema) => Some(schema.id),
            Err(QueryError::NotFound { .. }) => return Ok(false),
            Err(refused) => return Err(refused),
        };
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
        self.check_new_name(principal, alias)?;
        check_name(alias).map_err(|m| QueryError::invalid("invalid_name", m))?;
        self.schema_for(principal, collection, Role::Admin)?;
        Ok(self.inner.engine.set_alias(principal.tenant, alias, collection).await?)
    }

    /// Removes an alias; false if there was none.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn delete_alias(&self, principal: Principal, alias: &str) -> Result<bool> {
        self.grant(principal, Role::Admin)?;
        if !self.aliases(principal).iter().any(|(name, _)| name == alias) {
            return Ok(false);
        }
        Ok(self.inner.engine.delete_alias(principal.tenant, alias).await?)
    }

    /// Aliases of the tenant with the collections they stand for, where the principal sees these.
    pub fn aliases(&self, principal: Principal) -> Vec<(String, String)> {
        let Ok(grant) = self.grant(principal, Role::Read) else { return Vec::new() };
        let mut all = self.inner.engine.aliases(principal.tenant);
        all.retain(|(_, collection)| grant.sees(collection));
        all
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

    /// The newest receipts of the tenant, newest first; for a key of some collections those of these.
    ///
    /// # Errors
    /// Limits, and those of the catalog.
    pub async fn receipts(&self, principal: Principal, limit: usize) -> Result<Vec<Receipt>> {
        at_most("limit", limit, MAX_RECEIPTS, "read fewer receipts")?;
        self.seen_receipts(principal, limit).await
    }

    /// The receipt of this id.
    ///
    /// # Errors
    /// `receipt_not_found`, and those of the catalog.
    pub async fn receipt(&self, principal: Principal, id: &str) -> Result<Receipt> {
        let receipts = self.seen_receipts(principal, usize::MAX).await?;
        receipts.into_iter().find(|receipt| receipt.id == id).ok_or_else(|| {
            let id: String = id.chars().take(64).collect();
            let message = format!("there is no receipt {id:?}: list the receipts to see which there are");
            QueryError::NotFound { code: "receipt_not_found", message }
        })
    }

    async fn seen_receipts(&self, principal: Principal, limit: usize) -> Result<Vec<Receipt>> {
        let grant = self.grant(principal, Role::Read)?;
        if grant.sees_all() {
            return Ok(self.inner.engine.receipts(principal.tenant, limit).await?);
        }
        let mut receipts = self.inner.engine.receipts(principal.tenant, usize::MAX).await?;
        receipts.retain(|receipt| grant.sees(&receipt.collection));
        receipts.truncate(limit);
        Ok(receipts)
    }

    /// Refuses a new name out of the key's scope, by the name alone: whether it is taken must not show.
    pub(super) fn check_new_name(&self, principal: Principal, name: &str) -> Result<()> {
        let grant = self.grant(principal, Role::Admin)?;
        if !grant.sees(name) {
            let why = "the key is for some collections only: use the name of one of them";
            return Err(QueryError::Forbidden(why.into()));
        }
        let there = self.inner.engine.collection(principal.tenant, name);
        if there.is_ok_and(|schema| schema.name != name && !grant.sees(&schema.name)) {
            let message = format!("{name:?} is an alias already: use another name");
            return Err(QueryError::Conflict { code: "conflict", message });
        }
        Ok(())
    }

    fn purge_request(&self, principal: Principal, scope: PurgeScope) -> Result<PurgeRequest> {
        let grant = self.grant(principal, Role::Admin)?;
        let region = scope.region.map(region_name).transpose()?;
        if scope.collection.is_none() && !grant.sees_all() {
            let why = "the key is for some collections only: name one of them";
            return Err(QueryError::Forbidden(why.into()));
        }
        if let Some(name) = &scope.collection {
            let schema = self.schema_for(principal, name, Role::Admin)?;
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
fn check_payload_indexes(specs: &mut [PayloadIndexSpec]) -> Result<()> {
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
