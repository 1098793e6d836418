//! The catalog in one redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `collections` | id | definition |
//! | `dropped` | id | definition |
//! | `names` | `tenant/name` | what the name stands for |
//! | `receipts` | `tenant/id` | receipt |
//! | `tenants` | id | tenant |
//! | `keys` | `tenant/id` | key |
//! | `state` | `epoch`, `receipt_head`, `last_tenant` | number, hash, number |
//!
//! Catalogs from before there were tenants and keys have neither table: that means there are none.
//!
//! Every value is JSON behind a CRC32C over table, key and JSON, so that a value under another key is found out too.
//! Opening checks a copy of the file in memory first: redb mends what it finds damaged by going back to the commit
//! before, which would bring back dropped collections and old epochs. A damaged file is refused and left as it is.

mod check;
mod keys;
mod receipts;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::value::{Rows, RowsMut};
use super::{AliasChange, Catalog, Key, KeyId, Receipt, Tenant};
use crate::error::{Result, StorageError};
use crate::log::Epoch;
use crate::schema::{CollectionId, CollectionSchema, TenantId};

type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

const COLLECTIONS: &str = "collections";
const DROPPED: &str = "dropped";
const NAMES: &str = "names";
const RECEIPTS: &str = "receipts";
const TENANTS: &str = "tenants";
const KEYS: &str = "keys";
const STATE: &str = "state";
const EPOCH: &str = "epoch";
const HEAD: &str = "receipt_head";
const LAST_TENANT: &str = "last_tenant";

/// What a name of a tenant stands for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Named {
    Collection(CollectionId),
    Alias(CollectionId),
}

/// Keys of a tenant sort together.
fn tenant_key(tenant: TenantId, rest: &str) -> String {
    format!("{:010}/{rest}", tenant.0)
}

/// The tenant and the rest of such a key.
fn split_key(key: &str) -> Option<(TenantId, &str)> {
    let (tenant, rest) = key.split_once('/')?;
    Some((TenantId(tenant.parse().ok()?), rest))
}

/// The catalog of a node, in one file.
pub struct RedbCatalog {
    db: Arc<Database>,
    path: Arc<PathBuf>,
}

impl RedbCatalog {
    /// Opens the catalog at `path`, or makes it. Hold the lock of the data directory.
    ///
    /// # Errors
    /// `Corrupt` where anything in the file does not fit, `Fenced` where another process has it open.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>> {
        let path = Arc::new(path.into());
        let at = path.clone();
        let db = blocking(path.clone(), move || check::open(&at)).await?;
        Ok(Arc::new(Self { db: Arc::new(db), path }))
    }

    /// All receipts of all tenants, for [`super::verify_chain`].
    ///
    /// # Errors
    /// `Corrupt` for damaged values.
    pub async fn all_receipts(&self) -> Result<Vec<Receipt>> {
        self.read(|txn, path| Rows::open(txn, RECEIPTS, path)?.all())
            .await
            .map(|all| all.into_iter().map(|r| r.1).collect())
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&ReadTransaction, &Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (db, path) = (self.db.clone(), self.path.clone());
        let run = move || {
            let txn = db.begin_read().map_err(|e| error(&path, e))?;
            job(&txn, &path)
        };
        blocking(self.path.clone(), run).await
    }

    /// Runs `job` in a transaction that is durable when this returns, and dropped if the job fails.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&WriteTransaction, &Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (db, path) = (self.db.clone(), self.path.clone());
        blocking(self.path.clone(), move || write(&db, &path, job)).await
    }
}

fn write<T>(
    db: &Database,
    path: &Path,
    job: impl FnOnce(&WriteTransaction, &Path) -> Result<T>,
) -> Result<T> {
    let mut txn = db.begin_write().map_err(|e| error(path, e))?;
    txn.set_durability(Durability::Immediate).map_err(|e| error(path, e))?;
    // With one phase, a page that decayed looks like a commit that was cut short, and redb goes back to the one before.
    txn.set_two_phase_commit(true);
    let out = job(&txn, path)?;
    txn.commit().map_err(|e| error(path, e))?;
    Ok(out)
}

/// Runs `job` on a thread that may block. redb can panic on a damaged file: that is an error like any other here.
async fn blocking<T: Send + 'static>(
    path: Arc<PathBuf>,
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let task = tokio::task::spawn_blocking(move || guarded(&path, job)).await;
    task.unwrap_or_else(|e| Err(StorageError::Unavailable(format!("the catalog was stopped: {e}"))))
}

fn guarded<T>(path: &Path, job: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(StorageError::corrupt(path.display().to_string(), format!("the catalog cannot be read: {why}")))
    })
}

