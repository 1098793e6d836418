//! Who sends a request: the root key, and the principal it stands for.

use axum::http::HeaderMap;
use engram_query::request::Principal;
use engram_storage::ErrorKind;
use engram_storage::schema::DEFAULT_TENANT;
use tonic::Status;

use crate::config::RootKey;
use crate::status::status;

/// Paths that need no credential: a load balancer has none.
pub(crate) const HEALTH_PATH: &str = "/grpc.health.v1.Health/";

/// Checks credentials.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    root_key: Option<RootKey>,
}

impl Gate {
    pub(crate) fn new(root_key: Option<RootKey>) -> Self {
        Self { root_key }
    }

    /// The principal of a request to `path` with these headers.
    pub(crate) fn principal(&self, path: &str, headers: &HeaderMap) -> Result<Principal, Status> {
        let principal = Principal { tenant: DEFAULT_TENANT };
        let Some(root_key) = &self.root_key else { return Ok(principal) };
        if path.starts_with(HEALTH_PATH) {
            return Ok(principal);
        }
        // An absent and a wrong key get the same answer.
        let given = credential(headers).unwrap_or_default();
        if root_key.matches(given) {
            return Ok(principal);
        }
        Err(status(
            ErrorKind::Unauthenticated,
            "unauthenticated",
            "no valid key; send the root key as `authorization: Bearer KEY` or `api-key: KEY`",
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn answer(path: &str, header: Option<(&'static str, &str)>) -> bool {
        let gate = Gate::new(RootKey::new(KEY));
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        gate.principal(path, &headers).is_ok()
    }

    #[test]
    fn only_the_key_opens_and_health_needs_none() {
        let path = "/engram.v1.Points/Search";
        assert!(answer(path, Some(("api-key", KEY))));
        assert!(answer(path, Some(("authorization", &format!("Bearer {KEY}")))));
        assert!(answer(path, Some(("authorization", &format!("bearer {KEY}")))));
        for bad in
            [None, Some(("api-key", "")), Some(("authorization", KEY)), Some(("authorization", "Bearer "))]
        {
            assert!(!answer(path, bad), "{bad:?}");
        }
        assert!(answer("/grpc.health.v1.Health/Check", None));
        assert!(!answer("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None));
    }
}
