//! What each route asks of its caller: the one table, from which the gate reads. A route that is not in it is refused.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::Method;

/// What a caller must be allowed; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// Nothing: it tells no more than that there is a server.
    None,
    /// Searches and reads.
    Read,
    /// Changes of points.
    Write,
    /// Definitions, erasure, upkeep, keys of the tenant.
    Admin,
    /// Tenants, and what tells of all of them.
    Root,
}

impl Access {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Root => "root",
        }
    }
}

/// Methods of gRPC, by the path of the call.
const GRPC: &[(&str, Access)] = &[
    ("/engram.v1.Points/Upsert", Access::Write),
    ("/engram.v1.Points/BulkUpsert", Access::Write),
    ("/engram.v1.Points/Get", Access::Read),
    ("/engram.v1.Points/Delete", Access::Write),
    ("/engram.v1.Points/SetPayload", Access::Write),
    ("/engram.v1.Points/UpdateVectors", Access::Write),
    ("/engram.v1.Points/Search", Access::Read),
    ("/engram.v1.Points/BatchSearch", Access::Read),
    ("/engram.v1.Points/SearchText", Access::Read),
    ("/engram.v1.Points/Scroll", Access::Read),
    ("/engram.v1.Points/Count", Access::Read),
    ("/engram.v1.Collections/CreateCollection", Access::Admin),
    ("/engram.v1.Collections/GetCollection", Access::Read),
    ("/engram.v1.Collections/ListCollections", Access::Read),
    ("/engram.v1.Collections/UpdateCollection", Access::Admin),
    ("/engram.v1.Collections/DeleteCollection", Access::Admin),
    ("/engram.v1.Collections/CreatePayloadIndex", Access::Admin),
    ("/engram.v1.Collections/DeletePayloadIndex", Access::Admin),
    ("/engram.v1.Collections/SetAlias", Access::Admin),
    ("/engram.v1.Collections/DeleteAlias", Access::Admin),
    ("/engram.v1.Collections/ListAliases", Access::Read),
    ("/engram.v1.Retention/DryRun", Access::Admin),
    ("/engram.v1.Retention/Purge", Access::Admin),
    ("/engram.v1.Retention/GetReceipt", Access::Read),
    ("/engram.v1.Retention/ListReceipts", Access::Read),
    ("/engram.v1.Admin/Stats", Access::Admin),
    ("/engram.v1.Admin/Flush", Access::Admin),
    ("/engram.v1.Admin/Compact", Access::Admin),
    ("/engram.v1.Snapshots/CreateSnapshot", Access::Admin),
    ("/engram.v1.Snapshots/ListSnapshots", Access::Admin),
    ("/engram.v1.Snapshots/DeleteSnapshot", Access::Admin),
    ("/engram.v1.Snapshots/DownloadSnapshot", Access::Admin),
    ("/engram.v1.Snapshots/RecoverSnapshot", Access::Admin),
    ("/engram.v1.Snapshots/UploadSnapshot", Access::Admin),
    ("/engram.v1.Keys/CreateTenant", Access::Root),
    ("/engram.v1.Keys/ListTenants", Access::Root),
    ("/engram.v1.Keys/DeleteTenant", Access::Root),
    ("/engram.v1.Keys/CreateKey", Access::Admin),
    ("/engram.v1.Keys/ListKeys", Access::Admin),
    ("/engram.v1.Keys/RotateKey", Access::Admin),
    ("/engram.v1.Keys/RevokeKey", Access::Admin),
    // A load balancer has no credential.
    ("/grpc.health.v1.Health/Check", Access::None),
    ("/grpc.health.v1.Health/Watch", Access::None),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Access::Read),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Access::Read),
];

/// Routes of HTTP beside the table of the REST interface: method and template, as the router has it.
const HTTP: &[(&str, &str, Access)] = &[
    ("GET", "/", Access::None),
    ("GET", "/healthz", Access::None),
    ("GET", "/livez", Access::None),
    ("GET", "/readyz", Access::None),
    // It tells how much all tenants do.
    ("GET", "/metrics", Access::Root),
];

static TABLE: LazyLock<HashMap<(&'static str, &'static str), Access>> = LazyLock::new(|| {
    let grpc = GRPC.iter().map(|(path, access)| (("", *path), *access));
    grpc.chain(HTTP.iter().map(|(method, path, access)| ((*method, *path), *access))).collect()
});

/// What a route asks: of gRPC without a method, of HTTP with its method and template. `None`: there is no such route.
pub(crate) fn required(method: Option<&Method>, path: &str) -> Option<Access> {
    let table: &HashMap<(&str, &str), Access> = &TABLE;
    table.get(&(method.map_or("", Method::as_str), path)).copied()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// Paths of all methods that the server has.
    fn methods() -> Vec<String> {
        let sets = [
            engram_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let files = sets.map(|set| prost_types::FileDescriptorSet::decode(set).unwrap().file);
        let mut paths = Vec::new();
        for file in files.iter().flatten() {
            for service in &file.service {
                let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                paths.extend(service.method.iter().map(|method| path(method.name())));
            }
        }
        paths
    }

    #[test]
    fn every_method_is_in_the_table_and_nothing_else_is() {
        let methods = methods();
        assert!(methods.len() > 30);
        for path in &methods {
            assert!(required(None, path).is_some(), "{path}: say in access.rs what it asks of its caller");
        }
        for (path, _) in GRPC {
            assert!(methods.iter().any(|method| method == path), "{path} is no method of the server");
        }
        assert_eq!(TABLE.len(), GRPC.len() + HTTP.len(), "a route is in the table twice");
    }

    #[test]
    fn what_is_not_in_the_table_is_no_route() {
        for path in ["", "/", "/engram.v1.Points/search", "/engram.v1.Points/Search/", "/engram.v1.Points"] {
            assert_eq!(required(None, path), None, "{path}");
        }
        assert_eq!(required(Some(&Method::POST), "/metrics"), None);
        assert_eq!(required(Some(&Method::GET), "/engram.v1.Points/Search"), None);
    }
}
