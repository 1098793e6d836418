//! Whose request it is.

use engram_storage::catalog::KeyId;
use engram_storage::schema::TenantId;

/// Whose request it is; taken from the credential, never from the body.
///
/// What a key allows is not in here: the database looks it up for each operation, so that a key that was revoked while
/// a request is in work allows nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The one tenant the request acts for.
    pub tenant: TenantId,
    /// The key it came with; `None` for the root key and for work of the server's own, which may do everything.
    pub key: Option<KeyId>,
}

impl Principal {
    /// Who may do everything, acting for `tenant`.
    pub const fn root(tenant: TenantId) -> Self {
        Self { tenant, key: None }
    }

    /// The holder of a key.
    pub const fn of_key(tenant: TenantId, key: KeyId) -> Self {
        Self { tenant, key: Some(key) }
    }

    /// Whether tenants may be made and deleted.
    pub const fn is_root(&self) -> bool {
        self.key.is_none()
    }
}
