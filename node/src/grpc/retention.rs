//! `engram.v1.Retention`.

use std::sync::Arc;

use engram_proto::v1;
use engram_proto::v1::retention_server::Retention;
use tonic::{Request, Response, Status};

use super::{Context, principal, to_the_end};
use crate::convert::retention::{purge, wire_plan, wire_receipt};
use crate::status::from_query;

const DEFAULT_LIMIT: usize = 100;

pub(crate) struct RetentionService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Retention for RetentionService {
    async fn dry_run(&self, request: Request<v1::PurgeRequest>) -> Result<Response<v1::PurgePlan>, Status> {
        let principal = principal(&request)?;
        let scope = purge(&request.into_inner(), self.0.engine.clock().now_ms())?;
        let plan = self.0.database.plan_purge(principal, scope).await.map_err(|e| from_query(&e))?;
        Ok(Response::new(wire_plan(&plan)))
    }

    async fn purge(&self, request: Request<v1::PurgeRequest>) -> Result<Response<v1::Receipt>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let scope = purge(&wire, self.0.engine.clock().now_ms())?;
        let context = self.0.clone();
        to_the_end(async move {
            let accepted =
                context.database.accept_purge(principal, scope).await.map_err(|e| from_query(&e))?;
            let work = context.jobs.run_purge(&context.database, accepted.clone());
            let receipt = if wire.wait { work.await? } else { accepted };
            Ok(Response::new(wire_receipt(receipt)))
        })
        .await
    }

    async fn get_receipt(
        &self,
        request: Request<v1::GetReceiptRequest>,
    ) -> Result<Response<v1::Receipt>, Status> {
        let principal = principal(&request)?;
        let receipt = self.0.database.receipt(principal, &request.get_ref().id).await;
        let receipt = receipt.map_err(|e| from_query(&e))?;
        Ok(Response::new(wire_receipt(receipt)))
    }

    async fn list_receipts(
        &self,
        request: Request<v1::ListReceiptsRequest>,
    ) -> Result<Response<v1::ListReceiptsResponse>, Status> {
        let principal = principal(&request)?;
        let limit = match request.into_inner().limit as usize {
            0 => DEFAULT_LIMIT,
            limit => limit,
        };
        let receipts = self.0.database.receipts(principal, limit).await.map_err(|e| from_query(&e))?;
        let receipts = receipts.into_iter().map(wire_receipt).collect();
        Ok(Response::new(v1::ListReceiptsResponse { receipts }))
    }
}