/// The error of redb in our words.
fn error(path: &Path, e: impl Into<::redb::Error>) -> StorageError {
    use ::redb::Error;
    let name = path.display().to_string();
    match e.into() {
        Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::corrupt(name, e.to_string())
        }
        Error::Io(e) => StorageError::io(format!("the catalog {name}"), &e),
        Error::DatabaseAlreadyOpen => {
            StorageError::Fenced(format!("another process has the catalog {name} open"))
        }
        Error::PreviousIo => StorageError::Unavailable(format!(
            "the catalog {name} failed to write before; restart the server"
        )),
        Error::Corrupted(why) => StorageError::corrupt(name, why),
        other => StorageError::corrupt(name, other.to_string()),
    }
}

/// Finds a collection that is there for this tenant.
fn find(rows: &RowsMut<'_>, tenant: TenantId, id: CollectionId) -> Result<Option<CollectionSchema>> {
    let found: Option<CollectionSchema> = rows.get(&id.to_string())?;
    Ok(found.filter(|c| c.tenant == tenant))
}

fn unknown(id: CollectionId) -> StorageError {
    StorageError::NotFound(format!("there is no collection with id {id}"))
}

fn taken(name: &str) -> StorageError {
    StorageError::Conflict(format!("there is a collection or an alias called {name:?} already"))
}

fn install(
    txn: &WriteTransaction,
    path: &Path,
    schema: &CollectionSchema,
    replaces: Option<CollectionId>,
) -> Result<()> {
    let mut names = RowsMut::open(txn, NAMES, path)?;
    let mut collections = RowsMut::open(txn, COLLECTIONS, path)?;
    let mut dropped = RowsMut::open(txn, DROPPED, path)?;
    keys::check_tenant(txn, path, schema.tenant)?;
    find(&dropped, schema.tenant, schema.id)?.ok_or_else(|| unknown(schema.id))?;
    let name = tenant_key(schema.tenant, &schema.name);
    match (names.get::<Named>(&name)?, replaces) {
        (None, None) => {}
        (Some(Named::Collection(at)), Some(old)) if at == old => {}
        _ => return Err(taken(&schema.name)),
    }
    if let Some(old) = replaces {
        let replaced = find(&collections, schema.tenant, old)?.ok_or_else(|| unknown(old))?;
        for (key, named) in names.of_tenant::<Named>(schema.tenant)? {
            if named == Named::Alias(old) {
                names.put(&key, &Named::Alias(schema.id))?;
            }
        }
        collections.remove(&old.to_string())?;
        dropped.put(&old.to_string(), &replaced)?;
    }
    names.put(&name, &Named::Collection(schema.id))?;
    collections.put(&schema.id.to_string(), schema)?;
    dropped.remove(&schema.id.to_string())
}

#[async_trait]
impl Catalog for RedbCatalog {
    async fn create_collection(&self, schema: &CollectionSchema) -> Result<()> {
        let schema = schema.clone();
        let job = move |txn: &WriteTransaction, path: &Path| {
            let mut names = RowsMut::open(txn, NAMES, path)?;
            let mut collections = RowsMut::open(txn, COLLECTIONS, path)?;
            let (name, id) = (tenant_key(schema.tenant, &schema.name), schema.id.to_string());
            if names.get::<Named>(&name)?.is_some() {
                return Err(taken(&schema.name));
            }
            if collections.get::<CollectionSchema>(&id)?.is_some() {
                return Err(StorageError::Conflict(format!("there is a collection with id {id} already")));
            }
            names.put(&name, &Named::Collection(schema.id))?;
            collections.put(&id, &schema)
        };
        self.write(job).await
    }

    async fn update_collection(&self, schema: &CollectionSchema) -> Result<()> {
        let schema = schema.clone();
        let job = move |txn: &WriteTransaction, path: &Path| {
            let mut names = RowsMut::open(txn, NAMES, path)?;
            let mut collections = RowsMut::open(txn, COLLECTIONS, path)?;
            let stored = find(&collections, schema.tenant, schema.id)?.ok_or_else(|| unknown(schema.id))?;
            if stored.revision.checked_add(1) != Some(schema.revision) {
                let why = "changed meanwhile: read it again and repeat the change";
                return Err(StorageError::Conflict(format!("collection {:?} {why}", stored.name)));
            }
            if stored.name != schema.name {
                let new = tenant_key(schema.tenant, &schema.name);
                if names.get::<Named>(&new)?.is_some() {
                    return Err(taken(&schema.name));
                }
                names.remove(&tenant_key(schema.tenant, &stored.name))?;
                names.put(&new, &Named::Collection(schema.id))?;
            }
            collections.put(&schema.id.to_string(), &schema)
        };
        self.write(job).await
    }

    async fn drop_collection(&self, tenant: TenantId, id: CollectionId) -> Result<bool> {
        let job = move |txn: &WriteTransaction, path: &Path| {
            let mut names = RowsMut::open(txn, NAMES, path)?;
            let mut collections = RowsMut::open(txn, COLLECTIONS, path)?;
            let Some(schema) = find(&collections, tenant, id)? else { return Ok(false) };
            for (key, named) in names.of_tenant::<Named>(tenant)? {
                if let Named::Collection(at) | Named::Alias(at) = named
                    && at == id
                {
                    names.remove(&key)?;
                }
            }
            collections.remove(&id.to_string())?;
            RowsMut::open(txn, DROPPED, path)?.put(&id.to_string(), &schema)?;
            Ok(true)
        };
        self.write(job).await
    }

