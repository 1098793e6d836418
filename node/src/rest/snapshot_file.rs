//! Files of snapshots on their way out and in: never held as a whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use engram_query::database::{SnapshotFile, SnapshotSource, Upload};
use engram_storage::StorageError;
use futures::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use multer::{Constraints, Multipart};
use tokio::sync::mpsc;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::snapshot_checksum::Checksum;

/// Field of the form that holds the file.
const FIELD: &str = "snapshot";
/// Parts of an upload that wait to be read.
const PARTS: usize = 2;
/// Bytes that may come before the reader of forms makes anything of them.
const MAX_UNREAD: usize = 256 << 10;
/// A client gets this long to send the rest of an upload that is refused, so that it reads why.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// What a form has in the description of the interface.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct SnapshotForm {
    /// The file of a snapshot.
    #[schema(value_type = String, format = Binary)]
    snapshot: Vec<u8>,
}

pub(crate) async fn download(call: Call) -> Result<Answer, RestError> {
    let (database, name) = (&call.context.database, call.segment("snapshot_name"));
    let file = database.open_snapshot(call.principal, call.collection(), name).await?;
    call.file_room().await?;
    let disposition = format!("attachment; filename=\"{}\"", file.info.name);
    let headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(file.info.bytes)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).map_err(RestError::internal)?),
    ];
    Ok(Answer { status: StatusCode::OK, headers, body: Body::from_stream(parts(file)) })
}

fn parts(file: SnapshotFile) -> impl Stream<Item = Result<Bytes, engram_query::QueryError>> {
    stream::try_unfold(file, async |mut file| Ok(file.next_part().await?.map(|part| (part, file))))
}

pub(crate) async fn upload(call: Call) -> Result<Answer, RestError> {
    let checksum = call.parameter("checksum").map(Checksum::parse).transpose()?;
    if let Some(other) = call.parameter("priority")
        && !["no_sync", "snapshot", "replica"].contains(&other)
    {
        return Err(RestError::parameter("priority: use no_sync, snapshot or replica"));
    }
    let form = call.header(header::CONTENT_TYPE).unwrap_or_default();
    let Ok(boundary) = multer::parse_boundary(form) else {
        return Err(RestError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Wrong input: send multipart/form-data with the file as `{FIELD}`"),
        ));
    };
    let (parts, received) = mpsc::channel(PARTS);
    let source = SnapshotSource::Upload(Upload::new(received));
    let form = Form { body: call.take_body(), boundary, checksum };
    // Ends by itself: with the body, or when nobody reads what it sends any more.
    tokio::spawn(form.receive(parts));
    let (context, principal, target) = (call.context.clone(), call.principal, call.collection().to_owned());
    finish(async move { Ok(context.database.recover_snapshot(principal, source, (&target, true)).await?) })
        .await?;
    call.answer(&true)
}

struct Form {
    body: Body,
    boundary: String,
    checksum: Option<Checksum>,
}

impl Form {
    async fn receive(self, parts: mpsc::Sender<Result<Bytes, StorageError>>) {
        let Self { mut body, boundary, checksum } = self;
        let unread = Arc::new(AtomicUsize::new(0));
        let frames = OneByOne { frames: (&mut body).into_data_stream(), gave: false, unread: unread.clone() };
        let form =
            Multipart::with_constraints(frames, boundary, Constraints::new().allowed_fields(vec![FIELD]));
        let outcome = tokio::select! {
            outcome = hand_on((form, &unread), checksum, &parts) => outcome,
            () = parts.closed() => Ok(()),
        };
        if let Err(e) = outcome {
            let _ = parts.send(Err(e)).await;
        }
        drop(parts);
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
    }
}

/// Hands the file on, the last part only when the checksum fits: until then nobody takes it for whole.
async fn hand_on(
    (mut form, unread): (Multipart<'_>, &AtomicUsize),
    mut checksum: Option<Checksum>,
    parts: &mpsc::Sender<Result<Bytes, StorageError>>,
) -> Result<(), StorageError> {
    let missing = || StorageError::Invalid(format!("the form has no field `{FIELD}`"));
    let mut field = form.next_field().await.map_err(broken)?.ok_or_else(missing)?;
    if field.name() != Some(FIELD) {
        return Err(missing());
    }
    let mut held = None;
    while let Some(part) = field.chunk().await.map_err(broken)? {
        unread.store(0, Ordering::Relaxed);
        if let Some(checksum) = &mut checksum {
            checksum.update(&part);
        }
        if let Some(before) = held.replace(part)
            && parts.send(Ok(before)).await.is_err()
        {
            return Ok(());
        }
    }
    drop(field);
    if form.next_field().await.map_err(broken)?.is_some() {
        return Err(StorageError::Invalid(format!("the form has more than one field `{FIELD}`")));
    }
    if let Some(checksum) = checksum {
        checksum.finish().map_err(|why| StorageError::Invalid(why.into()))?;
    }
    if let Some(last) = held {
        // Where it fails, the reader has ended, and tells why itself.
        let _ = parts.send(Ok(last)).await;
    }
    Ok(())
}

/// Why a form ends early.
#[derive(Debug, thiserror::Error)]
enum Cut {
    /// No boundary, no end of its head, no piece of the file in so many bytes.
    #[error("its head is longer than {MAX_UNREAD} bytes")]
    Head,
    #[error("{0}")]
    Connection(axum::Error),
}

fn broken(e: multer::Error) -> StorageError {
    match e {
        multer::Error::StreamReadFailed(why) => match why.downcast_ref::<Cut>() {
            Some(Cut::Head) => StorageError::Invalid(format!("the form cannot be read: {why}")),
            _ => StorageError::Unavailable(format!("the snapshot did not arrive whole: {why}")),
        },
        other => {
            StorageError::Invalid(format!("the form cannot be read: {other}; send the file as `{FIELD}`"))
        }
    }
}

/// Frames with a pause between any two: the reader of forms buffers all that is ready before it looks at any of it.
struct OneByOne<S> {
    frames: S,
    gave: bool,
    /// Bytes since the last piece of the file.
    unread: Arc<AtomicUsize>,
}

impl<S: Stream<Item = Result<Bytes, axum::Error>> + Unpin> Stream for OneByOne<S> {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.gave) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(frame) = self.frames.poll_next_unpin(cx) else { return Poll::Pending };
        self.gave = frame.is_some();
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Cut::Connection)?;
            let before = self.unread.fetch_add(frame.len(), Ordering::Relaxed);
            if before > MAX_UNREAD { Err(Cut::Head) } else { Ok(frame) }
        }))
    }
}
