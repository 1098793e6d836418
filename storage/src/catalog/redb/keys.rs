//! Tenants and their keys in the catalog.

use std::path::Path;

use ::redb::{ReadTransaction, WriteTransaction};
use serde::de::DeserializeOwned;

use super::value::{Rows, RowsMut};
use super::{COLLECTIONS, KEYS, LAST_TENANT, STATE, TENANTS, tenant_key};
use crate::catalog::{Key, KeyId, Tenant};
use crate::error::{Result, StorageError};
use crate::schema::{CollectionSchema, DEFAULT_TENANT, TenantId};

pub(super) fn tenant_row(id: TenantId) -> String {
    format!("{:010}", id.0)
}

pub(super) fn key_row(tenant: TenantId, id: KeyId) -> String {
    tenant_key(tenant, &id.to_string())
}

/// All values of a table, none where the file is older than the table.
pub(super) fn all<T: DeserializeOwned>(
    txn: &ReadTransaction,
    path: &Path,
    table: &'static str,
) -> Result<Vec<T>> {
    let Some(rows) = Rows::open_if_there(txn, table, path)? else { return Ok(Vec::new()) };
    Ok(rows.all()?.into_iter().map(|row| row.1).collect())
}

pub(super) fn create_tenant(
    txn: &WriteTransaction,
    path: &Path,
    name: String,
    created_at: i64,
) -> Result<Tenant> {
    let mut tenants = RowsMut::open(txn, TENANTS, path)?;
    if tenants.all::<Tenant>()?.iter().any(|(_, tenant)| tenant.name == name) {
        return Err(StorageError::Conflict(format!("there is a tenant called {name:?} already")));
    }
    let mut state = RowsMut::open(txn, STATE, path)?;
    // Counted, not searched for: the number of a tenant that is gone is in receipts and perhaps in backups.
    let last = state.get::<u32>(LAST_TENANT)?.unwrap_or(DEFAULT_TENANT.0);
    let next = last.checked_add(1);
    let id = TenantId(next.ok_or_else(|| StorageError::Exhausted("there are no more tenant ids".into()))?);
    let tenant = Tenant { id, name, created_at };
    state.put(LAST_TENANT, &id.0)?;
    tenants.put(&tenant_row(id), &tenant)?;
    Ok(tenant)
}

pub(super) fn drop_tenant(txn: &WriteTransaction, path: &Path, id: TenantId) -> Result<bool> {
    let mut tenants = RowsMut::open(txn, TENANTS, path)?;
    let row = tenant_row(id);
    let Some(tenant) = tenants.get::<Tenant>(&row)? else { return Ok(false) };
    let collections = RowsMut::open(txn, COLLECTIONS, path)?.all::<CollectionSchema>()?;
    let owned = collections.iter().filter(|(_, schema)| schema.tenant == id).count();
    if owned > 0 {
        let why = format!("tenant {:?} has {owned} collections; delete them first", tenant.name);
        return Err(StorageError::Conflict(why));
    }
    let mut keys = RowsMut::open(txn, KEYS, path)?;
    for (row, _) in keys.of_tenant::<Key>(id)? {
        keys.remove(&row)?;
    }
    tenants.remove(&row)?;
    Ok(true)
}

/// Fails for a tenant that is not there.
pub(super) fn check_tenant(txn: &WriteTransaction, path: &Path, id: TenantId) -> Result<()> {
    let known =
        id == DEFAULT_TENANT || RowsMut::open(txn, TENANTS, path)?.get::<Tenant>(&tenant_row(id))?.is_some();
    known.then_some(()).ok_or_else(|| StorageError::NotFound("the tenant is gone".into()))
}

pub(super) fn put(txn: &WriteTransaction, path: &Path, key: &Key) -> Result<()> {
    check_tenant(txn, path, key.tenant)?;
    RowsMut::open(txn, KEYS, path)?.put(&key_row(key.tenant, key.id), key)
}

pub(super) fn forget(txn: &WriteTransaction, path: &Path, tenant: TenantId, id: KeyId) -> Result<bool> {
    let mut keys = RowsMut::open(txn, KEYS, path)?;
    let row = key_row(tenant, id);
    let there = keys.get::<Key>(&row)?.is_some();
    if there {
        keys.remove(&row)?;
    }
    Ok(there)
}

pub(super) fn touch(txn: &WriteTransaction, path: &Path, uses: Vec<(TenantId, KeyId, i64)>) -> Result<()> {
    let mut keys = RowsMut::open(txn, KEYS, path)?;
    for (tenant, id, at) in uses {
        let row = key_row(tenant, id);
        if let Some(mut key) = keys.get::<Key>(&row)?
            && key.last_used.is_none_or(|before| before < at)
        {
            key.last_used = Some(at);
            keys.put(&row, &key)?;
        }
    }
    Ok(())
}