    async fn dropped(&self) -> Result<Vec<CollectionSchema>> {
        let rows = self.read(|txn, path| Rows::open(txn, DROPPED, path)?.all()).await?;
        Ok(rows.into_iter().map(|r| r.1).collect())
    }

    async fn forget_collection(&self, id: CollectionId) -> Result<()> {
        self.write(move |txn, path| RowsMut::open(txn, DROPPED, path)?.remove(&id.to_string())).await
    }

    async fn stage_collection(&self, schema: &CollectionSchema) -> Result<()> {
        let schema = schema.clone();
        self.write(move |txn, path| RowsMut::open(txn, DROPPED, path)?.put(&schema.id.to_string(), &schema))
            .await
    }

    async fn install_collection(
        &self,
        schema: &CollectionSchema,
        replaces: Option<CollectionId>,
    ) -> Result<()> {
        let schema = schema.clone();
        self.write(move |txn, path| install(txn, path, &schema, replaces)).await
    }

    async fn collections(&self) -> Result<Vec<CollectionSchema>> {
        let rows = self.read(|txn, path| Rows::open(txn, COLLECTIONS, path)?.all()).await?;
        Ok(rows.into_iter().map(|r| r.1).collect())
    }

    async fn change_aliases(&self, tenant: TenantId, changes: Vec<AliasChange>) -> Result<()> {
        let job = move |txn: &WriteTransaction, path: &Path| {
            let mut names = RowsMut::open(txn, NAMES, path)?;
            let collections = RowsMut::open(txn, COLLECTIONS, path)?;
            for (alias, target) in changes {
                let key = tenant_key(tenant, &alias);
                if let Some(Named::Collection(_)) = names.get(&key)? {
                    return Err(StorageError::Conflict(format!("there is a collection called {alias:?}")));
                }
                let Some(target) = target else {
                    names.remove(&key)?;
                    continue;
                };
                find(&collections, tenant, target)?.ok_or_else(|| unknown(target))?;
                names.put(&key, &Named::Alias(target))?;
            }
            Ok(())
        };
        self.write(job).await
    }

    async fn aliases(&self) -> Result<Vec<(TenantId, String, CollectionId)>> {
        let rows = self.read(|txn, path| Rows::open(txn, NAMES, path)?.all::<Named>()).await?;
        let alias = |(key, named): (String, Named)| match (named, split_key(&key)) {
            (Named::Alias(id), Some((tenant, name))) => Some((tenant, name.to_owned(), id)),
            _ => None,
        };
        Ok(rows.into_iter().filter_map(alias).collect())
    }

    async fn next_epoch(&self) -> Result<Epoch> {
        let job = |txn: &WriteTransaction, path: &Path| {
            let mut state = RowsMut::open(txn, STATE, path)?;
            let epoch = state.get::<Epoch>(EPOCH)?.unwrap_or(0) + 1;
            state.put(EPOCH, &epoch)?;
            Ok(epoch)
        };
        self.write(job).await
    }

    async fn put_receipt(&self, receipt: Receipt) -> Result<Receipt> {
        self.write(move |txn, path| receipts::put(txn, path, receipt)).await
    }

    async fn receipts(&self, tenant: TenantId, before: Option<&str>, limit: usize) -> Result<Vec<Receipt>> {
        let before = before.map(str::to_owned);
        self.read(move |txn, path| receipts::newest(txn, path, tenant, (before.as_deref(), limit))).await
    }

    async fn receipt(&self, tenant: TenantId, id: &str) -> Result<Option<Receipt>> {
        let key = tenant_key(tenant, id);
        self.read(move |txn, path| Rows::open(txn, RECEIPTS, path)?.get(&key)).await
    }

    async fn create_tenant(&self, name: &str, created_at: i64) -> Result<Tenant> {
        let name = name.to_owned();
        self.write(move |txn, path| keys::create_tenant(txn, path, name, created_at)).await
    }

    async fn drop_tenant(&self, id: TenantId) -> Result<bool> {
        self.write(move |txn, path| keys::drop_tenant(txn, path, id)).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>> {
        self.read(|txn, path| keys::all(txn, path, TENANTS)).await
    }

    async fn put_key(&self, key: &Key) -> Result<()> {
        let key = key.clone();
        self.write(move |txn, path| keys::put(txn, path, &key)).await
    }

    async fn forget_key(&self, tenant: TenantId, id: KeyId) -> Result<bool> {
        self.write(move |txn, path| keys::forget(txn, path, tenant, id)).await
    }

    async fn touch_keys(&self, uses: Vec<(TenantId, KeyId, i64)>) -> Result<()> {
        self.write(move |txn, path| keys::touch(txn, path, uses)).await
    }

    async fn keys(&self) -> Result<Vec<Key>> {
        self.read(|txn, path| keys::all(txn, path, KEYS)).await
    }
}
