//! Tenants and keys.

use engram_proto::v1;
use engram_storage::catalog::{ApiKey, Key, KeyId, Role, Scope, Tenant};
use engram_storage::engine::NewKey;
use engram_storage::schema::TenantId;
use tonic::Status;

use super::{known_enum, shorten};
use crate::status::invalid;

/// Longest life that can be asked for, about 1,000 years.
const MAX_LIFE_S: u64 = 1_000 * 366 * 24 * 3_600;

pub(crate) fn new_key(wire: v1::CreateKeyRequest, tenant: TenantId, now_ms: i64) -> Result<NewKey, Status> {
    let role = match known_enum("role", wire.role)? {
        v1::KeyRole::Unspecified => return Err(invalid("role", "is missing; use read, write or admin")),
        v1::KeyRole::Read => Role::Read,
        v1::KeyRole::Write => Role::Write,
        v1::KeyRole::Admin => Role::Admin,
    };
    // Whoever forgets to say it gets nothing, not everything.
    let scope = match (wire.all_collections, wire.collections.is_empty()) {
        (true, true) => Scope::All,
        (false, false) => Scope::Collections(wire.collections.into_iter().collect()),
        (true, false) => {
            return Err(invalid("collections", "are given beside all_collections; use one of them"));
        }
        (false, true) => {
            return Err(invalid("collections", "are missing; name some, or set all_collections"));
        }
    };
    if wire.expires_in_s > MAX_LIFE_S {
        return Err(invalid("expires_in_s", format!("is {}; use 0 to {MAX_LIFE_S}", wire.expires_in_s)));
    }
    let life = i64::try_from(wire.expires_in_s).unwrap_or(i64::MAX).saturating_mul(1_000);
    let expires_at = (life > 0).then(|| now_ms.saturating_add(life));
    Ok(NewKey { tenant, name: wire.name, role, scope, expires_at })
}

pub(crate) fn key_id(text: &str) -> Result<KeyId, Status> {
    KeyId::parse(text).ok_or_else(|| {
        invalid("id", format!("`{}` is no id of a key; write its 16 hex digits", shorten(text)))
    })
}

/// Milliseconds of a grace; more than the database allows stays more.
pub(crate) fn grace_ms(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
}

pub(crate) fn wire_tenant(tenant: Tenant) -> v1::Tenant {
    v1::Tenant { name: tenant.name, id: tenant.id.0, created_at_ms: tenant.created_at }
}

pub(crate) fn wire_key(key: Key, now_ms: i64) -> v1::Key {
    let role = match key.role {
        Role::Read => v1::KeyRole::Read,
        Role::Write => v1::KeyRole::Write,
        Role::Admin => v1::KeyRole::Admin,
    };
    let live = if key.is_live(now_ms) { key.secrets.iter().filter(|s| s.is_live(now_ms)).count() } else { 0 };
    let ends = key.secrets.iter().filter(|s| s.is_live(now_ms)).find_map(|s| s.expires_at);
    let (all_collections, collections) = match key.scope {
        Scope::All => (true, Vec::new()),
        Scope::Collections(names) => (false, names.into_iter().collect()),
    };
    v1::Key {
        id: key.id.to_string(),
        name: key.name,
        role: role.into(),
        all_collections,
        collections,
        created_at_ms: key.created_at,
        expires_at_ms: key.expires_at,
        last_used_ms: key.last_used,
        revoked_at_ms: key.revoked_at,
        secrets: u32::try_from(live).unwrap_or(u32::MAX),
        earlier_secret_ends_ms: ends,
    }
}

/// The only way of a key's text out of the server.
pub(crate) fn wire_new_key((key, text): (Key, ApiKey), now_ms: i64) -> v1::NewKey {
    v1::NewKey { key: Some(wire_key(key, now_ms)), secret: text.expose().to_owned() }
}
