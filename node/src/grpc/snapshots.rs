//! `engram.v1.Snapshots`.

use std::sync::Arc;

use engram_proto::v1;
use engram_proto::v1::snapshots_server::Snapshots;
use engram_query::database::{SnapshotFile, SnapshotInfo, SnapshotSource, Upload};
use engram_query::request::Principal;
use engram_storage::StorageError;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{Context, principal, to_the_end};
use crate::convert::collection::wire_collection;
use crate::serve::admission::InFlight;
use crate::status::{from_query, invalid};

/// Parts of a snapshot that wait to be read.
const PARTS: usize = 2;

pub(crate) struct SnapshotsService(pub(crate) Arc<Context>);

impl SnapshotsService {
    async fn recover(
        &self,
        principal: Principal,
        source: SnapshotSource,
        (target, replace): (String, bool),
    ) -> Result<Response<v1::Collection>, Status> {
        let context = self.0.clone();
        to_the_end(async move {
            let recovered = context.database.recover_snapshot(principal, source, (&target, replace)).await;
            recovered.map(|schema| Response::new(wire_collection(&schema))).map_err(|e| from_query(&e))
        })
        .await
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    async fn create_snapshot(
        &self,
        request: Request<v1::CreateSnapshotRequest>,
    ) -> Result<Response<v1::Snapshot>, Status> {
        let principal = principal(&request)?;
        let made = self.0.database.create_snapshot(principal, &request.get_ref().collection).await;
        made.map(|info| Response::new(wire(info))).map_err(|e| from_query(&e))
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let principal = principal(&request)?;
        let found = self.0.database.snapshots(principal, &request.get_ref().collection).await;
        let snapshots = found.map_err(|e| from_query(&e))?.into_iter().map(wire).collect();
        Ok(Response::new(v1::ListSnapshotsResponse { snapshots }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteSnapshotRequest>,
    ) -> Result<Response<v1::DeleteSnapshotResponse>, Status> {
        let principal = principal(&request)?;
        let v1::DeleteSnapshotRequest { collection, snapshot } = request.into_inner();
        let context = self.0.clone();
        to_the_end(async move {
            let deleted = context.database.delete_snapshot(principal, &collection, &snapshot).await;
            let existed = deleted.map_err(|e| from_query(&e))?;
            Ok(Response::new(v1::DeleteSnapshotResponse { existed }))
        })
        .await
    }

    type DownloadSnapshotStream = BoxStream<'static, Result<v1::SnapshotPart, Status>>;

    async fn download_snapshot(
        &self,
        request: Request<v1::DownloadSnapshotRequest>,
    ) -> Result<Response<Self::DownloadSnapshotStream>, Status> {
        let principal = principal(&request)?;
        let v1::DownloadSnapshotRequest { collection, snapshot } = request.into_inner();
        let opened = self.0.database.open_snapshot(principal, &collection, &snapshot).await;
        let file = opened.map_err(|e| from_query(&e))?;
        Ok(Response::new(parts(file).boxed()))
    }

    async fn recover_snapshot(
        &self,
        request: Request<v1::RecoverSnapshotRequest>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let v1::RecoverSnapshotRequest { collection, snapshot, target, replace } = request.into_inner();
        let target = if target.is_empty() { collection.clone() } else { target };
        self.recover(principal, SnapshotSource::Listed { collection, snapshot }, (target, replace)).await
    }

    async fn upload_snapshot(
        &self,
        request: Request<Streaming<v1::UploadSnapshotRequest>>,
    ) -> Result<Response<v1::Collection>, Status> {
        let principal = principal(&request)?;
        let in_flight = request.extensions().get::<InFlight>().cloned().unwrap_or_default();
        let mut messages = request.into_inner();
        let Some(first) = messages.message().await? else {
            return Err(invalid("target", "is missing: the stream has no message"));
        };
        let target = (first.target.clone(), first.replace);
        let (parts, received) = mpsc::channel(PARTS);
        let source = SnapshotSource::Upload(Upload::new(received));
        // Ends by itself: with the stream, or when nobody reads what it sends any more.
        tokio::spawn(receive(first, messages, parts, in_flight));
        self.recover(principal, source, target).await
    }
}

/// Reads a part when the connection takes it: what is read ahead would go out although a purge has ended the download.
fn parts(file: SnapshotFile) -> impl Stream<Item = Result<v1::SnapshotPart, Status>> + Send {
    let first = Some(wire(file.info.clone()));
    stream::try_unfold((file, first), async |(mut file, first)| {
        let part = file.next_part().await.map_err(|e| from_query(&e))?;
        Ok(part.map(|data| (v1::SnapshotPart { snapshot: first, data }, (file, None))))
    })
}

async fn receive(
    first: v1::UploadSnapshotRequest,
    mut messages: Streaming<v1::UploadSnapshotRequest>,
    parts: mpsc::Sender<Result<bytes::Bytes, StorageError>>,
    in_flight: InFlight,
) {
    let mut next: Result<_, Status> = Ok(Some(first));
    loop {
        // Held until the reader has room for the part.
        let _charge = in_flight.take();
        let part = match next {
            Ok(Some(message)) => Ok(message.data),
            Ok(None) => return,
            Err(broken) => Err(StorageError::Unavailable(format!(
                "the snapshot did not arrive whole: {}",
                broken.message()
            ))),
        };
        let failed = part.is_err();
        if parts.send(part).await.is_err() || failed {
            return;
        }
        next = tokio::select! {
            next = messages.message() => next,
            () = parts.closed() => return,
        };
    }
}

fn wire(info: SnapshotInfo) -> v1::Snapshot {
    v1::Snapshot {
        name: info.name,
        bytes: info.bytes,
        created_at_ms: info.created_at,
        points: info.points,
        collection_id: info.collection.to_string(),
        blake3: info.blake3,
        server_version: info.server_version,
    }
}
