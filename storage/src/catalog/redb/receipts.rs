//! Receipts in the catalog.

use std::path::Path;

use ::redb::{ReadTransaction, WriteTransaction};

use super::value::{Rows, RowsMut};
use super::{HEAD, RECEIPTS, STATE, tenant_key};
use crate::catalog::Receipt;
use crate::error::{Result, StorageError};
use crate::schema::TenantId;

/// Bytes of receipts that are read at once. One may be longer: it lists files of a whole tenant.
const MAX_BYTES: usize = 4 << 20;

pub(super) fn put(txn: &WriteTransaction, path: &Path, mut receipt: Receipt) -> Result<Receipt> {
    if ![Receipt::RUNNING, Receipt::COMPLETE, Receipt::FAILED].contains(&receipt.state.as_str()) {
        return Err(StorageError::Invalid(format!("a receipt cannot be {:?}", receipt.state)));
    }
    let mut rows = RowsMut::open(txn, RECEIPTS, path)?;
    let key = tenant_key(TenantId(receipt.tenant), &receipt.id);
    if rows.get::<Receipt>(&key)?.is_some_and(|old| old.is_final()) {
        return Err(StorageError::Conflict(format!("receipt {} is final", receipt.id)));
    }
    receipt.previous_hash.clear();
    receipt.hash.clear();
    if receipt.is_complete() {
        let mut state = RowsMut::open(txn, STATE, path)?;
        receipt.link(&state.get::<String>(HEAD)?.unwrap_or_default())?;
        state.put(HEAD, &receipt.hash)?;
    }
    rows.put(&key, &receipt)?;
    Ok(receipt)
}

pub(super) fn newest(
    txn: &ReadTransaction,
    path: &Path,
    tenant: TenantId,
    (before, limit): (Option<&str>, usize),
) -> Result<Vec<Receipt>> {
    Rows::open(txn, RECEIPTS, path)?.last_of_tenant(tenant, before, (limit, MAX_BYTES))
}
