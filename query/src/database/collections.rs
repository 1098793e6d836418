//! Collections: checked here, done by the engine.

use std::sync::Arc;

use engram_index::payload::PayloadPath;
use engram_storage::StorageError;
use engram_storage::catalog::Role;
use engram_storage::engine::NewCollection;
use engram_storage::point::FieldId;
use engram_storage::schema::{
    CollectionSchema, PayloadIndexSpec, RegionName, RetentionRule, VectorField, check_name,
};

use serde_json::{Map, Value};

use super::Database;
use super::definition::{check_payload_indexes, check_regions, check_retention, check_shards, check_vectors};
use crate::error::{QueryError, Result};
use crate::limits::{MAX_METADATA_BYTES, MAX_PAYLOAD_INDEXES, at_most};
use crate::request::Principal;
use crate::write::vector_field;

/// Objects inside one another that an update of clients' options merges.
const CLIENT_OPTIONS_DEPTH: usize = 4;

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionChange {
    /// Regions to add; those that are there already change nothing.
    pub add_regions: Vec<RegionName>,
    /// Names of vector fields to take away; those that are not there change nothing.
    pub remove_vectors: Vec<String>,
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
        let first = schema.free_field();
        if schema.vectors.iter().any(|field| self.remove_vectors.contains(&field.name)) {
            schema.vectors.retain(|field| !self.remove_vectors.contains(&field.name));
            schema.next_field = first;
        }
        let numbers = usize::from(FieldId::MAX - first);
        at_most(
            "the number of new vector fields",
            self.add_vectors.len(),
            numbers,
            "make another collection",
        )?;
        for (id, mut field) in (first..FieldId::MAX).zip(self.add_vectors) {
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
}
