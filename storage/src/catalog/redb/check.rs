//! Opening: a new file appears whole, an old one is checked from end to end before it is touched.

use std::collections::HashSet;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use ::redb::backends::InMemoryBackend;
use ::redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend};
use serde::de::DeserializeOwned;

use super::value::{Rows, RowsMut};
use super::{
    COLLECTIONS, DROPPED, EPOCH, HEAD, KEYS, LAST_TENANT, NAMES, Named, RECEIPTS, STATE, TENANTS, error,
    guarded, keys, split_key, tenant_key, write,
};
use crate::catalog::receipt::chain_head;
use crate::catalog::{Key, Receipt, Tenant};
use crate::error::{Result, StorageError};
use crate::log::Epoch;
use crate::schema::{CollectionSchema, DEFAULT_TENANT};

/// Largest catalog that is opened: it is read into memory once.
const MAX_FILE: u64 = 4 << 30;

fn io(path: &Path, e: &std::io::Error) -> StorageError {
    StorageError::io(format!("the catalog {}", path.display()), e)
}

fn corrupt(path: &Path, why: impl Into<String>) -> StorageError {
    StorageError::corrupt(path.display().to_string(), why)
}

/// Opens the catalog at `path`, making it if there is none.
pub(super) fn open(path: &Path) -> Result<Database> {
    match path.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => create(path)?,
        Err(e) => return Err(io(path, &e)),
        Ok(m) if m.len() > MAX_FILE => return Err(corrupt(path, "the file is larger than a catalog may be")),
        Ok(_) => verify_copy(path)?,
    }
    Database::open(path).map_err(|e| error(path, e))
}

/// Makes an empty catalog beside its place and moves it there: a kill leaves all of it or none.
fn create(path: &Path) -> Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::private_dir::create(dir).map_err(|e| io(path, &e))?;
    let temporary = path.with_extension("tmp");
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(io(&temporary, &e)),
        _ => {}
    }
    let db = Database::create(&temporary).map_err(|e| error(&temporary, e))?;
    write(&db, &temporary, |txn, path| {
        for table in [COLLECTIONS, DROPPED, NAMES, RECEIPTS, TENANTS, KEYS] {
            RowsMut::open(txn, table, path)?;
        }
        let mut state = RowsMut::open(txn, STATE, path)?;
        state.put(EPOCH, &Epoch::default())?;
        state.put(HEAD, &String::new())
    })?;
    drop(db);
    let moved = File::open(&temporary)
        .and_then(|f| f.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(dir)?.sync_all());
    moved.map_err(|e| io(path, &e))
}

/// Checks a copy of the file, so that redb's repair of a damaged one does not destroy what is left of it.
fn verify_copy(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|e| io(path, &e))?;
    if bytes.is_empty() {
        return Err(corrupt(path, "the file is empty; restore it from a backup, or remove it to begin anew"));
    }
    guarded(path, || {
        let backend = InMemoryBackend::new();
        let copied = backend.set_len(bytes.len() as u64).and_then(|()| backend.write(0, &bytes));
        copied.map_err(|e| io(path, &e))?;
        drop(bytes);
        let mut db = Database::builder().create_with_backend(backend).map_err(|e| error(path, e))?;
        if !db.check_integrity().map_err(|e| error(path, e))? {
            return Err(corrupt(path, "the checksums of its pages do not fit; restore it from a backup"));
        }
        verify_rows(&db, path)
    })
}

/// Reads every value and checks what belongs together.
fn verify_rows(db: &Database, path: &Path) -> Result<()> {
    let txn = db.begin_read().map_err(|e| error(path, e))?;
    let collections = Rows::open(&txn, COLLECTIONS, path)?.all::<CollectionSchema>()?;
    for (key, schema) in
        Rows::open(&txn, DROPPED, path)?.all::<CollectionSchema>()?.iter().chain(&collections)
    {
        if *key != schema.id.to_string() {
            return Err(corrupt(path, format!("collection {key} has the definition of {}", schema.id)));
        }
    }
    let names = Rows::open(&txn, NAMES, path)?.all::<Named>()?;
    let named: HashSet<_> =
        names.iter().filter(|n| matches!(n.1, Named::Collection(_))).map(|n| n.0.as_str()).collect();
    let unnamed = collections.iter().find(|c| !named.contains(tenant_key(c.1.tenant, &c.1.name).as_str()));
    if let Some((_, schema)) = unnamed {
        return Err(corrupt(path, format!("collection {:?} has lost its name", schema.name)));
    }
    if named.len() != collections.len() || names.iter().any(|n| split_key(&n.0).is_none()) {
        return Err(corrupt(path, "a name stands for a collection that is not there"));
    }
    let receipts: Vec<Receipt> = Rows::open(&txn, RECEIPTS, path)?.all()?.into_iter().map(|r| r.1).collect();
    let state = Rows::open(&txn, STATE, path)?;
    let (epoch, head) = (state.get::<Epoch>(EPOCH)?, state.get::<String>(HEAD)?);
    if epoch.is_none() || head != Some(chain_head(&receipts)?) {
        return Err(corrupt(path, "the newest receipts or the epoch are missing"));
    }
    verify_keys(&txn, path)
}

/// A key must not come to act for a tenant that it was not made for.
fn verify_keys(txn: &ReadTransaction, path: &Path) -> Result<()> {
    let last = Rows::open(txn, STATE, path)?.get::<u32>(LAST_TENANT)?.unwrap_or(DEFAULT_TENANT.0);
    let mut ids = HashSet::from([DEFAULT_TENANT]);
    for (key, tenant) in rows_if_there::<Tenant>(txn, TENANTS, path)? {
        if key != keys::tenant_row(tenant.id) || tenant.id.0 > last || !ids.insert(tenant.id) {
            return Err(corrupt(path, format!("tenant {key} does not fit the others")));
        }
    }
    for (row, key) in rows_if_there::<Key>(txn, KEYS, path)? {
        if row != keys::key_row(key.tenant, key.id) || !ids.contains(&key.tenant) {
            return Err(corrupt(path, format!("key {row} belongs to no tenant")));
        }
    }
    Ok(())
}

fn rows_if_there<T: DeserializeOwned>(
    txn: &ReadTransaction,
    table: &'static str,
    path: &Path,
) -> Result<Vec<(String, T)>> {
    Rows::open_if_there(txn, table, path)?.map_or_else(|| Ok(Vec::new()), |rows| rows.all())
}
