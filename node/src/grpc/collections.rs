//! `engram.v1.Collections`.

use std::sync::Arc;

use engram_proto::v1;
use engram_proto::v1::collections_server::Collections;
use engram_storage::schema::CollectionSchema;
use tonic::{Request, Response, Status};

use super::{Context, principal, to_the_end};
use crate::convert::collection::{collection_change, new_collection, payload_index, wire_collection};
use crate::status::{from_query, invalid};

pub(crate) struct CollectionsService(pub(crate) Arc<Context>);

fn answer(schema: &CollectionSchema) -> Response<v1::Collection> {
    Response::new(wire_collection(schema))
}

#[tonic::async_trait]
impl Collections for CollectionsService {
    async fn create_collection(
        &self,
        request: Request<v1::CreateCollectionRequest>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let new = new_collection(&wire, principal.tenant, &self.0.config.index)?;
        let context = self.0.clone();
        to_the_end(async move {
            let made = context.database.create_collection(principal, new, wire.if_not_exists).await;
            made.map(|schema| answer(&schema)).map_err(|e| from_query(&e))
        })
        .await
    }

    async fn get_collection(
        &self,
        request: Request<v1::GetCollectionRequest>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let found = self.0.database.collection(principal, &request.get_ref().name);
        found.map(|schema| answer(&schema)).map_err(|e| from_query(&e))
    }

    async fn list_collections(
        &self,
        request: Request<v1::ListCollectionsRequest>,
    ) -> Result<Response<v1::ListCollectionsResponse>, Status> {
        let schemas = self.0.database.collections(principal(&request)?);
        let collections = schemas.iter().map(|schema| wire_collection(schema)).collect();
        Ok(Response::new(v1::ListCollectionsResponse { collections }))
    }

    async fn update_collection(
        &self,
        request: Request<v1::UpdateCollectionRequest>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let change = collection_change(&wire, &self.0.config.index)?;
        let context = self.0.clone();
        to_the_end(async move {
            let updated = context.database.update_collection(principal, &wire.name, change).await;
            updated.map(|schema| answer(&schema)).map_err(|e| from_query(&e))
        })
        .await
    }

    async fn delete_collection(
        &self,
        request: Request<v1::DeleteCollectionRequest>,
    ) -> Result<Response<v1::DeleteCollectionResponse>, Status> {
        let principal = principal(&request)?;
        let name = request.into_inner().name;
        let context = self.0.clone();
        to_the_end(async move {
            let existed =
                context.database.drop_collection(principal, &name).await.map_err(|e| from_query(&e))?;
            Ok(Response::new(v1::DeleteCollectionResponse { existed }))
        })
        .await
    }

    async fn create_payload_index(
        &self,
        request: Request<v1::CreatePayloadIndexRequest>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let spec =
            payload_index(&wire.index.ok_or_else(|| invalid("index", "is missing; give field and kind"))?)?;
        let schema = self.0.database.collection(principal, &wire.collection).map_err(|e| from_query(&e))?;
        // A repeat must change nothing, not even the order of the indexes.
        if schema.payload_indexes.contains(&spec) {
            return Ok(answer(&schema));
        }
        let context = self.0.clone();
        to_the_end(async move {
            let indexed = context.database.create_payload_index(principal, &wire.collection, spec).await;
            indexed.map(|schema| answer(&schema)).map_err(|e| from_query(&e))
        })
        .await
    }

    async fn delete_payload_index(
        &self,
        request: Request<v1::DeletePayloadIndexRequest>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let context = self.0.clone();
        to_the_end(async move {
            let database = &context.database;
            let deleted = database.delete_payload_index(principal, &wire.collection, &wire.field).await;
            deleted.map_err(|e| from_query(&e))?;
            let schema = database.collection(principal, &wire.collection).map_err(|e| from_query(&e))?;
            Ok(answer(&schema))
        })
        .await
    }

    async fn set_alias(
        &self,
        request: Request<v1::SetAliasRequest>,
    ) -> Result<Response<v1::SetAliasResponse>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let context = self.0.clone();
        to_the_end(async move {
            let set = context.database.set_alias(principal, &wire.alias, &wire.collection).await;
            set.map_err(|e| from_query(&e))?;
            Ok(Response::new(v1::SetAliasResponse {}))
        })
        .await
    }

    async fn delete_alias(
        &self,
        request: Request<v1::DeleteAliasRequest>,
    ) -> Result<Response<v1::DeleteAliasResponse>, Status> {
        let principal = principal(&request)?;
        let alias = request.into_inner().alias;
        let context = self.0.clone();
        to_the_end(async move {
            let existed =
                context.database.delete_alias(principal, &alias).await.map_err(|e| from_query(&e))?;
            Ok(Response::new(v1::DeleteAliasResponse { existed }))
        })
        .await
    }

    async fn list_aliases(
        &self,
        request: Request<v1::ListAliasesRequest>,
    ) -> Result<Response<v1::ListAliasesResponse>, Status> {
        let aliases = self.0.database.aliases(principal(&request)?).into_iter();
        let aliases = aliases.map(|(alias, collection)| v1::Alias { alias, collection }).collect();
        Ok(Response::new(v1::ListAliasesResponse { aliases }))
    }
}
