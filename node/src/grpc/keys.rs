//! `engram.v1.Keys`.

use std::sync::Arc;

use engram_proto::v1;
use engram_proto::v1::keys_server::Keys;
use engram_storage::ErrorKind;
use tonic::{Request, Response, Status};

use super::{Context, principal, to_the_end};
use crate::convert::key::{grace_ms, key_id, new_key, wire_key, wire_new_key, wire_tenant};
use crate::status::{from_query, status};

pub(crate) struct KeysService(pub(crate) Arc<Context>);

impl KeysService {
    /// On a server that is open to all, the first key would lock everybody out of what its own tenant has not.
    fn check_closed(&self) -> Result<(), Status> {
        if self.0.config.root_key.is_some() || self.0.engine.has_keys() {
            return Ok(());
        }
        let why = "the server has no root key, so whoever reaches it may do everything; set auth.root_key_file and restart it, then make tenants and keys";
        Err(status(ErrorKind::Forbidden, "no_root_key", why))
    }
}

#[tonic::async_trait]
impl Keys for KeysService {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::Tenant>, Status> {
        let principal = principal(&request)?;
        self.check_closed()?;
        let name = request.into_inner().name;
        let context = self.0.clone();
        to_the_end(async move {
            let made = context.database.create_tenant(principal, &name).await.map_err(|e| from_query(&e))?;
            Ok(Response::new(wire_tenant(made)))
        })
        .await
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let tenants = self.0.database.tenants(principal(&request)?).map_err(|e| from_query(&e))?;
        let tenants = tenants.into_iter().map(wire_tenant).collect();
        Ok(Response::new(v1::ListTenantsResponse { tenants }))
    }

    async fn delete_tenant(
        &self,
        request: Request<v1::DeleteTenantRequest>,
    ) -> Result<Response<v1::DeleteTenantResponse>, Status> {
        let principal = principal(&request)?;
        let name = request.into_inner().name;
        let context = self.0.clone();
        to_the_end(async move {
            let existed =
                context.database.delete_tenant(principal, &name).await.map_err(|e| from_query(&e))?;
            Ok(Response::new(v1::DeleteTenantResponse { existed }))
        })
        .await
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::NewKey>, Status> {
        let principal = principal(&request)?;
        self.check_closed()?;
        let now = self.0.engine.clock().now_ms();
        let new = new_key(request.into_inner(), principal.tenant, now)?;
        let context = self.0.clone();
        to_the_end(async move {
            let made = context.database.create_key(principal, new).await.map_err(|e| from_query(&e))?;
            tracing::info!(key = %made.0.id, tenant = %made.0.tenant, "a key was made");
            Ok(Response::new(wire_new_key(made, now)))
        })
        .await
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        let now = self.0.engine.clock().now_ms();
        let keys = self.0.database.keys(principal(&request)?).map_err(|e| from_query(&e))?;
        let keys = keys.into_iter().map(|key| wire_key(key, now)).collect();
        Ok(Response::new(v1::ListKeysResponse { keys }))
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Result<Response<v1::NewKey>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let (id, grace) = (key_id(&wire.id)?, grace_ms(wire.grace_s));
        let context = self.0.clone();
        to_the_end(async move {
            let rotated =
                context.database.rotate_key(principal, id, grace).await.map_err(|e| from_query(&e))?;
            tracing::info!(key = %id, tenant = %principal.tenant, "a key was rotated");
            Ok(Response::new(wire_new_key(rotated, context.engine.clock().now_ms())))
        })
        .await
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let principal = principal(&request)?;
        let id = key_id(&request.into_inner().id)?;
        let context = self.0.clone();
        to_the_end(async move {
            let revoked = context.database.revoke_key(principal, id).await.map_err(|e| from_query(&e))?;
            tracing::info!(key = %id, tenant = %principal.tenant, "a key was revoked");
            Ok(Response::new(v1::RevokeKeyResponse { revoked }))
        })
        .await
    }
}
