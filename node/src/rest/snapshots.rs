//! Snapshots of a collection: made, listed, removed, recovered. Files of them go through [`super::snapshot_file`].

use engram_query::QueryError;
use engram_query::database::{Passage, SnapshotFile, SnapshotInfo, SnapshotSource};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::snapshot_checksum::Checksum;
use super::snapshot_location::wanted;
use super::weight::Shape;

/// A snapshot of the listing.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct SnapshotDescription {
    name: String,
    /// Time of the making, UTC.
    creation_time: String,
    /// Bytes of its file.
    size: u64,
    /// BLAKE3 of its content, which ends its file.
    checksum: String,
}

impl From<SnapshotInfo> for SnapshotDescription {
    fn from(info: SnapshotInfo) -> Self {
        let made = jiff::Timestamp::from_millisecond(info.created_at).unwrap_or_default();
        let creation_time = made.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        Self { name: info.name, creation_time, size: info.bytes, checksum: info.blake3 }
    }
}

/// What to recover from.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecoverBody {
    /// Name of a snapshot of the listing, or `file://` and its path in the directory of snapshots. Nothing else is read.
    location: String,
    /// Checksum of the listing, or SHA-256 of the file: another file is refused.
    #[serde(default)]
    checksum: Option<String>,
    /// Of no meaning on one node.
    #[serde(default, rename = "priority")]
    _priority: Option<SnapshotPriority>,
    /// Not used: nothing is fetched.
    #[serde(default, rename = "api_key")]
    _api_key: Option<String>,
}

/// Whose points win where replicas differ.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SnapshotPriority {
    NoSync,
    Snapshot,
    Replica,
}

pub(crate) async fn list(call: Call) -> Result<Answer, RestError> {
    let found = call.context.database.snapshots(call.principal, call.collection()).await?;
    call.answer(&found.into_iter().map(SnapshotDescription::from).collect::<Vec<_>>())
}

pub(crate) async fn create(call: Call) -> Result<Answer, RestError> {
    call.schema()?;
    let (context, principal, name) = (call.context.clone(), call.principal, call.collection().to_owned());
    // Before it is answered: what was accepted is not refused any more.
    let passage = context.database.snapshot_passage(principal)?;
    let made = async move {
        let made = context.database.create_snapshot_in(principal, passage, &name).await?;
        Ok(SnapshotDescription::from(made))
    };
    call.run_or_accept("make a snapshot", made).await
}

pub(crate) async fn delete(call: Call) -> Result<Answer, RestError> {
    let (context, principal, name) = (call.context.clone(), call.principal, call.collection().to_owned());
    let snapshot = call.segment("snapshot_name").to_owned();
    call.schema()?;
    let deleted = async move {
        match context.database.delete_snapshot(principal, &name, &snapshot).await? {
            true => Ok(true),
            false => Err(absent(&snapshot)),
        }
    };
    call.run_or_accept("delete a snapshot", deleted).await
}

pub(crate) async fn recover(call: Call) -> Result<Answer, RestError> {
    let body: RecoverBody = call.json(Shape::Tree).await?;
    let checksum = body.checksum.as_deref().map(Checksum::parse).transpose()?;
    let snapshot = wanted(&body.location, &call.context.config.data_dir.join("objects").join("snapshots"))?;
    let (collection, file) = find(&call, &snapshot).await?;
    let (context, principal, target) = (call.context.clone(), call.principal, call.collection().to_owned());
    let source = SnapshotSource::Listed { collection, snapshot };
    context.database.check_recovery(principal, &source, &target)?;
    let passage = context.database.snapshot_passage(principal)?;
    let recovered = async move {
        if let Some(checksum) = checksum {
            compare(checksum, file, &passage).await?;
        }
        context.database.recover_snapshot_in(principal, passage, source, (&target, true)).await?;
        Ok(true)
    };
    call.run_or_accept("recover from a snapshot", recovered).await
}

/// The collection in whose listing the snapshot is, among those that the caller sees. Its name begins with that of the
/// collection, which may have been replaced since.
async fn find(call: &Call, snapshot: &str) -> Result<(String, SnapshotFile), RestError> {
    let maker = snapshot.split('-').next().unwrap_or_default();
    for schema in call.context.database.administered(call.principal, "")? {
        let made = |id: &engram_storage::schema::CollectionId| id.to_string() == maker;
        if !made(&schema.id) && !schema.lineage.origins.iter().any(made) {
            continue;
        }
        match call.context.database.open_snapshot(call.principal, &schema.name, snapshot).await {
            Ok(file) => return Ok((schema.name.clone(), file)),
            Err(QueryError::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(absent(snapshot))
}

async fn compare(mut checksum: Checksum, mut file: SnapshotFile, passage: &Passage) -> Result<(), RestError> {
    if checksum.is(&file.info.blake3) {
        return Ok(());
    }
    while let Some(part) = file.next_part().await? {
        // A purge does not wait for the whole file.
        passage.check()?;
        checksum.update(&part);
    }
    checksum.finish().map_err(RestError::wrong)
}

fn absent(snapshot: &str) -> RestError {
    let shown: String = snapshot.chars().take(128).collect();
    RestError::not_found(format!("there is no snapshot {shown:?}; list those there are"))
}
