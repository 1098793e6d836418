//! Who sends a request: the root key or an API key, and the principal it stands for.

use std::sync::Arc;

use axum::http::{HeaderMap, Method};
use engram_query::request::Principal;
use engram_storage::ErrorKind;
use engram_storage::catalog::{Key, KeyId, Role};
use engram_storage::engine::Engine;
use engram_storage::schema::{DEFAULT_TENANT, TenantId};
use tonic::Status;

use crate::access::{self, Access};
use crate::config::RootKey;
use crate::status::{status, unknown_method};

/// Paths that are asked for while the server is busy, and need no credential.
pub(crate) const HEALTH_PATH: &str = "/grpc.health.v1.Health/";
/// Names the tenant that the holder of the root key acts for.
const TENANT_HEADER: &str = "engram-tenant";
const CREDENTIALS: [&str; 2] = ["authorization", "api-key"];

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No key, or none that is good: absent, wrong, expired and revoked ones get the same answer.
    Unauthenticated,
    /// The key does not allow it.
    Forbidden(String),
    /// The root named a tenant that is not there.
    NoTenant,
    /// There is no such route.
    Unknown,
}

impl Refused {
    /// Kind, stable word and sentence, for either front.
    pub(crate) fn parts(&self) -> (ErrorKind, &'static str, &str) {
        match self {
            Self::Unauthenticated => (
                ErrorKind::Unauthenticated,
                "unauthenticated",
                "no valid key; send one as `authorization: Bearer KEY` or `api-key: KEY`",
            ),
            Self::Forbidden(why) => (ErrorKind::Forbidden, "forbidden", why),
            Self::NoTenant => (
                ErrorKind::NotFound,
                "tenant_not_found",
                "there is no tenant of the name in `engram-tenant`; create it, or check the name",
            ),
            Self::Unknown => (ErrorKind::NotFound, "unknown_method", "there is no such method"),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let (kind, code, message) = refused.parts();
        if refused == Refused::Unknown { unknown_method(code, message) } else { status(kind, code, message) }
    }
}

/// Checks credentials, by what is in memory.
#[derive(Clone)]
pub(crate) struct Gate {
    root_key: Option<RootKey>,
    metrics_key: Option<RootKey>,
    engine: Arc<Engine>,
}

impl Gate {
    pub(crate) fn new(root_key: Option<RootKey>, metrics_key: Option<RootKey>, engine: Arc<Engine>) -> Self {
        Self { root_key, metrics_key, engine }
    }

    /// Whether the credential is the one of scrapers, which opens the metrics and nothing else.
    pub(crate) fn opens_metrics(&self, headers: &HeaderMap) -> bool {
        let key = self.metrics_key.as_ref();
        key.zip(credential(headers)).is_some_and(|(key, given)| key.matches(given))
    }

    /// The principal of a request with these headers. `path` is that of the call for gRPC (without `method`), the
    /// template of the route for HTTP.
    pub(crate) fn principal(
        &self,
        method: Option<&Method>,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Principal, Refused> {
        self.allow(access::required(method, path), headers)
    }

    /// The principal of a request to a route that asks for `needs`; without it there is no such route.
    pub(crate) fn allow(&self, needs: Option<Access>, headers: &HeaderMap) -> Result<Principal, Refused> {
        if needs == Some(Access::None) {
            return Ok(NOBODY);
        }
        let named = headers.get(TENANT_HEADER).map(|value| value.as_bytes());
        // The credential before everything else: who has none learns not even which routes there are.
        let principal = if self.is_open() { open(named)? } else { self.holder(headers, named, needs)? };
        needs.map(|_| principal).ok_or(Refused::Unknown)
    }

    /// Neither a root key nor any API key: whoever reaches the server may do everything for the default tenant. The
    /// configuration allows that on loopback only, or where it was insisted on.
    pub(crate) fn is_open(&self) -> bool {
        self.root_key.is_none() && !self.engine.has_keys()
    }

    fn holder(
        &self,
        headers: &HeaderMap,
        named: Option<&[u8]>,
        needs: Option<Access>,
    ) -> Result<Principal, Refused> {
        let given = credential(headers).unwrap_or_default();
        if self.root_key.as_ref().is_some_and(|root| root.matches(given)) {
            return self.named_tenant(named).map(Principal::root);
        }
        let key = self.engine.authenticate(given).ok_or(Refused::Unauthenticated)?;
        if named.is_some_and(|named| self.tenant(named) != Some(key.tenant)) {
            // The same words whether there is such a tenant or not.
            let why = "a key acts for its own tenant only; leave `engram-tenant` out";
            return Err(Refused::Forbidden(why.into()));
        }
        check_role(&key, needs)?;
        Ok(Principal::of_key(key.tenant, key.id))
    }

    fn named_tenant(&self, named: Option<&[u8]>) -> Result<TenantId, Refused> {
        named.map_or(Ok(DEFAULT_TENANT), |named| self.tenant(named).ok_or(Refused::NoTenant))
    }

    fn tenant(&self, named: &[u8]) -> Option<TenantId> {
        self.engine.tenant(std::str::from_utf8(named).ok()?)
    }
}

/// Who has shown no credential: sees nothing, may do nothing.
const NOBODY: Principal = Principal::of_key(TenantId(0), KeyId(0));

fn open(named: Option<&[u8]>) -> Result<Principal, Refused> {
    let default = engram_storage::engine::DEFAULT_TENANT_NAME.as_bytes();
    if named.is_some_and(|named| named != default) {
        let why = "without a root key there is only the default tenant; set auth.root_key_file";
        return Err(Refused::Forbidden(why.into()));
    }
    Ok(Principal::root(DEFAULT_TENANT))
}

fn check_role(key: &Key, needs: Option<Access>) -> Result<(), Refused> {
    let has = match key.role {
        Role::Read => Access::Read,
        Role::Write => Access::Write,
        Role::Admin => Access::Admin,
    };
    match needs {
        Some(needs) if has < needs => {
            Err(Refused::Forbidden(engram_query::QueryError::too_small(needs.name(), has.name()).to_string()))
        }
        _ => Ok(()),
    }
}

/// The key in `authorization: Bearer` or `api-key`.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(value) = headers.get("authorization") {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then_some(key);
    }
    headers.get("api-key").map(|value| value.as_bytes())
}

/// Takes the credential out of the headers, so that nothing behind the gate can show it.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in CREDENTIALS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let found = credential(&headers).map(|key| String::from_utf8(key.to_vec()).unwrap());
        strip(&mut headers);
        assert!(headers.is_empty());
        found
    }

    #[test]
    fn the_key_is_in_either_header() {
        let key = || Some("KEY".to_owned());
        assert_eq!(read(&[("api-key", "KEY")]), key());
        assert_eq!(read(&[("authorization", "Bearer KEY")]), key());
        assert_eq!(read(&[("authorization", "bearer KEY")]), key());
        // One that makes no sense is not passed over for the other.
        for bad in ["KEY", "Basic KEY", "Bearer", "Bearer  KEY"] {
            assert_ne!(read(&[("authorization", bad), ("api-key", "KEY")]), key(), "{bad}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn nobody_may_do_nothing() {
        assert!(!NOBODY.is_root());
    }
}
