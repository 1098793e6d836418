//! API keys: made, rotated, revoked, and looked up without touching the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::Engine;
use crate::catalog::{ApiKey, Catalog, Key, KeyId, KeySecret, Role, Scope};
use crate::error::{Result, StorageError};
use crate::schema::{TenantId, check_name};

/// Keys of one tenant, revoked ones included.
const MAX_KEYS: usize = 1_000;
/// Collections that a key may be limited to.
const MAX_SCOPE: usize = 256;
/// The time of a use is known to this precision.
const USE_STEP_MS: i64 = 60_000;
/// It is stored when the stored one is older by so much.
const STORE_USES_MS: i64 = 3_600_000;
/// Never used.
const NEVER: i64 = i64::MIN;

/// A key that is about to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose.
    pub tenant: TenantId,
    /// What to call it, see [`check_name`].
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// From then on it is no good.
    pub expires_at: Option<i64>,
}

/// A key with the time of its last use.
struct Held {
    key: Arc<Key>,
    last_used: AtomicI64,
}

/// All keys of the catalog.
pub(super) struct Keys {
    held: RwLock<HashMap<KeyId, Held>>,
}

impl Keys {
    pub(super) async fn load(catalog: &dyn Catalog) -> Result<Self> {
        let keys = Self { held: RwLock::default() };
        catalog.keys().await?.into_iter().for_each(|key| keys.put(key));
        Ok(keys)
    }

    fn put(&self, key: Key) {
        let mut held = self.held.write();
        let before = held.get(&key.id).map_or(NEVER, |old| old.last_used.load(Ordering::Relaxed));
        let last_used = AtomicI64::new(key.last_used.unwrap_or(NEVER).max(before));
        held.insert(key.id, Held { key: Arc::new(key), last_used });
    }

    fn get(&self, id: KeyId) -> Option<Arc<Key>> {
        self.held.read().get(&id).map(|held| held.key.clone())
    }

    fn forget(&self, id: KeyId) {
        self.held.write().remove(&id);
    }

    pub(super) fn forget_tenant(&self, tenant: TenantId) {
        self.held.write().retain(|_, held| held.key.tenant != tenant);
    }

    /// Keys of a tenant with the times of their last use, oldest first.
    fn of_tenant(&self, tenant: TenantId) -> Vec<Key> {
        let held = self.held.read();
        let mut keys: Vec<Key> = held.values().filter(|h| h.key.tenant == tenant).map(Held::now).collect();
        keys.sort_unstable_by_key(|key| (key.created_at, key.id));
        keys
    }

    /// Uses that are worth storing, marked as stored. All that were not stored where `all`.
    fn unstored_uses(&self, all: bool) -> Vec<(TenantId, KeyId, i64)> {
        let due = |held: &&Held| {
            let (used, stored) =
                (held.last_used.load(Ordering::Relaxed), held.key.last_used.unwrap_or(NEVER));
            used > stored && (all || stored == NEVER || used - stored >= STORE_USES_MS)
        };
        let uses = |held: &Held| (held.key.tenant, held.key.id, held.last_used.load(Ordering::Relaxed));
        self.held.read().values().filter(due).map(uses).collect()
    }

    fn uses_stored(&self, uses: &[(TenantId, KeyId, i64)]) {
        let mut all = self.held.write();
        for (_, id, at) in uses {
            if let Some(held) = all.get_mut(id) {
                Arc::make_mut(&mut held.key).last_used = Some(*at);
            }
        }
    }
}

impl Held {
    fn now(&self) -> Key {
        let used = self.last_used.load(Ordering::Relaxed);
        Key { last_used: (used != NEVER).then_some(used), ..Key::clone(&self.key) }
    }
}

impl Engine {
    /// The key that `given` is the text of, if it is good now. Reads memory only.
    pub fn authenticate(&self, given: &[u8]) -> Option<Arc<Key>> {
        let (id, secret) = ApiKey::parse(given)?;
        let now = self.clock().now_ms();
        let held = self.keys.held.read();
        let held = held.get(&id)?;
        if !held.key.accepts(secret, now) {
            return None;
        }
        let step = now - now.rem_euclid(USE_STEP_MS);
        if held.last_used.load(Ordering::Relaxed) < step {
            held.last_used.fetch_max(step, Ordering::Relaxed);
        }
        Some(held.key.clone())
    }

    /// A key that is good now.
    pub fn live_key(&self, id: KeyId) -> Option<Arc<Key>> {
        self.keys.get(id).filter(|key| key.is_live(self.clock().now_ms()))
    }

    /// Whether there are keys, good or not.
    pub fn has_keys(&self) -> bool {
        !self.keys.held.read().is_empty()
    }

    /// Keys of a tenant, oldest first; revoked and expired ones too.
    pub fn keys(&self, tenant: TenantId) -> Vec<Key> {
        self.keys.of_tenant(tenant)
    }

    /// Makes a key. Its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// `Invalid` for what makes no sense, `Exhausted` at the limit, `NotFound` where the tenant is gone.
    pub async fn create_key(&self, new: NewKey) -> Result<(Key, ApiKey)> {
        check_name(&new.name).map_err(StorageError::Invalid)?;
        let now = self.clock().now_ms();
        check_scope(&new.scope)?;
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(StorageError::Invalid("the key would expire before it is made".into()));
        }
        let _defining = self.defining.lock().await;
        self.check_tenant(new.tenant)?;
        self.make_room(new.tenant, now).await?;
        let id = KeyId(u64::from_le_bytes(random()?));
        if self.keys.get(id).is_some() {
            return Err(StorageError::Unavailable("the random id of the key is taken; try again".into()));
        }
        let (text, secret) = new_secret(id, now)?;
        let key = Key {
            id,
            tenant: new.tenant,
            name: new.name,
            role: new.role,
            scope: new.scope,
            secrets: vec![secret],
            created_at: now,
            expires_at: new.expires_at,
            last_used: None,
            revoked_at: None,
        };
        self.catalog.put_key(&key).await?;
        self.keys.put(key.clone());
        Ok((key, text))
    }

    /// Gives a key another secret. The one before stays good for `grace_ms`; with 0 all earlier ones end now.
    ///
    /// # Errors
    /// `NotFound` where there is no such live key, `Conflict` where two secrets are in use and would stay so.
    pub async fn rotate_key(&self, tenant: TenantId, id: KeyId, grace_ms: i64) -> Result<(Key, ApiKey)> {
        let _defining = self.defining.lock().await;
        let now = self.clock().now_ms();
        let mut key = self.own_key(tenant, id).filter(|key| key.is_live(now)).ok_or_else(|| no_key(id))?;
        key.secrets.retain(|secret| grace_ms > 0 && secret.is_live(now));
        if key.secrets.len() > 1 {
            let why = "has two secrets in use already: wait for the end of the older one, or end both now by rotating with a grace of 0";
            return Err(StorageError::Conflict(format!("key {id} {why}")));
        }
        for secret in &mut key.secrets {
            secret.expires_at = Some(now.saturating_add(grace_ms));
        }
        let (text, secret) = new_secret(id, now)?;
        key.secrets.push(secret);
        self.catalog.put_key(&key).await?;
        self.keys.put(key.clone());
        Ok((key, text))
    }

    /// Ends a key at once and for good; false if there was no live one.
    ///
    /// # Errors
    /// Those of the catalog: the key is no good all the same, until the server restarts; try again.
    pub async fn revoke_key(&self, tenant: TenantId, id: KeyId) -> Result<bool> {
        let _defining = self.defining.lock().await;
        let Some(mut key) = self.own_key(tenant, id) else { return Ok(false) };
        let first = key.revoked_at.is_none();
        key.revoked_at = key.revoked_at.or(Some(self.clock().now_ms()));
        key.secrets.clear();
        // Memory first: it ends whatever the disk does. Stored again where an earlier try may have failed.
        self.keys.put(key.clone());
        self.catalog.put_key(&key).await?;
        Ok(first)
    }

    /// Stores when keys were last used, for those where that is long known only here, or for all.
    pub(super) async fn store_key_uses(&self, all: bool) {
        let uses = self.keys.unstored_uses(all);
        if uses.is_empty() {
            return;
        }
        let _defining = self.defining.lock().await;
        match self.catalog.touch_keys(uses.clone()).await {
            Ok(()) => self.keys.uses_stored(&uses),
            Err(e) => tracing::warn!(error = %e, "the last uses of keys were not stored"),
        }
    }

    fn own_key(&self, tenant: TenantId, id: KeyId) -> Option<Key> {
        let held = self.keys.held.read();
        held.get(&id).filter(|held| held.key.tenant == tenant).map(Held::now)
    }

    /// Forgets the key that was revoked first where a tenant has too many.
    async fn make_room(&self, tenant: TenantId, now: i64) -> Result<()> {
        let keys = self.keys(tenant);
        if keys.len() < MAX_KEYS {
            return Ok(());
        }
        let ended = |key: &&Key| !key.is_live(now);
        let oldest = keys.iter().filter(ended).min_by_key(|key| key.revoked_at.or(key.expires_at));
        let Some(oldest) = oldest else {
            let why = format!("the tenant has {MAX_KEYS} keys, the most it may have; revoke one first");
            return Err(StorageError::Exhausted(why));
        };
        self.catalog.forget_key(tenant, oldest.id).await?;
        self.keys.forget(oldest.id);
        Ok(())
    }
}

fn no_key(id: KeyId) -> StorageError {
    StorageError::NotFound(format!("there is no live key {id}; list the keys to see which there are"))
}

fn check_scope(scope: &Scope) -> Result<()> {
    let Scope::Collections(names) = scope else { return Ok(()) };
    if names.is_empty() {
        let why = "the key would reach no collection; name some, or say that it is for all";
        return Err(StorageError::Invalid(why.into()));
    }
    if names.len() > MAX_SCOPE {
        return Err(StorageError::Invalid(format!("a key is limited to {MAX_SCOPE} collections at most")));
    }
    names.iter().try_for_each(|name| check_name(name)).map_err(StorageError::Invalid)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|e| StorageError::Unavailable(format!("the system gives no random bytes: {e}")))?;
    Ok(bytes)
}

fn new_secret(id: KeyId, now: i64) -> Result<(ApiKey, KeySecret)> {
    let text = ApiKey::new(id, &random()?);
    let secret = KeySecret::new(text.secret(), random()?, now);
    Ok((text, secret))
}
